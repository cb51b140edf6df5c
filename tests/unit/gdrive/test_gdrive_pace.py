"""The governor's pace and the retries' budget, on a clock that the test moves."""

import datetime as dt

import pytest

from drivewake.gdrive.errors import (
    DailyLimitError,
    ItemNotFoundError,
    RateLimitedError,
    UnavailableError,
)
from drivewake.gdrive.quota import Budget, Governor, metered, units, urgent
from drivewake.gdrive.retries import Patience, Retries, RetryBudget

QUICK = Patience(attempts=4, first_wait_s=0.001, max_wait_s=0.002)


class ManualClock:
    """Time that passes by sleeping."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def now(self) -> dt.datetime:
        """Return the instant."""
        return dt.datetime.fromtimestamp(self.at_s, dt.UTC)

    def monotonic_s(self) -> float:
        """Return the seconds."""
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.at_s += seconds


@pytest.mark.parametrize(
    ("method", "cost"),
    [
        ("drive.changes.list", 100),
        ("drive.files.list", 100),
        ("drive.files.get", 5),
        ("drive.changes.getStartPageToken", 5),
        ("drive.changes.watch", 5),
        ("drive.channels.stop", 5),
        ("drive.files.export", 200),
        ("drive.files.update", 50),
    ],
)
def test_what_calls_cost(method: str, cost: int) -> None:
    """Google's unit costs, by method."""
    assert cost == units(method)


async def test_a_user_gets_the_users_budget_and_no_more() -> None:
    """Over a minute of waiting for its turn a user spends what a minute allows."""
    clock = ManualClock()
    governor = Governor(Budget(user_per_min=6000, project_per_min=60_000), clock=clock)
    began_s = clock.at_s
    for _ in range(60 + 6):
        await governor.admit("ann", 100)

    assert 60 == pytest.approx(clock.at_s - began_s, abs=2)
    assert 6600 == governor.units_spent


async def test_the_project_bounds_all_users_together() -> None:
    """Many users share what the project may spend."""
    clock = ManualClock()
    governor = Governor(Budget(user_per_min=6000, project_per_min=6000), clock=clock)
    began_s = clock.at_s
    for number in range(66):
        await governor.admit(f"user{number}", 100)

    assert 60 == pytest.approx(clock.at_s - began_s, abs=2)


async def test_far_away_turns_are_refused_at_once() -> None:
    """Nobody waits longer than the bound; the error says how long it would be."""
    clock = ManualClock()
    governor = Governor(clock=clock)
    governor.refused("ann", RateLimitedError(retry_after_s=300.0))
    with pytest.raises(RateLimitedError) as refused:
        await governor.admit("ann", 5)
    await governor.admit("bob", 5)

    assert 300.0 == refused.value.retry_after_s
    assert 1000.0 == clock.at_s


async def test_refusals_double_the_pause_up_to_64_seconds_until_one_is_served() -> None:
    """min(2^n + rand, 64), as Google asks."""
    clock = ManualClock()
    governor = Governor(Budget(max_wait_s=100), clock=clock)
    pauses = []
    for _ in range(9):
        governor.refused("ann", RateLimitedError())
        before_s = clock.at_s
        await governor.admit("ann", 5)
        pauses.append(clock.at_s - before_s)
    governor.accepted("ann")
    governor.refused("ann", RateLimitedError())
    before_s = clock.at_s
    await governor.admit("ann", 5)

    assert [0, 1, 2, 3, 4, 5] == [int(pause).bit_length() - 1 for pause in pauses[:6]]
    assert [64.0, 64.0, 64.0] == [round(pause, 6) for pause in pauses[6:]]
    assert 2 > clock.at_s - before_s


async def test_a_projects_refusal_and_a_spent_day_stop_everybody() -> None:
    """Users are not to blame: all of them wait."""
    for error in (RateLimitedError(scope="project", retry_after_s=60), DailyLimitError()):
        governor = Governor(clock=ManualClock())
        governor.refused("ann", error)
        with pytest.raises(RateLimitedError):
            await governor.admit("bob", 5)


async def test_the_governor_forgets_users_beyond_its_bound() -> None:
    """Memory is bounded by the number of users kept."""
    governor = Governor(Budget(users=10), clock=ManualClock())
    for number in range(100):
        await governor.admit(f"user{number}", 5)

    assert 10 == len(governor._users)


