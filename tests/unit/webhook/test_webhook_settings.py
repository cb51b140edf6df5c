"""Settings: what is refused, and that nothing secret is repeated."""

import base64

import pytest

from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.settings import load, masked
from drivewake.webhook.settings import WebhookSettings

KEY = base64.b64encode(b"k" * 32).decode()


def made(monkeypatch: pytest.MonkeyPatch, **settings: str) -> WebhookSettings:
    """Load settings from an environment."""
    given = {"push_address": "https://hooks.example.com/", "channel_keys": f"k1:{KEY}", **settings}
    for name, value in given.items():
        monkeypatch.setenv(f"DRIVEWAKE_{name.upper()}", value)
    return load(WebhookSettings)


def test_the_address_is_a_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slash at its end is no part of it."""
    assert "https://hooks.example.com" == made(monkeypatch).push_address


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"push_address": "http://hooks.example.com"}, "must be https"),
        ({"push_address": "hooks.example.com"}, "DRIVEWAKE_PUSH_ADDRESS"),
        ({"push_address": "https://u:p@hooks.example.com"}, "DRIVEWAKE_PUSH_ADDRESS"),
        ({"push_address": "https://hooks.example.com/?x"}, "DRIVEWAKE_PUSH_ADDRESS"),
        ({"google_api_url": "ftp://x"}, "DRIVEWAKE_GOOGLE_API_URL"),
        ({"channel_keys": "k1:c2VjcmV0LXNlY3JldA=="}, "DRIVEWAKE_CHANNEL_KEYS"),
        ({"channel_lifetime_s": "604801"}, "DRIVEWAKE_CHANNEL_LIFETIME_S"),
    ],
)
def test_wrong_settings_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], problem: str
) -> None:
    """Each problem names its variable and repeats no value."""
    with pytest.raises(ConfigurationError, match=problem) as refused:
        made(monkeypatch, **settings)

    assert "c2VjcmV0" not in str(refused.value)


def test_a_simulator_may_be_pushed_to_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only if that is said."""
    settings = made(monkeypatch, push_address="http://127.0.0.1:1", allow_insecure_push="true")

    assert "http://127.0.0.1:1" == settings.push_address


def test_keys_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` shows settings, not secrets."""
    settings = made(monkeypatch)

    assert KEY not in str(masked(settings))
    assert KEY not in repr(settings)
    assert "k1" == settings.keyring().current
