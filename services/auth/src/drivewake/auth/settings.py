"""What auth is told from outside. See `drivewake.runtime.settings` for the rules."""

from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from drivewake.auth import scopes
from drivewake.auth.callers import Claims
from drivewake.auth.google import Endpoints
from drivewake.auth.issuer import LOOPBACK
from drivewake.auth.keyring import Keyring
from drivewake.auth.kms import AwsKms, readable
from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.settings import ServiceSettings

_URLS: Final = (
    "google_authorization_url",
    "google_token_url",
    "google_revoke_url",
    "google_jwks_url",
    "public_url",
    "oidc_issuer",
)
_MAYBE_URLS: Final = ("oidc_jwks_url", "auth_kms_endpoint")


class MigrateSettings(ServiceSettings):
    """What migrating needs: the database, as a role that may create schemas and roles."""

    postgres_dsn: SecretStr = Field(description="postgresql://user:password@host/database")


class KmsSettings(ServiceSettings):
    """The key management service that unwraps keys of the keyring, where they lie wrapped.

    - `auth_kms_key`: id, ARN or alias of the wrapping key at AWS KMS.
    - `auth_kms_region`, `auth_kms_endpoint`: where AWS's own configuration does not say it.
    """

    auth_kms_key: str = ""
    auth_kms_region: str = ""
    auth_kms_endpoint: str = ""

    def kms(self) -> AwsKms | None:
        """Return the service, None without one; raises ConfigurationError."""
        if not self.auth_kms_key:
            return None
        return AwsKms(
            self.auth_kms_key, region=self.auth_kms_region, endpoint=self.auth_kms_endpoint
        )


class Settings(MigrateSettings, KmsSettings):
    """The settings of auth.

    - `auth_keyring`: `id:base64` of 32 random bytes, or `id:aws-kms:base64` of a wrapped key;
      several separated by commas or lines; the first seals, all open.
    - `oidc_issuer`, `oidc_audience`: whose tokens callers of the HTTP API bring, and made for
      whom. `oidc_jwks_url`: its keys, where it has no discovery document.
    - `oidc_client_id`, `oidc_client_secret`: the issuer's client with which people sign in to
      the console; its redirect address is `{public_url}/console/callback`.
    - `oidc_roles_claim`, `oidc_tenant_claim`: where tokens say it, by name or dotted path;
      `oidc_role_prefix` stands before `admin`, `operator` and `reader` there.
    - `api_rate_per_s`, `api_burst`: how much one caller may ask for.
    - `public_url`: where browsers reach this service; Google must know `{public_url}/v1/callback`.
    - `allow_plain_http`: let secrets travel unencrypted to other machines; for closed
      networks of tests only. The loopback address may always be plain.
    - `auth_revoke_grace_s`: how long channels may take to stop before Google is told.
    """

    nats_user: str = "auth"
    auth_keyring: SecretStr = Field(description="id:base64 of 32 random bytes")
    auth_revoke_grace_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    auth_token_cache_size: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    oidc_issuer: str = Field(description="such as https://id.example.org/realms/main")
    oidc_audience: str = "drivewake"
    oidc_jwks_url: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_roles_claim: str = "roles"
    oidc_tenant_claim: str = "tenant"
    oidc_role_prefix: str = ""
    oidc_leeway_s: Annotated[float, Field(ge=0, le=300)] = 60.0
    api_rate_per_s: Annotated[float, Field(gt=0)] = 50.0
    api_burst: Annotated[int, Field(ge=1)] = 200
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
            Keyring.parse(readable(text))
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return text

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
        given = [name for name in _MAYBE_URLS if getattr(self, name)]
        for name in (*_URLS, *given):
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
    def origin(self) -> str:
        """What browsers send as the origin of our own pages."""
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def is_public_https(self) -> bool:
        """Whether browsers reach this service encrypted."""
        return self.public_url.startswith("https://")

    def claims(self, audience: str) -> Claims:
        """Return what tokens of callers must say that were made for this audience."""
        return Claims(
            issuer=self.oidc_issuer,
            audience=audience,
            roles=self.oidc_roles_claim,
            tenant=self.oidc_tenant_claim,
            role_prefix=self.oidc_role_prefix,
            leeway_s=self.oidc_leeway_s,
        )

    def endpoints(self) -> Endpoints:
        """Return where Google is."""
        return Endpoints(
            authorization_url=self.google_authorization_url,
            token_url=self.google_token_url,
            revoke_url=self.google_revoke_url,
            jwks_url=self.google_jwks_url,
            issuer=self.google_issuer,
        )
