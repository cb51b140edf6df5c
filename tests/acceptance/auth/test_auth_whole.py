"""Auth as it runs in life: its own process, role and user, and the simulated Google."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from drivewake.contracts import subjects
from drivewake.gdrive.auth import TokenSource
from drivewake.gdrive.errors import AuthUnavailableError, ConnectionUnusableError, GoogleError
from drivewake.lab.demo.browser import consent
from drivewake.runtime.bus import Message
from drivewake.runtime.errors import BusPermissionError

Installation = Any  # the fixture of conftest.py
ALICE, BOB = "alice@example.com", "bob@example.com"
TENANT = "default"
pytestmark = pytest.mark.slow


async def who(installation: Installation, token: str) -> str:
    """Ask the simulated Drive whose token this is; the status where it is nobody's."""
    async with installation.http.get(
        f"{installation.google.base_url}/drive/v3/about",
        params={"fields": "user"},
        headers={"Authorization": f"Bearer {token}"},
    ) as answer:
        if answer.status != 200:
            return str(answer.status)
        return str((await answer.json())["user"]["emailAddress"])


async def test_the_whole_life_of_a_connection(installation: Installation) -> None:
    """Connected by a person, used by poller, reauthorised, revoked: watched from all sides."""
    connection = await installation.connect()
    tokens = TokenSource(await installation.bus("poller"), "poller")
    first = await tokens.token(TENANT, connection)
    assert ALICE == await who(installation, first.reveal())

    installation.google.call(installation.google.world.grants.expire_access, ALICE)
    assert "401" == await who(installation, first.reveal())
    second = await tokens.rejected(first)
    assert ALICE == await who(installation, second.reveal())

    installation.google.call(installation.google.world.grants.revoke_user, ALICE)
    with pytest.raises(GoogleError):
        await tokens.rejected(second)
    await installation.until_status(connection, "reauthorization_required")

    _, link = await installation.api("POST", f"/v1/connections/{connection}/reauthorize")
    await consent(link["url"], installation.url, ALICE)
    await installation.until_status(connection, "active")
    third = await tokens.token(TENANT, connection)
    assert ALICE == await who(installation, third.reveal())

    assert 202 == (await installation.api("POST", f"/v1/connections/{connection}/revoke"))[0]
    history = await installation.until_status(connection, "revoked")
    assert [1, 2, 3, 4, 5] == [state.revision for state in history]
    assert "401" == await who(installation, third.reveal())
    tokens.forget(TENANT, connection)
    with pytest.raises(ConnectionUnusableError):
        await tokens.token(TENANT, connection)
    assert [] == await installation.rows("select * from auth.refresh_token")


async def test_googles_security_event_ends_a_connection(installation: Installation) -> None:
    """Google itself tells that an account's tokens are revoked: taken with 202, and it is so."""
    connection = await installation.connect()
    google = f"{installation.google.base_url}/_sim"
    clients = [installation.google.world.options.client_id]
    receiver = {"url": f"{installation.url}/v1/risc", "clientIds": clients}
    async with installation.http.post(f"{google}/risc/receivers", json=receiver) as answer:
        assert 200 == answer.status
    event = {"type": "tokens-revoked", "email": ALICE}
    async with installation.http.post(f"{google}/risc/events", json=event) as answer:
        assert 200 == answer.status, await answer.text()
    history = await installation.until_status(connection, "reauthorization_required")
    assert [1, 2] == [state.revision for state in history]
    assert [] == await installation.rows("select from auth.refresh_token")
    async with installation.http.get(f"{google}/ledger", params={"types": "security"}) as answer:
        facts = (await answer.json())["facts"]
    assert [202] == [fact["status"] for fact in facts]


async def test_killed_between_commit_and_publish_nothing_is_lost(
    installation: Installation,
) -> None:
    """With the broker away, a committed state waits; SIGKILL later, it is still published."""
    connection = await installation.connect()
    await installation.until_status(connection, "active")
    installation.nats.kill()
    path = f"/v1/connections/{connection}/watched-folders"
    for folders in (["a"], ["a", "b"]):
        assert 200 == (await installation.api("PUT", path, {"folders": folders}))[0]
    await asyncio.to_thread(installation.auth.kill)
    installation.nats.start()
    await asyncio.to_thread(installation.auth.start)

    async def told() -> bool:
        history = await installation.history(connection)
        return [(), ("a",), ("a", "b")] == [state.watched_folders for state in history]

    await installation.until(told)