class Flaky:
    """Fails some times with an error, then succeeds."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error = error
        self.times = times
        self.calls = 0

    async def __call__(self) -> str:
        """Do it once."""
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "done"


async def test_what_can_heal_is_repeated() -> None:
    """An outage shorter than the patience is not seen."""
    flaky = Flaky(UnavailableError(), 3)

    assert "done" == await Retries(QUICK).run(flaky, "x")
    assert 4 == flaky.calls


@pytest.mark.parametrize(
    "error",
    [
        ItemNotFoundError(),
        DailyLimitError(),
        RateLimitedError(retry_after_s=30.0),
        UnavailableError(retry_after_s=30.0),
    ],
)
async def test_what_cannot_heal_soon_is_raised_at_once(error: Exception) -> None:
    """Final answers, and waits beyond this call's patience, go to the caller."""
    flaky = Flaky(error, 9)
    with pytest.raises(type(error)):
        await Retries(QUICK).run(flaky, "x")

    assert 1 == flaky.calls


async def test_an_outage_does_not_multiply_calls() -> None:
    """With the budget spent, a thousand failing calls are little more than a thousand."""
    retries = Retries(QUICK, RetryBudget(share=0.1, cap=10))
    flaky = Flaky(UnavailableError(), 10_000)
    for _ in range(1000):
        with pytest.raises(UnavailableError):
            await retries.run(flaky, "x")

    assert 1000 < flaky.calls <= 1111


async def test_reserve_is_left_to_urgent_calls() -> None:
    """Timers use what is saved up down to the reserve; a push goes at once."""
    clock = ManualClock()
    budget = Budget(user_per_min=1e9, project_per_min=6000, day_units=0.0, burst_s=10, reserve=0.2)
    governor = Governor(budget, clock=clock)
    began_s = clock.at_s
    for _ in range(8):
        await governor.admit("u", 100)
    assert began_s == clock.at_s
    mark = urgent.set(True)
    await governor.admit("u", 100)
    await governor.admit("u", 100)
    urgent.reset(mark)
    assert began_s == clock.at_s
    await governor.admit("u", 100)
    assert 2.0 == pytest.approx(clock.at_s - began_s)


async def test_share_of_the_project_shrinks_with_the_replicas() -> None:
    """Four processes spend together what one might alone; the user's budget stays whole."""
    clock = ManualClock()
    budget = Budget(user_per_min=1e9, project_per_min=60_000, day_units=0.0, reserve=0.0)
    governor = Governor(budget, clock=clock)
    governor.share_among(4)
    began_s = clock.at_s
    for _ in range(100):
        await governor.admit("u", 100)
    assert 100 * 100 / (60_000 / 60 / 4) - budget.burst_s == pytest.approx(
        clock.at_s - began_s, abs=1
    )


async def test_a_day_has_its_budget_too() -> None:
    """What Google would bill for is not spent; up to some hours of it may be saved up."""
    clock = ManualClock()
    budget = Budget(day_units=86_400.0, day_burst_s=100.0, reserve=0.0, max_wait_s=1e9)
    governor = Governor(budget, clock=clock)
    began_s = clock.at_s
    for _ in range(20):
        await governor.admit("u", 100)
    assert 20 * 100 - 100 == pytest.approx(clock.at_s - began_s, abs=101)


async def test_activity_counts_queries_of_its_own() -> None:
    """It spends no units of Drive, and has its own pace for each user."""
    clock = ManualClock()
    governor = Governor(Budget(activity_per_user_min=60, reserve=0.0), clock=clock)
    began_s = clock.at_s
    with metered() as meter:
        for _ in range(90):
            await governor.admit("u", 0, method="driveactivity.activity.query")
    assert (90, 0, 0) == (meter.calls, meter.units, governor.units_spent)
    assert 59 == pytest.approx(clock.at_s - began_s, abs=2)


async def test_what_is_waited_for_can_be_told() -> None:
    """While a call waits it is counted by what holds it up."""
    seen: list[str] = []

    class Looking(ManualClock):
        async def sleep(self, seconds: float) -> None:
            seen.extend(what for what, count in governor.waiting.items() if count)
            await super().sleep(seconds)

    clock = Looking()
    governor = Governor(Budget(user_per_min=600, reserve=0.0, burst_s=1), clock=clock)
    for _ in range(3):
        await governor.admit("u", 10)
    governor.refused("u", RateLimitedError("slow", scope="project"))
    await governor.admit("v", 10)
    assert {"user", "refused"} == set(seen)
    assert not any(governor.waiting.values())
