"""Measures what a group commit costs by how rows lie: by run, as ours do, or in the order of commits first.

Called by hand as `python -m bench.layouts`. Rows of one run together make a replay one walk of a tree, but a
commit that has an event of each of many runs writes a page or two for each. `staged` puts them into a small
table first, in the order in which they come, and moves them in bulk: what our storage could do at the price
of reads that look in two places.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from bench.common import ROUNDS, interleaved, machine, scratch, table
from eventstore.sqlite.connection import PAGE_BYTES, WAL_CHECKPOINT_PAGES

COLUMNS = "type TEXT, created_at_ms INTEGER, running_bytes INTEGER, salt BLOB, payload BLOB"
STAGED_ROWS_MAX = 1024
EVENTS = 16_384
WARMING = 4_096
WAL_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24


class Layout:
    """A scratch database with groups of one row of each of so many runs."""

    def __init__(self, path: Path, runs: int, *, staged: bool) -> None:
        self._path, self._runs, self._staged, self._seq, self._rows = path, runs, staged, 0, 0
        self._db = sqlite3.connect(path, isolation_level=None)
        for pragma in (f"page_size={PAGE_BYTES}", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
            self._db.execute(f"PRAGMA {pragma}").fetchall()
        self._db.execute(f"PRAGMA wal_autocheckpoint={WAL_CHECKPOINT_PAGES}").fetchall()
        self._db.execute(f"CREATE TABLE events (position INTEGER PRIMARY KEY, {COLUMNS})")
        self._db.execute(f"CREATE TABLE staged (id INTEGER PRIMARY KEY, position INTEGER UNIQUE, {COLUMNS})")
        places = ", ".join(["(?, 'stdout', 0, 0, ?, ?)"] * runs)
        name = "staged" if staged else "events"
        columns = "position, type, created_at_ms, running_bytes, salt, payload"
        self._insert = f"INSERT INTO {name} ({columns}) VALUES {places}"
        self._move = f"INSERT INTO events ({columns}) SELECT {columns} FROM staged ORDER BY position"

    def commit(self) -> None:
        """One group."""
        self._seq += 1
        values: list[object] = []
        for run in range(self._runs):
            values += (run << 32 | self._seq, bytearray(16), bytearray(230))
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(self._insert, values)
        self._rows += self._runs
        if self._staged and self._rows >= STAGED_ROWS_MAX:
            self._db.execute(self._move)
            self._db.execute("DELETE FROM staged")
            self._rows = 0
        self._db.execute("COMMIT")

    def pages(self, groups: int) -> float:
        """Pages that one of these groups writes, from the write-ahead log before it begins anew."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._db.execute("PRAGMA wal_autocheckpoint=0").fetchall()
        for _ in range(groups):
            self.commit()
        size = Path(f"{self._path}-wal").stat().st_size - WAL_HEADER_BYTES
        self._db.execute(f"PRAGMA wal_autocheckpoint={WAL_CHECKPOINT_PAGES}").fetchall()
        return size / (PAGE_BYTES + FRAME_HEADER_BYTES) / groups

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def measure(folder: Path, runs: int, *, staged: bool) -> tuple[float, float, float]:
    """Microseconds of CPU and of time for each event, and pages for each group."""
    for leftover in folder.glob("layout*"):
        leftover.unlink()
    layout = Layout(folder / "layout", runs, staged=staged)
    for _ in range(WARMING // runs):
        layout.commit()
    groups = EVENTS // runs
    cpu, began = time.process_time(), time.perf_counter()
    for _ in range(groups):
        layout.commit()
    cpu, took = time.process_time() - cpu, time.perf_counter() - began
    pages = layout.pages(STAGED_ROWS_MAX // runs * 2)
    layout.close()
    return cpu / EVENTS * 1e6, took / EVENTS * 1e6, pages


def main() -> None:
    """Print the table."""
    rows: list[list[object]] = []
    with scratch() as folder:
        for runs in (1, 16, 64):
            for figure, unit in enumerate(("CPU us/event", "us/event", "pages/group")):
                sides = {
                    name: lambda runs=runs, figure=figure, staged=staged: measure(
                        folder, runs, staged=staged
                    )[figure]
                    for name, staged in (("by run", False), ("staged", True))
                }
                found = interleaved(sides, 1 if figure == 2 else ROUNDS)
                rows.append([runs, unit, found["by run"], found["staged"], found["staged"] / found["by run"]])
    table(f"group commits ({machine()})", ["runs", "each", "by run", "staged", "ratio"], rows)


if __name__ == "__main__":
    main()
