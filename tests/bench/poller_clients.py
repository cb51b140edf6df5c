"""Ways to ask Google for the same pages, against pre-encoded answers that take 50 ms.

All get the same bytes, compressed as Google compresses them for whoever accepts it. Pages are
served by a process on a core of its own, which needs a fraction of what the quickest client
does; the clients share another core. Connections are open and objects built before the clock
starts.
"""

import asyncio
import contextlib
import datetime as dt
import gzip
import hashlib
import itertools
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any, Final

import aiohttp
import google_auth_httplib2  # type: ignore[import-untyped]
import httplib2
import msgspec
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from yarl import URL

from drivewake.gdrive.client import DriveClient
from drivewake.gdrive.quota import Budget, Governor
from drivewake.gdrive.requests import CHANGES_MASK, DriveRequests
from drivewake.gdrive.token import AccessToken
from drivewake.gdrive.transport import Limits, Transport

LATENCY_S: Final = 0.05
AT_ONCE: Final = 256
THREADS: Final = 32
TOKEN: Final = "ya29.bench"
NOW: Final = dt.datetime.now(dt.UTC)


_tokens: Final = map(str, itertools.count(10_000_000))
"""Page tokens, each another: no question is asked twice."""


class _File(msgspec.Struct, rename="camel"):
    id: str = ""
    version: str = ""
    mime_type: str = ""
    drive_id: str = ""
    head_revision_id: str = ""
    modified_time: str = ""


class _Change(msgspec.Struct, rename="camel"):
    file_id: str = ""
    drive_id: str = ""
    change_type: str = ""
    removed: bool = False
    file: _File | None = None


class _Pages(msgspec.Struct, rename="camel"):
    changes: list[_Change]
    new_start_page_token: str = ""


def page_of(changes: int) -> bytes:
    """Return a page of changes as Google writes it: about 1 kB a change.

    Ids and checksums differ as they do in life, so that compression has its usual work.
    """
    person = {"displayName": "Ada Lovelace", "emailAddress": "ada@example.com", "me": False}
    entries = []
    for number in range(changes):
        digest = hashlib.sha512(str(number).encode()).hexdigest()
        name, user = f"1{digest[:32]}", str(int(digest[:16], 16)).zfill(20)
        file = {
            "kind": "drive#file",
            "id": name,
            "name": f"report {digest[32:44]}.pdf",
            "mimeType": "application/pdf",
            "version": str(number + 10),
            "parents": ["folder00000000000000000000000001"],
            "spaces": ["drive"],
            "createdTime": "2026-01-01T00:00:00.000Z",
            "modifiedTime": "2026-11-01T00:00:00.000Z",
            "trashed": False,
            "size": "123456",
            "md5Checksum": digest[:32],
            "sha1Checksum": digest[44:84],
            "headRevisionId": f"0B{digest[84:127]}",
            "owners": [person],
            "lastModifyingUser": person,
            "permissionIds": [user],
            "permissions": [{"id": user, "type": "user", "role": "owner"}],
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
    body = gzip.compress(page_of(changes), 6)
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=UTF-8\r\n"
        f"content-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    _Answers.body = head.encode() + body
    server = await asyncio.get_running_loop().create_server(_Answers, "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextlib.contextmanager
def serving(changes: int) -> Iterator[str]:
    """Serve pages from a process of its own; yield the address."""
    command = [sys.executable, __file__, str(changes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on one core, so that a rate is a rate per core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Rate(msgspec.Struct, frozen=True):
    """Calls a second of the clock, and CPU seconds of this process a call."""

    per_s: float
    cpu_s: float


def sequential(address: str, span_s: float) -> Rate:
    """Call `.execute()` one after another, as most code does."""
    service = _service(address)
    _list(service)
    return _timed(span_s, lambda: _list(service))


def threads(address: str, span_s: float) -> Rate:
    """Let 32 threads do that, each with its own connection."""
    done = [0] * THREADS
    services = [_service(address) for _ in range(THREADS)]
    warm = threading.Barrier(THREADS + 1)
    go = threading.Event()
    stop_s = 0.0

    def work(number: int) -> None:
        service = services[number]
        _list(service)
        warm.wait()
        go.wait()
        while time.perf_counter() < stop_s:
            _list(service)
            done[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    warm.wait()
    cpu_s, began_s = time.process_time(), time.perf_counter()
    stop_s = began_s + span_s
    go.set()
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
    answer = (
        service.changes()
        .list(
            pageToken=next(_tokens),
            pageSize=1000,
            includeRemoved=True,
            includeItemsFromAllDrives=True,
            supportsAllDrives=True,
            fields=CHANGES_MASK,
        )
        .execute()
    )
    assert answer["changes"]


def _timed(span_s: float, call: Any) -> Rate:  # noqa: ANN401 - a function of nothing
    calls = 0
    cpu_s, began_s = time.process_time(), time.perf_counter()
    while time.perf_counter() - began_s < span_s:
        call()
        calls += 1
    took_s = time.perf_counter() - began_s
    return Rate(calls / took_s, (time.process_time() - cpu_s) / calls)


async def bare(address: str, span_s: float) -> Rate:
    """Get and decode the same pages with aiohttp alone, no more than needed.

    The same question with the same mask, formatted once; the same fields decoded in one pass.
    """
    decoder = msgspec.json.Decoder(_Pages)
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    headers = {"authorization": f"Bearer {TOKEN}", "accept-encoding": "gzip"}
    asked = DriveRequests(address).list_changes("", 1000, None).uri
    before, _, after = asked.partition("pageToken=")
    async with aiohttp.ClientSession(
        connector=connector, headers=headers, auto_decompress=False
    ) as session:

        async def call() -> None:
            address = URL(f"{before}pageToken={next(_tokens)}{after}", encoded=True)
            async with session.get(address) as answer:
                body = zlib.decompress(await answer.read(), zlib.MAX_WBITS | 16)
                assert decoder.decode(body).changes

        return await _at_once(span_s, call)


async def ours(address: str, span_s: float) -> Rate:
    """Ask as the poller does: built by the library, paced, retried, typed."""
    free = Budget(user_per_min=1e12, project_per_min=1e12, day_units=0.0, max_wait_s=60.0)
    token = AccessToken(TOKEN, tenant="t", connection="c", id="i", expires_at=NOW)
    transport = Transport(Limits(connections=AT_ONCE))
    async with DriveClient(address, transport=transport, governor=Governor(free)) as client:

        async def call() -> None:
            page = await client.list_changes(token, next(_tokens))
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

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    uvloop.run(serve(int(sys.argv[1])))
