"""What the bus suites run on: two connections to one broker, and streams small enough to fill."""

# ruff: noqa: SIM300 - the expected value stands first, as in every test

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from drivewake.contracts.subjects import Bucket, Consumer, Stream
from drivewake.runtime.bus import Bus, Delivery, Message, Provisioner, Puller

PATIENCE_S: Final = 20.0
"""How long something that must happen may take on a busy machine."""

LOG: Final = Stream(
    name="SUITE_LOG",
    subjects=("suite.log.*.*",),
    description="Kept by age, with batches.",
    atomic=True,
)
QUEUE: Final = Stream(
    name="SUITE_QUEUE",
    subjects=("suite.queue.*",),
    description="A work queue.",
    retention="workqueue",
    atomic=True,
)
SIGNAL: Final = Stream(
    name="SUITE_SIGNAL",
    subjects=("suite.signal.*", "suite.slot.*"),
    description="Coalesces, and holds schedules.",
    retention="workqueue",
    max_msgs_per_subject=1,
    schedules=True,
    message_ttl=True,
    atomic=True,
)
SMALL: Final = Stream(
    name="SUITE_SMALL",
    subjects=("suite.small.*",),
    description="Refuses what is over 64 KiB.",
    retention="workqueue",
    discard="new",
    max_bytes=1 << 16,
    atomic=True,
)
ROLLING: Final = Stream(
    name="SUITE_ROLLING",
    subjects=("suite.rolling.*",),
    description="Forgets the oldest over 64 KiB.",
    max_bytes=1 << 16,
)
STREAMS: Final = (LOG, QUEUE, SIGNAL, SMALL, ROLLING)


def _consumer(
    stream: Stream,
    name: str = "worker",
    *,
    filters: tuple[str, ...] = (),
    ack_wait_s: float = 60.0,
    max_deliver: int = -1,
    max_ack_pending: int = 1000,
) -> Consumer:
    return Consumer(
        stream=stream.name,
        name=name,
        filters=filters or stream.subjects[:1],
        ack_wait_s=ack_wait_s,
        max_deliver=max_deliver,
        max_ack_pending=max_ack_pending,
        owner="suite",
        description="of the suite",
    )


PATIENT: Final = _consumer(QUEUE, filters=("suite.queue.a",))
HASTY: Final = _consumer(QUEUE, "hasty", filters=("suite.queue.hasty",), ack_wait_s=0.5)
HELD: Final = _consumer(QUEUE, "held", filters=("suite.queue.held",), ack_wait_s=3.0)
TWICE: Final = _consumer(QUEUE, "twice", filters=("suite.queue.twice",), max_deliver=2)
NARROW: Final = _consumer(QUEUE, "narrow", filters=("suite.queue.narrow",), max_ack_pending=2)
SIGNALS: Final = _consumer(SIGNAL)
SMALLS: Final = _consumer(SMALL)
LOGS: Final = _consumer(LOG)
CONSUMERS: Final = (PATIENT, HASTY, HELD, TWICE, NARROW, SIGNALS, SMALLS, LOGS)

BUCKET: Final = Bucket(name="suite", description="A bucket of the suite.", history=3)


class World(msgspec.Struct, frozen=True):
    """Two connections to one broker that `prepare` was called for; each test gets a fresh one."""

    bus: Bus
    other: Bus


async def prepare(provisioner: Provisioner) -> None:
    """Create what the suites need."""
    for stream in STREAMS:
        await provisioner.ensure_stream(stream, replicas=1, scale=1.0)
    for consumer in CONSUMERS:
        await provisioner.ensure_consumer(consumer)
    await provisioner.ensure_bucket(BUCKET, replicas=1)


def a_message(subject: str, data: bytes = b"", *, message_id: str = "") -> Message:
    """Return a message."""
    return Message(subject=subject, data=data, id=message_id)


def numbered(subject: str, count: int) -> list[Message]:
    """Return messages whose payloads are 0, 1, 2 and so on."""
    return [a_message(subject, str(number).encode()) for number in range(count)]


async def take(puller: Puller, count: int) -> list[Delivery]:
    """Return that many deliveries, however many fetches it takes."""
    taken: list[Delivery] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(taken) < count:
            taken += await puller.fetch(count - len(taken), 2.0)
    return taken


async def nothing(puller: Puller) -> None:
    """Assert that there is nothing to fetch right now."""
    assert [] == payloads(await puller.fetch(10, 0.3))


def payloads(deliveries: Sequence[Delivery]) -> list[bytes]:
    """Return what the deliveries carry."""
    return [delivery.data for delivery in deliveries]
