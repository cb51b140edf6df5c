"""Generated organisations are possible, varied, and decided by their seed."""

from collections import Counter

import msgspec
import pytest

from drivewake.lab.google import SimulatedGoogle
from drivewake.lab.scenarios.organisation import Size, found, settle

BUSY = Size(people=30, teams=5, files=150, steps=600, departures=4)


def test_the_same_seed_founds_the_same_organisation() -> None:
    """Byte for byte; another seed another one."""
    encode = msgspec.msgpack.encode

    assert encode(found(7, BUSY)) == encode(found(7, BUSY))
    assert encode(found(7, BUSY)) != encode(found(8, BUSY))


@pytest.mark.parametrize("seed", range(12))
def test_every_history_is_possible(seed: int) -> None:
    """No action of any seed is refused by the simulated Drive."""
    world = SimulatedGoogle()
    organisation = found(seed, BUSY)
    settle(world, organisation)

    assert 30 == len(world.state.users)
    assert 5 == len(world.state.groups) == len(world.state.drives)
    assert world.ledger.counts["change"] > 500


def test_a_history_has_everything_that_offices_do() -> None:
    """Links, re-shares, comments, moves between folders, trash, hand-overs."""
    done = Counter(a["op"] for chapter in found(0, BUSY).chapters for a in chapter.actions)
    expected = (
        "create_drive create_folder create_file update set_permissions comment trash untrash "
        "delete star transfer"
    )

    assert set(expected.split()) == set(done)
    shares = [
        p["type"]
        for chapter in found(0, BUSY).chapters
        for a in chapter.actions
        for p in a.get("permissions", ())
    ]
    assert {"user", "group", "anyone"} == set(shares)


def test_who_left_sees_nothing_of_the_team_any_more() -> None:
    """Out of the group, and what they owned belongs to the manager."""
    world, organisation = SimulatedGoogle(), found(3, BUSY)
    settle(world, organisation)
    members = {email for g in world.state.groups.values() for email in g.members}
    leavers = [p.email for p in organisation.people if p.email not in members]

    assert 4 == len(leavers)
    for email in leavers:
        user = world.state.user(email)
        assert {} == user.owned
        assert [] == world.state.drives_of(user)


@pytest.mark.parametrize(
    "wrong",
    [{"teams": 0}, {"teams": 99}, {"people": 3}, {"departures": 19}],
)
def test_an_impossible_size_is_refused(wrong: dict[str, int]) -> None:
    """Rather than a smaller organisation than asked for."""
    with pytest.raises(ValueError, match="team"):
        msgspec.convert(wrong, Size)
