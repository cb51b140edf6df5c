"""A real PostgreSQL 18 cluster, started from its bare binaries."""

import asyncio
import os
import re
import secrets
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import asyncpg

from drivewake.lab.servers.errors import ServerError, ServerStateError
from drivewake.lab.servers.ports import HOST
from drivewake.lab.servers.postgres_files import postgres_binaries, server_user
from drivewake.lab.servers.server import Server, last_words
from drivewake.lab.servers.spawn import end, spawn

SUPERUSER: Final = "postgres"
_INITDB_TIMEOUT_S = 60.0
_LONGEST_SOCKET_PATH_BYTES = 100  # the kernel's limit is 108, or 104 on other systems
_READY_LINE = 7  # of postmaster.pid, see PostgreSQL's pidfile.h: LOCK_FILE_LINE_PM_STATUS

SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # What is acknowledged is on disk, in the lab as in production.
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        # A small machine that other things run on too.
        "shared_buffers": "256MB",
        "max_connections": "200",
        "max_wal_size": "1GB",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }
)


class PostgresServer(Server):
    """A PostgreSQL cluster of our own; a fresh one takes connections in about half a second.

    It listens on the loopback address and on a socket in its directory, with passwords (SCRAM)
    on both; the superuser is `postgres`, its password random and kept in the directory. Under
    root the server runs as `nobody`; a given ``directory`` must then be one that everyone may
    enter. ``settings`` are PostgreSQL's own, over SETTINGS.
    """

    name = "postgres"

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory, port=port)
        self._settings = {**SETTINGS, **(settings or {})}
        self._password: str | None = None

    @property
    def data_path(self) -> Path:
        """The cluster's data directory."""
        return self.directory / "data"

    @property
    def socket_path(self) -> Path:
        """The directory of the Unix socket."""
        return self.directory / "socket"

    @property
    def password(self) -> str:
        """The superuser's password."""
        if self._password is None:
            raise ServerStateError("postgres has no password before its first start")
        return self._password

    def dsn(
        self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None
    ) -> str:
        """Return a connection URL over TCP; the superuser's password needs no telling."""
        return f"postgresql://{self._userinfo(user, password)}@{HOST}:{self.port}/{quote(database)}"

    def socket_dsn(
        self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None
    ) -> str:
        """Return a connection URL over the Unix socket, which is a little faster.

        Raises ServerStateError when the directory's path is too long for a socket.
        """
        if not self._has_socket:
            raise ServerStateError(f"no Unix socket: {self.socket_path} is too long a path")
        return (
            f"postgresql://{self._userinfo(user, password)}@/{quote(database)}"
            f"?host={quote(str(self.socket_path), safe='')}&port={self.port}"
        )

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as superuser, each in its own transaction; also inside a running loop.

        Raises asyncpg.PostgresError as the server said it.
        """
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _execute(self.dsn(database), statements)).result()

    def create_role(self, name: str, password: str, *, options: str = "") -> None:
        """Create a role that may log in, e.g. with ``options="createdb"``."""
        self.execute(f"create role {ident(name)} login password {literal(password)} {options}")

    def create_database(
        self, name: str, *, template: str | None = None, owner: str | None = None
    ) -> None:
        """Create a database, as a copy of ``template`` (which nobody may be connected to)."""
        source = f" template {ident(template)}" if template else ""
        belongs = f" owner {ident(owner)}" if owner else ""
        self.execute(f"create database {ident(name)}{belongs}{source}")

    def drop_database(self, name: str) -> None:
        """Drop a database, cutting who is connected; a missing one is no error."""
        self.execute(f"drop database if exists {ident(name)} with (force)")

    def _userinfo(self, user: str, password: str | None) -> str:
        if password is None and user == SUPERUSER:
            password = self.password
        secret = "" if password is None else f":{quote(password, safe='')}"
        return f"{quote(user, safe='')}{secret}"

    @property
    def _has_socket(self) -> bool:
        return len(os.fsencode(self.socket_path / ".s.PGSQL.65535")) <= _LONGEST_SOCKET_PATH_BYTES

    def _prepare(self) -> None:
        postgres_binaries()
        self._require_enterable()
        self.socket_path.mkdir(mode=0o700, exist_ok=True)
        self._give(self.socket_path)
        password_file = self.directory / "password"
        if not (self.data_path / "PG_VERSION").exists():
            self._initialise(password_file)
        self._password = password_file.read_text(encoding="utf-8").strip()

    def _require_enterable(self) -> None:
        user = server_user()
        if user is None:
            return
        for parent in (self.directory, *self.directory.parents):
            if not parent.stat().st_mode & 0o001:
                raise ServerError(
                    f"postgres runs as {user.name!r} under root, and {user.name!r} may not enter "
                    f"{parent}: choose another directory"
                )

    def _give(self, path: Path) -> None:
        user = server_user()
        if user is not None:
            os.chown(path, user.uid, user.gid)

    def _initialise(self, password_file: Path) -> None:
        """Make the cluster: initdb takes a third of a second."""
        descriptor = os.open(password_file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(24))
        self.data_path.mkdir(mode=0o700, exist_ok=True)
        self._give(self.data_path)
        self._give(password_file)
        child = spawn(
            [
                postgres_binaries() / "initdb",
                *("-D", self.data_path, "-U", SUPERUSER, "--pwfile", password_file),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-instructions"),
                # Built in: the same order on every system, whatever locales it has.
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
                *("--no-sync", "--set", "shared_buffers=16MB"),
            ],
            log_path=self.log_path,
            user=server_user(),
            cwd=self.directory,
            env=self._environment(),
        )
        try:
            code = child.wait(timeout=_INITDB_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = end(child, ())
        if code != 0:
            raise ServerError(f"postgres: no cluster could be made: {last_words(self.log_path)}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = {
            **self._settings,
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": f'"{self.socket_path}"' if self._has_socket else "",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return spawn(
            [postgres_binaries() / "postgres", "-D", self.data_path, *options],
            log_path=self.log_path,
            death_signal=signal.SIGQUIT,  # ends its children too
            user=server_user(),
            cwd=self.data_path,
            env=self._environment(),
        )

    @staticmethod
    def _environment() -> dict[str, str]:
        """Nothing of ours: PG* variables and locales would change what the server is."""
        return {"PATH": os.defpath, "LC_ALL": "C"}

    def _is_ready(self, child: subprocess.Popen[bytes]) -> bool:
        """Read postmaster.pid as pg_ctl does; it may still be a killed predecessor's."""
        try:
            lines = (self.data_path / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return (
            len(lines) > _READY_LINE
            and lines[0].strip() == str(child.pid)
            and lines[_READY_LINE].strip() == "ready"
        )

    def _stop_steps(self) -> Sequence[tuple[signal.Signals, float]]:
        # Fast: cut connections, write a checkpoint. Then immediate: recover at the next start.
        return ((signal.SIGINT, 10.0), (signal.SIGQUIT, 6.0))


def ident(name: str) -> str:
    """Quote an SQL identifier."""
    if "\0" in name or not name:
        raise ValueError("an SQL identifier is neither empty nor holds NUL")
    return '"' + re.sub('"', '""', name) + '"'


def literal(text: str) -> str:
    """Quote an SQL string; standard_conforming_strings is on since PostgreSQL 9.1."""
    return "'" + text.replace("'", "''") + "'"


async def _execute(dsn: str, statements: Sequence[str]) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
