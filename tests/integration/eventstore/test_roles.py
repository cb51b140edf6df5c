"""Roles, tried with real logins: what each service and each reader must not do, and is denied."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from drivewake.auth.__main__ import MIGRATIONS, MIGRATIONS_TABLE
from drivewake.eventstore import schema
from drivewake.eventstore.erasing import ErasureDesk
from drivewake.eventstore.postgres import PostgresStore
from drivewake.eventstore.projection import ProjectionRunner
from drivewake.eventstore.projections.current_tree import CurrentTree
from drivewake.eventstore.store import Batch
from drivewake.lab.servers import PostgresServer
from drivewake.lab.suites.eventstore import an_event
from drivewake.runtime.migrations import migrate

PASSWORD = "secret"
LOGINS = {
    "normalizer": "drivewake_writer, drivewake_reader, drivewake_projector",
    "writer": "drivewake_writer",
    "reader": "drivewake_reader",
    "auth": "drivewake_auth",
    "eraser": "drivewake_eraser",
    "keeper": "drivewake_keeper",
    "acme": "",
    "globex": "",
}
CHANGES = (
    "update eventstore.event set tenant = 'x'",
    "delete from eventstore.event",
    "truncate eventstore.event",
    "update eventstore.event_202611 set tenant = 'x'",
    "delete from eventstore.event_202611",
    "truncate eventstore.event_202611",
    "drop table eventstore.event_202611",
    "drop table eventstore.event",
    "alter table eventstore.event disable trigger all",
    "alter table eventstore.event detach partition eventstore.event_202611",
    "update eventstore.lane set head = 0",
    "update eventstore.head set revision = 1",
    "delete from eventstore.head",
    "delete from eventstore.mark",
    "update eventstore.applied set cursor = ''",
    "update eventstore.checkpoint set position = 0",
    "insert into eventstore.tenant_reader values (current_user, 'acme')",
    "select eventstore.admit_reader(current_user, 'acme')",
)
SECRETS = (
    "select * from auth.refresh_token",
    "select * from auth.connection",
    "insert into auth.tenant values ('x', 'X', now())",
)
EVENTS = (
    "select * from eventstore.event",
    "select * from eventstore.event_202611",
    "select * from eventstore.head",
    "select * from eventstore.applied",
    "select eventstore.append_take(0::smallint, '{}', 0)",
    "select eventstore.save_checkpoint('relay', 0::smallint, 9)",
    "insert into eventstore.event select * from eventstore.event",
)
APPENDS = (
    "select eventstore.append_lock(0::smallint, gen_random_uuid(), 1)",
    "select eventstore.append_take(0::smallint, '{}', 0)",
    "select eventstore.save_checkpoint('relay', 0::smallint, 9)",
    "insert into eventstore.event select * from eventstore.event",
    "copy eventstore.event from stdin",
    "insert into eventstore.head select * from eventstore.head",
    "insert into eventstore.applied select * from eventstore.applied",
    "select eventstore.keep_data_key('x', '', 'k', 'x')",
)
ERASURES = (
    "select eventstore.begin_erasure('e', 'acme', '', 'me')",
    "select eventstore.erase_data_keys('e')",
    "select eventstore.drop_heads('e', 'file', '{}', '{}')",
    "select eventstore.rewrap_data_keys('{}', '{}', '{}', 'k', '{}')",
)
KEYS = (
    "update eventstore.data_key set wrapped = null",
    "delete from eventstore.data_key",
    "update eventstore.key_epoch set epoch = 0",
    "delete from eventstore.erasure",
)
VIEWS = ("select * from drivewake.event", "select * from current_tree.node")
CALLS = {
    "eraser": {
        *("begin_erasure", "erase_data_keys", "finish_erasure"),
        *("drop_chunk", "drop_heads", "drop_parts", "rewrap_data_keys"),
    },
    "keeper": {
        *("archived_table", "detach_month", "drop_month", "key_at"),
        *("rest_events", "skip_positions", "unused_positions"),
    },
}
"""What a role of one task may call in the store, all of it."""
WRITES = {"eraser": set[str](), "keeper": {"recovered", "resync"}}
"""Tables that it may change."""
FORBIDDEN = {
    "normalizer": (*CHANGES, *SECRETS),
    "writer": (*CHANGES, *SECRETS, *EVENTS[:2], *VIEWS),
    "reader": (*CHANGES, *SECRETS, *EVENTS[4:5], EVENTS[6]),
    "auth": (*CHANGES, *EVENTS, *VIEWS),
    "eraser": (*CHANGES, *SECRETS, *KEYS, *EVENTS[:2], *APPENDS, *VIEWS),
    "keeper": (*CHANGES, *SECRETS, *KEYS, *APPENDS, *ERASURES, *VIEWS),
    "acme": (
        *(*CHANGES, *SECRETS, *EVENTS),
        "update drivewake.event set tenant = 'acme'",
        "delete from drivewake.event",
        "insert into current_tree.node select * from current_tree.node",
        "select * from current_tree.checkpoint",
        "create table drivewake.mine (n int)",
        "create table eventstore.mine (n int)",
    ),
}


@pytest.fixture(scope="module")
def logins(postgres_server: PostgresServer) -> Iterator[dict[str, str]]:
    """One database with the schemas of auth and store, two tenants' events, a login a role."""
    import asyncio  # noqa: PLC0415
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    postgres_server.create_database("test_roles")
    owner = postgres_server.dsn("test_roles")
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _fill(owner)).result()
    for name, roles in LOGINS.items():
        granted = f"in role {roles}" if roles else ""
        postgres_server.create_role(f"roles_{name}", PASSWORD, options=granted)
    postgres_server.execute(
        *(
            f"select eventstore.admit_reader('roles_{each}', '{each}')"
            for each in ("acme", "globex")
        ),
        database="test_roles",
    )
    yield {
        "owner": owner,
        **{name: postgres_server.dsn("test_roles", f"roles_{name}", PASSWORD) for name in LOGINS},
    }
    postgres_server.drop_database("test_roles")
    for name in LOGINS:
        postgres_server.execute(f"drop role roles_{name}")


