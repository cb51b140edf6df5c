import pytest

from drivewake.poller.__main__ import main
from drivewake.poller.settings import PollerSettings
from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.settings import load


def test_defaults_are_fit_for_the_real_google() -> None:
    """Without any setting the quota is Google's and the timers are modest."""
    told = PollerSettings()
    assert (10.0, 900.0) == (told.rhythm().floor_s, told.rhythm().push_ceiling_s)
    assert 325_000 == told.budget().user_per_min
    assert told.pace().first_s > told.rules().lease_s


def test_every_process_has_its_own_name_unless_told() -> None:
    """Two pollers never claim in one name by accident."""
    assert PollerSettings().owner() != PollerSettings().owner()
    assert "pod-0" == PollerSettings(instance="pod-0").owner()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GOOGLE_API_URL", "ftp://x", "DRIVEWAKE_GOOGLE_API_URL"),
        ("GOOGLE_API_URL", "https://user@host", "DRIVEWAKE_GOOGLE_API_URL"),
        ("INSTANCE", "a.b", "DRIVEWAKE_INSTANCE"),
        ("PAGE_SIZE", "1001", "DRIVEWAKE_PAGE_SIZE"),
        ("INTERVAL_FLOOR_S", "301", "DRIVEWAKE_INTERVAL_CEILING_S"),
        ("PUSH_INTERVAL_CEILING_S", "1", "DRIVEWAKE_PUSH_INTERVAL_FLOOR_S"),
    ],
)
def test_wrong_settings_are_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """A wrong value stops the start and says which variable it is."""
    monkeypatch.setenv(f"DRIVEWAKE_{name}", value)
    with pytest.raises(ConfigurationError, match=words):
        load(PollerSettings)


def test_check_prints_the_settings_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` shows what would be in force and starts nothing."""
    monkeypatch.setenv("DRIVEWAKE_NATS_URL", "nats://u:hunter2@127.0.0.1:9")
    monkeypatch.setenv("DRIVEWAKE_NATS_SEED", "SUAhunter2")
    assert 0 == main(["check"])
    shown = capsys.readouterr().out
    assert "DRIVEWAKE_PAGE_SIZE=1000" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("arguments", [[], ["walk"], ["run", "fast"]])
def test_misuse_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Anything but run and check is misuse."""
    assert 2 == main(arguments)
    assert capsys.readouterr().err.startswith("usage: ")
