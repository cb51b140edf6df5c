"""Who consented to what: clients, codes, refresh and access tokens. Pure; the clock passed in."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from drivewake.lab.google.errors import OAuthError
from drivewake.lab.google.ids import Ids

CODE_TTL_NS = 600 * 1_000_000_000
_NS = 1_000_000_000
MAX_REFRESH_TOKENS = 100
"""Live refresh tokens of an account for one client; one more kills the oldest, silently."""
UNUSED_TTL_NS = 182 * 86_400 * _NS
_MAX_REMEMBERED = 100_000
_GMAIL = ("https://mail.google.com/", "https://www.googleapis.com/auth/gmail.")
_GONE = "Token has been expired or revoked."
CAUSES: dict[str, tuple[str, str, str | None]] = {
    "revoked": ("invalid_grant", _GONE, None),
    "time_based": ("invalid_grant", _GONE, None),
    "inactivity": ("invalid_grant", _GONE, None),
    "password_change": ("invalid_grant", _GONE, None),
    "evicted": ("invalid_grant", _GONE, None),
    "session_control": ("invalid_grant", "reauth related error (invalid_rapt)", "invalid_rapt"),
    "admin_policy": (
        "invalid_grant",
        "Access to your account data is restricted by policies within your organization.",
        "admin_policy_enforced",
    ),
    "admin_policy_enforced": (
        "admin_policy_enforced",
        "Access to your account data is restricted by policies within your organization.",
        None,
    ),
}
"""Why refresh tokens die: error, description and subtype of the refusal from then on.

Google documents the name admin_policy_enforced but not where it stands in the answer, so
there is a cause for either place.
"""
LOOPBACK = ("http://127.0.0.1", "http://localhost", "http://[::1]")


@dataclass(slots=True, frozen=True)
class Client:
    """An OAuth client of a project. Without redirect URIs any loopback one is taken.

    `refresh_ttl_s` limits the life of refresh tokens: seven days for an external app whose
    publishing status is Testing, or what the user chose for time-based access.
    """

    client_id: str
    client_secret: str
    project: str
    redirect_uris: tuple[str, ...] = ()
    refresh_ttl_s: int | None = None

    def allows(self, redirect_uri: str) -> bool:
        """Whether the exact URI is registered."""
        if not self.redirect_uris:
            return redirect_uri.startswith(LOOPBACK)
        return redirect_uri in self.redirect_uris


@dataclass(slots=True, eq=False)
class Grant:
    """A user's consent to one project. Revoking it kills every token below it."""

    user: str
    project: str
    scopes: set[str] = field(default_factory=set)
    refresh_tokens: list[str] = field(default_factory=list)
    revoked: bool = False


@dataclass(slots=True, frozen=True)
class Code:
    """An authorization code: one use, ten minutes, bound to client, redirect and challenge."""

    client_id: str
    redirect_uri: str
    grant: Grant
    scopes: tuple[str, ...]
    challenge: str | None
    challenge_method: str
    nonce: str | None
    with_refresh: bool
    expires_ns: int


@dataclass(slots=True, frozen=True)
class RefreshToken:
    """A long-lived token; its scopes are those of its consent."""

    token: str
    client_id: str
    grant: Grant
    scopes: tuple[str, ...]
    expires_ns: int | None = None

    def left_s(self, now_ns: int) -> int | None:
        """Return `refresh_token_expires_in`; None for a token without an end."""
        return None if self.expires_ns is None else (self.expires_ns - now_ns) // _NS


@dataclass(slots=True, frozen=True)
class AccessToken:
    """A bearer of a user's authority for about an hour."""

    token: str
    client_id: str
    project: str
    grant: Grant
    scopes: frozenset[str]
    expires_ns: int
    offline: bool


