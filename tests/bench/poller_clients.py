"""Ways to ask Google for the same pages, against pre-encoded answers that take 50 ms."""

import asyncio
import datetime as dt
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
import google_auth_httplib2  # type: ignore[import-untyped]
import httplib2
import msgspec
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

from drivewake.gdrive.client import DriveClient
from drivewake.gdrive.quota import Budget, Governor
from drivewake.gdrive.requests import CHANGES_MASK
from drivewake.gdrive.token import AccessToken
from drivewake.gdrive.transport import Limits, Transport

LATENCY_S: Final = 0.05
AT_ONCE: Final = 256
THREADS: Final = 32
TOKEN: Final = "ya29.bench"
NOW: Final = dt.datetime.now(dt.UTC)


def page_of(changes: int) -> bytes:
    """Return a page of changes as Google writes it: about 1 kB a change."""
    person = {"displayName": "Ada Lovelace", "emailAddress": "ada@example.com", "me": False}
    entries = []
    for number in range(changes):
        name = f"file{number:028d}"
        file = {
            "kind": "drive#file",
            "id": name,
            "name": f"report {number}.pdf",
            "mimeType": "application/pdf",
            "version": str(number + 10),
            "parents": ["folder00000000000000000000000001"],
            "spaces": ["drive"],
            "createdTime": "2026-01-01T00:00:00.000Z",
            "modifiedTime": "2026-11-01T00:00:00.000Z",
            "trashed": False,
            "size": "123456",
            "md5Checksum": "d41d8cd98f00b204e9800998ecf8427e",
            "sha1Checksum": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "headRevisionId": "0B0000000000000000000000000000000000000000000",
            "owners": [person],
            "lastModifyingUser": person,
            "permissionIds": ["12345678901234567890"],
            "permissions": [{"id": "12345678901234567890", "type": "user", "role": "owner"}],
            "capabilities": {"canShare": True, "canDownload": True, "canReadRevisions": True},
        }
        entries.append(
            {
                "kind": "drive#change",
                "changeType": "file",
                "time": "2026-11-01T00:00:00.000Z",
                "removed": False,
                "fileId": name,
                "file": file,
            }
        )
    return msgspec.json.encode({"newStartPageToken": "999", "changes": entries})


class _Answers(asyncio.Protocol):
    """Answers every request with the same bytes, `LATENCY_S` after it came."""

    body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._held = b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        while b"\r\n\r\n" in self._held:
            _, _, self._held = self._held.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(LATENCY_S, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self.body)


async def serve(changes: int) -> None:
    """Serve pages for ever; the port is printed."""
    body = page_of(changes)
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=UTF-8\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    _Answers.body = head.encode() + body
    server = await asyncio.get_running_loop().create_server(_Answers, "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextmanager
def serving(changes: int) -> Iterator[str]:
    """Serve pages from a process of its own; yield the address."""
    command = [sys.executable, __file__, str(changes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


class Rate(msgspec.Struct, frozen=True):
    """Calls a second of the clock, and CPU seconds of this process a call."""

    per_s: float
    cpu_s: float


def sequential(address: str, span_s: float) -> Rate:
    """Call `.execute()` one after another, as most code does."""
    service = _service(address)
    return _timed(span_s, lambda: _list(service))


def threads(address: str, span_s: float) -> Rate:
    """Let 32 threads do that, each with its own connection."""
    done = [0] * THREADS
    stop_s = time.perf_counter() + span_s
    cpu_s, began_s = time.process_time(), time.perf_counter()

    def work(number: int) -> None:
        service = _service(address)
        while time.perf_counter() < stop_s:
            _list(service)
            done[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took_s = time.perf_counter() - began_s
    return Rate(sum(done) / took_s, (time.process_time() - cpu_s) / max(sum(done), 1))


def _service(address: str) -> Any:  # noqa: ANN401 - the library ships no types
    credentials: Any = Credentials
    http = google_auth_httplib2.AuthorizedHttp(credentials(token=TOKEN), http=httplib2.Http())
    return build(
        "drive",
        "v3",
        http=http,
        static_discovery=True,
        cache_discovery=False,
        client_options={"api_endpoint": f"{address}/drive/v3/"},
    )


def _list(service: Any) -> None:  # noqa: ANN401
    answer = service.changes().list(pageToken="1", pageSize=1000, fields=CHANGES_MASK).execute()
    assert answer["changes"]


def _timed(span_s: float, call: Any) -> Rate:  # noqa: ANN401 - a function of nothing
    calls = 0
    cpu_s, began_s = time.process_time(), time.perf_counter()
    while time.perf_counter() - began_s < span_s:
        call()
        calls += 1
    took_s = time.perf_counter() - began_s
    return Rate(calls / took_s, (time.process_time() - cpu_s) / calls)


class _Pages(msgspec.Struct, rename="camel"):
    changes: list[msgspec.Raw]
    new_start_page_token: str = ""


async def bare(address: str, span_s: float) -> Rate:
    """Get and decode the same pages with aiohttp alone."""
    decoder = msgspec.json.Decoder(_Pages)
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def call() -> None:
            async with session.get(f"{address}/drive/v3/changes?pageToken=1") as answer:
                assert decoder.decode(await answer.read()).changes

        return await _at_once(span_s, call)


async def ours(address: str, span_s: float) -> Rate:
    """Ask as the poller does: built by the library, paced, retried, typed."""
    free = Budget(user_per_min=1e12, project_per_min=1e12, day_units=0.0, max_wait_s=60.0)
    token = AccessToken(TOKEN, tenant="t", connection="c", id="i", expires_at=NOW)
    transport = Transport(Limits(connections=AT_ONCE))
    async with DriveClient(address, transport=transport, governor=Governor(free)) as client:

        async def call() -> None:
            page = await client.list_changes(token, "1")
            assert page.items

        return await _at_once(span_s, call)


async def _at_once(span_s: float, call: Any) -> Rate:  # noqa: ANN401 - a coroutine function
    """Keep 256 calls under way; the connections are opened before the clock starts."""
    await asyncio.gather(*(call() for _ in range(AT_ONCE)))
    calls = 0
    cpu_s, began_s = time.process_time(), time.perf_counter()
    stop_s = began_s + span_s

    async def work() -> None:
        nonlocal calls
        while time.perf_counter() < stop_s:
            await call()
            calls += 1

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    took_s = time.perf_counter() - began_s
    return Rate(calls / took_s, (time.process_time() - cpu_s) / calls)


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1])))
