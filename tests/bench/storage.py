"""Bytes an event costs: in the table, in its indexes, in the database's log, in the archive.

    just bench storage [--events 200000] [--json FILE]

Events of 600 bytes of JSON like those of `just bench store`, in batches of 1,000, plain and sealed
(AES-256-GCM, a key a connection). Sizes do not drift with the machine: one round is enough.
"""

import asyncio
import base64
import os
import secrets
from pathlib import Path

import asyncpg
import click
import msgspec
from pydantic import SecretStr

from drivewake.contracts.keys import event_key
from drivewake.eventstore import schema
from drivewake.eventstore.archive.records import PART_EVENTS, pack
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.sealing import SealedStore
from drivewake.eventstore.store import Batch, NewEvent
from drivewake.lab import bench
from drivewake.lab.servers import PostgresServer
from drivewake.lab.suites.eventstore import NOON, an_event
from drivewake.runtime.keyring import Keyring

BATCH = 1_000
DATA_BYTES = 450
"""With metadata and columns about 600 bytes of JSON an event."""
SIZES = """
select sum(pg_table_size(c.oid)) as heap,
  sum((select pg_relation_size(i.indexrelid) from pg_index i
    where i.indrelid = c.oid and i.indisprimary)) as keys,
  sum((select sum(pg_relation_size(i.indexrelid)) from pg_index i
    where i.indrelid = c.oid and not i.indisprimary)) as positions
from pg_class c join pg_inherits h on h.inhrelid = c.oid
where h.inhparent = 'eventstore.event'::regclass
"""


def _event(number: int) -> NewEvent:
    """Return an event whose data compresses like real names and hashes: hardly and well mixed."""
    plain = an_event(number, file=f"1{secrets.token_urlsafe(24)}", connection=f"c{number % 20}")
    filler = secrets.token_hex(max((DATA_BYTES - len(plain.data)) // 4, 0))
    data = plain.data[:-1] + b',"note":"%s","more":"%s"}' % (
        filler.encode(),
        b"drive#file application/vnd.google-apps.document " * 2,
    )
    key = event_key(b"a secret of the bench", NOON, "acme", number, secrets.token_hex(8))
    return msgspec.structs.replace(plain, key=key, data=data)


async def _measure(dsn: str, events: int, *, sealed: bool) -> dict[str, float]:
    await schema.migrate(dsn)
    owner = await asyncpg.connect(dsn)
    async with PostgresStore.open(dsn) as postgres:
        ring = Keyring.parse(SecretStr(f"k:{base64.b64encode(os.urandom(32)).decode()}"))
        store = SealedStore(postgres, postgres.data_keys(ring)) if sealed else postgres
        await store.append(Batch(events=[_event(0)]))
        begin = await owner.fetchval("select pg_current_wal_insert_lsn()")
        size = 0
        for start in range(1, events, BATCH):
            batch = [_event(number) for number in range(start, start + BATCH)]
            size += sum(len(event.data) + len(event.metadata) for event in batch)
            await store.append(Batch(events=batch))
        written = await owner.fetchval(
            "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1)", begin
        )
        stored = await postgres.last_position(0)
        row = await owner.fetchrow(SIZES)
        part = await postgres.read(0, 0, PART_EVENTS // 2)
        file, _ = pack(part)
    await owner.close()
    assert row is not None
    return {
        "json": size / stored,
        "table": float(row["heap"]) / stored,
        "index_key": float(row["keys"]) / stored,
        "index_position": float(row["positions"]) / stored,
        "wal": float(written) / stored,
        "archive": len(file) / len(part),
    }


@click.command()
@click.option("--events", default=200_000, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(events: int, json_path: Path | None) -> None:
    """Measure, print, and write JSON where asked."""
    rows = []
    with PostgresServer(settings={"shared_buffers": "1GB", "max_wal_size": "8GB"}) as server:
        for name, sealed in (("plain", False), ("sealed", True)):
            server.create_database(name)
            found = asyncio.run(_measure(server.dsn(name), events, sealed=sealed))
            rows += [
                bench.Row(
                    row=f"{what}_{name}",
                    value=value,
                    unit="bytes/event",
                    ratio=None if what == "json" else value / found["json"],
                    to="" if what == "json" else f"json_{name}",
                )
                for what, value in found.items()
            ]
    bench.publish(
        bench.Report(
            name="storage",
            machine=bench.machine(),
            versions=bench.versions("asyncpg", "zstandard"),
            rows=rows,
        ),
        json_path,
    )


if __name__ == "__main__":
    main()
