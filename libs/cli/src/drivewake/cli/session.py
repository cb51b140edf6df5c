"""One connection to the broker for one verb; every failure is one line and an exit code."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import IO, Any, Final

import click
from click.exceptions import Exit

from drivewake.runtime.errors import (
    BusError,
    BusPermissionError,
    BusUnavailableError,
    ConfigurationError,
    NotFoundError,
)
from drivewake.runtime.logging import configure
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.settings import ServiceSettings, load, masked, variable

EXIT_FAILED: Final = 1
EXIT_MISUSED: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_INTERRUPTED: Final = 130
CONNECT_TIMEOUT_S: Final = 3.0


class Failure(click.ClickException):
    """What a person is told when a verb cannot do its work: one line, then the exit code."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line to stderr."""
        del file
        for line in self.message.splitlines():
            click.echo(f"drivewake: {line}", err=True)


class OperatorSettings(ServiceSettings):
    """How an operator reaches the broker: the same variables as any service's."""

    nats_user: str = "operator"
    log_level: str = "error"  # type: ignore[assignment] # the command speaks for itself


class RepairerSettings(OperatorSettings):
    """The same for verbs that put messages back: a NATS user of its own may do that."""

    nats_user: str = "repairer"


def settings(kind: type[OperatorSettings] = OperatorSettings) -> OperatorSettings:
    """Return the settings; raises Failure with every problem, one a line."""
    try:
        return load(kind)
    except ConfigurationError as error:
        raise Failure(str(error), EXIT_MISUSED) from None


@contextlib.asynccontextmanager
async def connected(told: ServiceSettings) -> AsyncIterator[NatsBus]:
    """Connect for the length of the block; raises Failure instead of the bus's errors."""
    where = masked(told)[variable("nats_url")]
    try:
        bus = await connect(told, name="cli", timeout_s=CONNECT_TIMEOUT_S)
    except BusUnavailableError as error:
        raise Failure(f"cannot reach NATS at {where}: {error}", EXIT_UNREACHABLE) from None
    except BusPermissionError as error:
        raise Failure(
            f"NATS at {where} refuses us: {error} (DRIVEWAKE_NATS_SEED is the seed of the user"
            f" {told.nats_user})",
            EXIT_UNREACHABLE,
        ) from None
    except ConfigurationError as error:
        raise Failure(str(error), EXIT_MISUSED) from None
    try:
        yield bus
    except BusUnavailableError as error:
        raise Failure(f"NATS at {where} does not answer: {error}", EXIT_UNREACHABLE) from None
    except NotFoundError as error:
        raise Failure(f"{error}: has `drivewake provision` been run?") from None
    except BusError as error:
        raise Failure(str(error)) from None
    finally:
        await bus.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a verb's coroutine. Ctrl-C and a closed pipe end it without a traceback."""
    _log_to_stderr()

    async def entry() -> None:
        await work()

    try:
        asyncio.run(entry())
    except KeyboardInterrupt:
        raise Exit(EXIT_INTERRUPTED) from None


def _log_to_stderr() -> None:
    """Let libraries' errors go beside the output, which holds what was asked and nothing else."""
    configure("cli", "error", "console")
    root = logging.getLogger()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(root.handlers[0].formatter)
    root.handlers[:] = [handler]
