"""One session with the event store's database for one verb; every failure is one line."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

from pydantic import Field, SecretStr, field_validator

from drivewake.cli.session import EXIT_MISUSED, EXIT_UNREACHABLE, Failure
from drivewake.eventstore.archive.files import Files, checked_place, open_files
from drivewake.eventstore.connections import READER, Connection, connect
from drivewake.eventstore.errors import StoreMismatchError, StoreUnavailableError
from drivewake.runtime.errors import ConfigurationError, DrivewakeError
from drivewake.runtime.settings import ServiceSettings, load

KEEPER: Final = "drivewake_keeper"


class KeeperSettings(ServiceSettings):
    """What keeping the store needs: its database, as a member of `drivewake_keeper`."""

    nats_user: str = "operator"
    log_level: str = "error"  # type: ignore[assignment] # the command speaks for itself
    postgres_dsn: SecretStr = Field(description="postgresql://user:password@host/database")
    archive_url: str = Field("", description="s3://bucket/prefix, or file:///folder")

    @field_validator("archive_url")
    @classmethod
    def _is_a_place(cls, url: str) -> str:
        return checked_place(url) if url else ""


S = TypeVar("S", bound=KeeperSettings)


def settings(kind: type[S]) -> S:
    """Return the settings; raises Failure with every problem, one a line."""
    try:
        return load(kind)
    except ConfigurationError as error:
        raise Failure(str(error), EXIT_MISUSED) from None


def archive(told: KeeperSettings) -> Files:
    """Return the place of the archive; raises Failure if none is set, or it cannot be one."""
    if not told.archive_url:
        raise Failure(
            "DRIVEWAKE_ARCHIVE_URL is required: where months are kept, as s3://bucket/prefix"
            " or file:///folder",
            EXIT_MISUSED,
        )
    try:
        return open_files(told.archive_url)
    except ConfigurationError as error:
        raise Failure(str(error), EXIT_MISUSED) from None


@asynccontextmanager
async def keeper(told: KeeperSettings, role: str = KEEPER) -> AsyncIterator[Connection]:
    """Connect for the length of the block; raises Failure instead of the store's errors.

    Where rights are missing it names the role that the user needs.
    """
    who = f"the user of DRIVEWAKE_POSTGRES_DSN needs the role {role}"
    try:
        session = await connect(told.postgres_dsn.get_secret_value(), {**READER, **_PATIENT})
    except StoreMismatchError as error:
        raise Failure(f"{error}: {who}") from None
    except StoreUnavailableError as error:
        raise Failure(f"cannot reach Postgres: {error}", EXIT_UNREACHABLE) from None
    try:
        yield session
    except StoreMismatchError as error:
        raise Failure(f"{error}: {who}, and all migrations") from None
    except DrivewakeError as error:
        raise Failure(str(error)) from None
    finally:
        with suppress(Exception):
            await session.close(timeout=1.0)
        session.terminate()


_PATIENT: Final = {"application_name": "drivewake-keeper"}
