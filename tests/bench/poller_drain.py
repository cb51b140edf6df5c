"""Many logs that are due at the same instant, as after an outage: what draining them takes.

The poller runs in this process, whole: signals from JetStream, claims and records in its
buckets, tokens asked for, each log's changes listed, its next timer set. nats-server, the pages,
and what signals and stands in for auth are processes of their own.
"""

import asyncio
import base64
import contextlib
import datetime as dt
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
import nacl.public
from poller_clients import NOW, TOKEN, serving

from drivewake.contracts import subjects
from drivewake.contracts.connections import CONNECTION_TYPE, CONNECTIONS, Connection
from drivewake.contracts.envelope import Envelope
from drivewake.contracts.ids import new_id
from drivewake.contracts.records import LogRecord
from drivewake.contracts.rpc import TokenReply, TokenRequest
from drivewake.lab.servers import NatsServer
from drivewake.poller import domain
from drivewake.poller.app import assemble, google
from drivewake.poller.outgoing import TIMER_PRIORITY, BusSignals
from drivewake.poller.settings import PollerSettings
from drivewake.runtime.bus import Message
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.lifecycle import Service
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.provision import provision

TENANT: Final = "t"
SCOPES: Final = ("https://www.googleapis.com/auth/drive.readonly",)
AT_ONCE: Final = 200
CURSOR: Final = "999"
"""Where every log stands after its page."""

SETTINGS: Final[dict[str, Any]] = {
    "google_user_units_per_min": 1e12,
    "google_project_units_per_min": 1e12,
    "google_day_units": 0.0,
    "spacing_s": 0.0,
    "interval_floor_s": 3600.0,
    "interval_ceiling_s": 3600.0,
    "concurrency": 256,
    "reconcile_s": 3600.0,
}
"""No want of quota, and no timer but the first: what the process itself takes is measured."""


class Drained(msgspec.Struct, frozen=True):
    """Seconds of the clock and of this process's CPU."""

    took_s: float
    cpu_s: float


async def drain(logs: int) -> Drained:
    """Signal `logs` logs at once; wait until all were served."""
    with NatsServer() as server, serving(0) as address, _outside(server.url, logs) as ring:
        bus = await connect(name="bench", url=server.url)
        await provision(bus)
        await _seed(bus, [_record(f"c{number}") for number in range(logs)])
        settings = PollerSettings(nats_url=server.url, google_api_url=address, **SETTINGS)
        service = Service("poller", shutdown_s=20.0)
        its_bus = await connect(settings, name="poller")
        service.on_close("nats", its_bus.close)
        drive = google(settings)
        service.on_close("google", drive.close)
        held = await assemble(service, its_bus, drive, settings)
        running = asyncio.create_task(service.run())
        await held.wait_loaded(service.stop)
        await asyncio.sleep(1)  # whatever the start left to do is done by then
        before = await bus.last_sequence(subjects.SIGNAL.name)
        cpu_s, began_s = time.process_time(), time.perf_counter()
        ring()
        await _until_settled(bus, before, logs)
        drained = Drained(time.perf_counter() - began_s, time.process_time() - cpu_s)
        read = sum(one.record.cursor == CURSOR for _, one in held.all())
        if read != logs:
            raise RuntimeError(f"only {read} of {logs} logs were read")
        service.stop.request()
        await running
        await bus.close()
    return drained


async def _until_settled(bus: NatsBus, after: int, logs: int) -> None:
    """Wait until every log was signalled, its signal settled, and its timer set."""
    while True:
        progress = await bus.progress(subjects.POLLER_SIGNALS)
        written = await bus.last_sequence(subjects.SIGNAL.name) - after
        if written >= 2 * logs and not progress.waiting and not progress.unsettled:
            return
        await asyncio.sleep(0.1)


def _record(connection: str) -> LogRecord:
    return msgspec.structs.replace(
        domain.new_log(TENANT, connection, "user_changes", NOW),
        phase="live",
        cursor="1",
        drives_at=NOW,
        last_success_at=NOW - dt.timedelta(hours=1),
    )


async def _seed(bus: NatsBus, records: Sequence[LogRecord]) -> None:
    """Write connections and records as if all had been followed for long."""
    bucket = await bus.key_value(subjects.LOGS)
    state = Connection(status="active", principal_kind="user", scopes=SCOPES, revision=1, since=NOW)

    async def write(record: LogRecord) -> None:
        envelope = Envelope(
            id=new_id(),
            source="/drivewake/auth",
            type=CONNECTION_TYPE,
            time=NOW,
            tenant=TENANT,
            connection=record.connection,
            data=state,
        )
        subject = subjects.connection(TENANT, record.connection)
        await bus.publish(Message(subject=subject, data=CONNECTIONS.encode(envelope)))
        key = subjects.log_key(record.connection, record.log)
        await bucket.put(key, msgspec.json.encode(record), revision=0)

    for start in range(0, len(records), AT_ONCE):
        await asyncio.gather(*map(write, records[start : start + AT_ONCE]))


async def _answer(subject: str, body: bytes) -> bytes:
    """Seal the token as auth does."""
    del subject
    question = msgspec.json.decode(body, type=TokenRequest)
    box = nacl.public.SealedBox(nacl.public.PublicKey(base64.b64decode(question.public_key)))
    reply = TokenReply(
        sealed=base64.b64encode(box.encrypt(TOKEN.encode())).decode(),
        token_id=new_id(),
        expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1),
    )
    return msgspec.json.encode(reply)


async def _stand_in(url: str, logs: int) -> None:
    """Answer for auth; signal all logs when a line comes."""
    bus = await connect(name="auth", url=url)
    signals = BusSignals(bus, bus, SystemClock())
    await bus.serve("token", subjects.TOKEN_RPC_ALL, _answer, concurrency=64)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    records = [_record(f"c{number}") for number in range(logs)]
    for start in range(0, logs, AT_ONCE):
        sending = (
            signals.send(one, "timer", priority=TIMER_PRIORITY)
            for one in records[start : start + AT_ONCE]
        )
        await asyncio.gather(*sending)
    await asyncio.Event().wait()


@contextlib.contextmanager
def _outside(url: str, logs: int) -> Iterator[Callable[[], None]]:
    """Run `_stand_in` in a process of its own; yield what makes it signal all logs."""
    command = [sys.executable, __file__, url, str(logs)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            told = process.stdin

            def ring() -> None:
                told.write("\n")
                told.flush()

            yield ring
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_stand_in(sys.argv[1], int(sys.argv[2])))
