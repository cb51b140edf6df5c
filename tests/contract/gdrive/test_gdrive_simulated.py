"""DriveClient against the simulated Google, over HTTP."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator

import aiohttp
import msgspec
import pytest

from drivewake.gdrive import errors
from drivewake.gdrive.client import DriveClient
from drivewake.gdrive.token import AccessToken
from drivewake.lab.google.serve import RunningGoogle, start_google
from drivewake.lab.google.world import Options

SCOPE = "https://www.googleapis.com/auth/drive.readonly"
ANN = "ann@example.com"
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def google() -> Iterator[RunningGoogle]:
    """A Google with one person."""
    with start_google(Options(users=(ANN,))) as running:
        yield running


@pytest.fixture
async def drive(google: RunningGoogle) -> AsyncIterator[DriveClient]:
    """A client of it."""
    async with DriveClient(google.base_url) as client:
        yield client


def token(google: RunningGoogle, scope: str = SCOPE) -> AccessToken:
    """Return a token of the person."""

    def issue() -> str:
        world = google.world
        client = world.grants.clients[world.options.client_id]
        user = world.state.user(ANN)
        return world.grants.issue(client, user.email, (scope,), world.now_ns()).token

    return AccessToken(google.call(issue), tenant="acme", connection="ann", id="t1", expires_at=NOW)


async def create(google: RunningGoogle, *names: str) -> None:
    """Let the person create files, through the control API."""
    actions = [{"op": "create_file", "name": name, "content": "eA=="} for name in names]
    batch = {"actor": ANN, "actions": actions}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{google.base_url}/_sim/actions", json=batch) as answer,
    ):
        assert 200 == answer.status, await answer.text()


async def test_changes_are_read_page_by_page(google: RunningGoogle, drive: DriveClient) -> None:
    """From a start token on, every changed file comes once, verbatim, to the new start."""
    mine = token(google)
    start = await drive.start_page_token(mine)
    await create(google, *(f"file{number}" for number in range(7)))
    names: list[str] = []
    at: str = start
    for _ in range(4):
        page = await drive.list_changes(mine, at, page_size=2)
        for item in page.items:
            change = msgspec.json.decode(item.body)
            assert (item.id, False) == (change["fileId"], change["removed"])
            names.append(change["file"]["name"])
        if page.next_page_token is None:
            break
        at = page.next_page_token

    assert [f"file{number}" for number in range(7)] == names
    assert page.new_start_page_token == await drive.start_page_token(mine)


async def test_the_whole_drive_is_listed(google: RunningGoogle, drive: DriveClient) -> None:
    """All pages together hold every file once, with all that heads compare."""
    mine = token(google)
    await create(google, *(f"file{number}" for number in range(5)))
    first = await drive.list_files(mine, page_size=3)
    second = await drive.list_files(mine, first.next_page_token, page_size=3)
    files = [msgspec.json.decode(item.body) for item in (*first.items, *second.items)]

    assert {f"file{number}" for number in range(5)} <= {file["name"] for file in files}
    assert len(files) == len({file["id"] for file in files})
    assert (False, None) == (second.incomplete, second.next_page_token)
    assert {"version", "md5Checksum", "parents", "permissions", "owners"} <= set(files[-1])


async def test_one_file_is_read_or_missing(google: RunningGoogle, drive: DriveClient) -> None:
    """A file that is not there is an error of its own."""
    mine = token(google)
    await create(google, "one")
    start = await drive.list_files(mine)
    wanted = start.items[-1].id
    answer = await drive.get_file(mine, wanted)

    assert wanted == answer.item.id
    with pytest.raises(errors.ItemNotFoundError):
        await drive.get_file(mine, "no-such-file")


async def test_a_channel_opens_once_and_stops_once(
    google: RunningGoogle, drive: DriveClient
) -> None:
    """An id is used up for ever; stopping an unknown channel says so."""
    mine = token(google)
    expires_at = NOW.replace(microsecond=0) + dt.timedelta(hours=2)
    start = await drive.start_page_token(mine)

    async def watch(channel: str, address: str) -> str:
        answer = await drive.watch_changes(mine, start, channel, address, "tok", expires_at)
        assert expires_at == answer.expires_at
        return answer.resource_id

    resource = await watch("c1", "http://127.0.0.1:9/x")
    with pytest.raises(errors.ChannelRefusedError, match="channelIdNotUnique"):
        await watch("c1", "http://127.0.0.1:9/x")
    with pytest.raises(errors.ChannelRefusedError, match="webhookUrlNotHttps"):
        await watch("c2", "http://example.com/x")
    await drive.stop_channel(mine, "c1", resource)
    with pytest.raises(errors.ItemNotFoundError):
        await drive.stop_channel(mine, "c1", resource)


async def test_refusals_have_their_class(google: RunningGoogle, drive: DriveClient) -> None:
    """Lost cursors, dead tokens and missing scopes, as this Google says them."""
    mine = token(google)
    bogus = AccessToken("ya29.bogus", tenant="t", connection="c", id="i", expires_at=NOW)
    narrow = token(google, "https://www.googleapis.com/auth/userinfo.email")

    with pytest.raises(errors.CursorLostError):
        await drive.list_changes(mine, "not-a-token")
    with pytest.raises(errors.CursorLostError):
        await drive.list_files(mine, "not-a-token")
    with pytest.raises(errors.UnauthorizedError):
        await drive.start_page_token(bogus)
    with pytest.raises(errors.ScopeMissingError):
        await drive.start_page_token(narrow)
    with pytest.raises(errors.BadRequestError):
        await drive.list_changes(mine, "")


async def test_a_token_dies_between_two_calls(google: RunningGoogle, drive: DriveClient) -> None:
    """Revocation shows as 401 and holds no token in its message."""
    mine = token(google)
    await drive.start_page_token(mine)
    google.call(google.world.grants.revoke_user, ANN)
    with pytest.raises(errors.UnauthorizedError) as raised:
        await drive.start_page_token(mine)

    assert mine.reveal() not in str(raised.value)


async def test_many_calls_share_a_pool(google: RunningGoogle, drive: DriveClient) -> None:
    """A hundred calls at once all get their own answer."""
    mine = token(google)
    await create(google, *(f"file{number}" for number in range(10)))
    page = await drive.list_files(mine)
    wanted = [item.id for item in page.items] * 10
    answers = await asyncio.gather(*(drive.get_file(mine, file) for file in wanted))

    assert wanted == [answer.item.id for answer in answers]
