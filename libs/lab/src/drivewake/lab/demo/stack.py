"""The whole suite on one machine: servers, simulated Google and services, each a process."""

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from drivewake.lab.demo.nats_users import NatsUsers, make_users
from drivewake.lab.issuer.server import CLIENT_ID as CONSOLE
from drivewake.lab.servers import (
    ManagedProcess,
    NatsServer,
    PostgresServer,
    ScratchDirectory,
    ServerError,
    free_port,
)
from drivewake.runtime.keyring import Keyring

DATABASE: Final = "drivewake"
DATA_KEY_ID: Final = "k1"
SERVICES: Final = ("auth", "webhook", "poller", "normalizer")
HOST: Final = "127.0.0.1"
STEP_TIMEOUT_S: Final = 60.0
STREAM_SCALE: Final = "0.2"
"""Streams of a fifth of their size: JetStream reserves the disk when it makes them."""
CLIENT_ID: Final = "drivewake-demo.apps.googleusercontent.com"

POLLING: Final = {
    "DRIVEWAKE_ENRICH": '["permissions"]',  # a history of years has no comments to look for
    "DRIVEWAKE_INTERVAL_FLOOR_S": 0.5,
    "DRIVEWAKE_INTERVAL_CEILING_S": 2,
    "DRIVEWAKE_PUSH_INTERVAL_FLOOR_S": 2,
    "DRIVEWAKE_PUSH_INTERVAL_CEILING_S": 10,
    "DRIVEWAKE_GOOGLE_USER_UNITS_PER_MIN": 300_000_000,
    "DRIVEWAKE_GOOGLE_PROJECT_UNITS_PER_MIN": 300_000_000,
}
"""The poller is told of the relaxed quota; its own defaults are for Google's real one.

A push that meets a killed webhook is not repeated: the timer finds what it was about.
"""


