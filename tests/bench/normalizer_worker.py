"""The process that is measured: one normalizer, pinned to one core, without its readers.

    python normalizer_worker.py consume|sealed|stages|ceiling|relay|rebuild COUNT

Reads NATS_URL, DSN and CORE from the environment, prints one line of JSON when it is done.
`consume` is the service's own consuming side, `sealed` the same with a data keyring. `stages`
makes the same steps one after another, so that the CPU of each is known. `ceiling` fetches,
decodes and copies without deciding.
"""

import asyncio
import base64
import contextlib
import os
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from pydantic import SecretStr

from drivewake.contracts import subjects
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.projection import ProjectionRunner
from drivewake.eventstore.projections.current_tree import CurrentTree
from drivewake.eventstore.relay import Relay
from drivewake.eventstore.store import Batch, Head, NewEvent
from drivewake.normalizer.app import assemble, sealed
from drivewake.normalizer.decisions import Decisions, heads_of
from drivewake.normalizer.items import Item, decode_raw
from drivewake.normalizer.minting import Mint
from drivewake.normalizer.part_decisions import HeadKey
from drivewake.normalizer.settings import Settings
from drivewake.runtime.bus import Delivery, Puller
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.lifecycle import Service, tune_collector
from drivewake.runtime.nats import NatsBus, connect

SECRET = "a secret of the bench"
STAGE_BATCH = 2000


class Stages:
    """CPU seconds of this process by what it did; nothing runs beside a stage."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Account what happens inside to a name."""
        began_s = time.process_time()
        yield
        self.cpu_s[name] += time.process_time() - began_s


class TimedMint(Mint):
    """A mint that knows how long it worked."""

    cpu_s = 0.0

    def event(self, *args: Any, **kwargs: Any) -> NewEvent:  # noqa: ANN401
        """Mint, and note how long it took."""
        began_s = time.thread_time()
        event = super().event(*args, **kwargs)
        self.cpu_s += time.thread_time() - began_s
        return event


def settings(keyring: str | None = None) -> Settings:
    """Return the service's settings, its defaults."""
    return Settings(
        data_keyring=None if keyring is None else SecretStr(keyring),
        nats_url=os.environ["NATS_URL"],
        postgres_dsn=SecretStr(os.environ["DSN"]),
        event_key=SecretStr(SECRET),
    )


async def settled(bus: NatsBus) -> bool:
    """Return whether nothing waits in any partition, and nothing is unacknowledged."""
    stands = [await bus.progress(consumer) for consumer in subjects.NORMALIZER_RAW]
    return not any(stand.waiting or stand.unsettled for stand in stands)


async def consume(
    bus: NatsBus, store: PostgresStore, count: int, keyring: str | None = None
) -> dict[str, float]:
    """Run the consuming side until all raws are settled, by whomever."""
    del count
    service, chosen = Service("normalizer", shutdown_s=5), settings(keyring)
    assemble(service, bus, await sealed(store, chosen), store, chosen)
    cpu_s, began_s = time.process_time(), time.perf_counter()

    async def watch(_: object) -> None:
        while not await settled(bus):  # noqa: ASYNC110 - the broker sets no event
            await asyncio.sleep(0.05)
        found["wall_s"] = time.perf_counter() - began_s
        found["cpu_s"] = time.process_time() - cpu_s
        service.stop.request()

    found: dict[str, float] = {}
    service.add("watch", watch)
    await service.run()
    return found


async def consume_sealed(bus: NatsBus, store: PostgresStore, count: int) -> dict[str, float]:
    """Consume, and seal what is stored."""
    keyring = f"bench:{base64.b64encode(os.urandom(32)).decode()}"
    return await consume(bus, store, count, keyring)


async def fetched(
    bus: NatsBus, stages: Stages, count: int
) -> AsyncIterator[list[tuple[int, Delivery]]]:
    """Yield batches over all partitions until `count` raws were yielded."""
    pullers: list[Puller] = [await bus.puller(consumer) for consumer in subjects.NORMALIZER_RAW]
    done = 0
    share = STAGE_BATCH // len(pullers)
    while done < count:
        with stages.stage("fetch"):
            batch = [
                (partition, delivery)
                for partition, puller in enumerate(pullers)
                for delivery in await puller.fetch(share, 0.0)
            ]
        done += len(batch)
        yield batch


