"""The control API's commands about consents, service accounts and security events.

See control.py for the routes. Bodies are strict: an unknown field is refused.
"""

from typing import Any

import msgspec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from drivewake.lab.google.commands import Guard
from drivewake.lab.google.grants import CAUSES
from drivewake.lab.google.http import Request, Router
from drivewake.lab.google.risc import Event, Receiver
from drivewake.lab.google.world import SimulatedGoogle


class GrantsEnd(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Body of POST /_sim/grants/end."""

    email: str
    cause: str = "revoked"
    client_id: str | None = None


class NewServiceAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /_sim/service-accounts."""

    name: str
    project: str = "simulated-project"


class Delegation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /_sim/service-accounts/delegate; no scopes take the delegation back."""

    email: str
    domain: str
    scopes: tuple[str, ...]


class OAuthCommands:
    """Routes under `/_sim/` for what an account page, an administrator or Google does."""

    def __init__(self, world: SimulatedGoogle) -> None:
        self._world = world

    def mount(self, router: Router, guard: Guard) -> None:
        """Add the routes, each behind `guard`, which makes responses of answers."""
        router.add("POST", "/_sim/grants/end", guard(self.end_grants))
        router.add("POST", "/_sim/service-accounts", guard(self.add_service_account))
        router.add("POST", "/_sim/service-accounts/delegate", guard(self.delegate))
        router.add("POST", "/_sim/risc/receivers", guard(self.add_receiver))
        router.add("POST", "/_sim/risc/events", guard(self.send_event))

    def end_grants(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Let refresh tokens of a user die."""
        end = msgspec.json.decode(request.body, type=GrantsEnd)
        if end.cause not in CAUSES:
            raise ValueError(f"No such cause: {end.cause}; there are {', '.join(CAUSES)}")
        ended = self._world.grants.kill(end.email.lower(), end.cause, end.client_id)
        return {"ended": len(ended)}

    def add_service_account(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Create a service account; return its key file, whose token URI is this host's."""
        new = msgspec.json.decode(request.body, type=NewServiceAccount)
        account, key = self._world.add_service_account(new.name, new.project)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return {
            "type": "service_account",
            "project_id": account.project,
            "private_key_id": account.key_id,
            "private_key": pem.decode(),
            "client_email": account.email,
            "client_id": account.unique_id,
            "auth_uri": f"{request.origin}/o/oauth2/auth",
            "token_uri": f"{request.origin}/token",
            "universe_domain": "googleapis.com",
        }

    def delegate(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Let a service account act for everybody in a domain, within scopes."""
        wish = msgspec.json.decode(request.body, type=Delegation)
        account = self._world.service_accounts.accounts[wish.email.lower()]
        account.delegated[wish.domain.lower()] = frozenset(wish.scopes)
        return {"email": account.email, "domain": wish.domain, "scopes": list(wish.scopes)}

    def add_receiver(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Register a receiver, or change its clients."""
        receiver = msgspec.json.decode(request.body, type=Receiver)
        self._world.security.receivers[receiver.url] = receiver
        return {"receivers": len(self._world.security.receivers)}

    def send_event(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Send an event to all receivers."""
        event = msgspec.json.decode(request.body, type=Event)
        user = None if event.email is None else self._world.state.user(event.email)
        return {"jti": self._world.security.send(event, user.user_id if user else None)}
