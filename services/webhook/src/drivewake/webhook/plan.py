"""Which channels should live, for one log at a time: no I/O, the clock passed in."""

import datetime as dt
import hashlib
import itertools
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from drivewake.contracts.connections import Status
from drivewake.contracts.records import ChannelRecord, LogRecord
from drivewake.webhook.tokens import Subject


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How channels are kept. Google's longest life for changes is a week, its default an hour.

    A channel is replaced between `renew_early` and 1.5 times that before it expires (a share
    of its life); the old one stays `overlap_s` more. An opening without an answer is given up
    after `opening_s`, a live one without its sync message is `silent` after `sync_s`, and one
    that told nothing within `silence_s` of a change that the poller found by itself. A silent
    one gets a successor after `deaf_s`. A refusal waits `backoff_s`, doubled each time up to
    `max_backoff_s`. Records of ended channels are kept for `keep_s`, at most `keep_most` of a
    log.
    """

    lifetime_s: float = 604_800.0
    renew_early: float = 0.2
    overlap_s: float = 60.0
    opening_s: float = 120.0
    sync_s: float = 120.0
    silence_s: float = 900.0
    deaf_s: float = 3600.0
    backoff_s: float = 30.0
    max_backoff_s: float = 6 * 3600.0
    keep_s: float = 86_400.0
    keep_most: int = 12


class Open(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Open a channel with this id for the log."""

    channel: str


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Stop the channel at Google, then remember it as stopped."""

    channel: str
    reason: str


class Mark(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Remember the channel in another status; Google is not asked."""

    channel: str
    status: Literal["silent", "stopped", "refused", "live"]
    reason: str