async def test_killed_while_revoking_it_finishes(installation: Installation) -> None:
    """SIGKILL in the grace of a revocation: the next start ends the grant at Google."""
    connection = await installation.connect()
    assert 202 == (await installation.api("POST", f"/v1/connections/{connection}/revoke"))[0]
    await asyncio.to_thread(installation.auth.kill)
    await asyncio.to_thread(installation.auth.start)
    await installation.until_status(connection, "revoked")
    assert {} == installation.google.world.grants._refresh


async def test_without_postgres_it_says_so_and_recovers(installation: Installation) -> None:
    """Cached tokens are still given; the rest waits; nothing has to be restarted."""
    alice, bob = await installation.connect(), await installation.connect(BOB)
    bus = await installation.bus("poller")
    cached = await TokenSource(bus, "poller").token(TENANT, alice)
    installation.postgres.kill()
    await installation.until(lambda: _is(installation, 503))
    again = await TokenSource(bus, "poller").token(TENANT, alice)
    assert cached.reveal() == again.reveal()
    with pytest.raises(AuthUnavailableError):
        await TokenSource(bus, "poller").token(TENANT, bob)
    _, link = await installation.api("POST", "/v1/connections", {})
    assert 503 == link["status"]
    installation.postgres.start()
    await installation.until(lambda: _is(installation, 200))
    await TokenSource(bus, "poller").token(TENANT, bob)


async def test_without_nats_it_says_so_and_recovers(installation: Installation) -> None:
    """People can still connect; what happened is published when the broker is back."""
    installation.nats.kill()
    await installation.until(lambda: _is(installation, 503))
    connection = await installation.connect()
    installation.nats.start()
    await installation.until(lambda: _is(installation, 200))
    await installation.until_status(connection, "active")
    bus = await installation.bus("poller")

    async def answered() -> bool:
        try:
            await TokenSource(bus, "poller", timeout_s=1).token(TENANT, connection)
        except AuthUnavailableError:
            return False
        return True

    await installation.until(answered)


async def _is(installation: Installation, status: int) -> bool:
    return bool(status == await installation.ready())


async def test_it_drains_on_sigterm(installation: Installation) -> None:
    """SIGTERM ends it in order, with exit code 0."""
    assert 0 == await asyncio.to_thread(installation.auth.stop)


# -- What others may not do ---------------------------------------------------------------------


@pytest.mark.parametrize("user", ["webhook", "normalizer", "operator", "downstream"])
async def test_the_broker_makes_callers_true(installation: Installation, user: str) -> None:
    """Nobody else asks in poller's name, and nobody announces connections."""
    connection = await installation.connect()
    bus = await installation.bus(user)
    with pytest.raises(AuthUnavailableError, match="denies"):
        await TokenSource(bus, "poller", timeout_s=1).token(TENANT, connection)
    forged = Message(subject=subjects.connection(TENANT, connection), data=b"{}")
    with pytest.raises(BusPermissionError):
        await bus.publish(forged)
    await installation.until_status(connection, "active")


@pytest.mark.parametrize(
    "statement",
    [
        "update auth.transition set status = 'revoked'",
        "delete from auth.transition",
        "delete from auth.connection",
        "truncate auth.refresh_token",
        "update auth.audit set who = 'nobody'",
        "delete from auth.audit",
        "truncate auth.audit",
        "drop table auth.tenant",
        "create table auth.mine (i int)",
        "select * from pg_authid",
    ],
)
async def test_its_role_may_do_what_it_needs_and_no_more(
    installation: Installation, statement: str
) -> None:
    """The service itself cannot rewrite history, drop anything or look elsewhere."""
    await installation.rows("select * from auth.connection", user="auth")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await installation.rows(statement, user="auth")


