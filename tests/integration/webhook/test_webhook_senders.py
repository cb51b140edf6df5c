"""The other senders against a running webhook: Calendar's channels, Pub/Sub's events."""

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import msgspec
import pytest
from aiohttp import web
from webhook_world import World

from drivewake.contracts import subjects
from drivewake.contracts.records import ChannelRecord
from drivewake.lab.google.risc import KEY_ID
from drivewake.lab.google.serve import RunningGoogle
from drivewake.lab.servers import free_port
from drivewake.webhook.tokens import Kind, Subject

ACCOUNT = "pusher@project.iam.gserviceaccount.com"
EVENT = "google.workspace.drive.file.v3.contentChanged"


class KeyServer:
    """Publishes the simulated Google's keys as Google does, and counts who asks."""

    def __init__(self, google: RunningGoogle) -> None:
        self.asked = 0
        self._google = google

    async def answer(self, request: web.Request) -> web.Response:
        """Answer with the key set."""
        self.asked += 1
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self._google.base_url}{request.path}") as answer,
        ):
            return web.Response(body=await answer.read())


class Target:
    """A running webhook that takes all kinds, and one live log."""

    def __init__(self, world: World, port: int, subject: Subject, keys: KeyServer) -> None:
        self.world = world
        self.keys = keys
        self.base = f"http://127.0.0.1:{port}/v1/notifications"
        self.subject = subject

    def address(self, kind: str, subject: Subject | None = None) -> str:
        """Return where notifications of a log are taken."""
        return "/".join((self.base, kind, *msgspec.structs.astuple(subject or self.subject)))

    async def post(self, url: str, **options: Any) -> aiohttp.ClientResponse:  # noqa: ANN401
        """Send a request; return its answer, read."""
        async with self.world.http.post(url, **options) as answer:
            await answer.read()
            return answer

    async def calendar(
        self, record: ChannelRecord, kind: Kind = "calendar", state: str = "exists"
    ) -> int:
        """Push as Calendar does, with the token of a kind."""
        token = self.world.keys.token(self.subject, record.channel, record.expires_at, kind)
        headers = self.world.headers(
            record, X_Goog_Channel_Token=token, X_Goog_Resource_State=state
        )
        return (await self.post(self.address("calendar"), headers=headers)).status

    def token(self, subject: Subject | None = None, age_s: int = 0, **changes: object) -> str:
        """Return what Google signs for a push to a log."""
        now_s = int(dt.datetime.now(dt.UTC).timestamp()) - age_s
        claims = {
            "iss": "https://accounts.google.com",
            "aud": self.address("workspace", subject),
            "email": ACCOUNT,
            "email_verified": True,
            "iat": now_s,
            "exp": now_s + 3600,
        }
        key = self.world.google.call(self.world.google.world.signing_key)
        return jwt.encode(claims | changes, key, "RS256", headers={"kid": KEY_ID})

    async def event(
        self, token: str, subject: Subject | None = None, kind: str = EVENT, **message: object
    ) -> aiohttp.ClientResponse:
        """Push as Pub/Sub does."""
        attributes = {
            "ce-id": "1",
            "ce-source": "//workspaceevents.googleapis.com/subscriptions/x",
            "ce-specversion": "1.0",
            "ce-type": kind,
        }
        body = {"message": {"attributes": attributes, "messageId": "7", "data": "e30="} | message}
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.post(self.address("workspace", subject), json=body, headers=headers)

    async def taken(self) -> str:
        """Return the reason of the one signal that waits, and take it."""
        assert 1 == await self.world.signals_waiting()
        return (await self.world.until_signal(self.subject)).reason


