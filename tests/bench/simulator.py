"""How fast the simulated Google serves changes.list, against a bare ASGI server.

    just bench simulator [--rounds 5] [--seconds 3] [--no-scale] [--json FILE]

Both answer the same bytes with the same headers, from the same server program, each in a
process of its own that one client asks over eight connections. `changes_vs_asgi` reads pages
of 100 changes as a connector asks for them, `changes_anew_vs_asgi` asks otherwise each time, so
that no page can be served again and only its entries are known, `changes_preencoded_vs_asgi` has
pages that are kept encoded. `seed_files_s` is how many files a second are created in process.
Unless `--no-scale`, a whole organisation is made: 1,000,000 files and 10,000 people with a
hundred groups of a hundred. Three quarters of the files are seen by three people each (the mean
is printed), the others, in shared drives, by a group. `past_state_s` is how long it takes to tell
what one of these people saw when half of it was there.
"""

import asyncio
import contextlib
import gc
import multiprocessing
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from urllib.parse import quote, urlsplit

import click
import httpx
import psutil
import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server

from drivewake.lab import bench
from drivewake.lab.google import Options, SimulatedGoogle, start_google_process
from drivewake.lab.google.http import Response, send_response
from drivewake.lab.google.model import Change, User
from drivewake.lab.google.seen import seen_by
from drivewake.lab.google.serve import free_port

ALICE = "alice@example.com"
CONNECTIONS = 8
FIELDS = (
    "nextPageToken,newStartPageToken,changes(changeType,time,removed,fileId,driveId,file(id,name,"
    "mimeType,parents,driveId,version,createdTime,modifiedTime,trashed,md5Checksum,sha256Checksum,"
    "size,headRevisionId,owners(emailAddress,permissionId),lastModifyingUser(emailAddress),shared))"
)
PATH = f"/drive/v3/changes?pageToken=1&pageSize=100&fields={quote(FIELDS)}"


class _Connection(asyncio.Protocol):
    """Asks again as soon as an answer is complete; counts answers."""

    def __init__(self, request: bytes, *, vary: bool) -> None:
        self._request = request
        self._vary = vary
        self._missing = 0
        self._head = b""
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        """Ask; a query that varies has a parameter nobody reads."""
        number = b"&n=%d.%d " % (id(self), self.answers)
        request = self._request
        self._transport.write(
            request.replace(b" HTTP", number + b"HTTP") if self._vary else request
        )

    def data_received(self, data: bytes) -> None:
        if self._missing == 0:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            assert head.startswith(b"HTTP/1.1 200"), head
            self._head, self._missing = b"", int(length)
            data = body
        self._missing -= len(data)
        if self._missing == 0:
            self.answers += 1
            self._ask()


async def _rate(
    base_url: str, headers: dict[str, str], seconds: float, *, vary: bool = False
) -> float:
    """Return answers a second."""
    where = urlsplit(base_url)
    lines = [f"GET {PATH} HTTP/1.1", f"Host: {where.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(
            lambda: _Connection(request, vary=vary), where.hostname or "", where.port or 80
        )
        for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(0.3)
    before, started_s = sum(c.answers for _, c in opened), time.perf_counter()
    await asyncio.sleep(seconds)
    answers = sum(c.answers for _, c in opened) - before
    taken_s = time.perf_counter() - started_s
    for transport, _ in opened:
        transport.abort()
    return answers / taken_s


def _serve_bare(port: int, body: bytes) -> None:
    """Serve the same bytes to whoever asks, from the same server program."""
    kind = (b"content-type", b"application/json; charset=UTF-8")
    fresh = (b"cache-control", b"no-cache, no-store, max-age=0")
    response = Response(body, 200, (kind, fresh))

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        if scope["type"] == "http":
            await receive()  # type: ignore[operator]
            await send_response(response, send)

    server = Server(
        app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        websockets=False,
        log_enabled=False,
        backlog=1024,
    )
    uvloop.run(server.serve())


@contextlib.contextmanager
def _bare(body: bytes) -> Iterator[str]:
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=_serve_bare, args=(port, body))
    process.start()
    base_url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(500):
            try:
                httpx.get(base_url)
                break
            except httpx.HTTPError:
                time.sleep(0.02)
        yield base_url
    finally:
        process.terminate()
        process.join()


def _seeded(base_url: str) -> tuple[dict[str, str], bytes]:
    """Create what there is to read; return the header to read it with, and the page."""
    with httpx.Client(base_url=base_url) as control:
        for batch in range(4):
            actions = [
                {"op": "create_file", "name": f"file {batch} {n}.txt", "content": "aGVsbG8="}
                for n in range(50)
            ]
            body = {"actor": ALICE, "actions": actions}
            control.post("/_sim/actions", json=body).raise_for_status()
        token = control.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        page = control.get(PATH, headers=headers).raise_for_status().content
    return headers, page


def _seed_rate(files: int) -> float:
    """Return files created a second, in process, a hundred to a folder."""
    world = SimulatedGoogle(Options(users=(ALICE,)))
    state, alice, now_ns = world.state, world.state.user(ALICE), world.now_ns()
    started_s = time.perf_counter()
    for number in range(files):
        if number % 100 == 0:
            change = state.create(alice, f"folder {number}", "root", now_ns)
            folder = change.file_id
        else:
            data = b"%d" % number
            change = state.create(
                alice, f"file {number}", folder, now_ns, mime_type="text/plain", data=data
            )
        world.record((change,))
    return files / (time.perf_counter() - started_s)


