"""Reading and judging pushes."""

import datetime as dt

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivewake.contracts.records import ChannelRecord, ChannelStatus
from drivewake.webhook.domain import (
    ANSWERS,
    SECURITY_HEADERS,
    InvalidPushError,
    Push,
    judge,
    read_push,
)
from drivewake.webhook.tokens import Keyring, Subject

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
KEYS = Keyring([("k1", b"k" * 32)])
SUBJECT = Subject("acme", "ann", "log1")
RECORD = ChannelRecord(
    channel="ch",
    tenant="acme",
    connection="ann",
    log="log1",
    created_at=NOW,
    expires_at=NOW + HOUR,
    status="live",
    resource="res",
)
PUSH = Push(
    subject=SUBJECT,
    channel="ch",
    token=KEYS.token(SUBJECT, "ch", NOW + HOUR),
    resource="res",
    state="change",
    number=2,
)
HEADERS = [
    (b"host", b"x"),
    (b"x-goog-channel-id", b"ch"),
    (b"x-goog-channel-token", PUSH.token.encode()),
    (b"x-goog-message-number", b"2"),
    (b"x-goog-resource-id", b"res"),
    (b"x-goog-resource-state", b"change"),
]


def test_a_push_is_read_from_path_and_headers() -> None:
    """Google's headers and our path give a Push."""
    assert read_push("/acme/ann/log1/", HEADERS) == PUSH


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*sorted(SECURITY_HEADERS), b"x-other"]), st.binary(max_size=600))
    )
)
def test_whatever_comes_is_read_or_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """Reading raises InvalidPushError or nothing."""
    try:
        push = read_push("/acme/ann/log1/", headers)
    except InvalidPushError:
        return

    assert (SUBJECT, True) == (push.subject, push.number >= 0)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("opening", "poke"),
        ("live", "poke"),
        ("silent", "poke"),
        ("stopping", "poke"),
        ("stopped", "stopped"),
        ("refused", "orphan"),
    ],
)
def test_a_genuine_push_by_the_state_of_its_channel(status: ChannelStatus, verdict: str) -> None:
    """Channels that live, or are about to, are answered; ended ones are not."""
    record = msgspec.structs.replace(RECORD, status=status)

    assert verdict == judge(PUSH, record, KEYS, NOW, looked_up=False)


def test_an_opening_channel_is_heard_before_its_resource_is_known() -> None:
    """`sync` may come before the answer to `watch` does."""
    record = msgspec.structs.replace(RECORD, status="opening", resource="")

    assert "poke" == judge(PUSH, record, KEYS, NOW, looked_up=False)


def test_nothing_is_looked_up_for_strangers() -> None:
    """Only a genuine token is worth a read of the registry."""
    forged = msgspec.structs.replace(PUSH, token="1.k1.1." + "A" * 43)

    assert "look_up" == judge(PUSH, None, KEYS, NOW, looked_up=False)
    assert "orphan" == judge(PUSH, None, KEYS, NOW, looked_up=True)
    assert "unknown" == judge(forged, None, KEYS, NOW, looked_up=False)
    assert "forged" == judge(forged, RECORD, KEYS, NOW, looked_up=False)


def test_a_clock_two_hours_off_ends_no_channel_early() -> None:
    """Expiry is judged with grace, a day later it is over."""
    assert "poke" == judge(PUSH, RECORD, KEYS, NOW + 3 * HOUR, looked_up=False)
    assert "expired" == judge(PUSH, RECORD, KEYS, NOW + 25 * HOUR, looked_up=False)


def test_only_pokes_are_answered_as_success() -> None:
    """Google takes 200 for success, retries 503 and drops the rest."""
    assert {"poke"} == {verdict for verdict, status in ANSWERS.items() if status == 200}
    assert {200, 401, 404, 503} == set(ANSWERS.values())