class Stack:
    """Everything that runs; `start` brings it up in order, leaving the block takes it down.

    `report` is called with one line for each step, for a person who waits. Without `push`,
    webhook does not run. `accounts` exist at Google from the start.
    """

    def __init__(
        self, *, push: bool, accounts: Sequence[str], report: Callable[[str], None]
    ) -> None:
        self.push = push
        self._accounts = accounts
        self._report = report
        self._scratch = ScratchDirectory("demo")
        self.directory = self._scratch.path
        self.secrets = self.directory / "secrets"
        self.logs = self.directory / "logs"
        self._blobs_url = (self.directory / "blobs").as_uri()
        self.users: NatsUsers = make_users(self.secrets / "nats")
        self.nats = NatsServer(self.directory / "nats", config=self.users.config)
        self.postgres = PostgresServer(self.directory / "postgres")
        self.ports = {name: free_port() for name in ("google", "issuer", *SERVICES)}
        self.issuer_secret = secrets.token_urlsafe(24)
        self.data_key = secrets.token_bytes(32)
        self._client_secret = secrets.token_urlsafe(24)
        self._passwords = {name: secrets.token_urlsafe(18) for name in SERVICES}
        self.processes: dict[str, ManagedProcess] = {}
        self.rss_at_start_bytes: dict[str, int] = {}

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the services that run."""
        return tuple(name for name in SERVICES if self.push or name != "webhook")

    def member(self, name: str) -> ManagedProcess | NatsServer | PostgresServer:
        """Return one of the processes, by the name that it has for people."""
        if name == "nats":
            return self.nats
        return self.postgres if name == "postgres" else self.processes[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all processes, for people."""
        return ("nats", "postgres", *self.processes)

    def last_words(self, name: str) -> str:
        """Return the last line that a process wrote."""
        member = self.member(name)
        lines = member.log_path.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def url(self, name: str) -> str:
        """Return the base URL of a process that speaks HTTP."""
        return f"http://{HOST}:{self.ports[name]}"

    def __enter__(self) -> Self:
        """Return the stack, not started."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything, latest first, and remove what it kept."""
        for process in reversed(self.processes.values()):
            process.stop()
        self.nats.stop()
        self.postgres.stop()
        self._scratch.remove()

    def start(self) -> None:
        """Bring everything up. Raises ServerError, in one line, at the first that fails."""
        self.logs.mkdir(exist_ok=True)
        self.nats.start()
        self._report(f"nats-server at {self.nats.url}, one user a service")
        self.postgres.start()
        self._report(f"PostgreSQL 18 at {HOST}:{self.postgres.port}")
        self._start_google()
        self._start_issuer()
        self._prepare()
        for name in self.services:
            self._service(name).start(wait=False)
        for name in self.services:
            self.processes[name].wait_ready()
            self._report(f"{name} at {self.url(name)}")
        self.rss_at_start_bytes = {
            name: process.peak_rss_bytes() for name, process in self.processes.items()
        }

    def _start_google(self) -> None:
        google = self._process(
            "google",
            "drivewake.lab.google",
            [
                *("--port", str(self.ports["google"]), "--quota", "relaxed"),
                *("--client-id", CLIENT_ID),
                *(option for email in self._accounts for option in ("--user", email)),
            ],
            {"DRIVEWAKE_SIM_CLIENT_SECRET": self._client_secret},
            f"{self.url('google')}/_sim/health",
        )
        google.start()
        self._report(f"simulated Google at {self.url('google')}")

    def _start_issuer(self) -> None:
        issuer = self._process(
            "issuer",
            "drivewake.lab.issuer",
            ["--port", str(self.ports["issuer"])],
            {"DRIVEWAKE_DEV_ISSUER_SECRET": self.issuer_secret},
            f"{self.url('issuer')}/keys",
        )
        issuer.start()
        self._report(f"development issuer of operators' tokens at {self.url('issuer')}")

    def _prepare(self) -> None:
        """Create the database, its roles and schemas, and the streams."""
        self.postgres.create_database(DATABASE)
        for name in ("auth", "normalizer"):
            self.postgres.create_role(name, self._passwords[name])
        admin = {"DRIVEWAKE_POSTGRES_DSN": self.postgres.dsn(DATABASE)}
        for name in ("auth", "normalizer"):
            self._once(f"{name}-migrate", f"drivewake.{name}", ["migrate"], admin)
        self.postgres.execute(
            "grant drivewake_auth to auth",
            "grant drivewake_writer, drivewake_reader, drivewake_projector to normalizer",
            database=DATABASE,
        )
        provision = {**self._bus("provision"), "DRIVEWAKE_SCALE": STREAM_SCALE}
        self._once("provision", "drivewake.runtime.provision", [], provision)
        self._report("database migrated, streams provisioned")

    def _bus(self, user: str) -> dict[str, str]:
        return {
            "DRIVEWAKE_NATS_URL": self.nats.url,
            "DRIVEWAKE_NATS_USER": user,
            "DRIVEWAKE_NATS_SEED_FILE": str(self.users.seeds[user]),
        }

    def environment(self, user: str = "operator") -> dict[str, str]:
        """Return the variables with which the operator command reaches this stack."""
        return self._bus(user)

    def _service(self, name: str) -> ManagedProcess:
        own: Mapping[str, str] = getattr(self, f"_{name}_settings")()
        env = {
            **self._bus(name),
            "DRIVEWAKE_HTTP_HOST": HOST,
            "DRIVEWAKE_HTTP_PORT": str(self.ports[name]),
            "DRIVEWAKE_LOG_FORMAT": "json",
            **own,
        }
        ready = f"{self.url(name)}/readyz"
        return self._process(name, f"drivewake.{name}", ["run"], env, ready)

    def _secret(self, name: str, value: str) -> str:
        path = self.secrets / name
        path.write_text(value)
        path.chmod(0o600)
        return str(path)

    def _postgres(self, name: str) -> dict[str, str]:
        dsn = self.postgres.dsn(DATABASE, name, self._passwords[name])
        return {"DRIVEWAKE_POSTGRES_DSN_FILE": self._secret(f"{name}.dsn", dsn)}

    def _auth_settings(self) -> dict[str, str]:
        google = self.url("google")
        key = f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}"
        return {
            **self._postgres("auth"),
            "DRIVEWAKE_AUTH_KEYRING_FILE": self._secret("keyring", key),
            "DRIVEWAKE_OIDC_ISSUER": self.url("issuer"),
            "DRIVEWAKE_OIDC_CLIENT_ID": CONSOLE,
            "DRIVEWAKE_OIDC_CLIENT_SECRET_FILE": self._secret("issuer", self.issuer_secret),
            "DRIVEWAKE_GOOGLE_CLIENT_ID": CLIENT_ID,
            "DRIVEWAKE_GOOGLE_CLIENT_SECRET_FILE": self._secret("client", self._client_secret),
            "DRIVEWAKE_GOOGLE_AUTHORIZATION_URL": f"{google}/o/oauth2/v2/auth",
            "DRIVEWAKE_GOOGLE_TOKEN_URL": f"{google}/token",
            "DRIVEWAKE_GOOGLE_REVOKE_URL": f"{google}/revoke",
            "DRIVEWAKE_GOOGLE_JWKS_URL": f"{google}/oauth2/v3/certs",
            "DRIVEWAKE_PUBLIC_URL": self.url("auth"),
        }

    def _webhook_settings(self) -> dict[str, str]:
        key = f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}"
        return {
            "DRIVEWAKE_CHANNEL_KEYS_FILE": self._secret("channel-keys", key),
            "DRIVEWAKE_PUSH_ADDRESS": self.url("webhook"),
            "DRIVEWAKE_ALLOW_INSECURE_PUSH": "true",
            "DRIVEWAKE_GOOGLE_API_URL": self.url("google"),
        }

    def _poller_settings(self) -> dict[str, str]:
        return {
            "DRIVEWAKE_GOOGLE_API_URL": self.url("google"),
            "DRIVEWAKE_INSTANCE": "demo",
            "DRIVEWAKE_BLOBS_URL": self._blobs_url,
            **{name: str(value) for name, value in POLLING.items()},
        }

    @property
    def data_keyring(self) -> Keyring:
        """The keyring that personal data is sealed under."""
        return Keyring({DATA_KEY_ID: self.data_key})

    def _normalizer_settings(self) -> dict[str, str]:
        key = secrets.token_hex(32)
        ring = f"{DATA_KEY_ID}:{base64.b64encode(self.data_key).decode()}"
        return {
            **self._postgres("normalizer"),
            "DRIVEWAKE_DATA_KEYRING_FILE": self._secret("data-keyring", ring),
            "DRIVEWAKE_BLOBS_URL": self._blobs_url,
            "DRIVEWAKE_EVENT_KEY_FILE": self._secret("event-key", key),
        }

    def _process(
        self, name: str, module: str, arguments: list[str], env: Mapping[str, str], ready: str
    ) -> ManagedProcess:
        process = ManagedProcess(
            name, module, arguments, log_path=self.logs / f"{name}.log", env=env, ready=ready
        )
        self.processes[name] = process
        return process

    def _once(self, name: str, module: str, arguments: list[str], env: Mapping[str, str]) -> None:
        """Run a module to its end. Raises ServerError with its last words if it fails."""
        log_path = self.logs / f"{name}.log"
        step = ManagedProcess(name, module, arguments, log_path=log_path, env=env)
        code = step.start().wait(STEP_TIMEOUT_S)
        if code != 0:
            words = " ".join(step.log_tail(3)) or "it said nothing"
            raise ServerError(f"{name} failed (exit code {code}): {words}")

    def log_paths(self) -> list[Path]:
        """Return the log of every process."""
        return [*sorted(self.logs.glob("*.log")), self.nats.log_path, self.postgres.log_path]