class Grants:
    """All consents and tokens. `access_ttl_s` is how long an access token lives."""

    def __init__(self, seed: int, access_ttl_s: int) -> None:
        self._ids = Ids(seed, "oauth")
        self.access_ttl_s = access_ttl_s
        self.clients: dict[str, Client] = {}
        self._grants: dict[tuple[str, str], Grant] = {}
        self._codes: dict[str, Code] = {}
        self._refresh: dict[str, RefreshToken] = {}
        self._access: dict[str, AccessToken] = {}
        self._used_ns: dict[str, int] = {}
        self._dead: dict[str, str] = {}
        self.on_death: Callable[[str, str, int], None] = lambda _user, _cause, _tokens: None
        """Told the user, the cause and how many refresh tokens died."""

    def authenticate(self, client_id: str, client_secret: str) -> Client:
        """Return the client. Raises OAuthError invalid_client (401)."""
        client = self.clients.get(client_id)
        if client is None:
            raise OAuthError("invalid_client", "The OAuth client was not found.", 401)
        if not hmac.compare_digest(client.client_secret.encode(), client_secret.encode()):
            raise OAuthError("invalid_client", "Unauthorized", 401)
        return client

    def consent(  # noqa: PLR0913 - the parameters of an authorization request
        self,
        client: Client,
        user: str,
        scopes: list[str],
        *,
        redirect_uri: str,
        offline: bool,
        force_refresh: bool,
        include_granted: bool,
        challenge: str | None,
        challenge_method: str,
        nonce: str | None,
        now_ns: int,
    ) -> tuple[str, list[str]]:
        """Record a consent; return the code and the scopes granted.

        A refresh token comes with the first offline consent of a user and client, later
        only when the request forced the consent page.
        """
        grant = self._grants.setdefault((user, client.project), Grant(user, client.project))
        first = not any(
            self._refresh[t].client_id == client.client_id for t in grant.refresh_tokens
        )
        granted = list(dict.fromkeys([*scopes, *(sorted(grant.scopes) if include_granted else ())]))
        grant.scopes.update(scopes)
        code = self._ids.secret("4/0A", 70)
        self._codes[code] = Code(
            client.client_id,
            redirect_uri,
            grant,
            tuple(granted),
            challenge,
            challenge_method,
            nonce,
            offline and (first or force_refresh),
            now_ns + CODE_TTL_NS,
        )
        return code, granted

    def redeem(
        self, client: Client, code: str, redirect_uri: str, verifier: str | None, now_ns: int
    ) -> tuple[AccessToken, RefreshToken | None, Code]:
        """Exchange a code, once. Raises OAuthError invalid_grant, redirect_uri_mismatch."""
        found = self._codes.pop(code, None)
        if found is None or found.expires_ns <= now_ns or found.client_id != client.client_id:
            raise OAuthError("invalid_grant", "Malformed auth code.")
        if found.redirect_uri != redirect_uri:
            raise OAuthError("redirect_uri_mismatch", "Bad Request")
        if found.challenge is not None:
            if not verifier:
                raise OAuthError("invalid_grant", "Missing code verifier.")
            if _challenge(verifier, found.challenge_method) != found.challenge:
                raise OAuthError("invalid_grant", "Invalid code verifier.")
        if found.grant.revoked:
            raise OAuthError("invalid_grant", "Bad Request")
        refresh: RefreshToken | None = None
        if found.with_refresh:
            token = self._ids.secret("1//0", 98)
            ttl_s = client.refresh_ttl_s
            expires_ns = None if ttl_s is None else now_ns + ttl_s * _NS
            refresh = RefreshToken(token, client.client_id, found.grant, found.scopes, expires_ns)
            self._refresh[token] = refresh
            self._used_ns[token] = now_ns
            found.grant.refresh_tokens.append(token)
            self._evict(found.grant, client.client_id)
        return (
            self._issue(client, found.grant, found.scopes, now_ns, offline=refresh is not None),
            refresh,
            found,
        )

    def refresh(self, client: Client, token: str, scope: str | None, now_ns: int) -> AccessToken:
        """Return a new access token; the refresh token lives on.

        Raises OAuthError invalid_grant (one of CAUSES), invalid_scope, unauthorized_client.
        """
        found = self._refresh.get(token)
        if found is not None:
            unused_ns = now_ns - self._used_ns.get(token, now_ns)
            if found.expires_ns is not None and found.expires_ns <= now_ns:
                self._kill([found], "time_based")
                found = None
            elif unused_ns > UNUSED_TTL_NS:
                self._kill([found], "inactivity")
                found = None
        if found is None or found.grant.revoked:
            error, description, subtype = CAUSES[self._dead.get(token, "revoked")]
            raise OAuthError(error, description, subtype=subtype)
        if found.client_id != client.client_id:
            raise OAuthError("unauthorized_client", "Unauthorized", 401)
        scopes = tuple(scope.split()) if scope else found.scopes
        if not set(scopes) <= set(found.scopes):
            raise OAuthError("invalid_scope", "Some requested scopes were not granted.")
        self._used_ns[token] = now_ns
        return self._issue(client, found.grant, scopes, now_ns, offline=True)

    def left_s(self, token: str, now_ns: int) -> int | None:
        """Return `refresh_token_expires_in` of a refresh token; None where it has no end."""
        found = self._refresh.get(token)
        return None if found is None else found.left_s(now_ns)

    def issue(self, client: Client, user: str, scopes: tuple[str, ...], now_ns: int) -> AccessToken:
        """Hand out a token without a browser: for tests and operators of the simulator."""
        grant = self._grants.setdefault((user, client.project), Grant(user, client.project))
        grant.scopes.update(scopes)
        return self._issue(client, grant, scopes, now_ns, offline=False)

    def find_access(self, token: str, now_ns: int) -> AccessToken | None:
        """Return a living access token."""
        found = self._access.get(token)
        if found is None:
            return None
        if found.expires_ns <= now_ns or found.grant.revoked:
            del self._access[token]
            return None
        return found

    def revoke(self, token: str, now_ns: int) -> str:
        """End the whole grant of the token, for all clients of the project; return the user.

        Raises OAuthError invalid_token when the token is dead already.
        """
        refresh = self._refresh.get(token)
        access = self.find_access(token, now_ns)
        grant = refresh.grant if refresh else access.grant if access else None
        if grant is None or grant.revoked:
            raise OAuthError("invalid_token", "Token expired or revoked")
        self._end(grant)
        return grant.user

    def revoke_user(self, user: str) -> int:
        """End all grants of a user, as from the account page; return how many."""
        ended = [g for (owner, _), g in self._grants.items() if owner == user]
        for grant in ended:
            self._end(grant)
        return len(ended)

    def kill(self, user: str, cause: str, client_id: str | None = None) -> list[str]:
        """Let refresh tokens of a user die for a cause; return them.

        `password_change` touches those with Gmail scopes alone, `revoked` and what an
        administrator forbids end access tokens too. Raises KeyError for an unknown cause.
        """
        doomed = [
            t
            for t in self._refresh.values()
            if t.grant.user == user and client_id in {None, t.client_id}
        ]
        if cause == "password_change":
            doomed = [t for t in doomed if any(s.startswith(_GMAIL) for s in t.scopes)]
        if CAUSES[cause] and cause in {"revoked", "admin_policy", "admin_policy_enforced"}:
            grants = {id(t.grant) for t in doomed}
            self._access = {k: a for k, a in self._access.items() if id(a.grant) not in grants}
        self._kill(doomed, cause)
        return [t.token for t in doomed]

    def _kill(self, doomed: list[RefreshToken], cause: str) -> None:
        for token in doomed:
            del self._refresh[token.token]
            self._used_ns.pop(token.token, None)
            token.grant.refresh_tokens.remove(token.token)
            self._dead[token.token] = cause
        while len(self._dead) > _MAX_REMEMBERED:
            del self._dead[next(iter(self._dead))]
        if doomed:
            self.on_death(doomed[0].grant.user, cause, len(doomed))

    def _evict(self, grant: Grant, client_id: str) -> None:
        """Let the oldest refresh tokens of an account and client die beyond the hundredth."""
        held = [t for t in grant.refresh_tokens if self._refresh[t].client_id == client_id]
        self._kill([self._refresh[t] for t in held[:-MAX_REFRESH_TOKENS]], "evicted")

    def expire_access(self, user: str) -> int:
        """Let all access tokens of a user die now; return how many."""
        doomed = [t for t, a in self._access.items() if a.grant.user == user]
        for token in doomed:
            del self._access[token]
        return len(doomed)

    def _end(self, grant: Grant) -> None:
        grant.revoked = True
        self._kill([self._refresh[t] for t in grant.refresh_tokens], "revoked")
        self._grants.pop((grant.user, grant.project), None)

    def _issue(
        self, client: Client, grant: Grant, scopes: tuple[str, ...], now_ns: int, *, offline: bool
    ) -> AccessToken:
        if len(self._access) > 100_000:
            self._access = {k: v for k, v in self._access.items() if v.expires_ns > now_ns}
        issued = AccessToken(
            self._ids.secret("ya29.a0", 160),
            client.client_id,
            client.project,
            grant,
            frozenset(scopes),
            now_ns + self.access_ttl_s * _NS,
            offline,
        )
        self._access[issued.token] = issued
        return issued


def _challenge(verifier: str, method: str) -> str:
    if method == "plain":
        return verifier
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
