"""What auth is told from outside. See `drivewake.runtime.settings` for the rules."""

from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from drivewake.auth import scopes
from drivewake.auth.google import Endpoints
from drivewake.auth.keyring import Keyring
from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.settings import ServiceSettings

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
MIN_OPERATOR_TOKEN: Final = 20
_URLS: Final = (
    "google_authorization_url",
    "google_token_url",
    "google_revoke_url",
    "google_jwks_url",
    "public_url",
)


class MigrateSettings(ServiceSettings):
    """What migrating needs: the database, as a role that may create schemas and roles."""

    postgres_dsn: SecretStr = Field(description="postgresql://user:password@host/database")


class Settings(MigrateSettings):
    """The settings of auth.

    - `auth_keyring`: `id:base64` of 32 random bytes, several separated by commas or lines;
      the first seals, all open.
    - `auth_operator_token`: the bearer token of the HTTP API.
    - `public_url`: where browsers reach this service; Google must know `{public_url}/v1/callback`.
    - `allow_plain_http`: let secrets travel unencrypted to other machines; for closed
      networks of tests only. The loopback address may always be plain.
    - `auth_revoke_grace_s`: how long channels may take to stop before Google is told.
    """

    nats_user: str = "auth"
    auth_keyring: SecretStr = Field(description="id:base64 of 32 random bytes")
    auth_operator_token: SecretStr = Field(description="at least 20 random characters")
    auth_revoke_grace_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    auth_token_cache_size: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    public_url: str = Field(description="such as https://drivewake.example.org")
    allow_plain_http: bool = False

    google_client_id: str = Field(description="the OAuth client of your Google project")
    google_client_secret: SecretStr = Field(description="its secret")
    google_scopes: str = (
        "https://www.googleapis.com/auth/drive.readonly"
        " https://www.googleapis.com/auth/drive.activity.readonly"
    )
    google_issuer: str = "https://accounts.google.com"
    google_authorization_url: str = "https://accounts.google.com/o/oauth2/v2/auth"
    google_token_url: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
    google_revoke_url: str = "https://oauth2.googleapis.com/revoke"
    google_jwks_url: str = "https://www.googleapis.com/oauth2/v3/certs"

    @field_validator("auth_keyring")
    @classmethod
    def _opens(cls, text: SecretStr) -> SecretStr:
        try:
            Keyring.parse(text)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return text

    @field_validator("auth_operator_token")
    @classmethod
    def _is_long(cls, token: SecretStr) -> SecretStr:
        if len(token.get_secret_value()) < MIN_OPERATOR_TOKEN:
            raise ValueError(f"at least {MIN_OPERATOR_TOKEN} characters, please, random ones")
        return token

    @field_validator("google_client_secret")
    @classmethod
    def _is_there(cls, secret: SecretStr) -> SecretStr:
        if not secret.get_secret_value():
            raise ValueError("must not be empty")
        return secret

    @field_validator("google_scopes")
    @classmethod
    def _names_scopes(cls, text: str) -> str:
        if not text.split():
            raise ValueError("name at least one scope")
        return text

    @field_validator("public_url")
    @classmethod
    def _without_slash(cls, url: str) -> str:
        return url.rstrip("/")

    @model_validator(mode="after")
    def _is_encrypted(self) -> Self:
        """Refuse addresses to which secrets would travel unencrypted."""
        for name in _URLS:
            parts = urlsplit(getattr(self, name))
            plain_is_fine = self.allow_plain_http or parts.hostname in LOOPBACK
            schemes = {"https", "http"} if plain_is_fine else {"https"}
            if parts.scheme not in schemes or not parts.hostname or parts.fragment:
                raise ValueError(f"give an https:// address in DRIVEWAKE_{name.upper()}")
        return self

    @property
    def scopes(self) -> tuple[str, ...]:
        """Drive's scopes that every connection must have."""
        return scopes.parsed(self.google_scopes)

    @property
    def redirect_uri(self) -> str:
        """Where Google sends browsers back to."""
        return f"{self.public_url}/v1/callback"

    @property
    def is_public_https(self) -> bool:
        """Whether browsers reach this service encrypted."""
        return self.public_url.startswith("https://")

    def endpoints(self) -> Endpoints:
        """Return where Google is."""
        return Endpoints(
            authorization_url=self.google_authorization_url,
            token_url=self.google_token_url,
            revoke_url=self.google_revoke_url,
            jwks_url=self.google_jwks_url,
            issuer=self.google_issuer,
        )
