"""The same server with durability taken out: proves that the programme would see a loss.

`python lossy_serve.py database serve …` opens the database with `synchronous=NORMAL`, the classical
mistake; `files` leaves out every fsync that Python makes below `blobs/`. SQLite's own are not touched by
the second, nor Python's by the first. The product has no such switch: it is all here.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODES = ("database", "files")


class _LossyConnection(sqlite3.Connection):
    """Says yes to every durability that is asked for, and gives less."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """`PRAGMA synchronous = FULL` becomes NORMAL; the rest is left alone."""
        if sql.replace(" ", "").upper() == "PRAGMASYNCHRONOUS=FULL":
            sql = "PRAGMA synchronous = NORMAL"
            print("lossy: the database is opened with synchronous = NORMAL", file=sys.stderr, flush=True)
        return super().execute(sql, *parameters)


def _lossy_connect(connect: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
    def patched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return connect(*arguments, **{"factory": _LossyConnection, **options})

    return patched


def _lossy_fsync(fsync: Callable[[int], None]) -> Callable[[int], None]:
    def patched(fd: int) -> None:
        if "/blobs" not in str(Path(f"/proc/self/fd/{fd}").readlink()):
            fsync(fd)

    return patched


def main() -> None:
    """Take the durability out, then be the server."""
    mode, *arguments = sys.argv[1:]
    assert mode in MODES, f"one of {MODES}"
    if mode == "database":
        setattr(sqlite3, "connect", _lossy_connect(sqlite3.connect))  # noqa: B010 # typeshed: an overload
    else:
        setattr(os, "fsync", _lossy_fsync(os.fsync))  # noqa: B010 # typeshed: a wider parameter
        print("lossy: nothing below blobs/ is fsynced", file=sys.stderr, flush=True)
    from cli.main import main as crownest

    crownest(arguments)


if __name__ == "__main__":
    # The folder of this file comes first in the path, and its modules hide the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    main()
