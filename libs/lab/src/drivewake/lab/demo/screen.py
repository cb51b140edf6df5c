"""What a person sees: steps while things start, live progress, the verdict."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from drivewake.lab.demo.verdict import Line

FRAME_S: Final = 0.2
PLAIN_EVERY_S: Final = 5.0
BAR_WIDTH: Final = 76


class Progress(msgspec.Struct, kw_only=True):
    """Where a run stands; the replay and the watchers write it, the screen reads it."""

    commits: int = 0
    of_commits: int = 0
    actions: int = 0
    received: int = 0
    started_s: float = msgspec.field(default_factory=time.monotonic)
    stage: str = "starting"
    notes: list[str] = []

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started_s


class Screen:
    """Prints to a terminal or to a pipe; a pipe gets a plain line every few seconds."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)

    def step(self, text: str) -> None:
        """Say that one step of the start is done."""
        self.console.print(Text("  ✓ ", style="green") + Text(text))

    def heading(self, text: str) -> None:
        """Begin a part."""
        self.console.print(Text(text, style="bold"))

    def say(self, text: str = "") -> None:
        """Print plain text."""
        self.console.print(Text(text))

    def fail(self, text: str) -> None:
        """Say in one line what went wrong."""
        self.console.print(Text("✗ ", style="red bold") + Text(text), soft_wrap=True)

    async def watch(self, progress: Progress, headlines: Callable[[], Iterable[str]]) -> None:
        """Show progress until cancelled."""
        if not self.console.is_terminal:
            while True:
                await asyncio.sleep(PLAIN_EVERY_S)
                self.say(f"  {status(progress)}")
        with Live(console=self.console, refresh_per_second=1 / FRAME_S, transient=True) as live:
            while True:
                live.update(_frame(progress, headlines()))
                await asyncio.sleep(FRAME_S)

    def verdict(self, lines: Sequence[Line]) -> None:
        """Print the verdict, a line a claim."""
        width = max(len(line.claim) for line in lines)
        for line in lines:
            mark = Text("✓", style="green") if line.holds else Text("✗", style="red bold")
            claim = Text(f" {line.claim:<{width}}  ")
            self.console.print(Text("  ") + mark + claim + Text(line.detail, style="dim"))

    def figures(self, rows: Iterable[tuple[str, str]]) -> None:
        """Print names and figures."""
        known = list(rows)
        width = max(len(name) for name, _ in known)
        for name, value in known:
            self.console.print(Text(f"    {name:<{width}}  ") + Text(value, style="cyan"))


def status(progress: Progress) -> str:
    """Return the state of the run in one line."""
    elapsed_s = max(progress.elapsed_s, 0.001)
    return (
        f"{elapsed_s:6.1f} s  {progress.stage}: "
        f"{progress.commits:,}/{progress.of_commits:,} commits, "
        f"{progress.actions:,} actions at Google ({progress.actions / elapsed_s:,.0f}/s), "
        f"{progress.received:,} events downstream ({progress.received / elapsed_s:,.0f}/s)"
    )


def _bar(progress: Progress) -> Text:
    done = BAR_WIDTH * progress.commits // max(progress.of_commits, 1)
    return (
        Text("  ") + Text("━" * done, style="green") + Text("─" * (BAR_WIDTH - done), style="dim")
    )


def _frame(progress: Progress, headlines: Iterable[str]) -> RenderableType:
    parts: list[RenderableType] = [
        Text(f"  {status(progress)}"),
        _bar(progress),
        Text("  downstream receives:", style="dim"),
        *(Text(f"  {line}", style="dim") for line in headlines),
        *(Text(f"  ! {note}", style="yellow") for note in progress.notes[-3:]),
    ]
    return Group(*parts)
