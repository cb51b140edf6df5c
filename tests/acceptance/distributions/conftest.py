"""Each service in an environment of its own, made as its image is, with real servers beside it."""

import base64
import importlib.util
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from drivewake.lab.demo.nats_users import NatsUsers, make_users
from drivewake.lab.environments import Environment, find_uv, install_alone
from drivewake.lab.servers import NatsServer, PostgresServer, ScratchDirectory, free_port

ROOT = Path(__file__).resolve().parents[3]
NOBODY = "http://127.0.0.1:1"
"""An address where nothing listens: no service needs Google to start."""
ROLES = {
    "auth": "drivewake_auth",
    "normalizer": "drivewake_writer, drivewake_reader, drivewake_projector",
}
"""What the database role of a service is granted, as in the demo."""


class Given(msgspec.Struct, frozen=True):
    """What a service is told: `env` by variable, and the secrets that are among it."""

    env: dict[str, str]
    secrets: dict[str, str]
    """The secrets by the variable that `check` shows them under; some of them lie in files."""


def _deploy_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev_of_distributions", ROOT / "deploy/dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def uv() -> Path:
    """Uv, or a skip: it is the installer under test."""
    found = find_uv(ROOT)
    if found is None:
        pytest.skip("uv is neither on PATH nor in .tools: run this by deploy/dev.py")
    return found


@pytest.fixture(scope="session")
def uv_environ(uv: Path) -> dict[str, str]:
    """The variables that deploy/dev.py gives uv: this Python, its certificates, its cache."""
    return {**_deploy_script().uv_environment(), "UV_PYTHON": sys.executable}


@pytest.fixture(scope="session")
def alone(uv: Path, uv_environ: dict[str, str]) -> Iterator[Callable[[str], Environment]]:
    """Give the environment of one service, made when first asked for, once a worker."""
    scratch = ScratchDirectory("alone")
    made: dict[str, Environment] = {}

    def environment(service: str) -> Environment:
        if service not in made:
            made[service] = install_alone(
                f"drivewake-{service}", scratch.path / service, root=ROOT, uv=uv, environ=uv_environ
            )
        return made[service]

    yield environment
    scratch.remove()


@pytest.fixture(scope="session")
def users() -> Iterator[NatsUsers]:
    """One NATS user a service, with the permissions of the contracts."""
    with ScratchDirectory("users") as scratch:
        yield make_users(scratch.path / "nats")


@pytest.fixture(scope="session")
def guarded_nats(users: NatsUsers) -> Iterator[NatsServer]:
    """A nats-server that lets in nobody but those users; empty until it is provisioned."""
    with NatsServer(config=users.config) as server:
        yield server


@pytest.fixture
def on_bus(guarded_nats: NatsServer, users: NatsUsers) -> Callable[[str], dict[str, str]]:
    """Give the settings with which a user reaches that server."""
    return lambda user: {
        "DRIVEWAKE_NATS_URL": guarded_nats.url,
        "DRIVEWAKE_NATS_USER": user,
        "DRIVEWAKE_NATS_SEED_FILE": str(users.seeds[user]),
    }


@pytest.fixture
def database_role(
    postgres_server: PostgresServer, clone_database: Callable[[], str], prefix: str
) -> Iterator[Callable[[str, Callable[[str], None]], str]]:
    """Make a database and a role of a service: `(service, migrate) -> the role's URL`.

    `migrate` gets the database's URL as superuser.
    """
    made: list[str] = []
    databases: list[str] = []

    def make(service: str, migrate: Callable[[str], None]) -> str:
        as_superuser = clone_database()
        name = as_superuser.rpartition("/")[2]
        databases.append(name)
        migrate(as_superuser)
        role, password = f"{service}_{prefix}", secrets.token_urlsafe(18)
        postgres_server.create_role(role, password)
        made.append(role)
        postgres_server.execute(f"grant {ROLES[service]} to {role}", database=name)
        return postgres_server.dsn(name, role, password)

    yield make
    for name in databases:
        postgres_server.drop_database(name)
    for role in made:
        postgres_server.execute(f"drop role {role}")


@pytest.fixture
def given(
    tmp_path: Path, on_bus: Callable[[str], dict[str, str]], users: NatsUsers
) -> Callable[..., Given]:
    """Give all that a service must be told: `(service, dsn) -> Given`, secrets in files."""

    def settings(service: str, dsn: str = "postgresql://role:a-password@127.0.0.1:1/d") -> Given:
        key = f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}"
        plain, hidden = {
            "auth": (
                {
                    "GOOGLE_CLIENT_ID": "some-client",
                    "OIDC_ISSUER": "https://id.example.org",
                    "PUBLIC_URL": "https://drivewake.example.org",
                },
                {
                    "POSTGRES_DSN": dsn,
                    "AUTH_KEYRING": key,
                    "GOOGLE_CLIENT_SECRET": secrets.token_urlsafe(24),
                },
            ),
            "webhook": (
                {"PUSH_ADDRESS": "https://drivewake.example.org", "GOOGLE_API_URL": NOBODY},
                {"CHANNEL_KEYS": key},
            ),
            "poller": ({"GOOGLE_API_URL": NOBODY}, {}),
            "normalizer": ({}, {"POSTGRES_DSN": dsn, "EVENT_KEY": secrets.token_hex(32)}),
        }[service]
        env = {
            **on_bus(service),
            "DRIVEWAKE_HTTP_PORT": str(free_port()),
            "DRIVEWAKE_LOG_FORMAT": "json",
            **{f"DRIVEWAKE_{name}": value for name, value in plain.items()},
        }
        for name, value in hidden.items():
            path = tmp_path / f"{service}-{name}"
            path.write_text(f"{value}\n")
            env[f"DRIVEWAKE_{name}_FILE"] = str(path)
        seed = users.seeds[service].read_text()
        hidden_all = {f"DRIVEWAKE_{name}": value for name, value in hidden.items()}
        return Given(env=env, secrets={"DRIVEWAKE_NATS_SEED": seed, **hidden_all})

    return settings
