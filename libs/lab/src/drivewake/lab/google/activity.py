"""Drive Activity v2: `POST /v2/activity:query`, answered from the book of activities.

Google says that the order is newest first only by example, and that `pageSize` is what the
server attempts to reach; here pages have that many or up to two more, or on command fewer. Not
documented, and to be survived either way: an ancestor's history holds what happened while an
item was below it (and its leaving); an unknown item is 404; the page is at most 200.
"""

import base64
import binascii
import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import msgspec

from drivewake.lab.google.activity_book import Record
from drivewake.lab.google.activity_filter import Filter, FilterError, parse
from drivewake.lab.google.activity_resources import Group, resource
from drivewake.lab.google.errors import ApiError
from drivewake.lab.google.gateway import Call, Endpoint
from drivewake.lab.google.model import User
from drivewake.lab.google.world import SimulatedGoogle

_DEFAULT_PAGE, _MAX_PAGE = 50, 200
_FIELDS = {
    "itemName",
    "ancestorName",
    "filter",
    "consolidationStrategy",
    "pageSize",
    "pageToken",
}
_MORE = 3
_STRATEGIES: tuple[dict[str, Any], ...] = ({}, {"none": {}}, {"legacy": {}})
_LEGACY_WINDOW_NS = 600 * 1_000_000_000
_MAX_TARGETS = 50


class Query(NamedTuple):
    """What a request asks: one item, or all below a folder; `start` is the newest place + 1."""

    user: User
    item_id: str | None
    ancestor_id: str | None
    filter: Filter
    legacy: bool
    size: int
    start: int
    digest: str