class Forget(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Delete the record of a channel that ended long ago."""

    channel: str


Action = Open | Stop | Mark | Forget


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now for one log, and when to look again (None: when something changes)."""

    actions: tuple[Action, ...] = ()
    again_at: dt.datetime | None = None


ENDED: Final = {"stopped", "refused"}
UNSTOPPABLE: Final[set[Status]] = {"revoked", "blocked", "reauthorization_required"}
"""In these states auth gives no token: channels can only be forgotten."""


def plan(
    subject: Subject,
    status: Status | None,
    log: LogRecord | None,
    channels: Sequence[ChannelRecord],
    now: dt.datetime,
    policy: Policy,
) -> Plan:
    """Return what one log's channels need; `channels` are all the records of that log.

    `status` is the connection's, None if it is unknown. Two replicas that see the same
    records plan the same, down to the ids of new channels.
    """
    living = sorted(
        (record for record in channels if record.status not in ENDED),
        key=lambda record: (record.created_at, record.channel),
    )
    ended = sorted(
        (record for record in channels if record.status in ENDED),
        key=lambda record: record.created_at,
        reverse=True,
    )
    # A forgotten channel that still pushes is an orphan, and stopped as such.
    actions: list[Action] = [
        Forget(channel=record.channel)
        for number, record in enumerate(ended)
        if number >= policy.keep_most or _end_of(record) + _seconds(policy.keep_s) <= now
    ]
    actions += _expired(living, now)
    living = [record for record in living if record.expires_at > now]
    stopping = [record for record in living if record.status == "stopping"]
    living = [record for record in living if record.status != "stopping"]
    wanted = _wanted(status, log)
    if wanted == "end":
        actions += _end_all([*living, *stopping], status)
        living = []
    else:
        actions += [Stop(channel=record.channel, reason=record.reason) for record in stopping]
    if wanted == "open":
        actions += _tidy(living, log, now, policy)
        if _needs_successor(living, ended, now, policy):
            actions.append(Open(channel=successor_id(subject, channels, now)))
    return Plan(actions=tuple(actions), again_at=_again(living, ended, now, policy, wanted))


def _wanted(status: Status | None, log: LogRecord | None) -> Literal["open", "keep", "end"]:
    if status in UNSTOPPABLE or status == "revoking" or (log is not None and log.stopped):
        return "end"
    if status != "active" or log is None or log.paused:
        return "keep"
    ready = log.phase == "live" and bool(log.cursor) and log.kind != "activity"
    return "open" if ready else "keep"


def _expired(living: Sequence[ChannelRecord], now: dt.datetime) -> list[Action]:
    return [
        Mark(channel=record.channel, status="stopped", reason="expired")
        for record in living
        if record.expires_at <= now
    ]


def _end_all(living: Sequence[ChannelRecord], status: Status | None) -> list[Action]:
    reason = f"connection is {status}" if status != "active" else "log is not watched any more"
    return [
        Stop(channel=record.channel, reason=reason)
        if status not in UNSTOPPABLE and record.resource
        else Mark(channel=record.channel, status="stopped", reason=reason)
        for record in living
    ]


def _tidy(
    living: Sequence[ChannelRecord], log: LogRecord | None, now: dt.datetime, policy: Policy
) -> list[Action]:
    """Stop what a younger channel has replaced, give up and mark what stays silent."""
    actions: list[Action] = []
    live = [record for record in living if record.status in {"live", "silent"}]
    for record in living:
        age_s = (now - record.created_at).total_seconds()
        heard = _heard(record)
        if record.status == "opening" and age_s >= policy.opening_s:
            actions.append(Mark(channel=record.channel, status="refused", reason="no answer"))
        elif any(_replaces(younger, record, now, policy) for younger in live):
            actions.append(Stop(channel=record.channel, reason="replaced"))
        elif record.status == "live" and not heard and age_s >= policy.sync_s:
            actions.append(Mark(channel=record.channel, status="silent", reason="no sync message"))
        elif heard and _untold(record, log, now, policy) != (record.status == "silent"):
            deaf = record.status == "live"
            reason = "changes came without a push" if deaf else ""
            status: Literal["silent", "live"] = "silent" if deaf else "live"
            actions.append(Mark(channel=record.channel, status=status, reason=reason))
    return actions


def _untold(record: ChannelRecord, log: LogRecord | None, now: dt.datetime, policy: Policy) -> bool:
    """Say whether a change was found that the channel should have told of, and did not.

    Quiet logs are no evidence: only a change is. `last_message_at` is written down at most
    once a minute, far below `silence_s`.
    """
    changed_at = log.last_change_at if log is not None else None
    if changed_at is None or record.status not in {"live", "silent"}:
        return False
    told_at = record.last_message_at or record.synced_at or record.created_at
    silence = _seconds(policy.silence_s)
    return changed_at - max(told_at, record.created_at) > silence and changed_at + silence < now


def _replaces(
    younger: ChannelRecord, older: ChannelRecord, now: dt.datetime, policy: Policy
) -> bool:
    """Say whether the older channel is no longer needed: the overlap with a younger is over."""
    later = (younger.created_at, younger.channel) > (older.created_at, older.channel)
    overlapped = younger.created_at + _seconds(policy.overlap_s) <= now
    # One that was never heard of does not replace one that works.
    better = _heard(younger) or older.status == "silent"
    return older.status != "opening" and later and overlapped and better


def _needs_successor(
    living: Sequence[ChannelRecord],
    ended: Sequence[ChannelRecord],
    now: dt.datetime,
    policy: Policy,
) -> bool:
    given_up = _seconds(policy.opening_s)
    current = [
        record
        for record in living
        if record.status != "opening" or record.created_at + given_up > now
    ]
    if current and (current[-1].status == "opening" or successor_due_at(current[-1], policy) > now):
        return False
    return may_open_at(ended, policy) <= now


def renew_at(record: ChannelRecord, policy: Policy) -> dt.datetime:
    """Return when a channel should get its successor: before its end, spread by its own id."""
    life = record.expires_at - record.created_at
    spread = int.from_bytes(hashlib.blake2b(record.channel.encode(), digest_size=4).digest())
    share = policy.renew_early * (1 + 0.5 * spread / 0xFFFF_FFFF)
    return record.expires_at - life * min(share, 0.9)


def successor_due_at(record: ChannelRecord, policy: Policy) -> dt.datetime:
    """Return when a channel should get its successor: a silent one does not wait for its end."""
    if record.status != "silent":
        return renew_at(record, policy)
    since = max(record.created_at, record.last_message_at or record.created_at)
    return min(since + _seconds(policy.deaf_s), renew_at(record, policy))


def may_open_at(ended: Sequence[ChannelRecord], policy: Policy) -> dt.datetime:
    """Return when a channel may be opened again after refusals: later after each of them.

    `ended` has the newest first.
    """
    refusals = len(list(itertools.takewhile(lambda record: record.status == "refused", ended)))
    if not refusals:
        return dt.datetime.min.replace(tzinfo=dt.UTC)
    wait_s = min(policy.backoff_s * 2 ** min(refusals - 1, 20), policy.max_backoff_s)
    return ended[0].created_at + _seconds(wait_s)


def successor_id(subject: Subject, channels: Sequence[ChannelRecord], now: dt.datetime) -> str:
    """Return the id of the next channel: the same for replicas that see the same records.

    The hour is in it, so that a registry that lost its records does not repeat ids that
    Google already knows (channelIdNotUnique holds even after a stop).
    """
    last = max(channels, key=lambda r: (r.created_at, r.channel), default=None)
    hour = int(now.timestamp()) // 3600
    parts = (*msgspec.structs.astuple(subject), last.channel if last else "", str(hour))
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def _again(
    living: Sequence[ChannelRecord],
    ended: Sequence[ChannelRecord],
    now: dt.datetime,
    policy: Policy,
    wanted: str,
) -> dt.datetime | None:
    instants = [record.expires_at for record in living]
    instants += [_end_of(record) + _seconds(policy.keep_s) for record in ended]
    for record in living:
        waits = (policy.opening_s, policy.sync_s, policy.overlap_s)
        instants += [record.created_at + _seconds(wait_s) for wait_s in waits]
        if record.status != "opening":
            instants.append(successor_due_at(record, policy))
    if wanted == "open":
        instants.append(may_open_at(ended, policy))
    return min((instant for instant in instants if instant > now), default=None)


def _heard(record: ChannelRecord) -> bool:
    return record.synced_at is not None or record.last_message_at is not None


def _end_of(record: ChannelRecord) -> dt.datetime:
    """Return until when a record of an ended channel can matter: Google may still push."""
    return record.created_at if record.status == "refused" else record.expires_at


def _seconds(seconds: float) -> dt.timedelta:
    return dt.timedelta(seconds=seconds)