async def _fill(dsn: str) -> None:
    await schema.migrate(dsn)
    await migrate(dsn, MIGRATIONS, table=MIGRATIONS_TABLE)
    async with PostgresStore.open(dsn) as store:
        for tenant in ("acme", "globex", "acme"):
            await store.append(Batch(events=[an_event(tenant=tenant)]))
        await ProjectionRunner(dsn, store, CurrentTree()).catch_up()


@asynccontextmanager
async def _session(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    session = await asyncpg.connect(dsn)
    try:
        yield session
    finally:
        await session.close()


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_what_is_forbidden_is_denied(logins: dict[str, str], name: str) -> None:
    """Every statement that a role must not run is refused for want of a privilege."""
    allowed = []
    async with _session(logins[name]) as session:
        for statement in FORBIDDEN[name]:
            try:
                await session.execute(statement)
            except asyncpg.InsufficientPrivilegeError:
                continue
            allowed.append(statement)
    assert [] == allowed


@pytest.mark.parametrize("name", CALLS)
async def test_a_role_of_one_task_has_its_rights_and_no_others(
    logins: dict[str, str], name: str
) -> None:
    """What may be called and changed in the store is listed here; a new right must be too."""
    async with _session(logins[name]) as session:
        calls = await session.fetch(
            "select proname from pg_proc where pronamespace = 'eventstore'::regnamespace"
            " and has_function_privilege(oid, 'execute')"
        )
        writes = await session.fetch(
            "select relname from pg_class where relnamespace = 'eventstore'::regnamespace"
            " and relkind in ('r', 'p', 'v')"
            " and has_table_privilege(oid, 'insert, update, delete, truncate')"
        )
    assert CALLS[name] == {row["proname"] for row in calls}
    assert WRITES[name] == {row["relname"] for row in writes}


async def test_an_eraser_erases_with_its_own_rights(logins: dict[str, str]) -> None:
    """Keys, heads and cursors of a tenant go and are noted; another tenant keeps its own."""
    tables = ("data_key", "head", "applied")
    async with _session(logins["owner"]) as owner:
        for tenant in ("initech", "hooli"):
            await owner.execute(
                "insert into eventstore.data_key (tenant, connection, ring_key, wrapped)"
                " values ($1, '', 'k', 'x'), ($1, 'c', 'k', 'x')",
                tenant,
            )
            await owner.execute(
                "insert into eventstore.head (tenant, kind, id, revision, state)"
                " values ($1, 'file', 'f', 1, 'x')",
                tenant,
            )
            await owner.execute(
                "insert into eventstore.applied values ($1, 'c', 'log', 0, 'x', now())", tenant
            )
        async with ErasureDesk.open(logins["eraser"]) as desk:
            assert (2, 1) == await desk.plan("initech", "")
            erasure = await desk.begin("roles-1", "initech", "", "a test")
            assert 2 == await desk.erase_keys(erasure)
            while await desk.drop_chunk(erasure, []):
                pass
            await desk.finish(erasure, {"keys": 2})
        left = [
            [row["tenant"] for row in await owner.fetch(f"select tenant from eventstore.{table}")]
            for table in tables[1:]
        ]
        assert [["hooli"], ["hooli"]] == left
        keys = await owner.fetch("select tenant from eventstore.data_key where wrapped is not null")
        assert ["hooli", "hooli"] == [row["tenant"] for row in keys]
        assert await owner.fetchval(
            "select finished_at is not null from eventstore.erasure where id = 'roles-1'"
        )
        assert 3 == await owner.fetchval("select count(*) from eventstore.event")
        await owner.execute("delete from eventstore.data_key where tenant = 'hooli'")


@pytest.mark.parametrize("name", ["drivewake_reader", "drivewake_writer", "roles_globex"])
async def test_nobody_becomes_somebody_else(logins: dict[str, str], name: str) -> None:
    """A tenant's reader cannot take another role."""
    async with _session(logins["acme"]) as session:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await session.execute(f"set role {name}")


async def test_a_tenant_reader_sees_its_tenant_alone(logins: dict[str, str]) -> None:
    """Events and read models are those of the tenant it was admitted to, whatever it asks."""
    for name, positions in (("acme", [1, 3]), ("globex", [2])):
        async with _session(logins[name]) as session:
            for query in ("", " where tenant = 'acme' or tenant = 'globex'"):
                rows = await session.fetch(f"select position, tenant from drivewake.event{query}")
                assert positions == sorted(row["position"] for row in rows)
                assert {name} == {row["tenant"] for row in rows}
            nodes = await session.fetch("select tenant from current_tree.node")
            assert [name] == [row["tenant"] for row in nodes]
            readers = await session.fetch("select * from eventstore.tenant_reader")
            assert [(f"roles_{name}", name)] == [tuple(row) for row in readers]


async def test_no_condition_is_tried_on_another_tenants_row(logins: dict[str, str]) -> None:
    """A function of the asker that would tell what it is given is not given foreign rows."""
    spy = """
        create function pg_temp.spy(tenant text) returns boolean language plpgsql cost 0.0001 as $$
        begin if tenant <> 'acme' then raise exception 'leaked'; end if; return true; end $$
    """
    async with _session(logins["acme"]) as session:
        await session.execute(spy)
        assert 2 == await session.fetchval(
            "select count(*) from drivewake.event where pg_temp.spy(tenant)"
        )
        assert 1 == await session.fetchval(
            "select count(*) from current_tree.node where pg_temp.spy(tenant)"
        )


async def test_readers_of_all_tenants_and_projectors_see_all(logins: dict[str, str]) -> None:
    """Separating tenants takes nothing from who reads for the system."""
    for name in ("reader", "normalizer"):
        async with _session(logins[name]) as session:
            assert 3 == await session.fetchval("select count(*) from eventstore.event")
            assert 2 == await session.fetchval("select count(*) from current_tree.node")


async def test_a_dismissed_reader_sees_nothing(
    logins: dict[str, str], postgres_server: PostgresServer, prefix: str
) -> None:
    """Without its admission a role has no way in; the group's rights alone show nothing."""
    postgres_server.create_role(prefix, PASSWORD)
    dsn = postgres_server.dsn("test_roles", prefix, PASSWORD)
    owner = f"select eventstore.admit_reader('{prefix}', 'acme')"
    try:
        postgres_server.execute(owner, database="test_roles")
        async with _session(dsn) as session:
            assert 2 == await session.fetchval("select count(*) from drivewake.event")
            postgres_server.execute(
                f"select eventstore.dismiss_reader('{prefix}')", database="test_roles"
            )
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await session.fetchval("select count(*) from drivewake.event")
            postgres_server.execute(f"grant drivewake_tenant to {prefix}")
            assert 0 == await session.fetchval("select count(*) from drivewake.event")
    finally:
        postgres_server.execute(f"drop role {prefix}")


async def test_nothing_is_open_to_the_public(logins: dict[str, str]) -> None:
    """No function of the store may be called, and no table read, by whoever can log in."""
    async with _session(logins["owner"]) as session:
        functions = await session.fetch(
            "select proname from pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))"
            " where pronamespace = 'eventstore'::regnamespace and grantee = 0"
        )
        tables = await session.fetch(
            "select relname from pg_class, aclexplode(relacl) where grantee = 0"
            " and relnamespace::regnamespace::text in ('eventstore', 'drivewake', 'auth')"
        )
    assert [] == [*functions, *tables]


async def test_copy_refuses_row_level_security(database: str) -> None:
    """Why events are read through a view: with policies on the table, no writer could append."""
    async with _session(database) as session:
        await session.execute("alter table eventstore.event enable row level security")
        await session.execute("create policy p on eventstore.event using (true)")
        await session.execute("set role drivewake_writer")
        with pytest.raises(asyncpg.FeatureNotSupportedError, match="row-level security"):
            await session.copy_records_to_table("event", schema_name="eventstore", records=[])
