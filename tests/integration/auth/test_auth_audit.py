"""The audit chain in life: what happens is in it, nobody can change it, and changes show."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from drivewake.auth.audit import entry
from drivewake.auth.database import Database
from drivewake.auth.records import By
from drivewake.auth.store import Store
from drivewake.contracts import subjects
from drivewake.contracts.audit import AuditRecord, BrokenChainError, Chain
from drivewake.runtime import telemetry
from drivewake.runtime.clock import SystemClock

World = Any  # the fixture of conftest.py


@pytest.fixture(autouse=True, scope="module")
def traced() -> Iterator[None]:
    """As in a service's process: requests have traces."""
    telemetry.configure("auth")
    yield
    telemetry.shutdown()


async def chain(world: World, tenant: str = "", token: str | None = None) -> list[AuditRecord]:
    """Return all records that a caller may read."""
    found: list[AuditRecord] = []
    after: int | None = 0
    while after is not None:
        query = f"after={after}&limit=50" + (f"&tenant={tenant}" if tenant else "")
        status, page = await world.api("GET", f"/v1/audit?{query}", token=token)
        assert 200 == status, page
        found += msgspec.convert(page["records"], list[AuditRecord])
        after = page["next"]
    return found


def facts(records: list[AuditRecord]) -> Counter[tuple[str, str, str]]:
    """Return who did what with which outcome, and how often."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for record in records:
        counted[record.who, record.action, record.outcome] += record.count
    return counted


async def test_everything_that_happens_is_in_the_chain(world: World) -> None:
    """Connecting, tokens, refusals, key use, what callers did and what they must not: it holds."""
    admin = "caller:ada"
    await world.api("POST", "/v1/tenants", {"id": "other", "name": "Other"})
    connection = await world.connect()
    for _ in range(7):
        await world.token(connection)
    await world.refused(connection, tenant="other")
    await world.refused(connection, caller="normalizer")
    await world.report(connection, "unauthorized")
    await world.api("GET", f"/v1/connections/{connection}")
    await world.api("GET", "/v1/connections/nobody")
    await world.api("POST", "/v1/tenants", {}, world.issuer.access_token("rita", ["reader"]))
    await world.api("GET", "/v1/tenants", token="forged")
    await world.arrive({"state": "forged", "code": "4/stolen"}, {})
    await world.api("POST", f"/v1/connections/{connection}/revoke")
    await world.until_status(connection, "revoked")
    records = await chain(world)
    checked = Chain()
    for record in records:
        checked.add(record)
    seen = facts(records)
    expected = {
        (admin, "tenant.added", "ok"): 1,
        (admin, "link.made", "ok"): 1,
        ("person", "connection.changed", "active"): 1,
        ("service:poller", "token.refreshed", "ok"): 1,
        ("service:poller", "token.issued", "ok"): 7,
        ("service:poller", "token.refused", "unknown_connection"): 1,
        ("service:normalizer", "token.refused", "not_allowed"): 1,
        ("service:poller", "connection.changed", "degraded"): 1,
        (admin, "api.refused", "unknown"): 1,
        ("caller:rita", "api.refused", "forbidden"): 1,
        ("nobody", "api.refused", "unauthorized"): 1,
        ("person", "sign_in.refused", "again"): 1,
        (admin, "connection.changed", "revoking"): 1,
        ("auth", "connection.changed", "revoked"): 1,
    }
    assert expected == {fact: seen[fact] for fact in expected}
    assert seen["auth", "key.used", "ok"] >= 3
    foreign = [record for record in records if record.outcome == "unknown_connection"]
    assert [("other", connection)] == [(one.tenant, one.connection) for one in foreign]
    assert all(record.trace for record in records if record.who == admin and record.count == 1)
    written = msgspec.json.encode(records).decode()
    for secret in (*world.google.issued, *world.google.refresh_tokens, world.google.client_secret):
        assert secret not in written
    assert "@example.com" not in written


async def test_a_tenants_admin_reads_its_own_records_alone(world: World) -> None:
    """The chain of all is for who runs the installation."""
    await world.api("POST", "/v1/tenants", {"id": "other", "name": "Other"})
    await world.connect()
    token = world.issuer.access_token("olga", tenant="other")
    assert {"other"} == {record.tenant for record in await chain(world, token=token)}
    assert 404 == (await world.api("GET", "/v1/audit?tenant=default", token=token))[0]
    operator = world.issuer.access_token(roles=["operator"])
    assert 403 == (await world.api("GET", "/v1/audit", token=operator))[0]


@pytest.mark.parametrize(
    "tampering",
    [
        "update auth.audit set who = 'caller:innocent' where number = 4",
        "update auth.audit set at = at + interval '1 microsecond' where number = 4",
        "update auth.audit set count = count + 1 where number = 4",
        "delete from auth.audit where number = 4",
    ],
)
async def test_a_tampered_record_is_found(world: World, tampering: str) -> None:
    """Even a superuser's change breaks the chain at that record."""
    for number in range(6):
        await world.api("POST", "/v1/tenants", {"id": f"t{number}", "name": "T"})
    await world.rows(tampering)
    records, checked = await chain(world), Chain()
    for record in records[:3]:
        checked.add(record)
    with pytest.raises(BrokenChainError) as caught:
        checked.add(records[3])
    assert 4 == caught.value.number


async def test_racing_writers_make_one_chain(quiet_world: World) -> None:
    """Two replicas append at once: no number twice, none missing, every hash in its place."""
    databases = [Database(SecretStr(quiet_world.database)) for _ in range(2)]
    for database in databases:
        await database.open()
    stores, now = [Store(database) for database in databases], SystemClock().now()
    await asyncio.gather(
        *(
            store.append([entry(By(f"caller:{n}"), now, "tenant.added") for _ in range(3)])
            for n in range(20)
            for store in stores
        )
    )
    checked = Chain()
    for record in await stores[0].records(None, 0, 1000):
        checked.add(record)
    assert 120 == checked.number
    for database in databases:
        await database.close()


async def test_counts_are_recorded_when_it_stops(quiet_world: World) -> None:
    """What was answered from memory until the end is in the chain after the stop."""
    world = quiet_world
    replica = await world.start()
    connection = await world.connect()
    for _ in range(5):
        await world.token(connection)
    await replica.stop()
    row = await world.one("select count, who from auth.audit where action = 'token.issued'")
    assert (5, "service:poller") == (row["count"], row["who"])


async def test_no_token_without_its_record(world: World) -> None:
    """If the chain cannot be written a new token is given to nobody."""
    connection = await world.connect()
    await world.rows("alter table auth.audit rename to audit_away")
    body = await world.bus.request(
        subjects.token_rpc("poller"),
        msgspec.json.encode(
            {"tenant": "default", "connection": connection, "public_key": "x" * 44}
        ),
        timeout_s=10,
    )
    assert b'"refusal"' in body
    assert 1 == world.google.refreshes
    await world.rows("alter table auth.audit_away rename to audit")
    await world.token(connection)
