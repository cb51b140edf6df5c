"""Settings of a service: environment variables, or files that they point to.

Every field `name` is read from `DRIVEWAKE_NAME`, or from the file that
`DRIVEWAKE_NAME_FILE` names (the way secrets are mounted); naming both is an error.
A wrong setting stops the start with every problem at once, and no message repeats a value.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import SecretBytes, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from drivewake.runtime.errors import ConfigurationError

PREFIX: Final = "DRIVEWAKE_"
FILE_SUFFIX: Final = "_FILE"
MAX_FILE_BYTES: Final = 65_536
"""A setting is a word, a key or a certificate: whatever is larger is the wrong file."""

MASK: Final = "***"
_URL_SECRET: Final = re.compile(r"(\w://[^/@:\s]*:)[^@\s]*(@)")

S = TypeVar("S", bound=BaseSettings)


def variable(field: str) -> str:
    """Return the environment variable that sets a field."""
    return f"{PREFIX}{field.upper()}"


class FileSource(PydanticBaseSettingsSource):
    """Reads a field from the file named by its variable with `_FILE` behind.

    The text is taken without trailing line ends. Problems are collected by field, not
    raised: `load` tells them together with those of the other fields.
    """

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._environ = environ
        self.problems: dict[str, str] = {}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the file's text for a field, None without one."""
        name = variable(field_name) + FILE_SUFFIX
        path = self._environ.get(name)
        if not path:
            return None, field_name, False
        if self._environ.get(variable(field_name)):
            self.problems[field_name] = f"{name}: {variable(field_name)} is set too; keep one."
            return None, field_name, False
        try:
            return self._read(path), field_name, self.field_is_complex(field)
        except OSError as error:
            problem = f"cannot read the file ({error.strerror}); give the path of a readable one."
        except UnicodeDecodeError:
            problem = "the file is not UTF-8; give a text file."
        except ValueError as error:
            problem = f"{error}; give the file that holds the setting alone."
        self.problems[field_name] = f"{name}: {problem}"
        return None, field_name, False

    @staticmethod
    def _read(path: str) -> str:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise ValueError(f"the file is over {MAX_FILE_BYTES} bytes")
        return raw.decode().rstrip("\r\n")

    def __call__(self) -> dict[str, Any]:
        """Return every field that a file gives."""
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, is_complex = self.get_field_value(field, name)
            if value is not None:
                found[key] = self.prepare_field_value(name, field, value, is_complex)
        return found


class ServiceSettings(BaseSettings):
    """What every service is told from outside. A service adds its own fields in a subclass.

    - `nats_seed`: NKEY seed of the service's NATS user; without one it connects without
      credentials. `nats_user` names that user: its inbox prefix follows from it.
    - `nats_prefix`: put before subjects, streams and buckets, so that installations (or
      tests) can share a server.
    - `http_port`: 0 lets the system choose.
    - `shutdown_s`: how long tasks may drain after SIGTERM before they are cancelled.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        # Done by `_decoded`, as an error of its field beside all others.
        enable_decoding=False,
    )

    nats_url: str = "nats://127.0.0.1:4222"
    nats_seed: SecretStr | None = None
    nats_user: str = ""
    nats_prefix: str = ""
    http_host: str = "127.0.0.1"
    http_port: int = 0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    shutdown_s: float = 10.0
    otlp_endpoint: str | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _decoded(cls, value: object, info: ValidationInfo) -> object:
        """Read fields of several values (tuples, mappings) as JSON."""
        field = cls.model_fields[str(info.field_name)]
        source = FileSource(cls, {})
        if not isinstance(value, str) or not source.field_is_complex(field):
            return value
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("not valid JSON; this field takes JSON") from None


def load(settings_cls: type[S], environ: Mapping[str, str] | None = None) -> S:
    """Return the settings, or raise ConfigurationError with every problem, one a line.

    A line names the variable and what to do; it never repeats a value, which may be secret.
    """
    given = os.environ if environ is None else environ
    files = FileSource(settings_cls, given)
    values = files()
    problems = dict(files.problems)
    try:
        settings = settings_cls(**values)
    except ValidationError as error:
        for name, line in _problems(settings_cls, error):
            problems.setdefault(name, line)
        settings = None
    if problems or settings is None:
        raise ConfigurationError("\n".join(problems[name] for name in sorted(problems)))
    return settings


def _problems(settings_cls: type[BaseSettings], error: ValidationError) -> list[tuple[str, str]]:
    """Return (field, line) for each thing that pydantic found, without the values."""
    lines = []
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        field = str(found["loc"][0]) if found["loc"] else ""
        if found["type"] == "missing":
            about = settings_cls.model_fields[field].description
            hint = f" ({about})" if about else ""
            lines.append(
                (field, f"{variable(field)}: is required{hint}; set it, or {_file(field)}.")
            )
        elif field:
            lines.append((field, f"{variable(field)}: {_lower(found['msg'])}."))
        else:
            lines.append(("", _lower(found["msg"])))
    return lines


def _file(field: str) -> str:
    return f"{variable(field)}{FILE_SUFFIX} to a file that holds it"


def _lower(message: str) -> str:
    """Return pydantic's sentence, or a validator's, as the second half of ours."""
    text = message.removeprefix("Value error, ")
    names_something = text[:2].isupper()  # a variable, an abbreviation
    return text if names_something else text[:1].lower() + text[1:]


def masked(settings: BaseSettings) -> dict[str, str]:
    """Return what is set, by environment variable, fit for a person's eyes.

    Secrets are masked, and so are passwords inside URLs.
    """
    return {variable(name): _shown(value) for name, value in settings}


def _shown(value: object) -> str:
    if isinstance(value, SecretStr | SecretBytes):
        return MASK if value.get_secret_value() else ""
    if value is None:
        return ""
    return _URL_SECRET.sub(rf"\1{MASK}\2", str(value))
