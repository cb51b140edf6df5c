"""Who calls the HTTP API, proved by a token that the installation's OIDC issuer signed.

Source: RFC 9068 (JWT access tokens), RFC 8725 (what goes wrong with JWTs).
"""

import hmac
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import jwt
import msgspec

from drivewake.auth.errors import UntrustedTokenError
from drivewake.auth.jwks import KeySet

Role = Literal["reader", "operator", "admin"]
RANK: Final[Mapping[str, int]] = {"reader": 1, "operator": 2, "admin": 3}
"""Each role may do what those before it may."""

ALL_TENANTS: Final = "*"
"""The tenant claim of who runs the installation."""

MAX_TOKEN: Final = 8192
MAX_SUBJECT: Final = 255
MAX_ROLES: Final = 100
TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_TENANT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}|\*")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: the issuer's own id of it, its highest role, and its tenant (None: all)."""

    subject: str
    role: Role
    tenant: str | None

    @property
    def name(self) -> str:
        """How records name the caller."""
        return f"caller:{self.subject}"

    def may(self, role: Role) -> bool:
        """Return whether the caller may do what `role` may."""
        return RANK[self.role] >= RANK[role]

    def sees(self, tenant: str) -> bool:
        """Return whether a tenant's things exist for the caller."""
        return self.tenant is None or self.tenant == tenant


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """Where the issuer's tokens say what they say.

    `roles` and `tenant` name a claim, or with dots a path into one (`realm_access.roles`).
    A role counts under `role_prefix` alone: `drivewake-` makes admin of `drivewake-admin`.
    """

    issuer: str
    audience: str
    roles: str = "roles"
    tenant: str = "tenant"
    role_prefix: str = ""
    leeway_s: float = 60.0


class OidcCallers:
    """Implements the port Authenticator: verifies tokens of one issuer for one audience."""

    def __init__(
        self, claims: Claims, keys: KeySet, now_s: Callable[[], float] = time.time
    ) -> None:
        self._claims = claims
        self._keys = keys
        self._now_s = now_s

    async def authenticate(self, bearer: str, nonce: str = "") -> Caller:
        """Return who brings this token; raises UntrustedTokenError, IssuerUnavailableError.

        With `nonce`, it is an id_token that must hold it.
        """
        if len(bearer) > MAX_TOKEN or not bearer.isascii():
            raise UntrustedTokenError("the token is no signed token")
        key = await self._keys.key_of(bearer)
        try:
            if str(jwt.get_unverified_header(bearer).get("typ", "jwt")).lower() not in TYPES:
                raise UntrustedTokenError("the token was made for something else")
            claims: dict[str, Any] = jwt.decode(
                bearer,
                key,
                algorithms=[key.algorithm_name],
                audience=self._claims.audience,
                issuer=self._claims.issuer,
                options={
                    "require": ["iss", "aud", "exp", "sub"],
                    # Judged below, by a clock that is passed in.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as error:
            raise UntrustedTokenError(f"the token is refused: {type(error).__name__}") from None
        check_times(claims, self._now_s(), self._claims.leeway_s)
        if nonce and not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise UntrustedTokenError("the token is not for this sign-in")
        return caller_of(claims, self._claims)


def check_times(claims: Mapping[str, Any], now_s: float, leeway_s: float) -> None:
    """Raise UntrustedTokenError unless the token holds now, give or take `leeway_s`."""
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
    if any(isinstance(at, bool) or not isinstance(at, int | float) for at in times.values()):
        raise UntrustedTokenError("the token's times are no numbers")
    if not times["exp"] > now_s - leeway_s:
        raise UntrustedTokenError("the token has expired")
    if any(at > now_s + leeway_s for name, at in times.items() if name != "exp"):
        raise UntrustedTokenError("the token is not valid yet; do the clocks agree?")


def caller_of(claims: Mapping[str, Any], where: Claims) -> Caller:
    """Return whom verified claims name; UntrustedTokenError without a role or a tenant."""
    subject, tenant = claims.get("sub"), _at(claims, where.tenant)
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        raise UntrustedTokenError("the token names nobody")
    if not subject.isprintable():
        raise UntrustedTokenError("the token names nobody")
    if not isinstance(tenant, str) or _TENANT.fullmatch(tenant) is None:
        raise UntrustedTokenError(f"the token names no tenant in its claim {where.tenant!r}")
    given = _at(claims, where.roles)
    listed = [given] if isinstance(given, str) else given
    found: list[Role] = [
        role
        for role in ("reader", "operator", "admin")
        if isinstance(listed, list) and f"{where.role_prefix}{role}" in listed[:MAX_ROLES]
    ]
    if not found:
        raise UntrustedTokenError(f"the token names no role in its claim {where.roles!r}")
    return Caller(subject=subject, role=found[-1], tenant=None if tenant == ALL_TENANTS else tenant)


def _at(claims: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 - whatever a claim holds
    """Return a claim by its name, else by a path of names."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found
