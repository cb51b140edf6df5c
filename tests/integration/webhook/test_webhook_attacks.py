"""What a stranger may send to the public face, and what it is answered.

Raw sockets, because a well-behaved client refuses to send most of this.
"""

import asyncio
import datetime as dt
import resource
from typing import Any

import pytest
from webhook_world import World

from drivewake.contracts.records import ChannelRecord
from drivewake.lab.servers import free_port
from drivewake.webhook.tokens import Subject


class Target:
    """A running webhook with one live channel, and ways to talk to it."""

    def __init__(self, world: World, port: int, record: ChannelRecord) -> None:
        self.world = world
        self.port = port
        self.record = record
        self.path = f"/v1/notifications/drive/{record.tenant}/{record.connection}/{record.log}"
        self.headers: dict[str, str] = world.headers(record)

    async def send(self, raw: bytes) -> int:
        """Send bytes; return the status of the first answer, 0 if the server only hangs up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(raw)
            await writer.drain()
            async with asyncio.timeout(20):
                line = await reader.readline()
            return int(line.split()[1]) if line else 0
        except ConnectionError:
            return 0
        finally:
            writer.close()

    def request(
        self,
        *extra: bytes,
        method: str = "POST",
        path: str | None = None,
        body: bytes = b"",
        length: int | None = None,
        without: str = "",
        **changes: str,
    ) -> bytes:
        """Return a request; `changes` by header name with underscores, `extra` raw lines."""
        headers = self.headers | {k.replace("_", "-"): v for k, v in changes.items()}
        lines = [f"{method} {path or self.path} HTTP/1.1", "Host: hooks.example.com"]
        lines += [f"{k}: {v}" for k, v in headers.items() if k != without]
        lines.append(f"Content-Length: {len(body) if length is None else length}")
        head = "\r\n".join(lines).encode("latin-1")
        return b"\r\n".join([head, *extra, b"Connection: close", b"", b""]) + body

    async def push(self, *extra: bytes, **options: Any) -> int:  # noqa: ANN401
        """Send a push with some differences; return its status."""
        return await self.send(self.request(*extra, **options))


@pytest.fixture(scope="module")
async def shared_target(shared_world: World) -> Target:
    """A webhook that serves, with a genuine channel."""
    port = free_port()
    shared_world.webhook(port=port).start()
    return Target(shared_world, port, await shared_world.live_channel("ann@example.com"))


@pytest.fixture
async def target(shared_target: Target) -> Target:
    """The same, with no signal waiting."""
    record = shared_target.record
    subject = Subject(record.tenant, record.connection, record.log)
    await shared_target.world.until_no_signal(subject)
    return shared_target


async def test_genuine_pushes_are_taken_and_become_one_signal(target: Target) -> None:
    """A replay a thousand times costs a thousand answers and one poll."""
    gate = asyncio.Semaphore(50)

    async def once() -> int:
        async with gate:
            return await target.push()

    statuses = await asyncio.gather(*(once() for _ in range(1000)))

    assert {200} == set(statuses)
    assert 1 == await target.world.signals_waiting()


async def test_unknown_states_and_small_bodies_are_taken(target: Target) -> None:
    """Google's guide shows `changed` where it documents `change`, and some pushes have bodies."""
    assert 200 == await target.push(X_Goog_Resource_State="a-new-one")
    assert 200 == await target.push(body=b"x" * 4096)
    assert 200 == await target.push(without="X-Goog-Resource-State")


async def test_what_is_forged_gets_401_and_no_signal(target: Target) -> None:
    """A token that is not ours, or ours for something else, opens nothing."""
    record = target.record
    good = target.headers["X-Goog-Channel-Token"]
    flipped = good[:-1] + ("A" if good[-1] != "A" else "B")
    other_log = target.path[:-1] + ("0" if target.path[-1] != "0" else "1")
    subject = Subject(record.tenant, record.connection, record.log)
    later = target.world.keys.token(
        subject, record.channel, record.expires_at + dt.timedelta(days=1)
    )
    stretched = ".".join([*later.split(".")[:3], good.rpartition(".")[2]])

    assert 401 == await target.push(X_Goog_Channel_Token=flipped)
    assert 401 == await target.push(X_Goog_Channel_Token="")
    assert 401 == await target.push(X_Goog_Channel_Token=good.replace("1.k1.", "1.k9."))
    assert 401 == await target.push(X_Goog_Channel_Token=stretched)
    assert 401 == await target.push(without="X-Goog-Channel-Token")
    assert 401 == await target.push(path=other_log)
    assert 401 == await target.push(X_Goog_Resource_ID="another")
    assert 401 == await target.push(without="X-Goog-Resource-ID")
    assert 0 == await target.world.signals_waiting()


