"""OAuth 2 and OpenID Connect of the simulated Google: authorization page, tokens, keys."""

import base64
import binascii
import hashlib
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import jwt

from drivewake.lab.google.errors import OAuthError, bad_token
from drivewake.lab.google.grants import AccessToken, Client
from drivewake.lab.google.http import Request, Response, Router
from drivewake.lab.google.pages import consent_page, error_page
from drivewake.lab.google.risc import KEY_ID
from drivewake.lab.google.service_accounts import AUDIENCES, GRANT_TYPE
from drivewake.lab.google.world import SimulatedGoogle

_SCOPE_NAMES = {
    "email": "https://www.googleapis.com/auth/userinfo.email",
    "profile": "https://www.googleapis.com/auth/userinfo.profile",
}


class OAuthService:
    """The endpoints of accounts.google.com and oauth2.googleapis.com on one host."""

    def __init__(self, world: SimulatedGoogle) -> None:
        self._world = world

    def mount(self, router: Router) -> None:
        """Add the routes."""
        router.add("GET", "/o/oauth2/v2/auth", self.authorize)
        router.add("GET", "/o/oauth2/auth", self.authorize)
        router.add("POST", "/o/oauth2/v2/auth/decision", self.decide)
        router.add("POST", "/token", _flat(self.token))
        router.add("POST", "/oauth2/v4/token", _flat(self.token))
        router.add("POST", "/revoke", _flat(self.revoke))
        router.add("GET", "/revoke", _flat(self.revoke))
        for method in ("GET", "POST"):
            router.add(method, "/tokeninfo", _flat(self.tokeninfo))
            router.add(method, "/oauth2/v3/tokeninfo", _flat(self.tokeninfo))
        for path in ("/v1/userinfo", "/oauth2/v3/userinfo"):
            router.add("GET", path, self.userinfo)
        router.add("GET", "/oauth2/v3/certs", self.certs)
        router.add("GET", "/.well-known/openid-configuration", self.configuration)
        router.add("GET", "/.well-known/risc-configuration", self.risc)

    # --- the browser's part -----------------------------------------------------------

    def authorize(self, request: Request) -> Response:
        """Show the consent page, or Google's error page."""
        query = request.query
        try:
            client, scopes = self._check(query)
        except OAuthError as error:
            page = error_page(error.error, error.description or "", error.code)
            return Response.html(page, error.code)
        robots = self._world.service_accounts.accounts
        people = (u for u in self._world.state.users.values() if u.email not in robots)
        accounts = [(u.email, u.name) for u in people]
        if query.get("prompt") == "none":
            return _back(query, {"error": "interaction_required"})
        if not accounts:
            page = error_page("no_account", "This simulated Google has no user yet.")
            return Response.html(page, 400)
        chosen = query.get("login_hint", "").lower()
        hint = chosen if chosen in self._world.state.users else None
        page = consent_page(client.client_id, accounts, hint, scopes, request.query_string)
        return Response.html(page)

    def decide(self, request: Request) -> Response:
        """Take the form: `request`, `account`, `granted` (repeated), `decision`.

        Without any `granted` all is granted; with none of the scopes in it, access is denied
        (inferred: Google does not say what follows when every box is empty).
        """
        fields = request.form_list()
        form = dict(fields)
        query = dict(parse_qsl(form.get("request", ""), keep_blank_values=True))
        try:
            client, scopes = self._check(query)
        except OAuthError as error:
            page = error_page(error.error, error.description or "", error.code)
            return Response.html(page, error.code)
        if form.get("decision") != "allow":
            return _back(query, {"error": "access_denied"})
        user = self._world.state.users.get(form.get("account", "").lower())
        if user is None:
            return Response.html(error_page("invalid_account", "No such account."), 400)
        ticked = [value for name, value in fields if name == "granted"]
        granted = [s for s in scopes if s in ticked] if ticked else scopes
        if not granted:
            return _back(query, {"error": "access_denied"})
        code, shown = self._world.grants.consent(
            client,
            user.email,
            granted,
            redirect_uri=query["redirect_uri"],
            offline=query.get("access_type") == "offline",
            force_refresh="consent" in query.get("prompt", "").split(),
            include_granted=query.get("include_granted_scopes") == "true",
            challenge=query.get("code_challenge"),
            challenge_method=query.get("code_challenge_method", "plain"),
            nonce=query.get("nonce"),
            now_ns=self._world.now_ns(),
        )
        answer = {"iss": self._world.options.issuer, "code": code, "scope": " ".join(shown)}
        return _back(query, {**answer, "authuser": "0", "prompt": "consent"})

    def _check(self, query: dict[str, str]) -> tuple[Client, list[str]]:
        client = self._world.grants.clients.get(query.get("client_id", ""))
        if client is None:
            raise OAuthError("invalid_client", "The OAuth client was not found.", 401)
        if not client.allows(query.get("redirect_uri", "")):
            raise OAuthError("redirect_uri_mismatch", "The redirect URI is not registered.")
        if query.get("response_type") != "code":
            raise OAuthError("invalid_request", "Only response_type=code is simulated.")
        if query.get("code_challenge_method", "plain") not in {"S256", "plain"}:
            raise OAuthError("invalid_request", "Unknown code_challenge_method.")
        scopes = [_SCOPE_NAMES.get(s, s) for s in query.get("scope", "").split()]
        if not scopes:
            raise OAuthError("invalid_request", "Missing required parameter: scope")
        return client, list(dict.fromkeys(scopes))

    # --- the server's part ------------------------------------------------------------

    def token(self, request: Request) -> Response:
        """Exchange a code, a refresh token, or a service account's assertion."""
        form = request.form()
        if form.get("grant_type") == GRANT_TYPE:
            return self._assertion(request, form.get("assertion", ""))
        client = self._world.grants.authenticate(*_credentials(request, form))
        now_ns = self._world.now_ns()
        kind = form.get("grant_type", "")
        if kind == "refresh_token":
            token = form.get("refresh_token", "")
            access = self._world.grants.refresh(client, token, form.get("scope"), now_ns)
            return Response.json(self._answer(access, None) | self._time_limit(token, now_ns))
        if kind != "authorization_code":
            raise OAuthError("unsupported_grant_type", f"Invalid grant_type: {kind}")
        access, refresh, code = self._world.grants.redeem(
            client,
            form.get("code", ""),
            form.get("redirect_uri", ""),
            form.get("code_verifier"),
            now_ns,
        )
        answer = self._answer(access, code.nonce)
        if refresh is not None:
            answer |= {"refresh_token": refresh.token, **self._time_limit(refresh.token, now_ns)}
        return Response.json(answer)

    def _time_limit(self, refresh_token: str, now_ns: int) -> dict[str, int]:
        left_s = self._world.grants.left_s(refresh_token, now_ns)
        return {} if left_s is None else {"refresh_token_expires_in": left_s}

    def _assertion(self, request: Request, assertion: str) -> Response:
        here = f"http://{request.headers.get('host', '127.0.0.1')}"
        audiences = AUDIENCES | {f"{here}/token", f"{here}/oauth2/v4/token"}
        accounts, now_ns = self._world.service_accounts, self._world.now_ns()
        access = accounts.token(assertion, audiences, now_ns)
        ttl_s = self._world.grants.access_ttl_s
        return Response.json(
            {"access_token": access.token, "expires_in": ttl_s, "token_type": "Bearer"}
        )

    def _answer(self, access: AccessToken, nonce: str | None) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "access_token": access.token,
            "expires_in": self._world.grants.access_ttl_s,
            "scope": " ".join(sorted(access.scopes)),
            "token_type": "Bearer",
        }
        if "openid" in access.scopes:
            answer["id_token"] = self._id_token(access, nonce)
        return answer

    def _id_token(self, access: AccessToken, nonce: str | None) -> str:
        now_s = self._world.now_ns() // 1_000_000_000
        half = hashlib.sha256(access.token.encode()).digest()[:16]
        claims = {
            "iss": self._world.options.issuer,
            "azp": access.client_id,
            "aud": access.client_id,
            "at_hash": base64.urlsafe_b64encode(half).decode().rstrip("="),
            **self._claims(access),
            "iat": now_s,
            "exp": now_s + 3600,
        }
        if nonce is not None:
            claims["nonce"] = nonce
        return jwt.encode(claims, self._world.signing_key(), "RS256", headers={"kid": KEY_ID})

    def _claims(self, access: AccessToken) -> dict[str, Any]:
        user = self._world.state.user(access.grant.user)
        claims: dict[str, Any] = {"sub": user.user_id}
        if user.domain != "gmail.com":
            claims["hd"] = user.domain
        if _SCOPE_NAMES["email"] in access.scopes:
            claims |= {"email": user.email, "email_verified": True}
        if _SCOPE_NAMES["profile"] in access.scopes:
            given, _, family = user.name.partition(" ")
            claims |= {"name": user.name, "given_name": given}
            claims |= {"family_name": family} if family else {}
        return claims

    def revoke(self, request: Request) -> Response:
        """End the grant of a token."""
        token = request.form().get("token") or request.query.get("token")
        if not token:
            raise OAuthError("invalid_request", "Missing required parameter: token")
        self._world.grants.revoke(token, self._world.now_ns())
        return Response.json({})

    def tokeninfo(self, request: Request) -> Response:
        """Describe an access token or an id token."""
        fields = {**request.query, **request.form()}
        if "id_token" in fields:
            try:
                key = self._world.signing_key().public_key()
                claims = jwt.decode(
                    fields["id_token"], key, ["RS256"], options={"verify_aud": False}
                )
            except jwt.PyJWTError:
                raise OAuthError("invalid_token", "Invalid Value") from None
            return Response.json({k: str(v) if k != "email" else v for k, v in claims.items()})
        now_ns = self._world.now_ns()
        access = self._world.grants.find_access(fields.get("access_token", ""), now_ns)
        if access is None:
            raise OAuthError("invalid_token", "Invalid Value")
        described = {
            "azp": access.client_id,
            "aud": access.client_id,
            "scope": " ".join(sorted(access.scopes)),
            "exp": str(access.expires_ns // 1_000_000_000),
            "expires_in": str((access.expires_ns - now_ns) // 1_000_000_000),
            "access_type": "offline" if access.offline else "online",
        }
        claims = self._claims(access)
        if "email" in claims:
            described |= {"email": claims["email"], "email_verified": "true"}
        return Response.json(described | {"sub": claims["sub"]})

    def userinfo(self, request: Request) -> Response:
        """Return the claims of the bearer."""
        bearer = request.headers.get("authorization", "").partition(" ")[2]
        access = self._world.grants.find_access(bearer, self._world.now_ns())
        if access is None:
            error = bad_token()
            return Response.json(error.body(), error.code, error.headers)
        return Response.json(self._claims(access))

    def certs(self, _request: Request) -> Response:
        """Return the keys that sign id tokens, as a JWK set."""
        key = jwt.algorithms.RSAAlgorithm.to_jwk(
            self._world.signing_key().public_key(), as_dict=True
        )
        return Response.json({"keys": [{**key, "kid": KEY_ID, "alg": "RS256", "use": "sig"}]})

    def risc(self, request: Request) -> Response:
        """Return the discovery document of cross-account protection."""
        base = f"http://{request.headers.get('host', '127.0.0.1')}"
        return Response.json(self._world.security.configuration(base))

    def configuration(self, request: Request) -> Response:
        """Return the OpenID discovery document, with this host's endpoints."""
        base = f"http://{request.headers.get('host', '127.0.0.1')}"
        return Response.json(
            {
                "issuer": self._world.options.issuer,
                "authorization_endpoint": f"{base}/o/oauth2/v2/auth",
                "token_endpoint": f"{base}/token",
                "userinfo_endpoint": f"{base}/v1/userinfo",
                "revocation_endpoint": f"{base}/revoke",
                "jwks_uri": f"{base}/oauth2/v3/certs",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "email", "profile"],
                "token_endpoint_auth_methods_supported": [
                    "client_secret_post",
                    "client_secret_basic",
                ],
                "code_challenge_methods_supported": ["plain", "S256"],
                "grant_types_supported": ["authorization_code", "refresh_token", GRANT_TYPE],
                "authorization_response_iss_parameter_supported": True,
            }
        )


def _flat(handler: Any) -> Any:  # noqa: ANN401 - a handler in, a handler out
    """Answer OAuthError with OAuth's flat error object."""

    def serve(request: Request) -> Response:
        try:
            response: Response = handler(request)
        except OAuthError as error:
            response = Response.json(error.body(), error.code)
        return response

    return serve


def _back(query: dict[str, str], answer: dict[str, str]) -> Response:
    state = {"state": query["state"]} if "state" in query else {}
    uri = query["redirect_uri"]
    joiner = "&" if urlsplit(uri).query else "?"
    return Response.redirect(f"{uri}{joiner}{urlencode({**state, **answer})}")


def _credentials(request: Request, form: dict[str, str]) -> tuple[str, str]:
    header = request.headers.get("authorization", "")
    if header.lower().startswith("basic "):
        try:
            text = base64.b64decode(header[6:], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise OAuthError("invalid_client", "Unauthorized", 401) from None
        client_id, _, secret = text.partition(":")
        return unquote(client_id), unquote(secret)
    if "client_id" not in form:
        raise OAuthError("invalid_request", "Could not determine client ID from request.")
    return form["client_id"], form.get("client_secret", "")
