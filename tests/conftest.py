"""Real servers for every suite: one nats-server and one Postgres for each worker process.

What a test asks for by name:

    nats_url            the worker's nats-server; streams that the test makes are deleted after it
    prefix              a token of its own for subjects, streams, consumers and ids: `t3f9a0c12`
    database            the URL of a database of its own, copied from `database_template`
    clone_database      more of them, from any template
    bucket              a fresh S3 bucket's address, credentials in the environment
    nats_server, postgres_server   the servers themselves, to read from; who kills one starts its
                        own with `NatsServer()` or `PostgresServer()` from drivewake.lab.servers

A suite whose tests need a schema says so once, in its own conftest.py; it is then migrated once
a worker and copied for every test:

    @pytest.fixture(scope="session")
    def database_template(template_database):
        return template_database("eventstore", migrate)  # migrate(dsn: str) -> None
"""

import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator

import nats
import nats.js
import pytest

from drivewake.lab.servers import NatsServer, PostgresServer, free_port

Migration = Callable[[str], None]


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """The worker's nats-server, with JetStream, without accounts."""
    with NatsServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The worker's Postgres cluster."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """A token that no other test has: lower case, starts with a letter, legal in every name."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
async def nats_url(nats_server: NatsServer) -> AsyncIterator[str]:
    """The URL of the worker's nats-server; what the test makes there is gone after it.

    Streams (and key-value buckets, which are streams) that were there before the test stay.
    """
    before = await _stream_names(nats_server.url)
    yield nats_server.url
    made = await _stream_names(nats_server.url) - before
    if made:
        connection = await nats.connect(nats_server.url)
        manager = connection.jetstream()
        for name in made:
            await manager.delete_stream(name)
        await connection.close()


async def _stream_names(url: str) -> set[str]:
    connection = await nats.connect(url)
    manager = connection.jetstream()
    names: set[str] = set()
    try:
        while page := await manager.streams_info(offset=len(names)):
            names |= {info.config.name for info in page if info.config.name}
    finally:
        await connection.close()
    return names


@pytest.fixture(scope="session")
def template_database(
    postgres_server: PostgresServer,
) -> Callable[[str, Migration], str]:
    """Make a template database, migrated once a worker: `(name, migrate) -> its name`.

    `migrate` gets the database's URL as superuser and must leave no connection open.
    """
    made: dict[str, Migration] = {}

    def make(name: str, migrate: Migration) -> str:
        template = f"template_{name}"
        if template not in made:
            postgres_server.create_database(template)
            migrate(postgres_server.dsn(template))
            made[template] = migrate
        elif made[template] is not migrate:
            raise ValueError(f"two migrations claim the template {name!r}")
        return template

    return make


@pytest.fixture(scope="session")
def database_template() -> str:
    """The name of the database that `database` copies: an empty one, unless a suite overrides."""
    return "template1"


@pytest.fixture
def clone_database(
    postgres_server: PostgresServer, database_template: str
) -> Iterator[Callable[..., str]]:
    """Make databases for one test: `(template=None) -> URL as superuser`; all dropped after it."""
    made: list[str] = []

    def clone(template: str | None = None) -> str:
        name = f"test_{secrets.token_hex(6)}"
        postgres_server.create_database(name, template=template or database_template)
        made.append(name)
        return postgres_server.dsn(name)

    yield clone
    for name in made:
        postgres_server.drop_database(name)


@pytest.fixture
def database(clone_database: Callable[..., str]) -> str:
    """The URL (superuser, TCP) of a database that only this test has."""
    return clone_database()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A server that speaks S3 (moto), as its own process; its address."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh bucket's address; credentials and server stand in the environment."""
    name = f"bucket-{secrets.token_hex(4)}"
    request = urllib.request.Request(f"{s3}/{name}", method="PUT")
    urllib.request.urlopen(request, timeout=10).close()
    for variable, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "a-canary-secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3,
    }.items():
        monkeypatch.setenv(variable, value)
    return f"s3://{name}/below"
