import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

from drivewake.lab.servers import NatsServer, PostgresServer, ScratchDirectory
from drivewake.lab.servers.spawn import alive, await_condition

_GONE_WITHIN_S = 30.0

_MAKER = """
import json, sys, time
import psutil
from drivewake.lab.servers import NatsServer, PostgresServer
nats, postgres = NatsServer().start(), PostgresServer().start()
pids = [nats.pid, postgres.pid]
pids += [child.pid for child in psutil.Process(postgres.pid).children(recursive=True)]
print(json.dumps({"pids": pids, "paths": [str(nats.directory), str(postgres.directory)]}))
sys.stdout.flush()
time.sleep(600) if sys.argv[1] == "sleep" else None
nats.close(), postgres.close()
"""


def _gone(pid: int) -> bool:
    try:
        return not alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


def test_a_killed_maker_leaves_no_orphan_and_no_litter() -> None:
    """SIGKILL of the maker ends nats-server, Postgres and its children; the next maker sweeps."""
    with subprocess.Popen(
        [sys.executable, "-c", _MAKER, "sleep"], stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout is not None
        made = json.loads(maker.stdout.readline())
        maker.send_signal(signal.SIGKILL)
    assert len(made["pids"]) > 3
    assert await_condition(lambda: all(map(_gone, made["pids"])), _GONE_WITHIN_S)
    with ScratchDirectory("sweeper"):
        assert [] == [path for path in made["paths"] if Path(path).exists()]


def test_a_living_makers_directory_is_not_swept() -> None:
    """Two makers at once: the second's sweep leaves the first's folder alone."""
    with ScratchDirectory("first") as first, ScratchDirectory("second"):
        assert first.path.is_dir()
    assert not first.path.exists()


def test_servers_outlive_the_thread_that_started_them() -> None:
    """A death signal follows threads: servers started on a pool's thread must not die with it."""
    servers = (NatsServer(), PostgresServer())
    for server in servers:
        thread = threading.Thread(target=server.start)
        thread.start()
        thread.join()
    try:
        assert not await_condition(lambda: not all(s.running for s in servers), 0.3)
    finally:
        for server in servers:
            server.close()


def test_an_ordinary_user_starts_both_twice() -> None:
    """What root can do, `nobody` can: start both servers, stop them, and again."""
    if os.geteuid() != 0:
        pytest.skip("already an ordinary user: every other test here shows it")
    interpreter = _interpreter_for_nobody()
    if interpreter is None:
        pytest.skip("no Python of this version that user 'nobody' can run with this tree")
    for _ in range(2):
        done = _as_nobody([interpreter, "-c", _MAKER, "stop"])
        assert done.stderr == ""
        made = json.loads(done.stdout)
        assert all(map(_gone, made["pids"]))
        assert [] == [path for path in made["paths"] if Path(path).exists()]


def _as_nobody(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        user="nobody",
        group="nogroup" if Path("/etc/debian_version").exists() else "nobody",
        extra_groups=[],
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        check=False,
    )


def _interpreter_for_nobody() -> str | None:
    """Find a Python of our version whose user `nobody` can import our packages."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            if _as_nobody([candidate, "-c", "import drivewake.lab.servers"]).returncode == 0:
                return candidate
        except OSError:
            continue
    return None
