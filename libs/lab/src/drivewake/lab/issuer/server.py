"""The issuer's endpoints (RFC 6749, RFC 7636, OpenID Connect Core and Discovery 1.0)."""

import base64
import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from html import escape
from typing import Any, Final
from urllib.parse import urlencode

import jwt
import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE: Final = "drivewake"
CLIENT_ID: Final = "drivewake-console"
KEY_ID: Final = "dev-1"
LIFE_S: Final = 3600
MAX_CODES: Final = 1000
_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Development issuer</title>"
    "<meta name=viewport content='width=device-width'><style>body{{font:1.05rem/1.6 system-ui;"
    "max-width:32rem;margin:12vh auto;padding:0 1.5rem}}button{{font:inherit;display:block;"
    "width:100%;text-align:left;padding:.6em 1em;margin:.5em 0}}</style>"
    "<main><h1>Who do you want to be?</h1><p>This is the development issuer: it asks for no"
    " password.</p><form method=post>{buttons}</form></main>"
)


class Person(msgspec.Struct, frozen=True):
    """Whom the page offers. `tenant` `*` is all tenants."""

    subject: str
    roles: tuple[str, ...]
    tenant: str = "*"


PEOPLE: Final = (
    Person("ada", ("admin",)),
    Person("otto", ("operator",), "default"),
    Person("rita", ("reader",), "default"),
)


class DevIssuer:
    """Signs tokens. `url` is its name and address; tests may sign whatever they like."""

    def __init__(self, client_secret: str, people: Sequence[Person] = PEOPLE) -> None:
        self.url = ""
        self.client_secret = client_secret
        self.people = {person.subject: person for person in people}
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.key_fetches = 0
        self.down = False
        self._codes: dict[str, tuple[Person, Mapping[str, str]]] = {}

    def access_token(
        self,
        subject: str = "ada",
        roles: Sequence[str] = ("admin",),
        tenant: str = "*",
        **claims: Any,  # noqa: ANN401 - claims over the ordinary ones; None removes one
    ) -> str:
        """Return a signed access token as a caller brings it."""
        now_s = int(time.time())
        given = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": subject,
            "roles": list(roles),
            "tenant": tenant,
            "iat": now_s,
            "exp": now_s + LIFE_S,
            **claims,
        }
        return self.signed(given, {"typ": "at+jwt"})

    def signed(self, claims: Mapping[str, Any], headers: Mapping[str, Any]) -> str:
        """Return a token with these claims (those that are None left out) and headers."""
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, self.key, "RS256", headers={"kid": KEY_ID, **headers})

    def application(self) -> web.Application:
        """Return the endpoints."""
        app = web.Application(client_max_size=64 * 1024)
        app.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._discovery),
                web.get("/keys", self._keys),
                web.get("/authorize", self._page),
                web.post("/authorize", self._chosen),
                web.post("/token", self._token),
            ]
        )
        return app

    async def _discovery(self, _: web.Request) -> web.Response:
        if self.down:
            return web.Response(status=503)
        return web.json_response(
            {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def _keys(self, _: web.Request) -> web.Response:
        self.key_fetches += 1
        if self.down:
            return web.Response(status=503)
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return web.json_response({"keys": [{**jwk, "kid": KEY_ID, "alg": "RS256", "use": "sig"}]})

    async def _page(self, request: web.Request) -> web.Response:
        wanted = {"client_id", "redirect_uri", "state", "code_challenge"} - set(request.query)
        if wanted or request.query["client_id"] != CLIENT_ID:
            return web.Response(status=400, text="This is no request of the console.")
        buttons = "".join(
            f"<button name=who value='{escape(person.subject)}'>{escape(person.subject)}:"
            f" {escape(', '.join(person.roles))} of"
            f" {'all tenants' if person.tenant == '*' else escape(person.tenant)}</button>"
            for person in self.people.values()
        )
        return web.Response(text=_PAGE.format(buttons=buttons), content_type="text/html")

    async def _chosen(self, request: web.Request) -> web.Response:
        person = self.people.get(str((await request.post()).get("who", "")))
        if person is None or "redirect_uri" not in request.query:
            return web.Response(status=400, text="There is nobody of this name.")
        code = secrets.token_urlsafe(24)
        self._codes[code] = (person, dict(request.query))
        while len(self._codes) > MAX_CODES:
            self._codes.pop(next(iter(self._codes)))
        back = urlencode({"code": code, "state": request.query.get("state", ""), "iss": self.url})
        raise web.HTTPSeeOther(f"{request.query['redirect_uri']}?{back}")

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if not hmac.compare_digest(form.get("client_secret", ""), self.client_secret):
            return web.json_response({"error": "invalid_client"}, status=401)
        if form.get("grant_type") == "client_credentials":
            roles, tenant = (form.get("role", "admin"),), form.get("tenant", "*")
            token = self.access_token(form.get("client_id", CLIENT_ID), roles, tenant)
            return web.json_response(
                {"access_token": token, "token_type": "Bearer", "expires_in": LIFE_S}
            )
        person, asked = self._codes.pop(form.get("code", ""), (None, {}))
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            person is None
            or asked.get("code_challenge") != challenge
            or asked.get("redirect_uri") != form.get("redirect_uri")
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now_s = int(time.time())
        claims = {
            "iss": self.url, "aud": CLIENT_ID, "sub": person.subject, "nonce": asked.get("nonce"),
            "roles": list(person.roles), "tenant": person.tenant,
            "iat": now_s, "exp": now_s + LIFE_S,
        }  # fmt: skip
        return web.json_response(
            {
                "access_token": self.access_token(person.subject, person.roles, person.tenant),
                "id_token": self.signed(claims, {"typ": "JWT"}),
                "token_type": "Bearer",
                "expires_in": LIFE_S,
            }
        )


@contextlib.asynccontextmanager
async def start_issuer(
    client_secret: str, *, host: str = "127.0.0.1", port: int = 0, people: Sequence[Person] = PEOPLE
) -> AsyncIterator[DevIssuer]:
    """Serve an issuer for the length of the block."""
    issuer = DevIssuer(client_secret, people)
    runner = web.AppRunner(issuer.application(), shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        found_host, found_port = runner.addresses[0][:2]
        issuer.url = f"http://{found_host}:{found_port}"
        yield issuer
    finally:
        await runner.cleanup()
