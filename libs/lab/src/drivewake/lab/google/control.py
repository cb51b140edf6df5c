"""The control API: what only the maker of this world may do. JSON, or msgpack where it says so.

    GET  /_sim/health                     {"status": "ok", "profile", "seed", "users"}
    GET  /_sim/counters                   ledger counters, quota units spent, channels
    POST /_sim/users                      {"email", "name"?} -> {"email", "userId", "rootId"}
    POST /_sim/groups                     {"email", "name"?, "members"?: [email]}: made, or its
                                          members replaced
    POST /_sim/clients                    {"clientId", "clientSecret", "project"?, "redirectUris"?,
                                          "refreshTtlS"?}
    POST /_sim/tokens                     {"email", "scopes", "clientId"?} -> an access token
    POST /_sim/tokens/revoke              {"email"}: as from the user's account page
    POST /_sim/tokens/expire              {"email"}: access tokens die, refresh tokens live
    POST /_sim/actions                    a Batch (actions.py), JSON (content in base64) or
                                          application/msgpack (content as bytes)
    GET  /_sim/ledger?after=N&limit=&types=change,push,request,page,fault,grant,security,
                                          activity,group -> {"facts", "next", "more"}
    GET  /_sim/state?principal=EMAIL      {"principal", "rootId", "seq", "files"}: what the
                                          principal can see, with places, hashes and permissions
                                          in force (seen.py): now, or `&at=` an instant (Unix
                                          nanoseconds or RFC 3339), or `&seq=` a change
    GET  /_sim/refs                       {"refs": {ref: id}}
    POST /_sim/faults                     a Rule (faults.py), or a list of them -> {"ids"}
    GET  /_sim/faults                     the rules in force, how often seen and hit
    DELETE /_sim/faults?id=N              lift one, or without `id` all -> {"removed"}
    POST /_sim/activities                 {"file", "case", "detail", "actor"?}: what Drive
                                          Activity tells and no change does
    POST /_sim/stories                    a story as text (scenarios/stories.py)
    POST /_sim/organisations              {"seed"?, "people"?, "domain"?, "size"?}: a generated
                                          organisation lives its history -> {"people", "groups"}
    POST /_sim/grants/end                 {"email", "cause", "clientId"?}: refresh tokens die;
                                          causes are grants.CAUSES -> {"ended"}
    POST /_sim/service-accounts           {"name", "project"?} -> a key file as Google's
    POST /_sim/service-accounts/delegate  {"email", "domain", "scopes"}: as the Admin console
    POST /_sim/risc/receivers             {"url", "clientIds"}: where security events go
    POST /_sim/risc/events                an Event (risc.py) -> {"jti": [id a receiver]}

Refusals are `{"error": text}`; a refused batch adds `index` and the `results` before it.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from drivewake.lab.google.actions import Batch, BatchRefusedError, apply, nanoseconds
from drivewake.lab.google.commands import Commands
from drivewake.lab.google.commands_oauth import OAuthCommands
from drivewake.lab.google.grants import Client
from drivewake.lab.google.http import Request, Response, Router
from drivewake.lab.google.model import StateError
from drivewake.lab.google.seen import seen_by
from drivewake.lab.google.world import SimulatedGoogle

_MAX_FACTS = 50_000


class NewUser(msgspec.Struct, frozen=True):
    """Body of POST /_sim/users."""

    email: str
    name: str | None = None


class NewGroup(msgspec.Struct, frozen=True):
    """Body of POST /_sim/groups."""

    email: str
    name: str | None = None
    members: tuple[str, ...] = ()


class NewClient(msgspec.Struct, frozen=True, rename="camel"):
    """Body of POST /_sim/clients."""

    client_id: str
    client_secret: str
    project: str = "simulated-project"
    redirect_uris: tuple[str, ...] = ()
    refresh_ttl_s: int | None = None


class NewToken(msgspec.Struct, frozen=True, rename="camel"):
    """Body of POST /_sim/tokens."""

    email: str
    scopes: tuple[str, ...] = ("https://www.googleapis.com/auth/drive",)
    client_id: str | None = None


class OfUser(msgspec.Struct, frozen=True):
    """Body of what concerns one user."""

    email: str


class Control:
    """Routes under `/_sim/`."""

    def __init__(self, world: SimulatedGoogle) -> None:
        self._world = world
        self._json_batch = msgspec.json.Decoder(Batch)
        self._msgpack_batch = msgspec.msgpack.Decoder(Batch)

    def mount(self, router: Router) -> None:
        """Add the routes."""
        routes: list[tuple[str, str, Callable[[Request], Any]]] = [
            ("GET", "health", self.health),
            ("GET", "counters", self.counters),
            ("GET", "ledger", self.ledger),
            ("GET", "state", self.state),
            ("GET", "refs", self.refs),
            ("POST", "users", self.add_user),
            ("POST", "groups", self.set_group),
            ("POST", "clients", self.add_client),
            ("POST", "tokens", self.add_token),
            ("POST", "tokens/revoke", self.revoke),
            ("POST", "tokens/expire", self.expire),
            ("POST", "actions", self.actions),
        ]
        for method, path, handler in routes:
            router.add(method, f"/_sim/{path}", _guarded(handler))
        Commands(self._world).mount(router, _guarded)
        OAuthCommands(self._world).mount(router, _guarded)

    def health(self, _request: Request) -> Any:  # noqa: ANN401 - JSON
        """Say that it lives."""
        options = self._world.options
        return {
            "status": "ok",
            "profile": options.profile.name,
            "seed": options.seed,
            "users": list(self._world.state.users),
        }

    def counters(self, _request: Request) -> Any:  # noqa: ANN401 - JSON
        """Count."""
        world = self._world
        return {
            "ledger": dict(world.ledger.counts),
            "quotaUnits": world.quota.spent,
            "quotaRefusals": world.quota.refused,
            "channels": len(world.push.channels),
            "pushWaiting": sum(len(c.queue) for c in world.push.channels.values()),
            "files": len(world.state.files),
        }

    def ledger(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Export facts."""
        after = int(request.query.get("after", "0"))
        limit = min(int(request.query.get("limit", "10000")), _MAX_FACTS)
        types = [t for t in request.query.get("types", "").split(",") if t]
        facts, reached, more = self._world.ledger.after(after, limit, types)
        return {"facts": facts, "next": reached, "more": more}

    def state(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Show everything a principal can see, exactly as it is or was."""
        query = request.query
        at, seq = query.get("at"), query.get("seq")
        return seen_by(
            self._world,
            query.get("principal", ""),
            at_ns=None if at is None else nanoseconds(at),
            seq=None if seq is None else int(seq),
        )

    def refs(self, _request: Request) -> Any:  # noqa: ANN401 - JSON
        """Show which id each ref stands for."""
        return {"refs": self._world.refs}

    def add_user(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Create a user."""
        wanted = msgspec.json.decode(request.body, type=NewUser)
        user = self._world.add_user(wanted.email, wanted.name)
        return {"email": user.email, "userId": user.user_id, "rootId": user.root.id}

    def set_group(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Create a group, or replace its members."""
        wanted = msgspec.json.decode(request.body, type=NewGroup)
        group = self._world.set_group(wanted.email, wanted.members, wanted.name)
        return {"email": group.email, "members": list(group.members)}

    def add_client(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Register an OAuth client."""
        new = msgspec.json.decode(request.body, type=NewClient)
        client = Client(
            new.client_id, new.client_secret, new.project, new.redirect_uris, new.refresh_ttl_s
        )
        self._world.grants.clients[client.client_id] = client
        return {"clientId": client.client_id}

    def add_token(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Hand out an access token without a browser."""
        new = msgspec.json.decode(request.body, type=NewToken)
        world = self._world
        client = world.grants.clients[new.client_id or world.options.client_id]
        user = world.state.user(new.email)
        token = world.grants.issue(client, user.email, new.scopes, world.now_ns())
        return {"access_token": token.token, "expires_in": world.grants.access_ttl_s}

    def revoke(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """End all grants of a user."""
        email = msgspec.json.decode(request.body, type=OfUser).email
        return {"revoked": self._world.grants.revoke_user(email.lower())}

    def expire(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Let the access tokens of a user die."""
        email = msgspec.json.decode(request.body, type=OfUser).email
        return {"expired": self._world.grants.expire_access(email.lower())}

    def actions(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Apply a batch."""
        packed = request.headers.get("content-type", "").startswith("application/msgpack")
        decoder = self._msgpack_batch if packed else self._json_batch
        return {"results": apply(self._world, decoder.decode(request.body))}


def _guarded(handler: Callable[[Request], Any]) -> Callable[[Request], Response]:
    def serve(request: Request) -> Response:
        try:
            return Response.json(handler(request))
        except BatchRefusedError as error:
            body = {"error": str(error), "index": error.index, "results": error.results}
            return Response.json(body, 422)
        except (StateError, msgspec.MsgspecError, ValueError, KeyError) as error:
            return Response.json({"error": str(error)}, 400)

    return serve