@pytest.fixture(scope="module")
async def shared_target(shared_world: World) -> AsyncIterator[Target]:
    """A webhook that serves every kind."""
    port, keys_port = free_port(), free_port()
    keys = KeyServer(shared_world.google)
    app = web.Application()
    app.router.add_get("/oauth2/v3/certs", keys.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", keys_port).start()
    settings = {
        "workspace_push_account": ACCOUNT,
        "google_jwks_url": f"http://127.0.0.1:{keys_port}/oauth2/v3/certs",
    }
    shared_world.webhook(port=port, **settings).start()
    record = await shared_world.live_channel("ann@example.com")
    yield Target(shared_world, port, Subject(record.tenant, record.connection, record.log), keys)
    await runner.cleanup()


@pytest.fixture
async def target(shared_target: Target) -> Target:
    """The same, with no signal waiting and Google's keys known."""
    for _ in range(200):
        if (await shared_target.event(shared_target.token())).status == 204:
            break
    await shared_target.world.until_no_signal(shared_target.subject)
    return shared_target


async def test_calendars_states_are_pokes_with_tokens_of_their_own(target: Target) -> None:
    """`sync`, `exists`, `not_exists` and what may come; a token of Drive's opens nothing."""
    now = dt.datetime.now(dt.UTC)
    record = ChannelRecord(
        channel="calendar1",
        tenant=target.subject.tenant,
        connection=target.subject.connection,
        log=target.subject.log,
        created_at=now,
        expires_at=now + dt.timedelta(hours=1),
        status="live",
        resource="res",
    )
    bucket = await target.world.bus.key_value(subjects.CHANNELS)
    await bucket.put(record.channel, msgspec.json.encode(record), revision=0)

    for state in ("sync", "exists", "not_exists", "a-new-one"):
        assert 200 == await target.calendar(record, state=state)
    assert "push" == await target.taken()
    # A stranger's token looks nothing up: until the record is known, it gets 404.
    assert 401 == await target.calendar(record, kind="drive")

    drive = await target.post(
        target.address("drive"),
        headers=target.world.headers(
            record,
            X_Goog_Channel_Token=target.world.keys.token(
                target.subject, record.channel, record.expires_at, "calendar"
            ),
        ),
    )
    assert 401 == drive.status


async def test_an_event_with_googles_token_is_a_poke(target: Target) -> None:
    """204 once the signal is durable, whatever the event tells."""
    assert 204 == (await target.event(target.token())).status
    assert "push" == await target.taken()


@pytest.mark.parametrize("name", ["suspended", "expirationReminder", "expired"])
async def test_lifecycle_events_are_pokes_and_leave_a_line(target: Target, name: str) -> None:
    """A subscription that ends is told to the operator, and the log is looked at."""
    kind = f"google.workspace.events.subscription.v1.{name}"

    assert 204 == (await target.event(target.token(), kind=kind)).status

    assert "push" == await target.taken()
    assert kind in (target.world.directory / "webhook-0.log").read_text()


async def test_tokens_that_prove_nothing_get_401(target: Target) -> None:
    """Absent, old, for another account, for another log: refused, and no signal made."""
    other = Subject("acme", "bob", target.subject.log)

    for token in (
        "",
        "a.b.c",
        target.token(age_s=86_400),
        target.token(email="pusher@another.iam.gserviceaccount.com"),
        target.token(subject=other),
    ):
        answer = await target.event(token)
        assert (401, "Bearer") == (answer.status, answer.headers.get("www-authenticate"))
    assert 0 == await target.world.signals_waiting()


async def test_a_log_that_nobody_knows_gets_no_signal(target: Target) -> None:
    """However genuine the token: subjects are not made up by who pushes."""
    other = Subject("acme", "nobody", "log1")

    assert 404 == (await target.event(target.token(subject=other), subject=other)).status
    assert 0 == await target.world.signals_waiting()


async def test_a_key_that_is_not_known_means_come_later(target: Target) -> None:
    """A hundred of them do not make a hundred questions to Google."""
    key = target.world.google.call(target.world.google.world.signing_key)
    token = jwt.encode({"aud": "x"}, key, "RS256", headers={"kid": "new"})

    statuses = {(await target.event(token)).status for _ in range(100)}

    assert {503} == statuses
    assert 1 <= target.keys.asked <= 2  # at the start, and once more if a minute went by


async def test_what_is_no_event_gets_400_and_bodies_are_bounded(target: Target) -> None:
    """64 KiB, and the shape of a wrapped push."""
    assert 204 == (await target.event(target.token(), data="x" * 60_000)).status
    assert 413 == (await target.event(target.token(), data="x" * 65_536)).status
    assert 400 == (await target.event(target.token(), attributes={})).status
    assert "push" == await target.taken()


async def test_without_an_account_no_event_is_taken(world: World) -> None:
    """Who has no subscription has no door for one."""
    port = free_port()
    world.webhook(port=port).start()
    url = f"http://127.0.0.1:{port}/v1/notifications/workspace/acme/ann/log1"

    async with world.http.post(url) as answer:
        assert 404 == answer.status
