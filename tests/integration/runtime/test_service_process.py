"""A service as a process: how it starts, what it says, how it ends."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE_S = 30.0
SAMPLE = """
import asyncio
import sys

from litestar import get

from drivewake.runtime.http import HttpServer, application
from drivewake.runtime.lifecycle import Service, run_service
from drivewake.runtime.logging import configure
from drivewake.runtime.settings import ServiceSettings, load


@get("/hang")
async def hang() -> None:
    await asyncio.Event().wait()


@get("/slow")
async def slow() -> str:
    await asyncio.sleep(0.5)
    return "answered"


async def main():
    settings = load(ServiceSettings)
    configure("sample", settings.log_level, settings.log_format)
    service = Service("sample", shutdown_s=settings.shutdown_s)
    server = HttpServer(application(service, [hang, slow]), settings.http_host, settings.http_port)
    service.add("http", server.run)

    async def dies(stop):
        await asyncio.sleep(0.1)
        raise ValueError("password=hidden")

    if "dies" in sys.argv:
        service.add("dies", dies)
    return await service.run()


sys.exit(run_service(main))
"""


class Sample:
    """The sample service, run as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    @classmethod
    async def start(cls, directory: Path, *arguments: str, **settings: str) -> "Sample":
        """Start it."""
        script = directory / "sample.py"
        script.write_text(SAMPLE)
        variables = {f"DRIVEWAKE_{name}": value for name, value in settings.items()}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(script), *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **variables},
        )
        return cls(process)

    async def until(self, action: str) -> dict[str, Any]:
        """Return the first line with an action."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while text := await self.process.stdout.readline():
                line: dict[str, Any] = json.loads(text)
                self.lines.append(line)
                if line["action"] == action:
                    return line
        raise AssertionError(f"it ended without {action}: {self.lines}")

    async def ended(self) -> tuple[int, str]:
        """Wait for the end; return the code and what stood on stderr."""
        async with asyncio.timeout(PATIENCE_S):
            output, errors = await self.process.communicate()
        self.lines += [json.loads(line) for line in output.splitlines()]
        return self.process.returncode or 0, errors.decode()


async def test_sigterm_answers_what_is_under_way(tmp_path: Path) -> None:
    """A request that runs when SIGTERM comes is answered; then the process ends with 0."""
    sample = await Sample.start(tmp_path)
    port = (await sample.until("http_listen"))["port"]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:

        async def ask() -> str:
            async with client.get("/slow") as answer:
                return await answer.text()

        asking = asyncio.create_task(ask())
        await asyncio.sleep(0.2)
        sample.process.send_signal(signal.SIGTERM)
        assert "answered" == await asking
    assert (0, "") == await sample.ended()


async def test_a_request_that_hangs_is_cut_at_the_deadline(tmp_path: Path) -> None:
    """No client keeps a service from ending, nor does an idle connection."""
    sample = await Sample.start(tmp_path, SHUTDOWN_S="0.5")
    port = (await sample.until("http_listen"))["port"]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        asking = asyncio.create_task(client.get("/hang"))
        await asyncio.sleep(0.2)
        sample.process.send_signal(signal.SIGTERM)
        code, _ = await sample.ended()
        with contextlib.suppress(aiohttp.ClientError):
            assert 500 == (await asking).status
    assert 0 == code
    assert ["http"] in [line.get("tasks") for line in sample.lines]


async def test_a_dead_task_ends_the_process(tmp_path: Path) -> None:
    """The process ends with 1, after one line that names the task and hides the secret."""
    sample = await Sample.start(tmp_path, "dies")
    assert (1, "") == await sample.ended()
    (death,) = [line for line in sample.lines if line["action"] == "task_died"]
    assert ("dies", "task dies failed: ValueError") == (death["task"], death["message"])
    assert "hidden" not in json.dumps(sample.lines)


async def test_wrong_settings_are_told_in_lines(tmp_path: Path) -> None:
    """Exit code 2, each problem on one line of stderr, nothing else."""
    sample = await Sample.start(tmp_path, HTTP_PORT="many", LOG_LEVEL="loud")
    code, errors = await sample.ended()
    assert 2 == code
    assert ["DRIVEWAKE_HTTP_PORT", "DRIVEWAKE_LOG_LEVEL"] == [
        line.partition(":")[0] for line in errors.splitlines()
    ]


async def test_a_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    """Exit code 2 and the variable to change."""
    first = await Sample.start(tmp_path)
    port = str((await first.until("http_listen"))["port"])
    second = await Sample.start(tmp_path, HTTP_PORT=port)
    expected = f"DRIVEWAKE_HTTP_PORT: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert (2, expected) == await second.ended()
    first.process.terminate()
    assert (0, "") == await first.ended()