async def test_another_services_role_sees_nothing(installation: Installation) -> None:
    """A role that is no member reads no table of auth."""
    installation.postgres.create_role("normalizer", installation.password)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await installation.rows("select * from auth.refresh_token", user="normalizer")


# -- Bad starts ---------------------------------------------------------------------------------


async def test_bad_starts_end_in_one_line(installation: Installation) -> None:
    """A missing key, a port in use, a broker or a migration target that is away: no traceback."""
    env = installation.environment()
    bad = {
        "KEYRING": env | {"DRIVEWAKE_AUTH_KEYRING": ""},
        "keyring": env | {"DRIVEWAKE_AUTH_KEYRING": "k1:AAAA"},
        "cannot listen": env,
        "no broker answered": env | {"DRIVEWAKE_NATS_URL": "nats://127.0.0.1:1"},
    }
    for words, environment in bad.items():
        done = await asyncio.to_thread(installation.run, "run", environment)
        assert 0 != done.returncode
        assert words in done.stderr
        assert "Traceback" not in done.stderr + done.stdout
        for secret in (installation.operator_token, installation.password, installation.key):
            assert secret not in done.stderr + done.stdout
    await asyncio.to_thread(installation.auth.stop)
    wrong = installation.postgres.dsn("drivewake", "auth", "not-the-password")
    done = await asyncio.to_thread(installation.run, "run", env | {"DRIVEWAKE_POSTGRES_DSN": wrong})
    assert (1, True) == (done.returncode, "the database refuses what" in done.stdout)
    assert "Traceback" not in done.stdout + done.stderr
    empty = installation.postgres.dsn("postgres")
    done = await asyncio.to_thread(installation.run, "run", env | {"DRIVEWAKE_POSTGRES_DSN": empty})
    assert (1, True) == (done.returncode, "drivewake.auth migrate" in done.stdout)
    away = {"DRIVEWAKE_POSTGRES_DSN": "postgresql://u:hunter2@127.0.0.1:1/x"}
    done = await asyncio.to_thread(installation.run, "migrate", away)
    assert (1, False) == (done.returncode, "hunter2" in done.stderr + done.stdout)
    assert "Traceback" not in done.stderr
    assert 2 == (await asyncio.to_thread(installation.run, "nonsense", {})).returncode


async def test_check_shows_the_settings_and_no_secret(installation: Installation) -> None:
    """`check` names every variable, the keys by id and the redirect address."""
    done = await asyncio.to_thread(installation.run, "check", installation.environment())
    assert 0 == done.returncode
    assert f"{installation.url}/v1/callback" in done.stdout
    assert "Keyring(k1)" in done.stdout
    for secret in (installation.operator_token, installation.password, installation.key):
        assert secret not in done.stdout


# -- Secrets ------------------------------------------------------------------------------------


async def test_no_secret_is_written_anywhere(installation: Installation) -> None:
    """After a run with successes and failures, every secret is searched in all that was written.

    Logs (on debug), the broker's files, the database's files and log, metrics, answers.
    """
    world, google = installation.google.world, installation.google
    connection = await installation.connect()
    await installation.connect(BOB)
    bus = await installation.bus("poller")
    source = TokenSource(bus, "poller")
    tokens = [await source.token(TENANT, connection)]
    key = await _service_account(installation)
    refresh_tokens = [*world.grants._refresh]
    google.call(world.grants.expire_access, ALICE)
    tokens.append(await source.rejected(tokens[0]))
    seen = await _fail_in_every_way(installation, bus, connection)
    await source.report(TENANT, connection, "unauthorized", "401 from Google")
    installation.postgres.kill()
    with pytest.raises(GoogleError):
        await TokenSource(bus, "poller").token(TENANT, "unknown")
    installation.postgres.start()
    await installation.until(lambda: _is(installation, 200))
    await installation.api("POST", f"/v1/connections/{connection}/revoke")
    await installation.until_status(connection, "revoked")
    async with installation.http.get(f"{installation.url}/metrics") as answer:
        seen.append(await answer.text())
    await asyncio.to_thread(installation.auth.stop)
    installation.nats.stop()
    installation.postgres.stop()

    secrets = [
        installation.operator_token,
        installation.password,
        installation.key,
        world.options.client_secret,
        installation.users.seeds["auth"].read_text(),
        *key["private_key"].splitlines()[2:4],
        *refresh_tokens,
        *(token.reveal() for token in tokens),
    ]
    assert 11 <= len(secrets)
    written = [
        installation.directory / "auth.log",
        *installation.nats.directory.rglob("*.blk"),
        installation.nats.log_path,
        installation.postgres.log_path,
        *installation.postgres.data_path.rglob("*"),
    ]
    assert _found(written, seen, secrets) == []
    # Nor anything of their form: codes, access tokens, refresh tokens, signed tokens.
    log = [installation.directory / "auth.log"]
    assert _found(log, seen, ["4/0A", "ya29.", "1//0", "eyJ"]) == []
    # The search itself finds what is there.
    assert _found(written, seen, [connection]) != []
    # Addresses of people are for operators: not in logs, not on the bus.
    people = [path for path in written if "auth.log" == path.name or ".blk" == path.suffix]
    assert _found(people, [], [ALICE, BOB]) == []


