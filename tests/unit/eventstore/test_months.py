"""Which partitions keys need."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from drivewake.contracts.keys import event_key
from drivewake.eventstore.months import Months

SECRET = b"0123456789abcdef"
TIMES = st.integers(0, (2030 - 2000) * 365 * 86_400_000_000).map(
    lambda microseconds: (
        dt.datetime(2000, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=microseconds)
    )
)


class Database:
    """Notes which months were asked for."""

    def __init__(self, *, answer: bool = True) -> None:
        self.asked: list[dt.datetime] = []
        self.answer = answer

    async def ensure(self, month: dt.datetime) -> bool:
        """Note the month."""
        self.asked.append(month)
        return self.answer


def month_of(instant: dt.datetime) -> dt.datetime:
    """Return the first instant of the month."""
    return instant.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


@given(times=st.lists(TIMES, max_size=20))
async def test_every_month_of_the_keys_is_made_once(times: list[dt.datetime]) -> None:
    """Each key's month is asked for, and never again once it is there."""
    database = Database()
    months = Months(database.ensure)
    keys = [event_key(SECRET, time, "t", n) for n, time in enumerate(times)]
    await months.of_keys(keys)
    await months.of_keys(keys)
    assert {month_of(time) for time in times} <= set(database.asked)
    assert len(set(database.asked)) == len(database.asked)
    assert all(month == month_of(month) for month in database.asked)


async def test_refused_month_is_not_asked_for_at_once_again() -> None:
    """A month that cannot be made costs one question a minute, not one a batch."""
    database = Database(answer=False)
    months = Months(database.ensure)
    key = event_key(SECRET, dt.datetime(2020, 5, 15, tzinfo=dt.UTC), "t")
    for _ in range(3):
        await months.of_keys([key])
    assert database.asked == [dt.datetime(2020, 5, 1, tzinfo=dt.UTC)]


async def test_months_are_made_ahead() -> None:
    """This month and the next ones are made before they begin, over the end of a year."""
    database = Database()
    now = dt.datetime(2026, 11, 30, 23, tzinfo=dt.timezone(dt.timedelta(hours=-3)))
    assert await Months(database.ensure).ahead(now, 2) == []
    assert database.asked == [
        dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
        dt.datetime(2027, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2027, 2, 1, tzinfo=dt.UTC),
    ]


async def test_missing_months_are_told() -> None:
    """What could not be made ahead is returned, to raise an alarm."""
    now = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
    assert await Months(Database(answer=False).ensure).ahead(now, 0) == [now]
