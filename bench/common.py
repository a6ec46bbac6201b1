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
from pathlib import Path

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
"""Rounds per question; every round measures each side once, so that drift hits all alike."""

LINE = (
    "test_case_{number:06d} (suite.module.ClassName) ... ok, took a little while and said so at some length\n"
)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on a real disk (BENCH_DIR, else here): /tmp may be memory, where fsync does nothing."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=os.environ.get("BENCH_DIR", ".")) as name:
        yield Path(name)


def line(number: int) -> dict[str, object]:
    """The fields of one output event, about 200 bytes as a payload."""
    return {"data": LINE.format(number=number)}


def interleaved(sides: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, float]:
    """The median of each side's figure over interleaved rounds (one warm-up round is dropped)."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, measure in sides.items():
            figure = measure()
            if number:
                figures[name].append(figure)
    return {name: statistics.median(values) for name, values in figures.items()}


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a title; `--json` prints one object instead."""
    if "--json" in sys.argv:
        print(json.dumps({"title": title, "rows": [dict(zip(columns, row, strict=True)) for row in rows]}))
        return
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(len(column), *(len(row[i]) for row in texts)) for i, column in enumerate(columns)]
    print(f"\n{title}")
    print("  ".join(f"{column:>{width}}" for column, width in zip(columns, widths, strict=True)))
    for row in texts:
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if cell >= 100 else f"{cell:.2f}"
    return str(cell)


def machine(rounds: int = ROUNDS) -> str:
    """One line about where the figures come from."""
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return f"{os.cpu_count()} cores, {versions}, median of {rounds} rounds"