def _organisation(files: int, people: int, told: "multiprocessing.Queue[dict[str, float]]") -> None:
    """Make a large world in a process of its own; tell what it took and holds."""
    rng, world = random.Random(1), SimulatedGoogle()
    state, started_s = world.state, time.perf_counter()
    gc.disable()
    users = [world.add_user(f"person{number}@example.com") for number in range(people)]
    now_ns = world.now_ns()

    def done(change: Change | None) -> str:
        world.record(() if change is None else (change,))
        return "" if change is None else change.file_id

    drives: list[tuple[User, str]] = []
    for number in range(0, people, 100):
        members = [user.email for user in users[number : number + 100]]
        group = world.set_group(f"team{number}@example.com", members)
        drive, made = state.add_drive(users[number], f"drive {number}", now_ns)
        done(made)
        writer = state.permission("group", "writer", group.email, None)
        done(state.share(users[number], drive.id, writer, now_ns))
        drives.append((users[number], drive.id))
    folders: list[tuple[User, str]] = []
    for user in users:
        folder = done(state.create(user, "shared", "root", now_ns))
        for other in rng.sample(users, 2):
            reader = state.permission("user", "reader", other.email, None)
            done(state.share(user, folder, reader, now_ns))
        folders.append((user, folder))
    for number in range(len(state.files), files):
        places = drives if number % 4 == 0 else folders
        actor, place = places[number % len(places)]
        name, data = f"document {number}.txt", b"content %d" % number
        change = state.create(actor, name, place, now_ns, mime_type="text/plain", data=data)
        done(change)
    figures = {
        "seed_s": time.perf_counter() - started_s,
        "rss_gb": psutil.Process().memory_info().rss / 1e9,
        "files": float(len(state.files)),
    }
    readers = [
        sum(len(state.access.members(key)) for key in state.access.grants(file))
        for file in state.files.values()
        if file.drive is None
    ]
    figures["readers"] = sum(readers) / len(readers)
    started_s = time.perf_counter()
    then = seen_by(world, users[-1].email, seq=state.seq // 2)
    figures["past_s"], figures["past_files"] = time.perf_counter() - started_s, len(then["files"])
    told.put(figures)


def _scale() -> list[bench.Row]:
    """Return the rows of the large world."""
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[dict[str, float]] = context.Queue()
    process = context.Process(target=_organisation, args=(1_000_000, 10_000, told))
    process.start()
    figures = told.get(timeout=1800)
    process.join()
    return [
        bench.Row(row="million_files", value=figures["files"], unit="files"),
        bench.Row(row="million_files_readers", value=figures["readers"], unit="people/file"),
        bench.Row(row="million_files_seed_s", value=figures["seed_s"], unit="s"),
        bench.Row(row="million_files_rss_gb", value=figures["rss_gb"], unit="GB"),
        bench.Row(row="past_state_s", value=figures["past_s"], unit="s"),
        bench.Row(row="past_state_files", value=figures["past_files"], unit="files"),
    ]


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=3.0, show_default=True)
@click.option("--files", default=20_000, show_default=True, help="For seed_files_s.")
@click.option(
    "--scale/--no-scale",
    default=True,
    show_default=True,
    help="Make a million files for ten thousand people too.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(*, rounds: int, seconds: float, files: int, scale: bool, json_path: Path | None) -> None:
    """Measure changes.list of 100 entries against a bare ASGI server, in turn."""
    users = ("--user", ALICE, "--quota", "relaxed")
    with (
        start_google_process(users) as ours,
        start_google_process((*users, "--preencoded-pages")) as preencoded,
    ):
        headers, page = _seeded(ours.base_url)
        kept_headers, _ = _seeded(preencoded.base_url)
        with _bare(page) as bare:
            figures = bench.in_turn(
                rounds,
                {
                    "asgi": lambda: uvloop.run(_rate(bare, headers, seconds)),
                    "changes": lambda: uvloop.run(_rate(ours.base_url, headers, seconds)),
                    "changes_anew": lambda: uvloop.run(
                        _rate(ours.base_url, headers, seconds, vary=True)
                    ),
                    "changes_preencoded": lambda: uvloop.run(
                        _rate(preencoded.base_url, kept_headers, seconds)
                    ),
                    "seed": lambda: _seed_rate(files),
                },
                lambda line: click.echo(line, err=True),
            )
    medians = {name: bench.median(values) for name, values in figures.items()}

    def row(name: str, figure: str) -> bench.Row:
        value = medians[figure]
        ratio = value / medians["asgi"]
        return bench.Row(row=name, value=value, unit="pages/s", ratio=ratio, to="asgi")

    report = bench.Report(
        name="simulator",
        machine=bench.machine(),
        versions=bench.versions("granian", "msgspec", "uvloop"),
        rows=[
            bench.Row(row="asgi", value=medians["asgi"], unit="pages/s"),
            row("changes_vs_asgi", "changes"),
            row("changes_anew_vs_asgi", "changes_anew"),
            row("changes_preencoded_vs_asgi", "changes_preencoded"),
            bench.Row(row="page_bytes", value=len(page), unit="bytes"),
            bench.Row(row="seed_files_s", value=medians["seed"], unit="files/s"),
            *(_scale() if scale else ()),
        ],
    )
    bench.publish(report, json_path)


if __name__ == "__main__":
    main()
