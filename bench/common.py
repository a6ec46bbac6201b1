"""What the benches share: interleaved rounds, medians, and a table on stdout."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import workload

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
"""Rounds per question; every round measures each side once, so that drift hits all alike."""

SHORT = os.environ.get("BENCH_SHORT", "") not in {"", "0"}
"""Less of everything, to see that the benches work: figures of a short run say little."""

CELL_S = float(os.environ.get("BENCH_CELL_S", "0.3" if SHORT else "1.0"))
"""How long each measurement of a rate goes on."""


def _open_to_all(folder: Path) -> bool:
    """Whether a server that runs as a user of its own can reach what lies in here."""
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents))


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on a real disk (BENCH_DIR, else here): /tmp may be memory, where fsync does nothing.

    As root, which PostgreSQL refuses to be, "here" must be open to other users, else it is /var/tmp.
    """
    here = Path.cwd()
    place = here if os.geteuid() != 0 or _open_to_all(here) else Path("/var/tmp")
    with tempfile.TemporaryDirectory(
        prefix=".bench-", dir=os.environ.get("BENCH_DIR", place), ignore_cleanup_errors=True
    ) as name:
        yield Path(name)


def line(number: int) -> dict[str, object]:
    """The fields of one output event of the workload."""
    texts = workload.texts()
    return {"data": texts[number % len(texts)]}


def interleaved(sides: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, float]:
    """The median of each side's figure over interleaved rounds (one warm-up round is dropped)."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, measure in sides.items():
            figure = measure()
            if number:
                figures[name].append(figure)
    return {name: statistics.median(values) for name, values in figures.items()}


@dataclass(frozen=True, slots=True)
class Table:
    """What a question answered."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


TABLES: list[Table] = []
"""All tables of this process, for the results file."""


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a title and keep them; `--json` prints one object instead."""
    TABLES.append(Table(title, columns, rows))
    if "--json" in sys.argv:
        print(json.dumps({"title": title, "rows": [dict(zip(columns, row, strict=True)) for row in rows]}))
        return
    texts = [[text_of(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _rich(title, columns, texts)
        return
    widths = [max(map(len, (column, *(row[i] for row in texts)))) for i, column in enumerate(columns)]
    print(f"\n{title}")
    print("  ".join(f"{column:>{width}}" for column, width in zip(columns, widths, strict=True)))
    for row in texts:
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))


def _rich(title: str, columns: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
    import rich.table

    shown = rich.table.Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        shown.add_column(column, justify="right" if number else "left")
    for row in texts:
        shown.add_row(*row)
    rich.print(shown)


def text_of(cell: object) -> str:
    """A cell as people read it."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if cell >= 100 else f"{cell:.2f}"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)


def machine(rounds: int = ROUNDS) -> str:
    """One line about where the figures come from."""
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return f"{os.cpu_count()} cores, {versions}, median of {rounds} rounds"
