"""Settings come from the environment or from files, and say everything wrong at once."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.settings import MAX_FILE_BYTES, ServiceSettings, load, masked

SECRET = "SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY"


class Sample(ServiceSettings):
    """Settings of a service with needs."""

    database_url: SecretStr = Field(description="where events are stored")
    workers: int = Field(default=4, ge=1)
    folders: tuple[str, ...] = ()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start from an environment that sets nothing of ours."""
    for name in ("DATABASE_URL", "NATS_URL", "NATS_SEED", "WORKERS", "FOLDERS"):
        monkeypatch.delenv(f"DRIVEWAKE_{name}", raising=False)


def problems(monkeypatch: pytest.MonkeyPatch, **variables: object) -> list[str]:
    """Return the lines of the error that loading with these variables gives."""
    for name, value in variables.items():
        monkeypatch.setenv(f"DRIVEWAKE_{name}", str(value))
    with pytest.raises(ConfigurationError) as caught:
        load(Sample)
    return str(caught.value).splitlines()


def test_defaults_stand_where_nothing_is_set() -> None:
    """A service without needs of its own starts with an empty environment."""
    settings = load(ServiceSettings)
    assert ("nats://127.0.0.1:4222", 10.0, "auto", None) == (
        settings.nats_url,
        settings.shutdown_s,
        settings.log_format,
        settings.nats_seed,
    )


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables carry the prefix; unknown ones are ignored; empty ones are as if unset."""
    monkeypatch.setenv("DRIVEWAKE_DATABASE_URL", "postgresql://db")
    monkeypatch.setenv("DRIVEWAKE_WORKERS", "")
    monkeypatch.setenv("DRIVEWAKE_UNKNOWN", "x")
    monkeypatch.setenv("DRIVEWAKE_FOLDERS", '["a", "b"]')
    settings = load(Sample)
    assert ("postgresql://db", 4, ("a", "b")) == (
        settings.database_url.get_secret_value(),
        settings.workers,
        settings.folders,
    )


def test_any_field_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`_FILE` names a file with the value; the line end that editors add does not count."""
    for name, text in (("DATABASE_URL", "postgresql://db\n"), ("WORKERS", "7\r\n")):
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(f"DRIVEWAKE_{name}_FILE", str(tmp_path / name))
    (tmp_path / "folders").write_text('["a"]')
    monkeypatch.setenv("DRIVEWAKE_FOLDERS_FILE", str(tmp_path / "folders"))
    settings = load(Sample)
    assert ("postgresql://db", 7, ("a",)) == (
        settings.database_url.get_secret_value(),
        settings.workers,
        settings.folders,
    )


def test_everything_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line for each problem, each with the variable and what to do."""
    lines = problems(
        monkeypatch,
        WORKERS="0",
        HTTP_PORT="many",
        LOG_LEVEL="loud",
        NATS_SEED_FILE=tmp_path / "absent",
    )
    absent = "cannot read the file (No such file or directory); give the path of a readable one."
    number = "input should be a valid integer, unable to parse string as an integer."
    needed = "is required (where events are stored); set it, or DRIVEWAKE_DATABASE_URL_FILE"
    assert [
        f"DRIVEWAKE_DATABASE_URL: {needed} to a file that holds it.",
        f"DRIVEWAKE_HTTP_PORT: {number}",
        "DRIVEWAKE_LOG_LEVEL: input should be 'debug', 'info', 'warning' or 'error'.",
        f"DRIVEWAKE_NATS_SEED_FILE: {absent}",
        "DRIVEWAKE_WORKERS: input should be greater than or equal to 1.",
    ] == lines


def test_a_value_and_a_file_contradict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Setting both is an error: one of them would be ignored in silence."""
    (tmp_path / "seed").write_text("x")
    lines = problems(
        monkeypatch, DATABASE_URL="x", NATS_SEED=SECRET, NATS_SEED_FILE=tmp_path / "seed"
    )
    assert ["DRIVEWAKE_NATS_SEED_FILE: DRIVEWAKE_NATS_SEED is set too; keep one."] == lines


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (MAX_FILE_BYTES + 1)])
def test_a_file_that_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    """A binary or a huge file is named as the problem, not read to its end."""
    (tmp_path / "wrong").write_bytes(content)
    (line,) = problems(monkeypatch, DATABASE_URL_FILE=tmp_path / "wrong")
    assert line.startswith("DRIVEWAKE_DATABASE_URL_FILE: the file is ")


def test_a_list_must_be_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A field of several values says that it wants JSON, from either source."""
    assert ["DRIVEWAKE_FOLDERS: not valid JSON; this field takes JSON."] == problems(
        monkeypatch, DATABASE_URL="x", FOLDERS="a,b"
    )
    monkeypatch.delenv("DRIVEWAKE_FOLDERS")
    (tmp_path / "folders").write_text("a,b")
    assert ["DRIVEWAKE_FOLDERS: not valid JSON; this field takes JSON."] == problems(
        monkeypatch, FOLDERS_FILE=tmp_path / "folders"
    )


def test_no_message_repeats_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong, what was given is not shown."""
    text = "\n".join(problems(monkeypatch, WORKERS=SECRET, HTTP_PORT=SECRET, FOLDERS=SECRET))
    assert SECRET not in text


def test_masked_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `check` prints names every variable; secrets and passwords in URLs are stars."""
    monkeypatch.setenv("DRIVEWAKE_DATABASE_URL", "postgresql://me:hidden@db/x")
    monkeypatch.setenv("DRIVEWAKE_NATS_URL", "nats://user:hidden@broker:4222")
    shown = masked(load(Sample))
    assert ("***", "nats://user:***@broker:4222", "4", "") == (
        shown["DRIVEWAKE_DATABASE_URL"],
        shown["DRIVEWAKE_NATS_URL"],
        shown["DRIVEWAKE_WORKERS"],
        shown["DRIVEWAKE_NATS_SEED"],
    )
    assert "hidden" not in str(shown)
    assert "hidden" not in repr(load(Sample).database_url)


def test_settings_do_not_change() -> None:
    """Settings are frozen: what was checked at the start holds."""
    settings = load(ServiceSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.http_port = 1
