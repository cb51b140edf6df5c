"""What each NATS user may publish and subscribe to, derived from what it needs.

A service needs few verbs: write subjects, read a stream or bucket, pull from its own
consumers, ask or answer requests. Everything else is denied. `provision` alone may
create streams and consumers. Deny is the default of nats-server once a list is given.
"""

from typing import Final

import msgspec

from drivewake.contracts import subjects as s


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What one user needs, in words of the domain."""

    user: str
    writes: tuple[str, ...] = ()
    pulls: tuple[s.Consumer, ...] = ()
    reads_streams: tuple[s.Stream, ...] = ()
    trims_streams: tuple[s.Stream, ...] = ()
    removes_from: tuple[s.Stream, ...] = ()
    erases_streams: tuple[s.Stream, ...] = ()
    reads_buckets: tuple[s.Bucket, ...] = ()
    writes_buckets: tuple[s.Bucket, ...] = ()
    asks: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    listens: tuple[str, ...] = ()


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """Lists of one NATS user, as nats-server configuration wants them; deny beats allow."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    allow_responses: bool
    deny_publish: tuple[str, ...] = ()


GRANTS: Final = (
    Grant(
        user="auth",
        writes=("drive.connection.v1.*.*",),
        reads_streams=(s.CONNECTION,),
        answers=(s.TOKEN_RPC_ALL, s.REPORT_RPC_ALL),
    ),
    Grant(
        user="webhook",
        writes=("drive.signal.v1.*.*.*", s.dead("webhook")),
        reads_streams=(s.CONNECTION,),
        reads_buckets=(s.LOGS,),
        writes_buckets=(s.CHANNELS,),
        asks=(s.token_rpc("webhook"), s.report_rpc("webhook")),
    ),
    Grant(
        user="poller",
        writes=(
            "drive.signal.v1.*.*.*",
            "drive.schedule.v1.*.*.*",
            "drive.raw.v1.*.*.*",
            "drive.answer.v1.*.*.*",
            s.dead("poller"),
        ),
        pulls=(s.POLLER_SIGNALS, s.POLLER_REQUESTS),
        reads_streams=(s.CONNECTION,),
        reads_buckets=(s.CHANNELS,),
        writes_buckets=(s.LOGS, s.POLLERS),
        asks=(s.token_rpc("poller"), s.report_rpc("poller")),
        answers=(s.STATUS_RPC, s.CONTROL_RPC),
    ),
    Grant(
        user="normalizer",
        writes=(
            "drive.event.v1.*.*.*",
            "drive.request.v1.*.*.*",
            s.dead("normalizer"),
            s.DOORBELL,
        ),
        pulls=(s.NORMALIZER_CONNECTIONS, *s.NORMALIZER_RAW),
        reads_streams=(s.EVENT,),
        trims_streams=(s.RAW,),
        reads_buckets=(s.ERASURES,),
        listens=(s.DOORBELL,),
    ),
    Grant(
        user="operator",
        writes=("drive.signal.v1.*.*.*", "drive.request.v1.*.*.*"),
        reads_streams=(*s.STREAMS,),
        reads_buckets=s.BUCKETS,
        asks=(s.STATUS_RPC, s.CONTROL_RPC),
    ),
    Grant(
        # Puts dead letters back to where they came from, and then takes them out of their
        # stream. Who may do that can forge facts: it is no right for every day.
        user="repairer",
        writes=(
            "drive.connection.v1.*.*",
            "drive.signal.v1.*.*.*",
            "drive.raw.v1.*.*.*",
            "drive.request.v1.*.*.*",
        ),
        reads_streams=(s.DEAD, s.CONNECTION),
        removes_from=(s.DEAD,),
    ),
    Grant(user="downstream", reads_streams=(s.EVENT,)),
    Grant(
        user="eraser",
        writes=(s.DOORBELL,),
        reads_streams=(s.EVENT, s.DEAD, s.CONNECTION),
        erases_streams=(s.EVENT, s.DEAD, s.RAW, s.SIGNAL, s.REQUEST),
        writes_buckets=(s.LOGS, s.CHANNELS, s.ERASURES),
    ),
)
PROVISION_USER: Final = "provision"
USERS: Final = (*(grant.user for grant in GRANTS), PROVISION_USER)


