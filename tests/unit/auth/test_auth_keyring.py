"""Secrets at rest: they open where they belong, under a key of the ring, and nowhere else."""

import base64
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from drivewake.auth.keyring import Keyring, Place
from drivewake.runtime.errors import ConfigurationError, TamperedError, UnknownKeyError
from drivewake.runtime.keyring import Sealed

PLACE = Place("acme", "c1", "refresh_token")
SECRET = SecretStr("1//0-a-refresh-token")
KEY = base64.b64encode(bytes(range(32))).decode()


def a_keyring(*ids: str) -> Keyring:
    """Return a keyring of fresh keys."""
    return Keyring({key_id: secrets.token_bytes(32) for key_id in ids or ("k1",)})


def test_a_secret_opens_where_it_belongs() -> None:
    """Sealing and opening are inverse, and no two seals look the same."""
    keyring = a_keyring()
    first, second = keyring.seal(SECRET, PLACE), keyring.seal(SECRET, PLACE)
    assert SECRET == keyring.open(first, PLACE)
    assert first != second
    assert b"refresh" not in first.data


@pytest.mark.parametrize(
    "place",
    [
        Place("other", "c1", "refresh_token"),
        Place("acme", "c2", "refresh_token"),
        Place("acme", "c1", "account"),
        Place("acmec", "1", "refresh_token"),
        Place('acme","c1', "", "refresh_token"),
    ],
    ids=str,
)
def test_a_secret_opens_nowhere_else(place: Place) -> None:
    """Another tenant, connection or purpose, or their borders shifted: it does not open."""
    keyring = a_keyring()
    with pytest.raises(TamperedError):
        keyring.open(keyring.seal(SECRET, PLACE), place)


@given(st.data())
def test_any_changed_bit_is_noticed(data: st.DataObject) -> None:
    """Nonce, text and tag are all authenticated."""
    keyring = a_keyring()
    sealed = keyring.seal(SECRET, PLACE)
    position = data.draw(st.integers(0, len(sealed.data) - 1))
    changed = bytearray(sealed.data)
    changed[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(TamperedError):
        keyring.open(Sealed(sealed.key_id, bytes(changed)), PLACE)


@pytest.mark.parametrize("length", [0, 1, 11, 12, 13, 27])
def test_a_cut_secret_is_noticed(length: int) -> None:
    """However short, what is no secret of ours raises the same error."""
    keyring = a_keyring()
    sealed = keyring.seal(SECRET, PLACE)
    with pytest.raises(TamperedError):
        keyring.open(Sealed(sealed.key_id, sealed.data[:length]), PLACE)


def test_keys_rotate() -> None:
    """The first key seals; older ones still open; a retired one does not."""
    old = Keyring({"a": bytes(range(32))})
    sealed = old.seal(SECRET, PLACE)
    both = Keyring({"b": secrets.token_bytes(32), "a": bytes(range(32))})
    assert SECRET == both.open(sealed, PLACE)
    assert not both.is_current(sealed)
    assert "b" == both.seal(SECRET, PLACE).key_id
    with pytest.raises(UnknownKeyError):
        a_keyring("b").open(sealed, PLACE)


def test_the_right_id_with_the_wrong_key_opens_nothing() -> None:
    """A key id is only a name."""
    sealed = a_keyring("k1").seal(SECRET, PLACE)
    with pytest.raises(TamperedError):
        a_keyring("k1").open(sealed, PLACE)


def test_a_signature_holds_for_its_kind_alone() -> None:
    """A signed state is no link, a changed text nothing; older keys still verify."""
    keyring = Keyring({"b": secrets.token_bytes(32), "a": bytes(range(32))})
    signed = keyring.sign("state", "abc")
    assert "abc" == keyring.verify("state", signed)
    assert keyring.verify("link", signed) is None
    assert keyring.verify("state", "x" + signed) is None
    assert keyring.verify("state", signed[:-1]) is None
    assert a_keyring().verify("state", signed) is None
    older = Keyring({"a": bytes(range(32))}).sign("state", "abc")
    assert "abc" == keyring.verify("state", older)


@pytest.mark.parametrize("signed", ["", ".", "abc", ".abc", "é.é", "a" * 1000])
def test_what_is_not_signed_is_not_verified(signed: str) -> None:
    """Nothing and nonsense have no signature."""
    assert a_keyring().verify("state", signed) is None


@pytest.mark.parametrize(
    "text",
    [
        f"k1:{KEY}",
        f" k1:{KEY}\n",
        f"k1:{KEY.rstrip('=')}",
        f"k1:{KEY.replace('+', '-').replace('/', '_')}",
    ],
)
def test_a_keyring_is_read(text: str) -> None:
    """Both alphabets, with or without padding, with line ends."""
    assert "k1" == Keyring.parse(SecretStr(text)).current


def test_several_keys_are_read_in_order() -> None:
    """Commas and lines separate; the first is current."""
    other = base64.b64encode(bytes(reversed(range(32)))).decode()
    for separator in (",", "\n", ", ", ",\n"):
        assert "new" == Keyring.parse(SecretStr(f"new:{KEY}{separator}old:{other}")).current


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "k1",
        "k1:",
        ":" + KEY,
        "k1:not-base64!",
        "k1:" + KEY[:-8],
        f"k 1:{KEY}",
        f"k.1:{KEY}",
        f"k1:{KEY},k1:{KEY}",
        "k1:" + base64.b64encode(bytes(32)).decode(),
        ",".join(f"k{n}:{KEY}" for n in range(17)),
    ],
)
def test_a_bad_keyring_is_refused_without_being_repeated(text: str) -> None:
    """One line says which entry and what to do; the key is not in it."""
    with pytest.raises(ConfigurationError) as caught:
        Keyring.parse(SecretStr(text))
    assert KEY[:12] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_nothing_shows_a_key() -> None:
    """The repr of a keyring names its keys by id."""
    keyring = Keyring.parse(SecretStr(f"k1:{KEY}"))
    assert "Keyring(k1)" == repr(keyring)
    assert KEY not in repr(vars(keyring))
