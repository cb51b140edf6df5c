"""Service accounts: their keys, domain-wide delegation, and tokens for signed assertions.

RFC 7523's JWT-bearer grant as Google has it: `iss` is the service account, `sub` the person
it acts for (only with delegation in that person's domain), `aud` the token endpoint, `exp`
at most an hour ahead. Pure; the clock is passed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from drivewake.lab.google.errors import OAuthError
from drivewake.lab.google.grants import AccessToken, Client, Grants
from drivewake.lab.google.model import User

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCES = frozenset(
    {
        "https://oauth2.googleapis.com/token",
        "https://www.googleapis.com/oauth2/v4/token",
        "https://accounts.google.com/o/oauth2/token",
    }
)
_MAX_LIFE_S = 3_600
_LEEWAY_S = 300
_NS = 1_000_000_000
_TIMEFRAME = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your iat and exp values in the JWT claim."
)
_UNAUTHORIZED = (
    "Client is unauthorized to retrieve access tokens using this method, or client not "
    "authorized for any of the scopes requested."
)


@dataclass(slots=True, eq=False)
class ServiceAccount:
    """An account of a project. `delegated` are the scopes it has in each domain."""

    email: str
    unique_id: str
    project: str
    key_id: str
    public_key: rsa.RSAPublicKey
    delegated: dict[str, frozenset[str]] = field(default_factory=dict)
    disabled: bool = False


class ServiceAccounts:
    """All service accounts, by address."""

    def __init__(self, grants: Grants, users: Mapping[str, User]) -> None:
        self._grants = grants
        self._users = users
        self.accounts: dict[str, ServiceAccount] = {}

    def token(self, assertion: str, audiences: frozenset[str], now_ns: int) -> AccessToken:
        """Return an access token for a signed assertion.

        Raises OAuthError: invalid_grant, invalid_scope, unauthorized_client (401).
        """
        account, claims = self._verified(assertion, audiences, now_ns // _NS)
        scopes = tuple(dict.fromkeys(str(claims.get("scope", "")).split()))
        if not scopes:
            text = "Invalid OAuth scope or ID token audience provided."
            raise OAuthError("invalid_scope", text)
        subject = str(claims.get("sub") or account.email).lower()
        if subject != account.email:
            self._check_delegation(account, subject, scopes)
        client = Client(account.unique_id, "", account.project)
        return self._grants.issue(client, subject, scopes, now_ns)

    def _verified(
        self, assertion: str, audiences: frozenset[str], now_s: int
    ) -> tuple[ServiceAccount, dict[str, Any]]:
        """Return who signed and what was claimed."""
        try:
            claims = jwt.decode(assertion, options={"verify_signature": False})
            header = jwt.get_unverified_header(assertion)
        except jwt.PyJWTError:
            _refuse("Bad Request")
        account = self.accounts.get(str(claims.get("iss", "")).lower())
        if account is None:
            _refuse("Invalid grant: account not found")
        if account.disabled:
            _refuse("Service account is disabled.")
        if header.get("kid") not in {None, account.key_id}:
            _refuse("Invalid JWT Signature.")
        try:
            jwt.decode(
                assertion,
                account.public_key,
                ["RS256"],
                options={
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.PyJWTError:
            _refuse("Invalid JWT Signature.")
        if claims.get("aud") not in audiences:
            _refuse("Failed audience check. The right audience is the token endpoint.")
        issued_s, expires_s = claims.get("iat"), claims.get("exp")
        if not isinstance(issued_s, int | float) or not isinstance(expires_s, int | float):
            _refuse(_TIMEFRAME)
        too_long = expires_s - issued_s > _MAX_LIFE_S
        if too_long or issued_s > now_s + _LEEWAY_S or expires_s <= now_s:
            _refuse(_TIMEFRAME)
        return account, claims

    def _check_delegation(
        self, account: ServiceAccount, subject: str, scopes: tuple[str, ...]
    ) -> None:
        allowed = account.delegated.get(subject.rpartition("@")[2], frozenset())
        if not set(scopes) <= allowed:
            raise OAuthError("unauthorized_client", _UNAUTHORIZED, 401)
        if subject not in self._users or subject in self.accounts:
            _refuse("Invalid email or User ID")


def _refuse(description: str) -> NoReturn:
    raise OAuthError("invalid_grant", description)
