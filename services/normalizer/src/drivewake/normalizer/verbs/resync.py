"""`drivewake resync --from-store`: after the database was restored to an older day."""

import base64
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import rich_click as click
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from drivewake.cli.poller import rewind
from drivewake.cli.session import EXIT_MISUSED, Failure, connected, run
from drivewake.contracts import subjects
from drivewake.contracts.control import LogCursor, LogOutcome
from drivewake.contracts.records import LogRecord
from drivewake.eventstore import restoring
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.restoring import Restart
from drivewake.eventstore.sealing import SealedStore
from drivewake.eventstore.store import Appender
from drivewake.normalizer.recovering import Recovering
from drivewake.normalizer.verbs.database import KeeperSettings, keeper, settings
from drivewake.runtime.bus import KeyValueReader, StoredMessage
from drivewake.runtime.errors import NotFoundError
from drivewake.runtime.keyring import Keyring
from drivewake.runtime.nats import NatsBus
from drivewake.runtime.nats_read import instant, parse_headers


class Rewound(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One log: since when it is read again (none: from a new beginning), and what came of it."""

    connection: str
    log: str
    since: dt.datetime | None = None
    outcome: str = "would be rewound"
    reason: str = ""


class RestoreSettings(KeeperSettings):
    """What going on after a restore needs besides: the normalizer's data keyring, if it has one."""

    data_keyring: SecretStr | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found and done."""

    lanes: Sequence[Restart]
    logs: Sequence[Rewound]


def from_store(*, dry_run: bool, as_json: bool) -> None:
    """Go on after a restore; `drivewake resync --help` says how."""
    told = settings(RestoreSettings)
    reports: list[Report] = []

    async def work() -> None:
        async with keeper(told) as session, connected(told) as bus:
            wanted = _wanted(await restoring.logs(session), await _records(bus))
            # The logs first: without them nothing is lost, and the normalizer does not start yet.
            done = [rewound for rewound, _ in wanted]
            if not dry_run:
                outcomes = await rewind(bus, [cursor for _, cursor in wanted])
                done = [_with(one, outcome) for one, outcome in zip(done, outcomes, strict=True)]
            async with _store(told) as store:
                lanes = await restoring.restart(session, store, _Published(bus), dry=dry_run)
            reports.append(Report(lanes=lanes, logs=done))

    run(work)
    _show(reports[0], as_json=as_json)
    if failed := [one for one in reports[0].logs if one.outcome == "failed"]:
        raise Failure(f"{len(failed)} logs were not rewound ({failed[0].reason}): run it again")


@asynccontextmanager
async def _store(told: RestoreSettings) -> AsyncIterator[Appender]:
    """Open the store to take back events; sealed if it is."""
    async with PostgresStore.open(told.postgres_dsn.get_secret_value()) as store:
        if told.data_keyring is not None:
            keyring = Keyring.parse(told.data_keyring)
            sealed = SealedStore(store, store.data_keys(keyring))
            yield Recovering(sealed, sealed)
        elif await store.is_sealed():
            raise Failure(
                "the store is sealed: set DRIVEWAKE_DATA_KEYRING to the normalizer's", EXIT_MISUSED
            )
        else:
            yield Recovering(store, store)


def _wanted(
    whole: Sequence[restoring.Log], records: Sequence[LogRecord]
) -> list[tuple[Rewound, LogCursor]]:
    """Return from where each log goes on: that of which the store holds nothing begins anew.

    So does activity: its windows are read again by the day, and its facts have ids of their own.
    """
    known = {(one.connection, one.log): one for one in whole}
    wanted = []
    for record in records:
        place = record.connection, record.log
        found = None if record.kind == "activity" else known.get(place)
        cursor = "" if found is None else found.cursor
        since = None if found is None else found.since
        wanted.append(
            (
                Rewound(connection=record.connection, log=record.log, since=since),
                LogCursor(connection=record.connection, log=record.log, cursor=cursor),
            )
        )
    return wanted


def _with(rewound: Rewound, outcome: LogOutcome) -> Rewound:
    return msgspec.structs.replace(rewound, outcome=outcome.outcome, reason=outcome.reason)


async def _records(bus: NatsBus) -> list[LogRecord]:
    """Return the records of all logs."""
    bucket: KeyValueReader = await bus.key_value(subjects.LOGS)
    found: list[LogRecord] = []
    async for entry in bucket.watch():
        if entry is None:
            break
        if entry.value is not None:
            found.append(msgspec.json.decode(entry.value, type=LogRecord))
    return found


class _Published:
    """DRIVE_EVENT by sequence."""

    def __init__(self, bus: NatsBus) -> None:
        self._bus = bus
        self._stream = bus.link.name(subjects.EVENT.name)

    async def bounds(self) -> tuple[int, int]:
        """See restoring.Published."""
        info = await self._bus.link.api(f"STREAM.INFO.{self._stream}")
        state = info["state"]
        if not state["messages"]:
            return 1, 0
        return int(state["first_seq"]), int(state["last_seq"])

    def behind(self, sequence: int) -> AsyncIterator[StoredMessage | None]:
        """See restoring.Published."""
        return self._bus.follow(subjects.EVENT.name, from_sequence=sequence + 1)

    async def at(self, sequence: int) -> StoredMessage | None:
        """See restoring.Published."""
        wanted = {"seq": sequence, "next_by_subj": ">"}
        try:
            answer = await self._bus.link.api(f"STREAM.MSG.GET.{self._stream}", wanted)
        except NotFoundError:
            return None
        message = answer["message"]
        return StoredMessage(
            subject=message["subject"],
            data=base64.b64decode(message.get("data", "")),
            headers=parse_headers(base64.b64decode(message.get("hdrs", ""))),
            sequence=message["seq"],
            time=instant(message["time"]),
        )


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)))
        return
    console = Console(highlight=False, markup=False)
    for lane in report.lanes:
        console.print(f"lane {lane.lane}: {_said(lane)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("connection", "log", "read again since", "outcome"):
        table.add_column(column)
    for one in report.logs:
        since = "the beginning" if one.since is None else f"{one.since:%Y-%m-%d %H:%M:%S}"
        table.add_row(one.connection, one.log, since, f"{one.outcome} {one.reason}".rstrip())
    console.print(table)


def _said(lane: Restart) -> str:
    if not lane.lacks:
        return "the store lacks nothing that downstream has seen"
    text = f"the store ended at {lane.head:,}, downstream has seen {lane.seen:,}"
    if lane.taken_back:
        text += f"; {lane.taken_back:,} events taken back from DRIVE_EVENT"
    if lane.next_position:
        text += f"; the others are gone, positions go on at {lane.next_position:,}"
    return text