async def test_a_right_token_opens_no_other_channel(target: Target) -> None:
    """Ann's token, on Ben's channel or with Ben's channel's name on Ann's log: refused."""
    other = await target.world.live_channel("ben@example.com")
    await target.world.until_signal(Subject(other.tenant, other.connection, other.log))
    path = f"/v1/notifications/drive/{other.tenant}/{other.connection}/{other.log}"
    channel = other.channel

    assert 401 == await target.push(X_Goog_Channel_ID=channel)
    assert 401 == await target.push(path=path)
    assert 401 == await target.push(path=path, X_Goog_Channel_ID=channel)
    assert 401 == await target.push(
        path=path, X_Goog_Channel_ID=channel, X_Goog_Resource_ID=other.resource
    )
    assert 0 == await target.world.signals_waiting()


async def test_a_push_of_yesterday_gets_404(target: Target) -> None:
    """Recorded while its channel lived and sent again a day after its end."""
    subject = Subject(target.record.tenant, target.record.connection, target.record.log)
    ended = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    token = target.world.keys.token(subject, target.record.channel, ended)

    assert 404 == await target.push(X_Goog_Channel_Token=token)
    assert 0 == await target.world.signals_waiting()


async def test_unknown_and_expired_channels_get_404(target: Target) -> None:
    """A right token for a channel that nobody knows, or whose time is over, is not enough."""
    subject = Subject(target.record.tenant, target.record.connection, target.record.log)
    keys, now = target.world.keys, dt.datetime.now(dt.UTC)
    unknown = keys.token(subject, "f" * 32, now + dt.timedelta(hours=1))
    expired = keys.token(subject, target.record.channel, now - dt.timedelta(hours=3))

    assert 404 == await target.push(X_Goog_Channel_ID="f" * 32)
    assert 404 == await target.push(X_Goog_Channel_ID="f" * 32, X_Goog_Channel_Token=unknown)
    assert 404 == await target.push(X_Goog_Channel_Token=expired)
    assert 0 == await target.world.signals_waiting()


@pytest.mark.parametrize("number", ["-1", "1e9999", "%D9%A3", "0x7", "", " ", "9" * 400])
async def test_odd_message_numbers_get_400(target: Target, number: str) -> None:
    """A message number is digits."""
    assert 400 == await target.push(X_Goog_Message_Number=number)


@pytest.mark.parametrize(
    "name",
    ["Channel-ID", "Channel-Token", "Message-Number", "Resource-ID", "Resource-State"],
)
async def test_doubled_security_headers_get_400(target: Target, name: str) -> None:
    """Servers let the last of two win: two are refused, equal ones too."""
    value = target.headers[f"X-Goog-{name}"]

    assert 400 == await target.push(f"x-goog-{name}: {value}".encode())


async def test_bytes_that_no_header_holds_are_refused(target: Target) -> None:
    """CR, LF, NUL, Arabic digits and other bytes: 400, from the server or from us."""
    for odd in (b"a\rb", b"a\nb", b"a\x00b", b"\xff\xfe", "٣".encode(), b"a\x7fb"):
        raw = target.request(without="X-Goog-Message-Number")
        raw = raw.replace(b"Connection: close", b"X-Goog-Message-Number: " + odd)
        assert 400 == await target.send(raw), odd
    assert 0 == await target.world.signals_waiting()


async def test_bodies_and_headers_are_bounded(target: Target) -> None:
    """4 KiB of body (declared or not) and 16 KiB of headers are the most."""
    chunked = target.request(b"Transfer-Encoding: chunked", body=b"").replace(
        b"Content-Length: 0\r\n", b""
    )
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"

    assert 413 == await target.push(body=b"x" * 4097)
    assert 413 == await target.send(target.request(length=10**12))
    assert 413 == await target.send(chunked + chunk * 2 + b"0\r\n\r\n")
    assert 200 == await target.send(chunked + chunk + b"0\r\n\r\n")
    assert 431 == await target.push(b"X-Big: " + b"x" * 65_536)
    assert await target.push(b"X-Big: " + b"x" * 1_048_576) in {431, 0}