def inbox_prefix(user: str) -> str:
    """Return the inbox prefix of a user: nobody else may listen to its answers."""
    return f"_INBOX_{user}"


def permissions(grant: Grant) -> Permissions:
    """Derive the allow lists of one user from its grant."""
    streams = [stream.name for stream in grant.reads_streams]
    buckets = {bucket.stream: bucket for bucket in (*grant.reads_buckets, *grant.writes_buckets)}
    publish: list[str] = [*grant.writes, *grant.asks, "$JS.API.INFO"]
    for consumer in grant.pulls:
        target = f"{consumer.stream}.{consumer.name}"
        publish += [
            f"$JS.API.CONSUMER.INFO.{target}",
            f"$JS.API.CONSUMER.MSG.NEXT.{target}",
            f"$JS.API.CONSUMER.RESET.{target}",
            f"$JS.ACK.{target}.>",
        ]
    for trimmed in grant.trims_streams:
        publish += [
            f"$JS.API.STREAM.PURGE.{trimmed.name}",
            # How full it is. Its messages stay closed: only the consumers bring them.
            f"$JS.API.STREAM.INFO.{trimmed.name}",
        ]
    publish += [f"$JS.API.STREAM.MSG.DELETE.{stream.name}" for stream in grant.removes_from]
    for erased in grant.erases_streams:
        publish += [
            f"$JS.API.STREAM.PURGE.{erased.name}",
            f"$JS.API.STREAM.MSG.DELETE.{erased.name}",
        ]
    for stream in (*streams, *buckets):
        publish += [
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.STREAM.MSG.GET.{stream}",
            f"$JS.API.DIRECT.GET.{stream}",
            f"$JS.API.DIRECT.GET.{stream}.>",
            f"$JS.API.CONSUMER.CREATE.{stream}.>",
            f"$JS.API.CONSUMER.INFO.{stream}.>",
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.>",
            f"$JS.API.CONSUMER.DELETE.{stream}.>",
            f"$JS.ACK.{stream}.>",
            f"$JS.FC.{stream}.>",
        ]
    publish += [f"$KV.{bucket.name}.>" for bucket in grant.writes_buckets]
    subscribe = [f"{inbox_prefix(grant.user)}.>", *grant.answers, *grant.listens]
    if grant.answers:
        # nats.micro answers discovery on these.
        subscribe += ["$SRV.>"]
    return Permissions(
        publish=tuple(dict.fromkeys(publish)),
        subscribe=tuple(dict.fromkeys(subscribe)),
        allow_responses=bool(grant.answers),
        deny_publish=_others_consumers(grant),
    )


def _others_consumers(grant: Grant) -> tuple[str, ...]:
    """Return what would touch the durable consumers of others on the streams that it reads.

    Who reads a stream makes ephemeral consumers of any name, hence the wildcards above; the
    durable ones must be taken out by name, or a reader could delete them, change them, or
    take and settle their messages.
    """
    read = {stream.name for stream in grant.reads_streams}
    denied: list[str] = []
    for consumer in s.CONSUMERS:
        if consumer.stream in read and consumer not in grant.pulls:
            target = f"{consumer.stream}.{consumer.name}"
            denied += [
                f"$JS.API.CONSUMER.CREATE.{target}",
                f"$JS.API.CONSUMER.CREATE.{target}.>",
                f"$JS.API.CONSUMER.DELETE.{target}",
                f"$JS.API.CONSUMER.MSG.NEXT.{target}",
                f"$JS.ACK.{target}.>",
            ]
    return tuple(denied)
