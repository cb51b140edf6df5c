"""The control API's commands: what goes wrong, and what Google does of its own accord.

See control.py for the routes. Bodies are strict: an unknown field is refused.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from drivewake.lab.google.activity_filter import CASES
from drivewake.lab.google.faults import Rule
from drivewake.lab.google.http import Request, Router
from drivewake.lab.google.ledger import ActivityFact
from drivewake.lab.google.model import FileMissingError
from drivewake.lab.google.world import SimulatedGoogle
from drivewake.lab.scenarios.organisation import Size, found, settle
from drivewake.lab.scenarios.stories import read_story, tell

Guard = Callable[[Callable[[Request], Any]], Any]
_ACTORS = frozenset({"system", "administrator", "anonymous", "impersonation", "user"})


class NewActivity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /_sim/activities; `file` is an id or a ref, `actor` an address or an Actor.

    In an Actor, `impersonation` is the address of the impersonated user.
    """

    file: str
    case: str
    detail: dict[str, Any] = msgspec.field(default_factory=dict)
    actor: str | dict[str, Any] = msgspec.field(default_factory=lambda: {"system": {}})


class NewOrganisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /_sim/organisations; `size` overrides what is usual for so many people."""

    seed: int = 0
    people: int = 20
    domain: str = "example.com"
    size: Size | None = None


class Commands:
    """Routes under `/_sim/` for faults, activities that no change tells, and whole histories."""

    def __init__(self, world: SimulatedGoogle) -> None:
        self._world = world

    def mount(self, router: Router, guard: Guard) -> None:
        """Add the routes, each behind `guard`, which makes responses of answers."""
        router.add("POST", "/_sim/faults", guard(self.add_faults))
        router.add("GET", "/_sim/faults", guard(self.faults))
        router.add("DELETE", "/_sim/faults", guard(self.remove_faults))
        router.add("POST", "/_sim/activities", guard(self.add_activity))
        router.add("POST", "/_sim/stories", guard(self.tell_story))
        router.add("POST", "/_sim/organisations", guard(self.found_organisation))

    def add_faults(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Put rules in force."""
        rules = msgspec.json.decode(request.body, type=Rule | list[Rule])
        now_ns = self._world.now_ns()
        wanted = rules if isinstance(rules, list) else [rules]
        return {"ids": [self._world.faults.add(rule, now_ns) for rule in wanted]}

    def faults(self, _request: Request) -> Any:  # noqa: ANN401 - JSON
        """Show the rules in force."""
        armed = self._world.faults.armed.values()
        return {
            "faults": [{"id": a.id, "rule": a.rule, "seen": a.seen, "hits": a.hits} for a in armed]
        }

    def remove_faults(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Lift one rule or all."""
        wanted = request.query.get("id")
        return {"removed": self._world.faults.remove(None if wanted is None else int(wanted))}

    def add_activity(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Let Drive Activity tell something."""
        new = msgspec.json.decode(request.body, type=NewActivity)
        world = self._world
        file_id = world.refs.get(new.file, new.file)
        file = world.state.files.get(file_id)
        if file is None:
            raise FileMissingError(file_id)
        if new.case not in CASES.values():
            raise ValueError(f"No such case of ActionDetail: {new.case}")
        if isinstance(new.actor, dict) and not new.actor.keys() <= _ACTORS:
            raise ValueError(f"No such Actor: {sorted(new.actor)}")
        now_ns, number = world.now_ns(), world.ledger.next_n
        record = world.activities.add(file, new.actor, new.case, new.detail, now_ns)
        actor = new.actor if isinstance(new.actor, str) else next(iter(new.actor), "")
        world.ledger.add(ActivityFact(number, now_ns, file.id, new.case, actor), "activity")
        return {"n": record.n}

    def tell_story(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Let a story happen."""
        story = read_story(request.body.decode("utf-8"))
        tell(self._world, story)
        return {"steps": len(story.steps)}

    def found_organisation(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        """Let a generated organisation live its history."""
        new = msgspec.json.decode(request.body, type=NewOrganisation)
        organisation = found(new.seed, new.size or Size.of(new.people, new.domain))
        settle(self._world, organisation)
        people = [{"email": p.email, "name": p.name, "team": p.team} for p in organisation.people]
        return {"people": people, "groups": organisation.groups}
