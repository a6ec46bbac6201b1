"""Owns the counter that is shown on a terminal while a large proof is verified."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

from evidence.verify import Progress


@contextmanager
def progress(stream: TextIO, *, quiet: bool) -> Generator[Progress | None]:
    """What to pass as `on_progress`: a counter, wiped when done; None where nobody watches."""
    if quiet or not stream.isatty():
        yield None
        return

    def on_progress(done: int, signed: int) -> None:
        stream.write(f"\rverifying event {done:,} of {signed:,}")
        stream.flush()

    try:
        yield on_progress
    finally:
        stream.write("\r\x1b[K")
        stream.flush()
