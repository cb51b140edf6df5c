"""The address of Google's consent page, and what proves that an answer belongs to it. Pure.

Sources: RFC 7636 (PKCE), https://developers.google.com/identity/protocols/oauth2/web-server.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec
from pydantic import SecretStr

from drivewake.auth import scopes
from drivewake.runtime.errors import TamperedError

STATE: Final = "sign-in-state"
LINK: Final = "connect-link"
_SIGNED: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_CODE: Final = re.compile(r"[a-z_]{1,64}")


class Proof(msgspec.Struct, frozen=True):
    """What only this service knows of a sign-in: PKCE verifier and id_token nonce."""

    verifier: SecretStr
    nonce: SecretStr

    @classmethod
    def fresh(cls) -> "Proof":
        """Return a new random proof."""
        return cls(SecretStr(secrets.token_urlsafe(48)), SecretStr(secrets.token_urlsafe(24)))

    @classmethod
    def parse(cls, text: SecretStr) -> "Proof":
        """Return the proof that `dump` wrote."""
        verifier, separator, nonce = text.get_secret_value().partition(" ")
        if not separator:
            raise TamperedError
        return cls(SecretStr(verifier), SecretStr(nonce))

    def dump(self) -> SecretStr:
        """Return both as one secret, to be sealed."""
        return SecretStr(f"{self.verifier.get_secret_value()} {self.nonce.get_secret_value()}")


def challenge(verifier: SecretStr) -> str:
    """Return the S256 challenge of a verifier."""
    digest = hashlib.sha256(verifier.get_secret_value().encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def consent_url(
    authorization_url: str,
    *,
    client_id: str,
    redirect_uri: str,
    wanted: Sequence[str],
    state: str,
    proof: Proof,
    login_hint: str = "",
) -> str:
    """Return where to send the browser."""
    query = {
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": " ".join((*scopes.IDENTITY, *wanted)),
        "state": state,
        "nonce": proof.nonce.get_secret_value(),
        "code_challenge": challenge(proof.verifier),
        "code_challenge_method": "S256",
        # A refresh token comes with offline access, and again only if consent is asked anew.
        "access_type": "offline",
        "prompt": "consent",
        "include_granted_scopes": "true",
    }
    if login_hint:
        query["login_hint"] = login_hint
    separator = "&" if urlsplit(authorization_url).query else "?"
    return f"{authorization_url}{separator}{urlencode(query)}"


def is_signed_text(text: str) -> bool:
    """Return whether a text can be one of our signed ones at all."""
    return _SIGNED.fullmatch(text) is not None


def page_of(error: str) -> str:
    """Return the page that explains an error which Google sent the browser back with."""
    if error == "access_denied":
        return "cancelled"
    if error in {"admin_policy_enforced", "org_internal"}:
        return "blocked"
    return "refused"


def safe_code(error: str) -> str:
    """Return the error code if it can be one, else nothing: it comes from the address bar."""
    return error if _CODE.fullmatch(error) else ""


def cookie_name(sign_in: str) -> str:
    """Return the cookie of one sign-in: several tabs do not disturb each other."""
    return f"drivewake-signin-{hashlib.sha256(sign_in.encode()).hexdigest()[:12]}"
