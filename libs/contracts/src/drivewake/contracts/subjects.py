"""Every subject, stream, bucket, consumer and wildcard of Drivewake, in one place.

Tokens run from stable to variable. No file id, name or e-mail stands in a subject.
`Stream`, `Bucket` and `Consumer` say what the provisioning step creates; services bind.
JetStream reserves `max_bytes` when it creates a stream: the sizes here are for one machine,
the provisioning step scales them.
"""

from typing import Final, Literal

import msgspec

from drivewake.contracts.ids import PARTITIONS, checked

DAY_S: Final = 86_400
GIB: Final = 1 << 30


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A JetStream stream as it must be; ages in seconds, sizes in bytes, 0 for no limit."""

    name: str
    subjects: tuple[str, ...]
    description: str
    retention: Literal["limits", "workqueue"] = "limits"
    discard: Literal["old", "new"] = "old"
    max_age_s: int = 0
    max_bytes: int = 0
    max_msgs_per_subject: int = 0
    schedules: bool = False
    message_ttl: bool = False
    atomic: bool = False
    direct: bool = True
    duplicate_window_s: int = 120


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A key-value bucket as it must be; its size in bytes, 0 for no limit.

    A full bucket refuses writes (StreamFullError): it never forgets a key by itself.
    """

    name: str
    description: str
    history: int = 5
    max_bytes: int = 0

    @property
    def stream(self) -> str:
        """Name of the stream behind the bucket (ADR-8 of NATS)."""
        return f"KV_{self.name}"


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """A durable pull consumer as it must be; `max_deliver` -1 means without end."""

    stream: str
    name: str
    filters: tuple[str, ...]
    ack_wait_s: float = 30.0
    max_deliver: int = -1
    max_ack_pending: int = 1000
    owner: str
    description: str


# -- Streams ---------------------------------------------------------------------------------

CONNECTION: Final = Stream(
    name="DRIVE_CONNECTION",
    subjects=("drive.connection.v1.*.*",),
    description="State of every connection; the last message of a subject is the current one.",
    discard="new",
    max_bytes=GIB // 4,
    max_msgs_per_subject=64,
)
"""The table of connections: nothing may evict the only state of one that has been quiet.

So a connection pushes out its own history alone, beyond the newest states, and a full stream
refuses (StreamFullError): auth keeps the revision in its outbox, says so and tries again.
A normalizer that is away while one connection changes more often than that misses the oldest
of these states as events; the current one it always gets.
"""
SIGNAL: Final = Stream(
    name="DRIVE_SIGNAL",
    subjects=("drive.signal.v1.*.*.*", "drive.schedule.v1.*.*.*"),
    description="Look at this log. Coalesces: one waiting signal a log.",
    retention="workqueue",
    max_msgs_per_subject=1,
    max_bytes=GIB // 4,
    schedules=True,
    message_ttl=True,
    atomic=True,
)
"""Signals and schedules. Over its bytes it drops the oldest, as nats-server demands of a stream
with schedules (it refuses them together with discard=new). That loses freshness, never facts:
a signal is a hint to look at a log, whose cursor stands in the bucket `logs`, and the poller's
reconciler gives every log without a schedule a new one. One message a subject keeps the size
proportional to the number of logs.
"""
RAW: Final = Stream(
    name="DRIVE_RAW",
    subjects=("drive.raw.v1.*.*.*",),
    description="Items as Google returned them, partitioned by file, until they are settled.",
    discard="new",
    max_bytes=2 * GIB,
    atomic=True,
)
"""What waits to be decided. The normalizer removes what it has settled, many at once: a work
queue would do it one by one, with `sync_interval: always` at a thousand a second. Full, it
refuses (StreamFullError): the poller waits, and nothing that is not settled is ever dropped.
"""
EVENT: Final = Stream(
    name="DRIVE_EVENT",
    subjects=("drive.event.v1.*.*.*",),
    description="Normalised facts, each once, in store order.",
    max_age_s=30 * DAY_S,
    max_bytes=4 * GIB,
    atomic=True,
)
REQUEST: Final = Stream(
    name="DRIVE_REQUEST",
    subjects=("drive.request.v1.*.*.*",),
    description="Questions answered one by one, never coalesced.",
    retention="workqueue",
    discard="new",
    max_bytes=GIB // 4,
)
ANSWER: Final = Stream(
    name="DRIVE_ANSWER",
    subjects=("drive.answer.v1.*.*.*",),
    description="How a request goes, or went; the last message of a subject counts.",
    max_age_s=DAY_S,
    max_bytes=GIB // 16,
    max_msgs_per_subject=1,
)
DEAD: Final = Stream(
    name="DRIVE_DEAD",
    subjects=("drive.dead.v1.*",),
    description="What could not be decoded or decided, with the reason and the original bytes.",
    max_age_s=90 * DAY_S,
    max_bytes=1 * GIB,
)
STREAMS: Final = (CONNECTION, SIGNAL, RAW, EVENT, REQUEST, ANSWER, DEAD)

# -- Buckets ---------------------------------------------------------------------------------

LOGS: Final = Bucket(
    name="logs", description="Log records, key {connection}.{log}.", max_bytes=GIB // 4
)
CHANNELS: Final = Bucket(
    name="channels", description="Push channels, key {channel_id}.", max_bytes=GIB // 4
)
ERASURES: Final = Bucket(
    name="erasures",
    description="What was erased, key {tenant} or {tenant}.{connection}: outlives the database.",
    history=1,
    max_bytes=GIB // 64,
)
POLLERS: Final = Bucket(
    name="pollers",
    description="Pollers that live, key {instance}: they share the project's quota.",
    max_bytes=GIB // 64,
)
BUCKETS: Final = (LOGS, CHANNELS, ERASURES, POLLERS)

