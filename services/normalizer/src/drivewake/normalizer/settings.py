"""What the normalizer is told from outside. See `drivewake.runtime.settings` for the rules."""

from typing import Annotated, Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from drivewake.contracts.keys import MAX_SECRET_BYTES
from drivewake.eventstore.archive.files import checked_place
from drivewake.normalizer.limits import DeadRule
from drivewake.normalizer.writer import Bounds
from drivewake.runtime.blobs import checked_url
from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.keyring import Keyring
from drivewake.runtime.settings import ServiceSettings

MIN_SECRET_BYTES: Final = 16


class MigrateSettings(ServiceSettings):
    """What migrating needs: the database, as a role that may create schemas and roles."""

    postgres_dsn: SecretStr = Field(description="postgresql://user:password@host/database")


class Settings(MigrateSettings):
    """The settings of the normalizer.

    - `event_key`: 16 to 64 characters that key the ids of events. The same in all replicas
      and for ever: another key would let every fact be stored a second time.
    - `batch_…`: how many messages are handled at once, and how long that may take.
    - `dead_…`: when so much is undecodable that the service stops instead of burying it.
    - `lanes`: number of lanes of the event store; changing it is a migration.
    - `data_keyring`: under what the data keys are wrapped, written as `id:base64` of 32 random
      bytes, several separated by commas, the current one first. Without it events are stored
      as they are, and cannot be erased.
    - `archive_url`: where archived months are, so that rebuilds see them too.
    - `blobs_url`: where payloads are that are too large for a message (see the poller's).
    - `relay`, `projections`: whether this process also hosts them.
    """

    nats_user: str = "normalizer"
    event_key: SecretStr = Field(description="16 to 64 random characters, never changed")
    data_keyring: SecretStr | None = None
    blobs_url: str = ""
    batch_least: Annotated[int, Field(ge=1, le=5000)] = 50
    batch_most: Annotated[int, Field(ge=1, le=5000)] = 5000
    batch_most_bytes: Annotated[int, Field(ge=1 << 20, le=256 << 20)] = 16 << 20
    batch_target_s: Annotated[float, Field(gt=0, le=2)] = 0.2
    dead_ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    dead_window: Annotated[int, Field(ge=10, le=1_000_000)] = 1000
    dead_in_a_row: Annotated[int, Field(ge=1)] = 100
    lanes: Annotated[int, Field(ge=1, le=64)] = 1
    archive_url: str = ""
    relay: bool = True
    projections: bool = True

    @field_validator("event_key")
    @classmethod
    def _fits(cls, key: SecretStr) -> SecretStr:
        size = len(key.get_secret_value().encode())
        if not MIN_SECRET_BYTES <= size <= MAX_SECRET_BYTES:
            raise ValueError(f"must have {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes")
        return key

    @field_validator("blobs_url")
    @classmethod
    def _is_a_place(cls, url: str) -> str:
        return checked_url(url) if url else ""

    @field_validator("archive_url")
    @classmethod
    def _is_a_place_of_an_archive(cls, url: str) -> str:
        return checked_place(url) if url else ""

    @field_validator("data_keyring")
    @classmethod
    def _opens(cls, text: SecretStr | None) -> SecretStr | None:
        if text is not None:
            try:
                Keyring.parse(text)
            except ConfigurationError as error:
                raise ValueError(str(error)) from None
        return text

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.batch_least > self.batch_most:
            raise ValueError("DRIVEWAKE_BATCH_LEAST is above DRIVEWAKE_BATCH_MOST")
        if self.lanes > 1 and (self.relay or self.projections):
            raise ValueError(
                "relay and projections serve one lane: with more DRIVEWAKE_LANES switch off"
                " DRIVEWAKE_RELAY and DRIVEWAKE_PROJECTIONS"
            )
        return self

    def secret(self) -> bytes:
        """Return the key of event ids."""
        return self.event_key.get_secret_value().encode()

    def keyring(self) -> Keyring | None:
        """Return what the data keys are wrapped under, None if events are stored as they are."""
        return None if self.data_keyring is None else Keyring.parse(self.data_keyring)

    def bounds(self) -> Bounds:
        """Return how much is handled at once."""
        return Bounds(
            least=self.batch_least,
            most=self.batch_most,
            most_bytes=self.batch_most_bytes,
            target_s=self.batch_target_s,
        )

    def dead_rule(self) -> DeadRule:
        """Return when to stop."""
        return DeadRule(ratio=self.dead_ratio, window=self.dead_window, in_a_row=self.dead_in_a_row)