async def test_paths_that_are_none_of_ours(target: Target) -> None:
    """Wildcards of subjects, dots and missing parts never reach a subject."""
    base = "/v1/notifications/drive"
    for ids in ("*/ann/x", "acme/>/x", "acme/a.b/x", "acme/ann", "acme/ann/x/y", "%2e/ann/x"):
        assert 400 == await target.push(path=f"{base}/{ids}"), ids
    assert await target.push(path=f"{base}X/acme/ann/x") in {400, 404}
    assert 404 == await target.push(path="/v1/notifications")
    assert 405 == await target.push(method="GET")
    assert 405 == await target.push(method="PUT")


async def test_smuggled_requests_are_not_believed(target: Target) -> None:
    """Content-Length beside Transfer-Encoding, or two lengths, hide no second push."""
    inner = target.request()
    chunked = b"%x\r\n" % len(inner) + inner + b"\r\n0\r\n\r\n"
    for raw in (
        # TE.CL: whoever believes the length sees the push inside as a second request.
        target.request(b"Transfer-Encoding: chunked", length=4) + chunked,
        target.request(b"Transfer-Encoding: chunked", length=len(inner)) + b"0\r\n\r\n" + inner,
        target.request(b"Content-Length: 5", length=4, body=b"abcde"),
        target.request(b"Transfer-Encoding: x, chunked\r\nTransfer-Encoding: y", length=4),
    ):
        assert await target.send(raw) in {0, 200, 400}, raw[:200]
    assert await target.world.signals_waiting() <= 1
    assert 200 == await target.push()


async def test_slow_clients_do_not_hold_up_genuine_pushes(target: Target) -> None:
    """Hundreds of connections that dribble their headers are cut; others are served."""
    slow = [await asyncio.open_connection("127.0.0.1", target.port) for _ in range(300)]
    for _, writer in slow:
        writer.write(b"POST /v1/notifications/drive HTTP/1.1\r\nHost: x\r\nX-A")

    statuses = [await target.push() for _ in range(20)]
    async with asyncio.timeout(30):
        ends = await asyncio.gather(*(reader.read() for reader, _ in slow))

    assert {200} == set(statuses)
    assert all(not end or end.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400")) for end in ends)
    for _, writer in slow:
        writer.close()


async def test_ten_thousand_connections_do_not_keep_genuine_pushes_out(target: Target) -> None:
    """Most idle, some dribbling: all are cut in the end, and pushes are served meanwhile."""
    wanted = 10_000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted + 500:
        pytest.skip(f"this machine allows no more than {hard} open files")
    gate = asyncio.Semaphore(100)

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with gate:
            return await asyncio.open_connection("127.0.0.1", target.port)

    strangers = await asyncio.gather(*(connect() for _ in range(wanted)))
    for _, writer in strangers[::20]:
        writer.write(b"POST /v1/notifications/drive HTTP/1.1\r\nHost: x\r\nX-A")

    statuses = [await target.push() for _ in range(20)]
    async with asyncio.timeout(60):
        ends = await asyncio.gather(*(reader.read() for reader, _ in strangers[::20]))

    assert {200} == set(statuses)
    assert all(not end or end.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400")) for end in ends)
    for _, writer in strangers:
        writer.close()


async def test_the_resource_uri_is_never_fetched(target: Target) -> None:
    """A push that points inside points nowhere."""
    asked = asyncio.Event()

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()
        del reader

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    status = await target.push(X_Goog_Resource_URI=f"http://127.0.0.1:{port}/latest/meta-data")
    await target.push()
    server.close()
    await server.wait_closed()

    assert 200 == status
    assert not asked.is_set()


async def test_google_may_come_in(target: Target) -> None:
    """Google's sender obeys robots.txt."""
    url = f"http://127.0.0.1:{target.port}/robots.txt"
    async with target.world.http.get(url) as answer:
        text = await answer.text()

    assert 200 == answer.status
    assert "User-agent: APIs-Google\nAllow: /v1/notifications/\n" in text


async def test_no_token_reaches_the_log(target: Target) -> None:
    """Refused and taken pushes leave lines without any part of a token."""
    token = target.headers["X-Goog-Channel-Token"]
    await target.push()
    await target.push(X_Goog_Resource_ID="another")
    await target.push(X_Goog_Message_Number="x")

    text = (target.world.directory / "webhook-0.log").read_text()

    assert "push_refused" in text
    assert token.rpartition(".")[2] not in text