async def staged(bus: NatsBus, store: PostgresStore, count: int) -> dict[str, float]:
    """Make the normalizer's steps one after another."""
    stages, clock, mint = Stages(), SystemClock(), TimedMint(SECRET.encode())
    began_s = time.perf_counter()
    async for batch in fetched(bus, stages, count):
        with stages.stage("decode"):
            items: list[Item] = [decode_raw(each, number, clock.now()) for number, each in batch]
        with stages.stage("heads"):
            heads = await read_heads(store, items)
        with stages.stage("decide"):
            decisions = Decisions(mint, heads)
            for item in items:
                decisions.add(item)
        with stages.stage("heads encode"):
            writes = decisions.batch(0)
        with stages.stage("append"):
            await store.append(writes)
        await acknowledge(bus, stages, batch)
    stages.cpu_s["mint"] = mint.cpu_s
    stages.cpu_s["decide"] -= mint.cpu_s
    return {**stages.cpu_s, "wall_s": time.perf_counter() - began_s}


async def read_heads(store: PostgresStore, items: Sequence[Item]) -> dict[HeadKey, Head]:
    """Read what the items need, as the committer does."""
    found: dict[HeadKey, Head] = {}
    for (tenant, kind), ids in heads_of(items).items():
        for id_, head in (await store.heads(tenant, kind, ids)).items():
            found[tenant, kind, id_] = head
    return found


async def acknowledge(bus: NatsBus, stages: Stages, batch: Sequence[tuple[int, Delivery]]) -> None:
    """Acknowledge, and write it out."""
    with stages.stage("ack"):
        await bus.acknowledge([delivery for _, delivery in batch])
        await bus.check()


async def ceiling(bus: NatsBus, store: PostgresStore, count: int) -> dict[str, float]:
    """Fetch, decode, copy one event a raw, acknowledge: no heads, no decisions."""
    stages, clock = Stages(), SystemClock()
    began_s = time.perf_counter()
    cpu_s = time.process_time()
    base = int(clock.now().timestamp() * 1000) << 80 | 8 << 76 | 2 << 62
    async for batch in fetched(bus, stages, count):
        events = []
        for number, delivery in batch:
            item = decode_raw(delivery, number, clock.now())
            base += 1
            events.append(
                NewEvent(
                    key=uuid.UUID(int=base),
                    tenant=item.origin.tenant,
                    connection=item.origin.connection,
                    stream=item.origin.log,
                    type="file.renamed",
                    occurred_at=item.origin.observed_at,
                    data=b'{"type":"file.renamed","pad":"%s"}' % (b"x" * 400),
                    metadata=b"{}",
                )
            )
        await store.append(Batch(events=events))
        await acknowledge(bus, stages, batch)
    return {"wall_s": time.perf_counter() - began_s, "cpu_s": time.process_time() - cpu_s}


async def relay(bus: NatsBus, store: PostgresStore, count: int) -> dict[str, float]:
    """Relay until `count` events are downstream."""
    service = Service("relay", shutdown_s=5)
    service.add("relay", Relay(store, bus).run)
    cpu_s, began_s = time.process_time(), time.perf_counter()

    async def watch(_: object) -> None:
        while await bus.last_sequence(subjects.EVENT.name) < count:  # noqa: ASYNC110 - same
            await asyncio.sleep(0.02)
        service.stop.request()

    service.add("watch", watch)
    await service.run()
    return {"wall_s": time.perf_counter() - began_s, "cpu_s": time.process_time() - cpu_s}


async def rebuild(_: NatsBus, store: PostgresStore, count: int) -> dict[str, float]:
    """Build the current tree from all events."""
    del count
    runner = ProjectionRunner(os.environ["DSN"], store, CurrentTree())
    cpu_s, began_s = time.process_time(), time.perf_counter()
    await runner.rebuild()
    return {"wall_s": time.perf_counter() - began_s, "cpu_s": time.process_time() - cpu_s}


MODES = {
    "consume": consume,
    "sealed": consume_sealed,
    "stages": staged,
    "ceiling": ceiling,
    "relay": relay,
    "rebuild": rebuild,
}


def peak_mib() -> float:
    """Return this process's peak of resident memory.

    Not `ru_maxrss`: that begins with what the process that started this one held then, here
    the load, which grows with the backlog.
    """
    status = Path("/proc/self/status").read_text()
    (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


async def main(mode: str, count: int) -> None:
    """Do one measurement."""
    if core := os.environ.get("CORE"):
        os.sched_setaffinity(0, {int(core)})
    bus = await connect(name="bench", url=os.environ["NATS_URL"])
    tune_collector()
    async with PostgresStore.open(os.environ["DSN"]) as store:
        found = await MODES[mode](bus, store, count)
    await bus.close()
    sys.stdout.buffer.write(msgspec.json.encode({**found, "peak_mib": peak_mib()}) + b"\n")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
