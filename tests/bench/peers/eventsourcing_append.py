# mypy: ignore-errors
"""Writes with a recorder of `eventsourcing`; runs in an environment of its own.

    python eventsourcing_append.py RECORDER HOST PORT USER DATABASE EVENTS BATCH < password

RECORDER is one of application, functions, aggregate. Prints the seconds that writing took. A batch
is one call and one new originator, which is what the recorders like best.
"""

import sys
import time
import uuid

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import (
    PostgresAggregateRecorder,
    PostgresApplicationRecorder,
    PostgresDatastore,
)

EVENT_BYTES = 600


def main(recorder_name: str, host: str, port: str, user: str, database: str, *counts: str) -> None:
    """Write."""
    events, batch = (int(count) for count in counts)
    password = sys.stdin.read()
    datastore = PostgresDatastore(
        database,
        host,
        port,
        user,
        password,
        lock_timeout=60,
        enable_db_functions=recorder_name == "functions",
    )
    kind = (
        PostgresAggregateRecorder if recorder_name == "aggregate" else PostgresApplicationRecorder
    )
    recorder = kind(datastore, events_table_name="stored_events")
    recorder.create_table()
    state = b"x" * EVENT_BYTES
    batches = [
        [
            StoredEvent(uuid.UUID(int=at), version, "file.renamed", state)
            for version in range(1, batch + 1)
        ]
        for at in range(0, events, batch)
    ]
    began_s = time.monotonic()
    for stored in batches:
        recorder.insert_events(stored)
    print(time.monotonic() - began_s)  # noqa: T201
    datastore.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