async def _service_account(installation: Installation) -> dict[str, Any]:
    """Connect Bob by a service account; return its key file."""
    simulated = f"{installation.google.base_url}/_sim/service-accounts"
    async with installation.http.post(simulated, json={"name": "canary"}) as answer:
        key: dict[str, Any] = await answer.json()
    scopes = ["drive.readonly", "drive.activity.readonly"]
    wish = {
        "email": key["client_email"],
        "domain": "example.com",
        "scopes": [f"https://www.googleapis.com/auth/{scope}" for scope in scopes],
    }
    async with installation.http.post(f"{simulated}/delegate", json=wish) as answer:
        assert 200 == answer.status
    status, made = await installation.api("POST", "/v1/service-accounts", {"key": key})
    assert 201 == status, made
    path = f"/v1/service-accounts/{made['id']}/connections"
    _, body = await installation.api("POST", path, {"subjects": [BOB]})
    bus = await installation.bus("webhook")
    await TokenSource(bus, "webhook").token(TENANT, body["outcomes"][0]["connection"])
    await bus.close()
    return key


async def _fail_in_every_way(installation: Installation, bus: Any, connection: str) -> list[str]:  # noqa: ANN401
    """Make everything go wrong that can, with secrets in hand; return what was answered."""
    seen = []
    for headers in ({"Authorization": f"Bearer {installation.operator_token}x"}, {}):
        async with installation.http.get(
            f"{installation.url}/v1/connections/{connection}", headers=headers
        ) as answer:
            seen.append(await answer.text())
    for query in ("state=x&code=4/secret", "error=<script>", "state=" + "a" * 3000):
        async with installation.http.get(f"{installation.url}/v1/callback?{query}") as answer:
            seen.append(await answer.text())
    for body in (b"", b"{", msgspec.json.encode({"tenant": "x"})):
        reply = await bus.request(subjects.token_rpc("poller"), body, timeout_s=5)
        seen.append(reply.decode())
    tampered = await installation.rows(
        "update auth.refresh_token set sealed = '\\x00' where connection <> $1"
        " returning connection",
        connection,
    )
    assert 1 == len(tampered)
    with pytest.raises(GoogleError):
        await TokenSource(bus, "poller").token(TENANT, tampered[0]["connection"])
    return seen


def _found(paths: list[Path], texts: list[str], secrets: list[str]) -> list[tuple[str, str]]:
    """Return where any of the secrets stands."""
    wanted = [(secret[:8], secret.encode()) for secret in secrets]
    found = []
    for path in paths:
        data = _bytes(path)
        found += [(str(path), name) for name, secret in wanted if secret in data]
    found += [("answer", n) for text in texts for n, s in wanted if s in text.encode()]
    return found


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        return b""
    try:
        return path.read_bytes()
    except PermissionError:
        return subprocess.run(["cat", str(path)], capture_output=True, check=True).stdout
