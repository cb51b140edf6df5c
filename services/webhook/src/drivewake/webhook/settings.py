"""What webhook is told from outside."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from drivewake.runtime.http import Tls
from drivewake.runtime.settings import ServiceSettings
from drivewake.webhook.plan import Policy
from drivewake.webhook.source import networks
from drivewake.webhook.tokens import Keyring


class WebhookSettings(ServiceSettings):
    """Settings of webhook, beside those of every service."""

    nats_user: str = "webhook"
    push_address: str = Field(description="where Google reaches this service, https://HOST")
    allow_insecure_push: bool = False
    channel_keys: SecretStr = Field(description="id:base64[,id:base64…], the current key first")
    google_api_url: str = "https://www.googleapis.com"
    google_debug: bool = False
    google_jwks_url: str = "https://www.googleapis.com/oauth2/v3/certs"
    workspace_push_account: str = Field(
        default="", description="service account whose Pub/Sub pushes are taken; empty: none"
    )
    channel_lifetime_s: float = Field(default=604_800.0, ge=5.0, le=604_800.0)
    tls_certificate: Path | None = Field(default=None, description="PEM chain, to end TLS here")
    tls_key: Path | None = None
    trusted_proxies: str = Field(default="", description="addresses or networks, with commas")

    @field_validator("channel_keys")
    @classmethod
    def _readable(cls, value: SecretStr) -> SecretStr:
        Keyring.parse(value.get_secret_value())
        return value

    @field_validator("workspace_push_account")
    @classmethod
    def _account(cls, value: str) -> str:
        name, _, domain = value.partition("@")
        if value and not (name and domain and value.isprintable() and " " not in value):
            raise ValueError("must be the e-mail address of a service account")
        return value

    @field_validator("push_address", "google_api_url", "google_jwks_url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise ValueError("must be http(s)://HOST[:PORT][/PATH]")
        if parts.query or parts.fragment:
            raise ValueError("must have no query and no fragment")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _secure(self) -> Self:
        if not self.push_address.startswith("https://") and not self.allow_insecure_push:
            raise ValueError(
                "DRIVEWAKE_PUSH_ADDRESS must be https (Google pushes nowhere else); "
                "a simulator may get DRIVEWAKE_ALLOW_INSECURE_PUSH=true"
            )
        return self

    @model_validator(mode="after")
    def _proven(self) -> Self:
        if not self.google_jwks_url.startswith("https://") and not self.allow_insecure_push:
            raise ValueError("DRIVEWAKE_GOOGLE_JWKS_URL must be https: who reads it is believed")
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        networks(value)
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("DRIVEWAKE_TLS_CERTIFICATE and DRIVEWAKE_TLS_KEY belong together")
        return self

    def tls(self) -> Tls | None:
        """Return certificate and key, None where a proxy ends TLS."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        return Tls(certificate=self.tls_certificate, key=self.tls_key)

    def keyring(self) -> Keyring:
        """Return the keys of channel tokens."""
        return Keyring.parse(self.channel_keys.get_secret_value())

    def policy(self) -> Policy:
        """Return how channels are kept: of short ones the overlap is short too."""
        life_s = self.channel_lifetime_s
        short_s = min(60.0, life_s * 0.05)
        return Policy(lifetime_s=life_s, overlap_s=short_s, sync_s=120.0, opening_s=60.0)
