"""What every Sharing must do: numbers held by one member at a time, in even shares.

Use: subclass `SharingContract` in a test file, with a fixture `sharing`.
"""

# ruff: noqa: SIM300 - the expected value stands first, as in every test

from drivewake.eventstore.sharing import Sharing

NUMBERS = range(5)


class SharingContract:
    """Sharing out numbered work among replicas."""

    async def test_number_is_held_by_one(self, sharing: Sharing) -> None:
        """What is held cannot be claimed, what was released can; other names are other numbers."""
        async with sharing.shares("a") as first, sharing.shares("a") as second:
            assert await first.claim(1)
            assert not await second.claim(1)
            assert await second.claim(2)
            async with sharing.shares("b") as other:
                assert await other.claim(1)
                standing = await other.standing()
                assert ([1], [1], 1) == (
                    *([*standing.held], [*standing.mine]),
                    len(standing.members),
                )
            standing = await second.standing()
            assert ([1, 2], [2]) == (sorted(standing.held), [*standing.mine])
            await first.release(1)
            assert await second.claim(1)

    async def test_members_see_each_other_and_have_even_quotas(self, sharing: Sharing) -> None:
        """Whoever is there counts, and all quotas together are all numbers."""
        async with sharing.shares("a") as first:
            alone = await first.standing()
            assert (5, [0, 1, 2, 3, 4]) == (alone.quota(5), alone.free(NUMBERS))
            for number in NUMBERS:
                assert await first.claim(number)
            async with sharing.shares("a") as second:
                standings = [await each.standing() for each in (first, second)]
                assert [2, 3] == sorted(each.quota(5) for each in standings)
                assert standings[0].members == standings[1].members
                assert 5 - standings[0].quota(5) == len(standings[0].excess(NUMBERS))
                assert standings[1].quota(5) == standings[1].lack(NUMBERS)
            assert [] == (await first.standing()).excess(NUMBERS)

    async def test_end_gives_all_back(self, sharing: Sharing) -> None:
        """A member that left holds nothing and is not there."""
        async with sharing.shares("a") as first:
            async with sharing.shares("a") as second:
                assert await second.claim(3)
            standing = await first.standing()
            assert (frozenset(), 1) == (standing.held, len(standing.members))
            assert await first.claim(3)
