import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from drivewake.lab.servers import (
    PostgresServer,
    ServerBinaryMissingError,
    ServerError,
    ServerPortInUseError,
    postgres_binaries,
    postgres_files,
)
from drivewake.lab.servers.spawn import alive


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everyone may enter, with a space in its name (pytest's are private)."""
    path = Path(tempfile.mkdtemp(prefix="drivewake pg "))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


async def _fetch(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_a_committed_row_survives_sigkill_on_the_same_port(open_directory: Path) -> None:
    """Kill (a busy backend included) and start: same URL, committed rows there, others not."""
    with PostgresServer(open_directory / "a cluster") as server:
        dsn = server.dsn()
        server.execute("create table kept (i int)", "insert into kept values (1)")
        busy = await asyncpg.connect(dsn)
        await busy.execute("begin; insert into kept values (2)")
        sleeping = asyncio.create_task(busy.execute("select pg_sleep(600)"))
        await asyncio.sleep(0)
        family = psutil.Process(server.pid).children(recursive=True)
        assert len(family) > 1

        server.kill()

        assert [] == [child for child in family if alive(child)]
        with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
            await sleeping
        busy.terminate()
        server.start()
        assert dsn == server.dsn()
        assert await _fetch(dsn, "select sum(i) from kept") == 1


async def test_a_given_directory_can_be_opened_again_by_another_server(
    open_directory: Path,
) -> None:
    """Twice in a row over one directory: the second has the first's rows and password."""
    with PostgresServer(open_directory) as server:
        server.execute("create table kept as select 7 as i")
        password = server.password
    with PostgresServer(open_directory) as server:
        assert password == server.password
        assert await _fetch(server.dsn(), "select i from kept") == 7
        server.restart()
        assert await _fetch(server.socket_dsn(), "select i from kept") == 7


async def test_passwords_are_asked_for_on_tcp_and_socket(
    postgres_server: PostgresServer, prefix: str
) -> None:
    """A role logs in with its password and not with another, whichever way it comes."""
    password = "a 'quoted' / pass:word@x"
    postgres_server.create_role(prefix, password)
    for url in (postgres_server.dsn, postgres_server.socket_dsn):
        assert prefix == await _fetch(url(user=prefix, password=password), "select user::text")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await _fetch(url(user=prefix, password="wrong"), "select 1")
    postgres_server.execute(f'drop role "{prefix}"')


async def test_text_sorts_by_code_point_whatever_the_machine_speaks(database: str) -> None:
    """The cluster is UTF-8 with the built-in C.UTF-8 locale, the same on every system."""
    assert "B,a,ä" == await _fetch(
        database, "select string_agg(x, ',' order by x) from unnest('{ä,a,B}'::text[]) x"
    )


def test_a_port_in_use_is_said_in_one_line(postgres_server: PostgresServer) -> None:
    """A fixed port that somebody has is an error that names it."""
    port = postgres_server.port
    second = PostgresServer(port=port)
    with pytest.raises(ServerPortInUseError, match=f"port {port} .*in use") as caught:
        second.start()
    second.close()
    assert "\n" not in str(caught.value)


def test_a_wrong_setting_is_said_in_one_line() -> None:
    """PostgreSQL's own complaint is the message."""
    server = PostgresServer(settings={"no_such_setting": "1"})
    with pytest.raises(ServerError, match="no_such_setting") as caught:
        server.start()
    server.close()
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_said_in_one_line(open_directory: Path) -> None:
    """A cluster that does not fit says that there is no space, not that initdb ended with 1."""
    size = "size=16m,mode=0711"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "none", open_directory],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk can only be mounted by a root that may mount")
    try:
        server = PostgresServer(open_directory / "cluster")
        with pytest.raises(ServerError, match="No space left on device") as caught:
            server.start()
        assert "\n" not in str(caught.value)
    finally:
        subprocess.run(["umount", "--lazy", open_directory], check=True)


def test_under_root_a_private_directory_is_refused_with_its_name(tmp_path: Path) -> None:
    """The unprivileged server could not enter it: the message says which folder is closed."""
    if os.geteuid() != 0:
        pytest.skip("an ordinary user's server runs as that user, who may enter")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(ServerError, match=r"may not enter .*choose another"):
        PostgresServer(private / "cluster").start()


def test_under_root_the_binaries_run_from_a_copy_when_their_home_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package below a private folder is copied to where an unprivileged user can run it."""
    if os.geteuid() != 0:
        pytest.skip("an ordinary user runs the package's own binaries")
    home = tmp_path / "private home"
    home.mkdir(mode=0o700)
    tree = postgres_files._TREE
    original = postgres_files._installed()
    shutil.copytree(original, home / tree)
    libraries = original.parent.parent / postgres_files._LIBRARIES
    if libraries.is_dir():
        shutil.copytree(libraries, home / libraries.name)
    monkeypatch.setattr(postgres_files, "_installed", lambda: home / tree)
    monkeypatch.setattr(postgres_files, "_fingerprint", lambda _tree: f"test-{os.getpid()}")
    postgres_binaries.cache_clear()
    try:
        copy = postgres_binaries()
        assert home not in copy.parents
        with PostgresServer() as server:
            assert psutil.Process(server.pid).exe().startswith(str(copy))
            assert psutil.Process(server.pid).username() == "nobody"
        shutil.rmtree(copy.parents[2])
    finally:
        postgres_binaries.cache_clear()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the message says what to install."""
    monkeypatch.setattr(postgres_files, "_PACKAGE", "a-package-that-is-not-there")
    postgres_binaries.cache_clear()
    try:
        with pytest.raises(ServerBinaryMissingError, match="install the package"):
            postgres_binaries()
    finally:
        postgres_binaries.cache_clear()
