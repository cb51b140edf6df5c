"""The schema: what its migrations make, and what its roles may do."""

import datetime as dt
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from drivewake.eventstore import schema
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.store import ABSENT, Batch
from drivewake.lab.servers import PostgresServer
from drivewake.lab.suites.eventstore import NOON, a_head, an_applied, an_event

ROLES = "in role drivewake_writer, drivewake_reader"
CHANGES = [
    "update eventstore.event set tenant = 'x'",
    "delete from eventstore.event",
    "truncate eventstore.event",
    "update eventstore.event_202611 set tenant = 'x'",
    "delete from eventstore.event_202611",
    "truncate eventstore.event_202611",
    "truncate eventstore.event_rest",
]


@pytest.fixture
async def owner(database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The owner's session, in a store with one event."""
    async with PostgresStore.open(database) as store:
        await store.append(Batch(events=[an_event()]))
    session = await asyncpg.connect(database)
    yield session
    await session.close()


@pytest.mark.parametrize("change", CHANGES)
async def test_not_even_the_owner_changes_an_event(
    owner: "asyncpg.Connection[asyncpg.Record]", change: str
) -> None:
    """Updates, deletes and truncation of events are refused to the owner and superuser too."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="never changed"):
        await owner.execute(change)


@pytest.mark.parametrize(
    "role", ["drivewake_writer", "drivewake_reader", "drivewake_projector", "drivewake_eraser"]
)
@pytest.mark.parametrize("change", CHANGES)
async def test_no_role_changes_an_event(
    owner: "asyncpg.Connection[asyncpg.Record]", role: str, change: str
) -> None:
    """No service's role has the right to update, delete or truncate events."""
    await owner.execute(f"set role {role}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        await owner.execute(change)


@pytest.mark.parametrize(
    "forbidden",
    [
        "update eventstore.lane set head = 0",
        "insert into eventstore.head values ('t', 'k', 'i', 1, '')",
        "update eventstore.head set revision = 1",
        "delete from eventstore.head",
        "delete from eventstore.mark",
        "update eventstore.checkpoint set position = 0",
        "drop table eventstore.event",
        "alter table eventstore.event disable trigger all",
        "select eventstore.append_take(0::smallint, '{}', 0)",
        "insert into eventstore.event select * from eventstore.event",
    ],
)
async def test_readers_only_read(
    owner: "asyncpg.Connection[asyncpg.Record]", forbidden: str
) -> None:
    """A reader reads events and heads, saves its place through a function, and no more."""
    await owner.execute("set role drivewake_reader")
    assert 1 == await owner.fetchval("select count(*) from eventstore.event")
    await owner.execute("select eventstore.save_checkpoint('test', 0::smallint, 1)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await owner.execute(forbidden)


async def test_roles_are_enough_for_their_work(
    postgres_server: PostgresServer, database: str, prefix: str
) -> None:
    """A user with the roles of writer and reader, and no others, does all that a store does."""
    name = database.rpartition("/")[2]
    postgres_server.create_role(
        prefix, "secret", options="in role drivewake_writer, drivewake_reader"
    )
    try:
        async with PostgresStore.open(postgres_server.dsn(name, prefix, "secret")) as store:
            assert [] == list(await store.prepare(dt.datetime.now(dt.UTC)))
            event = an_event(at=dt.datetime(2019, 1, 1, tzinfo=dt.UTC))
            batch = Batch(events=[event], heads=[a_head(ABSENT)], applied=[an_applied("1")])
            assert 1 == (await store.append(batch)).stored
            assert [event.key] == [stored.key for stored in await store.read(0, 0, 10)]
            assert 1 == len(await store.heads("acme", "file", ["f1"]))
            assert 1 == len(await store.applied("acme", "c1"))
            async with store.exclusive("relay", 0) as lease:
                await lease.check()
    finally:
        postgres_server.execute(f"drop owned by {prefix}", f"drop role {prefix}", database=name)


async def test_old_facts_get_a_partition_of_their_month(database: str) -> None:
    """A key of any past month makes its partition; months that never come go to the rest."""
    months = {2011: "event_201106", 2026: "event_202606", 9000: "event_rest"}
    async with PostgresStore.open(database) as store:
        events = [an_event(at=dt.datetime(year, 6, 1, tzinfo=dt.UTC)) for year in months]
        await store.append(Batch(events=events))
    session = await asyncpg.connect(database)
    try:
        rows = await session.fetch(
            "select tableoid::regclass::text from eventstore.event order by position"
        )
        assert list(months.values()) == [row[0].removeprefix("eventstore.") for row in rows]
    finally:
        await session.close()


async def test_partitions_are_bounded(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Sixty months have partitions; more would make every plan and poll slower."""
    for month in range(70):
        instant = dt.datetime(2015 + month // 12, month % 12 + 1, 1, tzinfo=dt.UTC)
        await owner.fetchval("select eventstore.ensure_month($1)", instant)
    count = await owner.fetchval(
        "select count(*) from pg_inherits where inhparent = 'eventstore.event'::regclass"
    )
    assert 60 + 1 == count


async def test_month_that_is_full_in_the_rest_stays_there(
    owner: "asyncpg.Connection[asyncpg.Record]", database: str
) -> None:
    """When the rest holds events of a month, its partition is refused and appending goes on."""
    old = an_event(at=dt.datetime(2012, 1, 5, tzinfo=dt.UTC))
    await owner.execute(
        "insert into eventstore.event select 999, occurred_at, $1, tenant, connection, 9::smallint,"
        " type, stream, data, metadata from eventstore.event",
        old.key,
    )
    assert not await owner.fetchval("select eventstore.ensure_month($1)", old.occurred_at)
    async with PostgresStore.open(database) as store:
        again = await store.append(
            Batch(events=[old, an_event(at=dt.datetime(2012, 1, 6, tzinfo=dt.UTC))])
        )
    assert (1, (old.key,)) == (again.stored, again.duplicates)


async def test_key_at_is_where_keys_of_an_instant_begin(
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """The database and the contracts agree on the first key of an instant."""
    from drivewake.contracts.keys import first_key_at  # noqa: PLC0415

    assert first_key_at(NOON) == await owner.fetchval("select eventstore.key_at($1)", NOON)


async def test_schema_is_the_sum_of_its_migrations(
    clone_database: Callable[..., str],
) -> None:
    """The committed description is what the migrations make, object by object, also twice."""
    dsn = clone_database("template1")
    for _ in range(2):
        await schema.migrate(dsn)
        assert schema.committed() == await schema.describe(dsn)
