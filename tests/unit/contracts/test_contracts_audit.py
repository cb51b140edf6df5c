"""The audit chain: whatever is done to its records shows, at the first that was touched."""

import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivewake.contracts.audit import GENESIS, AuditRecord, BrokenChainError, Chain, hash_of

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def chain(length: int) -> list[AuditRecord]:
    """Return a chain of records."""
    records, head = [], GENESIS
    for number in range(1, length + 1):
        record = AuditRecord(
            number=number, at=NOON, since=NOON, who="auth", action="key.used", outcome="ok",
            why=f"reason {number}", tenant="default", connection="c", count=1, trace="", hash="",
        )  # fmt: skip
        head = hash_of(record, head)
        records.append(msgspec.structs.replace(record, hash=head))
    return records


def broken_at(records: list[AuditRecord]) -> int | None:
    """Return the number of the first record that does not hold."""
    checked = Chain()
    try:
        for record in records:
            checked.add(record)
    except BrokenChainError as error:
        return error.number
    return None


def test_a_chain_holds_after_any_journey() -> None:
    """Written, sent as JSON in another time zone, and read: it holds, and its head is the last."""
    records = chain(20)
    east = dt.timezone(dt.timedelta(hours=9))
    sent = msgspec.json.encode(
        [msgspec.structs.replace(record, at=record.at.astimezone(east)) for record in records]
    )
    checked = Chain()
    for record in msgspec.json.decode(sent, type=list[AuditRecord]):
        checked.add(record)
    assert f"20:{records[-1].hash}" == checked.head
    later = Chain(10, records[9].hash)
    later.add(records[10])


CHANGES: dict[str, Any] = {
    "at": NOON + dt.timedelta(microseconds=1), "since": NOON - dt.timedelta(seconds=1),
    "who": "google", "action": "key.used ", "outcome": "refused", "why": "", "tenant": "other",
    "connection": "d", "count": 2, "trace": "1",
}  # fmt: skip


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_field_breaks_the_chain_there(field: str) -> None:
    """Every field is sealed."""
    records = chain(5)
    records[2] = msgspec.structs.replace(records[2], **{field: CHANGES[field]})
    assert 3 == broken_at(records)


@given(st.data())
def test_removing_repeating_or_swapping_breaks_the_chain(data: st.DataObject) -> None:
    """The first place where the order is not the written one is told."""
    records = chain(8)
    at = data.draw(st.integers(0, 6))
    how = data.draw(st.sampled_from(["remove", "repeat", "swap", "renumber"]))
    if how == "remove":
        del records[at]
    elif how == "repeat":
        records.insert(at, records[at])
        at += 1
    elif how == "swap":
        records[at], records[at + 1] = records[at + 1], records[at]
    else:
        records[at + 1] = msgspec.structs.replace(records[at], number=at + 2)
        at += 1
    assert at + 1 == broken_at(records)


def test_a_whole_rewritten_tail_breaks_against_a_kept_head() -> None:
    """Who rewrites all hashes is betrayed by a head that was kept elsewhere."""
    kept = Chain(3, chain(3)[2].hash).head
    records, head = chain(5), GENESIS
    records[1] = msgspec.structs.replace(records[1], who="nobody")
    for index, record in enumerate(records):
        head = hash_of(record, head)
        records[index] = msgspec.structs.replace(record, hash=head)
    assert broken_at(records) is None
    assert kept != f"3:{records[2].hash}"
