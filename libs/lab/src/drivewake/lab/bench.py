"""What every bench of ours prints: a table with machine and versions, and JSON on request.

A bench measures ours and its anchors in one run, in turn, and says; it never asserts.
"""

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure: a median over rounds; `ratio` is to the figure of the row named `to`."""

    row: str
    value: float
    unit: str
    ratio: float | None = None
    to: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A bench's whole answer, as written by `--json FILE`."""

    name: str
    machine: str
    versions: dict[str, str]
    rows: list[Row]


def machine() -> str:
    """Return what this ran on, in one line."""
    cores = os.cpu_count() or 0
    return f"{platform.system()} {platform.machine()}, {cores} cores, Python {_python()}"


def _python() -> str:
    return platform.python_version()


def versions(*distributions: str) -> dict[str, str]:
    """Return the installed versions of some distributions."""
    return {name: metadata.version(name) for name in distributions}


def median(values: Sequence[float]) -> float:
    """Return the median of the rounds, 0 of none."""
    return statistics.median(values) if values else 0.0


def in_turn(
    rounds: int, contestants: Mapping[str, Callable[[], float]], say: Callable[[str], None]
) -> dict[str, list[float]]:
    """Run every contestant once a round, A B A B …, so that drift of the machine is shared."""
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, run in contestants.items():
            figures[name].append(run())
            say(f"round {number + 1}/{rounds}  {name}: {figures[name][-1]:,.1f}")
    return figures


def publish(report: Report, json_path: Path | None = None) -> None:
    """Print the table; write the JSON where asked."""
    console = Console(highlight=False)
    if not console.is_terminal:  # a pipe has no width: cut nothing
        console = Console(highlight=False, width=160)
    title = f"{report.name} — {report.machine}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    table.add_column("row")
    table.add_column("median", justify="right")
    table.add_column("unit")
    table.add_column("ratio", justify="right")
    table.add_column("to")
    for row in report.rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        table.add_row(row.row, f"{row.value:,.1f}", row.unit, ratio, row.to)
    console.print(table)
    console.print(", ".join(f"{name} {version}" for name, version in report.versions.items()))
    if json_path is not None:
        json_path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