class ActivityService:
    """The one method of Drive Activity."""

    def __init__(self, world: SimulatedGoogle) -> None:
        self._world = world
        self._book = world.activities

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        return {"driveactivity.activity.query": Endpoint(self.query, "activity")}

    def query(self, call: Call) -> dict[str, Any]:
        """Return one page of activities. Raises ApiError: 400, 404, and 500 on command."""
        query = self._read(call)
        self._check(query)
        groups, following = self._page(query)
        viewer = query.user
        shown: dict[str, Any] = {
            "activities": [resource(self._book, self._world.state, g, viewer) for g in groups]
        }
        if following is not None:
            shown["nextPageToken"] = _seal(following, query.digest)
        return {k: v for k, v in shown.items() if v}

    # --- the request ------------------------------------------------------------------

    def _read(self, call: Call) -> Query:
        body = call.body
        for name in body.keys() - _FIELDS:
            _refuse(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        item, ancestor = body.get("itemName"), body.get("ancestorName")
        if item is not None and ancestor is not None:
            _refuse("Only one of item_name and ancestor_name may be set.")
        strategy = body.get("consolidationStrategy") or {}
        if strategy not in _STRATEGIES:
            _refuse("Invalid value at 'consolidation_strategy'.")
        try:
            wanted = parse(_text(body, "filter"))
        except FilterError as error:
            _refuse(str(error))
        size = body.get("pageSize") or _DEFAULT_PAGE
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            _refuse("Invalid value at 'page_size'.")
        asked = {k: v for k, v in body.items() if k != "pageToken"}
        key = f"{self._world.options.seed}/{call.user.email}".encode()
        digest = hashlib.blake2s(key + msgspec.json.encode(asked, order="sorted"), digest_size=9)
        return Query(
            call.user,
            self._named(call.user, item, "item_name") if item is not None else None,
            None if item is not None else self._named(call.user, ancestor, "ancestor_name"),
            wanted,
            "legacy" in strategy,
            min(size, _MAX_PAGE),
            self._start(_text(body, "pageToken"), digest.hexdigest()),
            digest.hexdigest(),
        )

    def _named(self, user: User, name: object, field: str) -> str:
        """Return the id in `items/ID`; `root` is the caller's My Drive, and the default."""
        text = "items/root" if name is None else name
        if not isinstance(text, str) or not text.startswith("items/") or text.count("/") != 1:
            _refuse(f"Invalid value at '{field}': it must be items/ITEM_ID.")
        item_id = text.removeprefix("items/")
        return user.root.id if item_id == "root" else item_id

    def _start(self, token: str, digest: str) -> int:
        """Return the place to go on below. Raises ApiError for another request's token."""
        if not token:
            lag_ns = self._world.options.profile.activity_lag_ms * 1_000_000
            settled_ns = self._world.now_ns() - lag_ns
            if lag_ns == 0:
                return len(self._book.records)
            return bisect_left(self._book.records, settled_ns, key=lambda r: r.at_ns)
        try:
            place, _, bound = base64.urlsafe_b64decode(token).decode().partition(".")
            number = int(place)
        except (binascii.Error, ValueError):
            _refuse("Invalid page token.")
        if bound != digest or not 0 <= number <= len(self._book.records):
            _refuse("Page token does not belong to this request.")
        return number

    def _check(self, query: Query) -> None:
        """Refuse an item the caller knows nothing of. Raises ApiError (404), and 500."""
        item_id = query.item_id or query.ancestor_id or ""
        state = self._world.state
        file = state.files.get(item_id)
        seen = file is not None and state.access.rank(query.user, file) > 0
        if not seen and not any(self._book.sees(query.user, r) for r in self._history(item_id)):
            raise ApiError(404, "notFound", "Requested entity was not found.", status="NOT_FOUND")
        if query.ancestor_id is not None and file is not None and not file.is_folder:
            _refuse("ancestor_name must be a folder.")
        if self._world.faults.poisons_activity(
            query.user.email,
            after_ns=query.filter.after_ns,
            before_ns=query.filter.before_ns,
            item_id=query.item_id,
            ancestor_id=query.ancestor_id,
            now_ns=self._world.now_ns(),
            above=self._above,
        ):
            raise ApiError(500, "backendError", "Internal error encountered.", status="INTERNAL")

    def _above(self, item_id: str) -> tuple[str, ...]:
        """Return an item and all folders above it, as they are now or were at last."""
        file = self._world.state.files.get(item_id)
        if file is None:
            last = self._book.last(item_id)
            return (item_id, *(last.above if last is not None else ()))
        path = [item_id]
        while file.parent is not None:
            file = file.parent
            path.append(file.id)
        return tuple(path)

    # --- the answer -------------------------------------------------------------------

    def _page(self, query: Query) -> tuple[list[Group], int | None]:
        """Return activities, newest first, and the place to go on below while more follows."""
        groups: list[Group] = []
        enough = self._world.faults.page_of_activity(
            query.user.email, query.size + query.start % _MORE, self._world.now_ns()
        )
        for record in self._matching(query):
            if query.legacy and groups and _joins(groups[-1], record):
                groups[-1].append(record)
                continue
            if len(groups) >= enough:
                return groups, record.n + 1
            groups.append([record])
        return groups, None

    def _matching(self, query: Query) -> Iterator[Record]:
        candidates = (
            self._history(query.item_id, query.start)
            if query.item_id is not None
            else self._below(query)
        )
        for record in candidates:
            if record.at_ns <= query.filter.after_ns:
                return
            if query.filter.passes(record.at_ns, record.cases) and self._book.sees(
                query.user, record
            ):
                yield record

    def _history(self, item_id: str, start: int | None = None) -> Iterator[Record]:
        """Yield an item's own activities, newest first, from below a place."""
        place = self._book.latest.get(item_id, -1)
        while place >= 0:
            record = self._book.records[place]
            if start is None or record.n < start:
                yield record
            place = record.previous

    def _below(self, query: Query) -> Iterator[Record]:
        """Yield what happened to a folder and below it while it was there."""
        records, folder = self._book.records, query.ancestor_id or ""
        newest = bisect_left(records, query.filter.before_ns, key=lambda r: r.at_ns)
        end = min(query.start, newest)
        places, all_here = self._book.index.candidates(folder, query.filter, end)
        for place in places:
            record = records[place]
            left = record.previous >= 0 and "move" in record.cases
            if (
                all_here
                or record.file_id == folder
                or folder in record.above
                or (left and folder in records[record.previous].above)
            ):
                yield record


def _joins(group: Group, record: Record) -> bool:
    """Whether the older ways of Drive's own panel would tell both as one activity.

    The same action by the same actor on several items, or by several actors on one item,
    shortly after each other. Google documents neither the rule nor the time.
    """
    first = group[0]
    near = group[-1].at_ns - record.at_ns <= _LEGACY_WINDOW_NS and len(group) < _MAX_TARGETS
    if not near or first.cases != record.cases or "comment" in first.cases:
        return False
    one_actor = all(r.actor == record.actor for r in group)
    return one_actor or all(r.file_id == record.file_id for r in group)


def _seal(place: int, digest: str) -> str:
    return base64.urlsafe_b64encode(f"{place}.{digest}".encode()).decode()


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name) or ""
    if not isinstance(value, str):
        _refuse(f"Invalid value at '{name}' (TYPE_STRING).")
    return value


def _refuse(message: str) -> NoReturn:
    raise ApiError(400, "badRequest", message, status="INVALID_ARGUMENT")
