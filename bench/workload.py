"""Owns the workload: events made from the lines of a recorded build and test log, the same for everybody.

The log is real: two builds and two test suites, printed one after the other (bench/README.md says which).
Lines are joined until an event holds TEXT_BYTES_WANTED or more, and a piece never holds more than
TEXT_BYTES_MAX: so events follow the log's own rhythm, short where it prints tests and long where it compiles.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice
from pathlib import Path

LOG = Path(__file__).parent / "build-and-test.log.gz"
TEXT_BYTES_WANTED = 140
TEXT_BYTES_MAX = 600


@cache
def recorded() -> bytes:
    """The log as it was printed, UTF-8."""
    return gzip.decompress(LOG.read_bytes())


def sha256() -> str:
    """Hex digest of the recorded log, uncompressed."""
    return hashlib.sha256(recorded()).hexdigest()


def pieces(log: str) -> Iterator[str]:
    """Cut a log into the texts of events; joined they are the log again."""
    held = ""
    for line in log.splitlines(keepends=True):
        held += line
        while len(held) > TEXT_BYTES_MAX:
            yield held[:TEXT_BYTES_MAX]
            held = held[TEXT_BYTES_MAX:]
        if len(held) >= TEXT_BYTES_WANTED:
            yield held
            held = ""
    if held:
        yield held


@cache
def texts() -> tuple[str, ...]:
    """The texts of all events of the log, in order."""
    return tuple(pieces(recorded().decode()))


def mean_bytes() -> float:
    """Mean size of an event's text in UTF-8."""
    return len(recorded()) / len(texts())


def take(events: int, start: int = 0) -> list[str]:
    """So many texts from this one on; behind the last comes the first again."""
    return list(islice(cycle(texts()), start % len(texts()), start % len(texts()) + events))


def batches(size: int, start: int = 0, count: int = 200) -> list[list[str]]:
    """`count` batches of `size` texts that a writer appends in turn."""
    every = take(size * count, start)
    return [every[at : at + size] for at in range(0, len(every), size)]
