"""What the normalizer is told from outside."""

import base64
from collections.abc import Callable

import pytest

from drivewake.normalizer.__main__ import main
from drivewake.normalizer.settings import Settings
from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.settings import load

Environ = Callable[..., None]
GOOD = {
    "DRIVEWAKE_POSTGRES_DSN": "postgresql://u:secret@localhost/d",
    "DRIVEWAKE_EVENT_KEY": "k" * 32,
}


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Environ:
    """Set variables for the test alone."""

    def put(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


def test_two_settings_are_enough(environ: Environ) -> None:
    """Database and key must be told; all else has a default."""
    environ(**GOOD)
    settings = load(Settings)
    assert (b"k" * 32, 5000, True) == (settings.secret(), settings.bounds().most, settings.relay)


@pytest.mark.parametrize("key", ["short", "x" * 65])
def test_key_of_wrong_length_is_refused(environ: Environ, key: str) -> None:
    """A key that blake2b could not take, or that could be guessed, stops the start."""
    environ(**GOOD | {"DRIVEWAKE_EVENT_KEY": key})
    with pytest.raises(ConfigurationError, match="DRIVEWAKE_EVENT_KEY: must have 16 to 64 bytes"):
        load(Settings)


def test_all_problems_are_told_at_once_without_values(environ: Environ) -> None:
    """Missing and wrong settings are told together; no value is repeated."""
    environ(DRIVEWAKE_EVENT_KEY="hush", DRIVEWAKE_DEAD_RATIO="7")
    with pytest.raises(ConfigurationError) as error:
        load(Settings)
    for name in ("POSTGRES_DSN", "EVENT_KEY", "DEAD_RATIO"):
        assert f"DRIVEWAKE_{name}" in str(error.value)
    assert "hush" not in str(error.value)


def test_check_masks_secrets(environ: Environ, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` shows what is set and no secret."""
    environ(**GOOD)
    assert 0 == main(["check"])
    shown = capsys.readouterr().out
    assert "DRIVEWAKE_EVENT_KEY=***" in shown
    assert "secret" not in shown
    assert "kkkk" not in shown


@pytest.mark.parametrize("arguments", [[], ["dance"], ["run", "now"]])
def test_unknown_command_tells_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is not a command is answered with those there are."""
    assert 2 == main(arguments)
    told = capsys.readouterr().err
    assert all(verb in told for verb in ("run", "check", "migrate"))


def test_data_keyring_is_checked_and_never_shown(
    environ: Environ, capsys: pytest.CaptureFixture[str]
) -> None:
    """A keyring that cannot be read stops the start; a good one is named by its ids alone."""
    key = base64.b64encode(bytes(range(32))).decode()
    environ(**GOOD, DRIVEWAKE_DATA_KEYRING=f"k7:{key[:-9]}")
    assert 2 == main(["check"])
    environ(DRIVEWAKE_DATA_KEYRING=f"k7:{key}")
    assert 0 == main(["check"])
    told = "".join(capsys.readouterr())
    assert "data keyring: Keyring(k7), current k7" in told
    assert key[:9] not in told


def test_missing_data_keyring_is_told(environ: Environ, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a keyring nothing can be erased: the check says what to set."""
    environ(**GOOD)
    assert 0 == main(["check"])
    assert "set DRIVEWAKE_DATA_KEYRING" in capsys.readouterr().out


def test_several_lanes_are_refused_beside_what_serves_one(environ: Environ) -> None:
    """A relay or a projection that would stop, or leave a lane out, does not start."""
    environ(**GOOD, DRIVEWAKE_LANES="2", DRIVEWAKE_RELAY="false")
    with pytest.raises(ConfigurationError, match="serve one lane"):
        load(Settings)
    environ(DRIVEWAKE_PROJECTIONS="false")
    assert 2 == load(Settings).lanes
