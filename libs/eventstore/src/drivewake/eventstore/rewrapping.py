"""Data keys wrapped anew under the first key of the keyring, so that its others can go.

The data keys themselves stay: nothing that is sealed is touched, and whoever reads or appends
meanwhile does not notice. May be cut off anywhere and repeated.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from drivewake.eventstore.connections import AnyConnection, translated
from drivewake.eventstore.data_keys import place
from drivewake.eventstore.queries import load_queries
from drivewake.runtime.errors import SecretError
from drivewake.runtime.keyring import Keyring, Sealed

PAGE_KEYS: Final = 1_000

_SQL = load_queries("rewrapping")


class Rewrapped(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did; `unreadable` did not open and lie where they lay, by key of the ring."""

    current: str
    rewrapped: int
    unreadable: dict[str, int]


async def lie(session: AnyConnection) -> Mapping[str, int]:
    """Return how many data keys lie under which key of a keyring."""
    async with translated():
        return {row["ring_key"]: row["keys"] for row in await session.fetch(_SQL["lie"])}


async def rewrap(
    session: AnyConnection,
    keyring: Keyring,
    progress: Callable[[int], None] = lambda _seen: None,
) -> Rewrapped:
    """Wrap all data keys under the current key; `session` is of a member of `drivewake_eraser`.

    `progress` is told how many have been looked at. Raises StoreErrors.
    """
    seen = replaced = 0
    unreadable: dict[str, int] = {}
    after = ("", "")
    while True:
        async with translated():
            rows = await session.fetch(_SQL["page"], keyring.current, *after, PAGE_KEYS)
        if not rows:
            return Rewrapped(current=keyring.current, rewrapped=replaced, unreadable=unreadable)
        changed: list[tuple[str, str, bytes, bytes]] = []
        for row in rows:
            after = (row["tenant"], row["connection"])
            try:
                key = keyring.open_bytes(Sealed(row["ring_key"], row["wrapped"]), place(after))
            except SecretError:
                unreadable[row["ring_key"]] = unreadable.get(row["ring_key"], 0) + 1
                continue
            changed.append((*after, row["wrapped"], keyring.seal_bytes(key, place(after)).data))
        if changed:
            tenants, connections, before, anew = zip(*changed, strict=True)
            async with translated():
                replaced += await session.fetchval(
                    _SQL["rewrap"], tenants, connections, before, keyring.current, anew
                )
        seen += len(rows)
        progress(seen)
