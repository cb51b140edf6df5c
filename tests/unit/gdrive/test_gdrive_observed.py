"""When something was observed: the instant at which Google was asked, not when we read it."""

import datetime as dt

from googleapiclient.http import HttpRequest

from drivewake.gdrive.client import DriveClient
from drivewake.gdrive.errors import UnavailableError
from drivewake.gdrive.retries import Patience, Retries
from drivewake.gdrive.token import AccessToken
from drivewake.gdrive.transport import Transport

START = dt.datetime(2026, 11, 22, 10, 0, tzinfo=dt.UTC)
TOKEN = AccessToken("secret", tenant="t1", connection="c1", id="k1", expires_at=START)


class PassingClock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> dt.datetime:
        """Return the instant."""
        return self.at

    def monotonic_s(self) -> float:
        """Return the seconds."""
        return (self.at - START).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.at += dt.timedelta(seconds=seconds)


class SlowTransport(Transport):
    """Takes ten seconds an exchange; answers the second one."""

    def __init__(self, clock: PassingClock, body: bytes) -> None:
        super().__init__()
        self.clock = clock
        self.body = body
        self.sent = 0

    async def send(self, request: HttpRequest, token: AccessToken) -> bytes:
        """Answer late."""
        del request, token
        await self.clock.sleep(10)
        self.sent += 1
        if self.sent == 1:
            raise UnavailableError("away")
        return self.body


async def observed_at(body: bytes, method: str) -> dt.datetime:
    """Call a method whose first attempt fails; return when it says that it observed."""
    clock = PassingClock()
    drive = DriveClient(
        transport=SlowTransport(clock, body),
        retries=Retries(Patience(first_wait_s=0.001, max_wait_s=0.002)),
        clock=clock,
    )
    match method:
        case "changes":
            return (await drive.list_changes(TOKEN, "1")).observed_at
        case "files":
            return (await drive.list_files(TOKEN)).observed_at
        case _:
            return (await drive.get_file(TOKEN, "f1")).observed_at


async def test_observed_is_the_instant_before_the_attempt_that_was_answered() -> None:
    """Neither a failed attempt before it nor the wait for its answer counts."""
    second = START + dt.timedelta(seconds=10)
    assert [second] * 3 == [
        await observed_at(b'{"changes":[],"newStartPageToken":"2"}', "changes"),
        await observed_at(b'{"files":[]}', "files"),
        await observed_at(b'{"id":"f1"}', "file"),
    ]