# -- Subjects --------------------------------------------------------------------------------


def connection(tenant: str, connection: str) -> str:
    """Return where the state of one connection is published."""
    return f"drive.connection.v1.{checked(tenant)}.{checked(connection)}"


def signal(tenant: str, connection: str, log: str) -> str:
    """Return where signals for one log are published."""
    return f"drive.signal.v1.{checked(tenant)}.{checked(connection)}.{checked(log)}"


def schedule(tenant: str, connection: str, log: str) -> str:
    """Return where the next timer signal of one log waits (target: `signal` of the same log)."""
    return f"drive.schedule.v1.{checked(tenant)}.{checked(connection)}.{checked(log)}"


def raw(partition: int, tenant: str, connection: str) -> str:
    """Return where raws of one partition are published."""
    if not 0 <= partition < PARTITIONS:
        raise ValueError(f"partition must be 0 to {PARTITIONS - 1}")
    return f"drive.raw.v1.{partition}.{checked(tenant)}.{checked(connection)}"


def event(tenant: str, event_type: str) -> str:
    """Return where events of a type (`noun.verb`) are published."""
    noun, _, verb = event_type.partition(".")
    return f"drive.event.v1.{checked(tenant)}.{checked(noun)}.{checked(verb)}"


def request(tenant: str, connection: str, request_id: str) -> str:
    """Return where one request is published."""
    return f"drive.request.v1.{checked(tenant)}.{checked(connection)}.{checked(request_id)}"


def answer(tenant: str, connection: str, request_id: str) -> str:
    """Return where the answer to one request is published."""
    return f"drive.answer.v1.{checked(tenant)}.{checked(connection)}.{checked(request_id)}"


def dead(service: str) -> str:
    """Return where a service puts what it cannot handle."""
    return f"drive.dead.v1.{checked(service)}"


def token_rpc(caller: str) -> str:
    """Return where `caller` asks auth for an access token."""
    return f"drive.rpc.v1.auth.token.{checked(caller)}"


def report_rpc(caller: str) -> str:
    """Return where `caller` tells auth that a grant is dead, blocked or short of scope."""
    return f"drive.rpc.v1.auth.report.{checked(caller)}"


def owner_of(subject: str) -> tuple[str, str] | None:
    """Return the tenant and connection whose a message on `subject` is, None if it names none.

    An event's subject names the tenant alone: its connection is "".
    """
    match subject.split("."):
        case ["drive", "raw", "v1", _, tenant, connection]:
            return tenant, connection
        case ["drive", "event", "v1", tenant, _, _]:
            return tenant, ""
        case [
            "drive",
            "connection" | "signal" | "schedule" | "request" | "answer",
            "v1",
            tenant,
            connection,
            *_,
        ]:
            return tenant, connection
        case _:
            return None


TOKEN_RPC_ALL: Final = "drive.rpc.v1.auth.token.*"  # noqa: S105 - a subject, not a password
REPORT_RPC_ALL: Final = "drive.rpc.v1.auth.report.*"
STATUS_RPC: Final = "drive.rpc.v1.poller.status"
CONTROL_RPC: Final = "drive.rpc.v1.poller.control"
DOORBELL: Final = "drive.bell.v1.store"
"""Rung (core NATS, no payload, may be lost) after each commit to the event store."""


def log_key(connection: str, log: str) -> str:
    """Return the key of a log record in the bucket `logs`."""
    return f"{checked(connection)}.{checked(log)}"


def erasure_key(tenant: str, connection: str = "") -> str:
    """Return the key of an erasure in the bucket `erasures`."""
    return f"{checked(tenant)}.{checked(connection)}" if connection else checked(tenant)


# -- Consumers -------------------------------------------------------------------------------

POLLER_SIGNALS: Final = Consumer(
    stream=SIGNAL.name,
    name="poller",
    filters=("drive.signal.v1.*.*.*",),
    owner="poller",
    description="Signals, shared by all pollers; schedules stay untouched.",
)
POLLER_REQUESTS: Final = Consumer(
    stream=REQUEST.name,
    name="poller",
    filters=("drive.request.v1.*.*.*",),
    ack_wait_s=60.0,
    owner="poller",
    description="Requests, shared by all pollers.",
)
NORMALIZER_CONNECTIONS: Final = Consumer(
    stream=CONNECTION.name,
    name="normalizer",
    filters=("drive.connection.v1.*.*",),
    owner="normalizer",
    description="Every state of every connection, to become events.",
)


def normalizer_raw(partition: int) -> Consumer:
    """Return the consumer of one partition of DRIVE_RAW."""
    return Consumer(
        stream=RAW.name,
        name=f"normalizer-{partition}",
        filters=(f"drive.raw.v1.{partition}.*.*",),
        max_ack_pending=10_000,
        owner="normalizer",
        description=f"Partition {partition} of raw, one puller at a time.",
    )


NORMALIZER_RAW: Final = tuple(normalizer_raw(partition) for partition in range(PARTITIONS))
CONSUMERS: Final = (POLLER_SIGNALS, POLLER_REQUESTS, NORMALIZER_CONNECTIONS, *NORMALIZER_RAW)
