"""The maker's side of the simulated Google: people act there, and its ledger tells the truth."""

from collections.abc import Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from drivewake.lab.demo.verdict import Fact
from drivewake.lab.scenarios.git import Blobs
from drivewake.lab.scenarios.plan import Action, mime_type_of

PAGE = 20_000


class ControlError(Exception):
    """The simulated Google refused what its maker asked."""


class Google:
    """Control API of the simulated Google (`/_sim/…`), used in a `with` block."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    async def __aenter__(self) -> Self:
        """Open a session."""
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the session."""
        await self._session.close()

    async def act(self, actor: str, actions: Sequence[dict[str, Any]]) -> list[str]:
        """Let a person do things in order; return the id of each file concerned."""
        body = msgspec.msgpack.encode({"actor": actor, "actions": actions})
        headers = {"Content-Type": "application/msgpack"}
        done = await self._call("POST", "actions", data=body, headers=headers)
        return [result["id"] for result in done["results"]]

    async def catch_up(self, ledger: "Ledger") -> None:
        """Read into the ledger what has happened since it was last read."""
        more = True
        while more:
            wanted = {"after": ledger.read_to, "limit": PAGE, "types": "change,page"}
            page = await self._call("GET", "ledger", params=wanted)
            ledger.add(page["facts"])
            ledger.read_to, more = page["next"], page["more"]

    async def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        url = f"{self._base_url}/_sim/{path}"
        async with self._session.request(method, url, **options) as answer:
            body = await answer.read()
            if answer.status != HTTPStatus.OK:
                raise ControlError(f"{path}: {answer.status} {body[:300].decode(errors='replace')}")
            decoded: dict[str, Any] = msgspec.json.decode(body)
            return decoded


class Ledger:
    """Facts of one change log, and what of it the reader took.

    A page is taken when the reader later asks on from where that page ended: until then a
    crash may read it again, and find other entries in it.
    """

    def __init__(self, log: str) -> None:
        self._log = log
        self._pages: list[tuple[int, int, list[tuple[str, int]]]] = []
        self.facts: list[Fact] = []
        self.read_to = 0
        """Number of the last fact of the whole ledger that was read."""

    def add(self, facts: Sequence[dict[str, Any]]) -> None:
        """Take in facts as the ledger exports them."""
        for fact in facts:
            if fact["type"] == "page" and fact["log"] == self._log:
                entries = [(file, version) for file, version in fact["entries"]]
                self._pages.append((fact["start"], fact["next"], entries))
            elif fact["type"] == "change" and self._log in fact["logs"]:
                self.facts.append(
                    Fact(
                        file=fact["file_id"],
                        version=fact["version"],
                        at_ns=fact["at_ns"],
                        removed=fact["kind"].startswith("delete"),
                    )
                )

    def taken(self) -> set[tuple[str, int]]:
        """Return each (file, version) that Google will not tell of again."""
        asked_later: set[int] = set()
        taken: set[tuple[str, int]] = set()
        for start, following, entries in reversed(self._pages):
            if following in asked_later:
                taken.update(entries)
            asked_later.add(start)
        return taken

    def jumps(self) -> int:
        """Return how often the log was read from a place that no page before had led to.

        The first page begins at the start token. Whoever begins anywhere else later, at a
        fresh start token say, has skipped what no page ever showed.
        """
        jumps = 0
        led_to: set[int] = set()
        for number, (start, following, _) in enumerate(self._pages):
            jumps += number > 0 and start not in led_to
            led_to.update((start, following))
        return jumps


def as_sim_action(action: Action, blobs: Blobs) -> dict[str, Any]:
    """Return an action in the words of the control API; contents are read from git."""
    modified_ms = action.at * 1000
    if action.verb == "create_folder":
        return {
            "op": "create_folder", "name": action.name, "ref": action.ref,
            "parent": action.parent, "createdTime": modified_ms, "modifiedTime": modified_ms,
        }  # fmt: skip
    if action.verb == "create_file":
        return {
            "op": "create_file", "name": action.name, "ref": action.ref,
            "parent": action.parent, "content": blobs.read(action.blob, action.mode),
            "mimeType": mime_type_of(action.mode),
            "createdTime": modified_ms, "modifiedTime": modified_ms,
        }  # fmt: skip
    if action.verb == "update_content":
        return {
            "op": "update", "file": action.ref, "content": blobs.read(action.blob, action.mode),
            "mimeType": mime_type_of(action.mode), "modifiedTime": modified_ms,
        }  # fmt: skip
    if action.verb == "move":
        moved = {"parent": action.parent} if action.parent else {}
        return {
            "op": "update", "file": action.ref, "name": action.name, **moved,
            "modifiedTime": modified_ms,
        }  # fmt: skip
    return {"op": action.verb, "file": action.ref}
