"""What looks like a secret is masked, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivewake.runtime.redaction import MASK, is_secret_name, redact, redact_text

SEED = "SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
        ("got ya29.a0AfH6SMBx-y_z from Google", "ya29.a0AfH6SMBx-y_z"),
        ("refreshing with 1//0gabcdefghijklmnopqrstuv", "1//0gabcdefghijklmnopqrstuv"),
        (f"seed {SEED}", SEED),
        (f"key {PEM} end", "MIIEvQIBADANBg"),
        (f"key {PEM!r}", "MIIEvQIBADANBg"),
        (PEM[:40], "MIIEvQ"),
        (f"id_token {JWT}", JWT),
        ("postgresql://me:hidden@db/x is away", "hidden"),
        ('{"client_secret": "hidden"}', "hidden"),
        ("password=hidden&user=me", "hidden"),
        ("GET /oauth/callback?state=hidden&code=hidden2", "hidden"),
        ("refresh_token: hidden", "hidden"),
        ("DRIVEWAKE_DATA_KEYRING=k1:hidden", "hidden"),
    ],
)
def test_secrets_inside_texts_are_masked(text: str, secret: str) -> None:
    """A secret of a known form does not survive, wherever it stands."""
    clean = redact_text(text)
    assert secret not in clean
    assert MASK in clean


@pytest.mark.parametrize(
    "name",
    [
        *("token", "access_token", "refresh_token", "Authorization", "client_secret", "password"),
        *("nats_seed", "sealed", "code", "refresh", "private_key", "cookie", "accessToken"),
        *("token_hash", "tokens", "data_keyring", "datakey", "wrapped"),
    ],
)
def test_fields_with_the_name_of_a_secret_are_masked(name: str) -> None:
    """The value under such a name is masked, whatever it is."""
    assert is_secret_name(name)
    assert {name: MASK} == redact({name: "x"})
    assert {"outer": [{name: MASK}]} == redact({"outer": [{name: 17}]})


@pytest.mark.parametrize(
    "name", ["action", "exit_code", "page_token", "token_id", "log", "status", "seeded", "decoded"]
)
def test_other_fields_are_shown(name: str) -> None:
    """Names that only resemble one of a secret are left alone."""
    assert {name: "x"} == redact({name: "x"})


def test_values_keep_their_types() -> None:
    """Numbers, booleans and nothing stay what they are; other objects become text."""
    given_values = {"a": 1, "b": 2.5, "c": True, "d": None, "e": (1, "x"), "f": {"g": {1}}}
    assert {"a": 1, "b": 2.5, "c": True, "d": None, "e": [1, "x"], "f": {"g": [1]}} == redact(
        given_values
    )
    assert "ValueError('Bearer [redacted]')" == redact(ValueError("Bearer abcdefghijk"))


def test_depth_is_bounded() -> None:
    """A value that holds itself does not loop for ever."""
    endless: dict[str, object] = {}
    endless["again"] = endless
    assert "…" in str(redact(endless))


@given(st.text(alphabet="abcdefgh 0123456789:/?=&.-_", max_size=200))
def test_redaction_is_stable(text: str) -> None:
    """Masking twice changes nothing more."""
    assert redact_text(text) == redact_text(redact_text(text))
