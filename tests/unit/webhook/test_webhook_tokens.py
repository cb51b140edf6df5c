"""Channel tokens."""

import base64
import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivewake.webhook.tokens import Keyring, Subject

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
OLD = ("old", b"o" * 32)
NEW = ("new", b"n" * 32)
ids = st.text("abcXYZ019_-", min_size=1, max_size=64)


@settings(deadline=None)
@given(subject=st.builds(Subject, ids, ids, ids), channel=ids, days=st.integers(0, 10_000))
def test_a_token_vouches_for_its_expiry_and_fits_google(
    subject: Subject, channel: str, days: int
) -> None:
    """What was signed is read back, within the 256 characters that Google keeps."""
    keys = Keyring([NEW])
    expires_at = NOW + dt.timedelta(days=days)
    token = keys.token(subject, channel, expires_at)

    assert expires_at == keys.verify(token, subject, channel)
    assert 256 >= len(token)


@settings(deadline=None)
@given(
    first=st.tuples(ids, ids, ids, ids),
    second=st.tuples(ids, ids, ids, ids),
)
def test_a_token_is_for_one_channel_of_one_log(
    first: tuple[str, str, str, str], second: tuple[str, str, str, str]
) -> None:
    """Moved to anything else, even if the parts run together the same, it is worth nothing."""
    keys = Keyring([NEW])
    token = keys.token(Subject(*first[:3]), first[3], NOW)
    expected = NOW if first == second else None

    assert expected == keys.verify(token, Subject(*second[:3]), second[3])


@settings(deadline=None)
@given(place=st.integers(0), letter=st.characters())
def test_no_changed_token_is_accepted(place: int, letter: str) -> None:
    """Any other character anywhere breaks it."""
    keys = Keyring([NEW])
    subject = Subject("t", "c", "l")
    token = keys.token(subject, "ch", NOW)
    at = place % len(token)
    changed = token[:at] + letter + token[at + 1 :]
    expected = NOW if changed == token else None

    assert expected == keys.verify(changed, subject, "ch")


@settings(deadline=None)
@given(subject=st.builds(Subject, ids, ids, ids), channel=ids)
def test_a_token_is_for_one_kind(subject: Subject, channel: str) -> None:
    """Drive's does not open Calendar's door, nor the other way round."""
    keys = Keyring([NEW])
    drive = keys.token(subject, channel, NOW)
    calendar = keys.token(subject, channel, NOW, "calendar")

    assert NOW == keys.verify(calendar, subject, channel, "calendar")
    assert keys.verify(drive, subject, channel, "calendar") is None
    assert keys.verify(calendar, subject, channel) is None


def test_drives_tokens_of_earlier_days_still_hold() -> None:
    """Channels live for a week: their tokens outlive a new release."""
    subject = Subject("acme", "ann", "log1")
    token = "1.old.1795305600.fFxQRb1sYyQxxg0b4hBerQYYE4HR_slrm2RHzAODVZg"

    assert NOW == Keyring([OLD]).verify(token, subject, "ch")


@settings(deadline=None)
@given(token=st.text(max_size=300))
def test_rubbish_is_refused(token: str) -> None:
    """Nothing that is not a token raises or passes."""
    assert Keyring([NEW]).verify(token, Subject("t", "c", "l"), "ch") is None


def test_old_keys_verify_until_they_leave_the_ring() -> None:
    """Rotation: the first key signs, the others still open."""
    subject = Subject("t", "c", "l")
    token = Keyring([OLD]).token(subject, "ch", NOW)

    assert NOW == Keyring([NEW, OLD]).verify(token, subject, "ch")
    assert Keyring([NEW]).verify(token, subject, "ch") is None
    assert "1.new." == Keyring([NEW, OLD]).token(subject, "ch", NOW)[:6]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "id:base64"),
        ("k1", "id:base64"),
        ("k1:***", "base64"),
        ("k1:c2hvcnQ=", "under 32 bytes"),
        (f"k 1:{base64.b64encode(b'x' * 32).decode()}", "key id"),
        (",".join([f"k1:{base64.b64encode(b'x' * 32).decode()}"] * 2), "twice"),
    ],
)
def test_bad_keys_are_refused_without_being_repeated(text: str, problem: str) -> None:
    """The message says what is wrong and holds no key."""
    with pytest.raises(ValueError, match=problem) as refused:
        Keyring.parse(text)

    assert "eHh4" not in str(refused.value)
    assert "c2hv" not in str(refused.value)


def test_a_keyring_does_not_show_its_keys() -> None:
    """Neither repr nor str holds a secret."""
    assert "Keyring(current='new', ids=['new'])" == repr(Keyring([NEW]))
