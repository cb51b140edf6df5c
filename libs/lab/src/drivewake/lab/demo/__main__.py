"""`python -m drivewake.lab.demo`: see `--help`."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import rich_click as click
import uvloop

from drivewake.lab.demo.browser import ConsentError
from drivewake.lab.demo.google import ControlError
from drivewake.lab.demo.replay import ACCOUNTS
from drivewake.lab.demo.report import figures, how_to_look
from drivewake.lab.demo.run import Options, Outcome, Run
from drivewake.lab.demo.screen import Screen
from drivewake.lab.demo.session import DemoError
from drivewake.lab.demo.stack import Stack
from drivewake.lab.demo.verdict import judge
from drivewake.lab.scenarios.git import GitError, GitHistory
from drivewake.lab.servers import ServerError
from drivewake.runtime.errors import DrivewakeError
from drivewake.runtime.logging import configure

FAILED = 1
UNUSABLE = 2
INTERRUPTED = 130
CRASH_RATE = 150.0
"""Slow enough that there is a replay left to crash into."""
LOGS_KEPT = Path(".run") / "last-demo"


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.option(
    "--git",
    "repository",
    default=".",
    type=click.Path(path_type=Path),
    help="The git repository whose history is replayed.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N commits.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds of history that pass in one second; without it, as fast as it goes.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help=f"At most so many actions a second.  [default: none; {CRASH_RATE:g} with --crash]",
)
@click.option("--no-push", is_flag=True, help="Run without webhook: polls find everything, later.")
@click.option("--crash", is_flag=True, help="SIGKILL every service and server once, and restart.")
@click.option("--seed", type=int, help="When --crash strikes; printed, random without.")
@click.option("--keep", is_flag=True, help="Leave it all running afterwards, until Ctrl-C.")
def main(
    repository: Path,
    limit: int | None,
    speed: float | None,
    rate: float | None,
    seed: int | None,
    *,
    no_push: bool,
    crash: bool,
    keep: bool,
) -> None:
    """Watch a Drive's history flow from Google to downstream, and see it proved.

    Starts a real nats-server, a real PostgreSQL, a simulated Google and the four services,
    connects an account through OAuth, replays a git history as Drive activity, and checks at
    the end that nothing was lost, doubled or reordered. Exits with 1 if any check fails.
    """
    options = Options(
        git=_from_where_typed(repository),
        limit=limit,
        speed=speed,
        rate=CRASH_RATE if crash and rate is None else rate,
        push=not no_push,
        crash=crash,
        seed=int.from_bytes(os.urandom(3), "big") if seed is None else seed,
        keep=keep,
    )
    # Whoever stops us, everything ends in order.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(run(options, Screen()))


def _from_where_typed(path: Path) -> Path:
    """Return the path as meant: relative to where the command was typed, not to the tree."""
    typed_in = os.environ.get("DRIVEWAKE_INVOKED_FROM", "")
    return Path(typed_in, path).resolve() if typed_in else path.resolve()


def run(options: Options, screen: Screen) -> int:
    """Run the demo; return the exit code. Every foreseeable failure is one line."""
    configure("demo", "error")  # what the bus says of crashes is in the logs of the services
    try:
        history = GitHistory(options.git)
        total = history.count(options.limit)
        screen.heading(f"Drivewake: {total:,} commits of {options.git} as a Drive's history")
        if options.crash:
            screen.say(f"  crashes by seed {options.seed}: repeat them with --seed {options.seed}")
        with Stack(push=options.push, accounts=ACCOUNTS, report=screen.step) as stack:
            return _on(stack, history, options, screen)
    except GitError as error:
        screen.fail(str(error))
        return UNUSABLE
    except ServerError as error:
        screen.fail(str(error))
        return FAILED
    except KeyboardInterrupt:
        screen.say("stopped; nothing is left running")
        return INTERRUPTED


def _on(stack: Stack, history: GitHistory, options: Options, screen: Screen) -> int:
    try:
        stack.start()
        outcome = uvloop.run(Run(stack, options, screen).play(history))
        code = _tell(outcome, stack, options, screen)
        if options.keep:
            _keep(stack, screen)
    except* (DemoError, ConsentError, ControlError, DrivewakeError, ServerError, OSError) as group:
        for error in _leaves(group):
            screen.fail(str(error) or type(error).__name__)
        code = FAILED
    if code:
        screen.say(f"  logs of every process: {_save_logs(stack)}")
    return code


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _tell(outcome: Outcome, stack: Stack, options: Options, screen: Screen) -> int:
    lines = judge(outcome.evidence)
    screen.heading("Verdict")
    screen.verdict(lines)
    screen.heading("Figures")
    screen.figures(figures(outcome, stack, push=options.push))
    failed = sum(not line.holds for line in lines)
    if failed:
        screen.fail(f"{failed} of {len(lines)} checks failed")
        return FAILED
    screen.say(f"All {len(lines)} checks hold.")
    return 0


def _keep(stack: Stack, screen: Screen) -> None:
    """Wait for Ctrl-C with everything running."""
    screen.heading("Still running")
    for line in how_to_look(stack):
        screen.say(line)
    try:
        asyncio.run(asyncio.Event().wait())
    except KeyboardInterrupt:
        screen.say("stopping")


def _save_logs(stack: Stack) -> Path:
    """Keep what every process said, and return where."""
    shutil.rmtree(LOGS_KEPT, ignore_errors=True)
    LOGS_KEPT.mkdir(parents=True)
    for path in stack.log_paths():
        if path.is_file():
            shutil.copy(path, LOGS_KEPT / path.name)
    return LOGS_KEPT


if __name__ == "__main__":
    main()
