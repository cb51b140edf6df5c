"""A crash between any two steps repeats work and changes nothing."""

# ruff: noqa: D102, ANN401 - doubles of ports: the ports say what their methods do

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from poller_stage import Stage, check_framed

from drivewake.contracts.subjects import Bucket, Consumer
from drivewake.lab.google.actions import CreateFile, Delete, Update
from drivewake.runtime.bus import Delivery, KeyValue, Puller
from drivewake.runtime.nats import NatsBus


class Fuse:
    """Lets `effects` writes happen; then the process is dead: nothing it does has an effect."""

    def __init__(self, effects: int) -> None:
        self.left = effects
        self.blown = asyncio.Event()

    async def run(self, effect: Callable[[], Awaitable[Any]]) -> Any:
        if self.left <= 0:
            self.blown.set()
            await asyncio.Event().wait()  # for ever: a dead process hears no answer
        self.left -= 1
        return await effect()


class MortalBucket:
    """A bucket whose writes burn the fuse."""

    def __init__(self, inner: KeyValue, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, key: str, value: bytes, *, revision: int) -> Any:
        return await self._fuse.run(lambda: self._inner.put(key, value, revision=revision))


class MortalDelivery:
    """A delivery whose settlement burns the fuse."""

    def __init__(self, inner: Delivery, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def ack(self, *, confirm: bool = False) -> None:
        await self._fuse.run(self._inner.ack)

    async def nak(self, delay_s: float) -> None:
        await self._fuse.run(lambda: self._inner.nak(delay_s))


class MortalPuller:
    """A puller whose deliveries burn the fuse."""

    def __init__(self, inner: Puller, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def fetch(self, most: int, wait_s: float) -> Sequence[Any]:
        found = await self._inner.fetch(most, wait_s)
        return [MortalDelivery(one, self._fuse) for one in found]


class MortalBus:
    """A bus of a process that dies after so many writes."""

    def __init__(self, inner: NatsBus, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def publish(self, *args: Any, **kwargs: Any) -> Any:
        return await self._fuse.run(lambda: self._inner.publish(*args, **kwargs))

    async def publish_batch(self, *args: Any, **kwargs: Any) -> Any:
        return await self._fuse.run(lambda: self._inner.publish_batch(*args, **kwargs))

    async def schedule(self, *args: Any, **kwargs: Any) -> None:
        await self._fuse.run(lambda: self._inner.schedule(*args, **kwargs))

    async def key_value(self, bucket: Bucket) -> Any:
        return MortalBucket(await self._inner.key_value(bucket), self._fuse)

    async def puller(self, consumer: Consumer) -> Any:
        return MortalPuller(await self._inner.puller(consumer), self._fuse)


async def life(stage: Stage, effects: int) -> int:
    """Live through listing, changes and a lost cursor, dying once after so many writes.

    Returns how many writes the poller had left to do when everything was read: 0 or less
    means that it died on the way.
    """
    person = stage.person()
    fuse = Fuse(effects)
    running: Any = None
    settings: dict[str, Any] = {
        "page_size": 3,
        "instance": f"i-{person.connection}",
        "spacing_s": 0.0,
    }

    async def reach(goal: Awaitable[Any]) -> None:
        """Wait for a goal; when the poller dies before, check what it left and start anew."""
        nonlocal running
        waiting = asyncio.ensure_future(goal)
        dying = asyncio.ensure_future(fuse.blown.wait())
        await asyncio.wait({waiting, dying}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done() and running is not None:
            await running.crash()
            running = None
            record = await person.record()
            if record is not None and record.phase == "live" and record.cursor.isdigit():
                await person.check_covered(record.cursor, swept=gone)
            running = await stage.poller(**settings)
            fuse.blown = asyncio.Event()
        dying.cancel()
        await waiting

    gone = False
    names = [f"{person.connection}-{n}" for n in range(7)]
    ids = [
        done["id"] for done in person.act(*(CreateFile(name=n, content=n.encode()) for n in names))
    ]
    await person.connect()
    running = await stage.poller(wrap=lambda bus: MortalBus(bus, fuse), **settings)
    await reach(person.caught_up())
    for turn in range(2):
        person.act(*(Update(file=one, name=f"{one}-{turn}") for one in ids[:5]))
        await person.signal()
        await reach(person.caught_up())
    gone = True  # behind a lost cursor: only its absence from the new listing will tell
    person.act(Delete(file=ids[6]))
    await person.change_record(cursor="lost", owner="", claimed_until=None)
    await person.signal()
    await reach(person.until(lambda record: record.cursor.isdigit()))
    await reach(person.caught_up())
    await person.check_covered(swept=True)
    raws = await person.raws()
    check_framed(raws)
    facts = {(one.fact.fact, one.partition) for one in raws if one.raw.source == "log"}
    assert {("gap_opened", n) for n in range(16)} <= facts
    assert {("gap_closed", n) for n in range(16)} <= facts
    left = fuse.left
    await person.connect("revoked")  # so that the next life has the poller to itself
    await reach(person.until(lambda record: record.stopped))
    await running.crash()
    return left


@pytest.mark.slow
@pytest.mark.parametrize("first", range(4))
async def test_crash_after_any_write_changes_nothing(stage: Stage, first: int) -> None:
    """Die after the n-th write, for every n: all is read, framed, and no cursor ran ahead."""
    effects = first
    while await life(stage, effects) <= 0:
        effects += 4
    assert effects > 30
