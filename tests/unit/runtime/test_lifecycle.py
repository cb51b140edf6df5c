"""Tasks of a service live and die together, and are closed in order."""

import asyncio
import gc
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog

from drivewake.runtime.errors import BusUnavailableError, ConfigurationError
from drivewake.runtime.lifecycle import Service, Stop, run_service
from drivewake.runtime.logging import configure


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def monotonic_s(self) -> float:
        """Return the time."""
        return self.time_s


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Put the collector back as it was."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Log as JSON; calling the fixture returns the lines so far."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    configure("test", "info", "json")
    yield lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    root.handlers[:], root.level = before[0], before[1]
    structlog.reset_defaults()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A service that gives up waiting soon."""
    service = Service("test", shutdown_s=0.3)
    yield service
    service.stop.request()


async def patient(stop: Stop) -> None:
    """Live until the stop."""
    await stop.wait()


def deaths(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines that tell of a dead task."""
    return [line for line in lines if line["action"] == "task_died"]


async def test_stopping_ends_everything_in_order(service: Service) -> None:
    """Tasks return after the stop, then closers run, the latest first; the code is 0."""
    order: list[str] = []

    async def work(stop: Stop) -> None:
        await stop.wait()
        order.append("task")

    async def close(name: str) -> None:
        order.append(name)

    service.add("work", work)
    service.on_close("first", lambda: close("first"))
    service.on_close("second", lambda: close("second"))
    running = asyncio.create_task(service.run())
    await asyncio.sleep(0)
    service.stop.request()
    assert 0 == await running
    assert ["task", "second", "first"] == order


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops(service: Service, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C ask for an orderly end."""
    service.add("work", patient)
    running = asyncio.create_task(service.run())
    await asyncio.sleep(0.05)
    os.kill(os.getpid(), number)
    assert 0 == await running


async def test_a_dying_task_ends_the_service(service: Service, log: Any) -> None:  # noqa: ANN401
    """One clear line with one traceback; the others drain; the code is 1."""
    drained = asyncio.Event()

    async def dies(stop: Stop) -> None:
        del stop
        raise ValueError("broken")

    async def other(stop: Stop) -> None:
        await stop.wait()
        drained.set()

    service.add("dies", dies)
    service.add("other", other)
    assert 1 == await service.run()
    assert drained.is_set()
    (death,) = deaths(log())
    assert ("dies", "task dies failed: ValueError") == (death["task"], death["message"])
    assert 1 == death["exception"].count("Traceback")


async def test_a_task_that_returns_early_ends_the_service(
    service: Service,
    log: Any,  # noqa: ANN401
) -> None:
    """A loop that ends by itself is as dead as one that fails."""

    async def returns(stop: Stop) -> None:
        del stop

    service.add("returns", returns)
    service.add("other", patient)
    assert 1 == await service.run()
    assert ["task returns returned before the stop"] == [d["message"] for d in deaths(log())]


async def test_a_configuration_error_has_no_traceback(
    service: Service,
    log: Any,  # noqa: ANN401
) -> None:
    """What an operator must set is said without our code's lines."""

    async def misconfigured(stop: Stop) -> None:
        del stop
        raise ConfigurationError("the port is in use")

    service.add("http", misconfigured)
    assert 1 == await service.run()
    (death,) = deaths(log())
    assert "task http the port is in use" == death["message"]
    assert "exception" not in death


async def test_a_task_that_fails_while_it_drains_counts(service: Service) -> None:
    """An error after the stop makes the exit code 1 too."""

    async def fails_late(stop: Stop) -> None:
        await stop.wait()
        raise ValueError

    service.add("late", fails_late)
    service.stop.request()
    assert 1 == await service.run()


async def test_a_stuck_task_is_cancelled_at_the_deadline(
    service: Service,
    log: Any,  # noqa: ANN401
) -> None:
    """Who does not return in time is cut off, and named."""
    cut = asyncio.Event()

    async def stuck(stop: Stop) -> None:
        del stop
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.set()
            raise

    service.add("stuck", stuck)
    service.add("good", patient)
    service.stop.request()
    assert 0 == await service.run()
    assert cut.is_set()
    assert [["stuck"]] == [line["tasks"] for line in log() if line["action"] == "drain_deadline"]


async def test_a_second_signal_hurries(log: Any) -> None:  # noqa: ANN401
    """Whoever signals twice does not wait for the deadline."""
    service = Service("test", shutdown_s=3600)

    async def stuck(stop: Stop) -> None:
        del stop
        await asyncio.Event().wait()

    service.add("stuck", stuck)
    running = asyncio.create_task(service.run())
    await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(20):
        assert 0 == await running
    assert ["stuck"] in [line.get("tasks") for line in log()]


async def test_every_closer_runs(service: Service) -> None:
    """A closer that fails or hangs does not keep the others from their work."""
    closed: list[str] = []

    async def fails() -> None:
        raise OSError

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def works() -> None:
        closed.append("works")

    for name, closer in (("works", works), ("hangs", hangs), ("fails", fails)):
        service.on_close(name, closer)
    service.stop.request()
    assert 1 == await service.run()
    assert ["works"] == closed


async def test_names_are_taken_once(service: Service) -> None:
    """Two tasks of one name are a mistake."""
    service.add("work", patient)
    with pytest.raises(ValueError, match="already"):
        service.add("work", patient)


async def test_heartbeats_go_stale() -> None:
    """A loop that beats is fresh until it is silent for too long; others are not judged."""
    clock = HandClock()
    service = Service("test", shutdown_s=1, clock=clock)  # type: ignore[arg-type]
    assert {} == service.stale()
    service.heartbeat("poll")
    service.heartbeat("slow", stale_s=600)
    clock.time_s = 60.0
    assert {} == service.stale()
    clock.time_s = 61.0
    assert {"poll": 61.0} == service.stale()
    service.heartbeat("poll")
    assert {} == service.stale()


async def test_sleeping_ends_with_the_stop() -> None:
    """`sleep` says whether the stop ended it."""
    stop = Stop()
    assert not await stop.sleep(0.01)
    sleeping = asyncio.create_task(stop.sleep(3600))
    await asyncio.sleep(0)
    stop.request()
    assert await sleeping
    assert await stop.sleep(-1)


async def test_the_collector_is_tuned(service: Service) -> None:
    """After the start, objects are frozen and collections are rare."""
    service.stop.request()
    await service.run()
    assert (50_000, 20, 50) == gc.get_threshold()
    assert 0 < gc.get_freeze_count()


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigurationError("set X"), 2), (BusUnavailableError("no broker"), 1)]
)
def test_a_failed_start_is_one_line(
    capfd: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    """What keeps a service from starting is said in one line on stderr, and by the code."""

    async def main() -> int:
        raise error

    assert code == run_service(main)
    assert f"{error}\n" == capfd.readouterr().err


def test_the_exit_code_is_the_services() -> None:
    """`run_service` returns what `main` returned, on uvloop."""

    async def main() -> int:
        return 7 if "uvloop" in type(asyncio.get_running_loop()).__module__ else 0

    assert 7 == run_service(main)
