"""Sharing out numbered work evenly among replicas: each number is held by one at a time.

Nobody leads: every member sees who is there and who holds what, counts how many numbers are
its own share, gives back what is above and takes what is free below. A member that ends loses
all at once; one that stops answering, after `Sharing.shares` says so.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

import msgspec

MEMBER: Final = 1 << 20
"""A number above all that is shared out: its lock is shared, and says who is there."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Who is there, in an order that all see alike, and which numbers are held by anybody."""

    members: Sequence[int]
    me: int
    held: frozenset[int]
    mine: frozenset[int]

    def quota(self, count: int) -> int:
        """Return how many of `count` numbers are this member's share."""
        if self.me not in self.members:
            return 0
        rank, members = self.members.index(self.me), len(self.members)
        return count // members + (rank < count % members)

    def excess(self, numbers: Collection[int]) -> list[int]:
        """Return which of this member's numbers it must give back."""
        return sorted(self.mine)[self.quota(len(numbers)) :]

    def lack(self, numbers: Collection[int]) -> int:
        """Return how many more this member may take."""
        return max(self.quota(len(numbers)) - len(self.mine), 0)

    def free(self, numbers: Collection[int]) -> list[int]:
        """Return what nobody holds."""
        return sorted(set(numbers) - self.held)


class Shares(Protocol):
    """One member's hold on numbers. Every method may raise StoreUnavailableError: all is lost."""

    async def standing(self) -> Standing:
        """Return how things stand right now."""
        ...

    async def claim(self, number: int) -> bool:
        """Take a number, if nobody holds it; return whether it is held now."""
        ...

    async def release(self, number: int) -> None:
        """Give a number back: whoever wants it may have it at once."""
        ...


class Sharing(Protocol):
    """Where replicas share out numbers."""

    def shares(self, name: str) -> AbstractAsyncContextManager[Shares]:
        """Be a member of a name inside the context.

        Its end gives all back. So does ten seconds without any call: whoever is paused for
        longer has lost its numbers when it wakes up, and finds out at its next call.
        """
        ...


class MemorySharing:
    """Sharing within one process."""

    def __init__(self) -> None:
        self._members: dict[str, dict[int, set[int]]] = {}
        self._next = 0

    @asynccontextmanager
    async def shares(self, name: str) -> AsyncIterator[Shares]:
        """See Sharing."""
        members = self._members.setdefault(name, {})
        self._next += 1
        me = self._next
        members[me] = set()
        try:
            yield _MemoryShares(members, me)
        finally:
            del members[me]


class _MemoryShares:
    def __init__(self, members: dict[int, set[int]], me: int) -> None:
        self._members = members
        self._me = me

    async def standing(self) -> Standing:
        """See Shares."""
        await asyncio.sleep(0)
        return Standing(
            members=sorted(self._members),
            me=self._me,
            held=frozenset().union(*self._members.values()),
            mine=frozenset(self._members[self._me]),
        )

    async def claim(self, number: int) -> bool:
        """See Shares."""
        if any(number in held for me, held in self._members.items() if me != self._me):
            return False
        self._members[self._me].add(number)
        return True

    async def release(self, number: int) -> None:
        """See Shares."""
        self._members[self._me].discard(number)
