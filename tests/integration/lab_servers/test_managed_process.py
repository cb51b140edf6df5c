import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from drivewake.lab.servers import (
    ManagedProcess,
    ServerError,
    ServerStateError,
    answers_ok,
    free_port,
)
from drivewake.lab.servers.spawn import alive, await_condition


def _module(tmp_path: Path, source: str) -> dict[str, str]:
    """Write a module named `child` and return the environment that finds it."""
    (tmp_path / "child.py").write_text(source)
    return {"PYTHONPATH": str(tmp_path)}


def test_a_web_server_is_waited_for_and_stopped_by_sigterm(tmp_path: Path) -> None:
    """Ready means that its URL answers 200; SIGTERM ends it; its peak memory stays known."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    process = ManagedProcess(
        "web",
        "http.server",
        ["--bind", "127.0.0.1", "--directory", str(tmp_path), str(port)],
        log_path=tmp_path / "web.log",
        ready=url,
    )
    with process:
        assert answers_ok(url)
        assert process.running
        assert process.returncode is None
    assert not answers_ok(url)
    assert process.returncode == -signal.SIGTERM
    assert process.peak_rss_bytes() > 1024 * 1024
    assert any('"GET / HTTP/1.1" 200' in line for line in process.log_tail())


def test_who_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    """After the deadline SIGKILL goes to the process and to everything below it."""
    source = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("pid", child.pid)
time.sleep(600)
"""
    log_path = tmp_path / "child.log"
    process = ManagedProcess(
        "stubborn",
        "child",
        log_path=log_path,
        env=_module(tmp_path, source),
        ready=lambda: "pid" in log_path.read_text(),
        stop_timeout_s=0.2,
    ).start()
    grandchild = psutil.Process(int(process.log_tail()[-1].split()[1]))
    assert process.stop() == -signal.SIGKILL
    assert not alive(grandchild)


def test_its_environment_is_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process's settings do not leak; its own arrive; output is there line by line."""
    monkeypatch.setenv("DRIVEWAKE_SECRET_OF_ANOTHER", "x")
    source = "import os, time\nprint(sorted(k for k in os.environ if k.startswith('DRIVEWAKE')))\n"
    log_path = tmp_path / "child.log"
    process = ManagedProcess(
        "env",
        "child",
        log_path=log_path,
        env={**_module(tmp_path, source + "time.sleep(600)"), "DRIVEWAKE_OWN": "1"},
        ready=lambda: log_path.read_text() != "",
    )
    with process:
        assert process.log_tail() == ["['DRIVEWAKE_OWN']"]
    assert process.restart().running
    process.kill()
    assert process.returncode == -signal.SIGKILL


def test_a_process_that_fails_at_its_start_says_its_last_words(tmp_path: Path) -> None:
    """The error is one line: the name, the code and what the process said last."""
    source = "import sys\nprint('boot')\nsys.exit('no such setting: X')"
    process = ManagedProcess(
        "broken",
        "child",
        log_path=tmp_path / "log",
        env=_module(tmp_path, source),
        ready=lambda: False,
    )
    with pytest.raises(ServerError, match=r"broken .*\(code 1\): no such setting: X") as caught:
        process.start()
    assert "\n" not in str(caught.value)


def test_a_process_that_never_becomes_ready_is_killed(tmp_path: Path) -> None:
    """Past its time it is an error, and no process is left."""
    process = ManagedProcess(
        "late",
        "child",
        log_path=tmp_path / "log",
        env=_module(tmp_path, "import time; time.sleep(600)"),
        ready=lambda: False,
        start_timeout_s=0.1,
    )
    with pytest.raises(ServerError, match="was not ready within"):
        process.start()
    assert not process.running
    with pytest.raises(ServerStateError):
        _ = process.pid


def test_it_dies_with_its_maker(tmp_path: Path) -> None:
    """SIGKILL of the maker kills the managed process, whatever that one does with SIGTERM."""
    source = """
import sys, time, pathlib
from drivewake.lab.servers import ManagedProcess
process = ManagedProcess("child", "child", log_path=pathlib.Path(sys.argv[1]) / "log",
                         env={"PYTHONPATH": sys.argv[1]}).start()
print(process.pid, flush=True)
time.sleep(600)
"""
    _module(tmp_path, "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(600)")
    with subprocess.Popen(
        [sys.executable, "-c", source, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout is not None
        child = psutil.Process(int(maker.stdout.readline()))
        maker.kill()
    assert await_condition(lambda: not alive(child), 20.0)


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    """A client must never be given a dead server's port as its own."""
    port = free_port()
    with socket.socket() as outgoing:
        outgoing.bind(("127.0.0.1", 0))
        assert port < outgoing.getsockname()[1]
