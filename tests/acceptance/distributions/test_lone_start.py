"""Each service starts alone: installed without the others, with its own command and settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivewake.lab.environments import Environment
from drivewake.lab.servers import answers_ok

pytestmark = pytest.mark.slow

MISSING = {
    "auth": {
        "AUTH_KEYRING",
        "GOOGLE_CLIENT_ID",
        "GOOGLE_CLIENT_SECRET",
        "OIDC_ISSUER",
        "POSTGRES_DSN",
        "PUBLIC_URL",
    },
    "webhook": {"CHANNEL_KEYS", "PUSH_ADDRESS"},
    "poller": set[str](),
    "normalizer": {"EVENT_KEY", "POSTGRES_DSN"},
}
"""What each service cannot do without, beside NATS, which has an address by default."""
MIGRATING = ("auth", "normalizer")


def _shown(output: str) -> dict[str, str]:
    """Return what `check` printed as NAME=value."""
    lines = [line.partition("=") for line in output.splitlines() if line.startswith("DRIVEWAKE_")]
    return {name: value for name, _, value in lines}


@pytest.mark.parametrize("service", MISSING)
def test_check_shows_the_settings_and_masks_secrets(
    service: str, alone: Callable[[str], Environment], given: Callable[..., Any]
) -> None:
    """Every variable that was given is shown with its value, and a secret as three stars."""
    told = given(service)
    done = alone(service).module(f"drivewake.{service}", "check", env=told.env)
    assert (0, "") == (done.returncode, done.stderr)
    shown = _shown(done.stdout)
    plain = {name: value for name, value in told.env.items() if not name.endswith("_FILE")}
    assert plain == {name: shown.get(name) for name in plain}
    assert dict.fromkeys(told.secrets, "***") == {name: shown.get(name) for name in told.secrets}
    assert [] == [name for name, value in told.secrets.items() if value in done.stdout]


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize("service", MISSING)
def test_wrong_settings_are_told_all_at_once(
    service: str, verb: str, alone: Callable[[str], Environment]
) -> None:
    """Exit code 2 and one line a problem, missing or wrong; no value repeated, no traceback."""
    wrong = {"DRIVEWAKE_HTTP_PORT": "no-port", "DRIVEWAKE_LOG_LEVEL": "loud-secret"}
    done = alone(service).module(f"drivewake.{service}", verb, env=wrong)
    assert (2, "") == (done.returncode, done.stdout)
    lines = done.stderr.splitlines()
    expected = sorted([*wrong, *(f"DRIVEWAKE_{name}" for name in MISSING[service])])
    assert expected == sorted(line.partition(":")[0] for line in lines)
    assert [] == [value for value in wrong.values() if value in done.stderr]


@pytest.mark.parametrize("service", MISSING)
def test_it_provisions_migrates_starts_is_ready_and_stops(
    service: str,
    alone: Callable[[str], Environment],
    given: Callable[..., Any],
    on_bus: Callable[[str], dict[str, str]],
    database_role: Callable[..., str],
    tmp_path: Path,
) -> None:
    """All of its life out of its own environment: ready by HTTP, then SIGTERM and exit code 0.

    Its NATS user and its database role may do no more than those of an installation. Migrating
    twice is migrating once. Google is away all the time.
    """
    environment = alone(service)
    done = environment.module("drivewake.runtime.provision", env=on_bus("provision"))
    assert 0 == done.returncode, done.stderr

    def migrate(dsn: str) -> None:
        for _ in range(2):
            env = {"DRIVEWAKE_POSTGRES_DSN": dsn}
            done = environment.module(f"drivewake.{service}", "migrate", env=env)
            assert 0 == done.returncode, done.stderr

    told = (
        given(service, database_role(service, migrate)) if service in MIGRATING else given(service)
    )
    ready = f"http://127.0.0.1:{told.env['DRIVEWAKE_HTTP_PORT']}/readyz"
    log_path = tmp_path / f"{service}.log"
    process = environment.process(
        f"drivewake.{service}", "run", log_path=log_path, env=told.env, ready=ready
    )
    try:
        process.start()
        assert answers_ok(ready)
        code = process.stop()
    finally:
        process.kill()
    log = log_path.read_text()
    assert 0 == code, log
    assert "Traceback" not in log
    assert [] == [name for name, value in told.secrets.items() if value in log]


@pytest.mark.parametrize("service", MISSING)
def test_its_console_script_is_the_same_command(
    service: str, alone: Callable[[str], Environment], given: Callable[..., Any]
) -> None:
    """`drivewake-SERVICE check` shows the settings, as `python -m drivewake.SERVICE check` does."""
    environment, told = alone(service), given(service)
    program = environment.program(f"drivewake-{service}")
    assert program.is_file()
    done = environment.run(program, "check", env=told.env)
    assert (0, "") == (done.returncode, done.stderr)
    assert told.env["DRIVEWAKE_HTTP_PORT"] == _shown(done.stdout)["DRIVEWAKE_HTTP_PORT"]
