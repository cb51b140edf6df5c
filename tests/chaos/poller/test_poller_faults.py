"""Pollers that are killed, frozen or cut off from the broker while changes keep coming."""

# ruff: noqa: D102, ANN401 - doubles of ports: the ports say what their methods do

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from poller_stage import (
    SLEEPY,
    Person,
    Stage,
    check_framed,
    open_stage,
)

from drivewake.contracts.subjects import Bucket
from drivewake.lab.google.actions import CreateFile, Update
from drivewake.lab.google.serve import RunningGoogle
from drivewake.lab.servers import NatsServer
from drivewake.runtime.bus import KeyValue
from drivewake.runtime.nats import NatsBus


@pytest.fixture
async def own_broker(
    prefix: str, poller_google: RunningGoogle, tmp_path: Path
) -> AsyncIterator[tuple[NatsServer, Stage]]:
    """A nats-server that the test may kill, and a stage on it."""
    with NatsServer() as server:
        async with open_stage(server.url, prefix, poller_google, tmp_path) as one:
            yield server, one


async def busy(person: Person, changes: int, rng: random.Random) -> None:
    """Change things at random moments and push each time."""
    ids = [
        done["id"]
        for done in person.act(
            *(CreateFile(name=f"{person.connection}-{n}", content=b"x") for n in range(10))
        )
    ]
    for n in range(changes):
        person.act(Update(file=rng.choice(ids), name=f"name {n}"))
        await person.signal()
        await asyncio.sleep(rng.random() * 0.05)


@pytest.mark.slow
async def test_killed_processes_lose_nothing(stage: Stage) -> None:
    """SIGKILL a poller process at random moments: all is read, nothing ran ahead."""
    rng = random.Random(7)
    person = stage.person()
    process = stage.process(instance="one", page_size=3)
    await asyncio.to_thread(process.start)
    await person.connect()
    working = asyncio.create_task(busy(person, 150, rng))
    for _ in range(3):
        await asyncio.sleep(0.3 + rng.random())
        await asyncio.to_thread(process.kill)
        record = await person.record()
        if record is not None and record.phase == "live":
            await person.check_covered(record.cursor)
        await asyncio.to_thread(process.start)
    await working
    await person.caught_up()
    await person.check_covered()
    check_framed(await person.raws())
    await asyncio.to_thread(process.stop)
    assert 0 == process.returncode


@pytest.mark.slow
async def test_broker_that_is_killed_comes_back_to_a_working_poller(
    own_broker: tuple[NatsServer, Stage],
) -> None:
    """Kill -9 of nats-server under load: the poller goes on by itself and reads everything."""
    server, stage = own_broker
    person = stage.person()
    running = await stage.poller(page_size=3)
    await person.connect()
    await person.caught_up()
    ids = [
        done["id"]
        for done in person.act(
            *(CreateFile(name=f"{person.connection}-{n}", content=b"x") for n in range(20))
        )
    ]
    await person.signal()
    await asyncio.to_thread(server.kill)
    person.act(*(Update(file=one, name=f"new {one}") for one in ids))
    await asyncio.to_thread(server.start)
    await person.caught_up()
    await person.check_covered()
    assert not running.task.done()


class Frozen:
    """Holds back everything that one process writes, as SIGSTOP would."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.thaw = asyncio.Event()
        self.armed = False
        self.frozen = False

    async def wait(self, *, here: bool = False) -> None:
        """Wait for the thaw; `here` is where it freezes once armed."""
        self.frozen = self.frozen or (self.armed and here)
        if self.frozen:
            self.reached.set()
            await self.thaw.wait()


class FrozenBucket:
    """A bucket behind a freeze."""

    def __init__(self, inner: KeyValue, frozen: Frozen) -> None:
        self._inner = inner
        self._frozen = frozen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, key: str, value: bytes, *, revision: int) -> int:
        await self._frozen.wait()
        return await self._inner.put(key, value, revision=revision)


class FrozenBus:
    """A bus behind a freeze that begins when raws are about to be published."""

    def __init__(self, inner: NatsBus, frozen: Frozen) -> None:
        self._inner = inner
        self._frozen = frozen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def publish_batch(self, *args: Any, **kwargs: Any) -> Any:
        await self._frozen.wait(here=True)
        return await self._inner.publish_batch(*args, **kwargs)

    async def key_value(self, bucket: Bucket) -> Any:
        return FrozenBucket(await self._inner.key_value(bucket), self._frozen)


async def test_frozen_poller_is_fenced(stage: Stage) -> None:
    """Who wakes up after its lease may publish, but not move the cursor that another moved."""
    person = stage.person()
    frozen = Frozen()
    await stage.poller(wrap=lambda bus: FrozenBus(bus, frozen), **SLEEPY)
    await person.connect()
    await person.caught_up()
    frozen.armed = True
    person.act(CreateFile(name=f"{person.connection}-1", content=b"x"))
    await person.signal()
    await frozen.reached.wait()
    old = await person.known()
    assert old.owner

    await stage.poller(**SLEEPY | {"reconcile_s": 0.2})
    person.act(CreateFile(name=f"{person.connection}-2", content=b"x"))
    ahead = await person.caught_up()
    frozen.armed = frozen.frozen = False
    frozen.thaw.set()
    await asyncio.sleep(0.5)
    after = await person.known()
    assert int(old.cursor) < int(ahead.cursor) <= int(after.cursor)
    await person.signal()
    await person.caught_up()
    await person.check_covered()
