"""Owns the randomness of salts: taken from the system in large pieces, handed out in small ones.

Asking the system lets go of the interpreter lock, and the writer then waits for whoever took it: once for
each append that cost more than sealing it.
"""

from __future__ import annotations

from collections.abc import Callable

PIECE_BYTES = 16 * 1024


class Randomness:
    """`source`, asked for `PIECE_BYTES` at a time. No byte is handed out twice. Used from one thread."""

    def __init__(self, source: Callable[[int], bytes]) -> None:
        self._source = source
        self._piece = b""
        self._used = 0

    def __repr__(self) -> str:
        return f"Randomness(left={len(self._piece) - self._used})"

    def __call__(self, size: int) -> bytes:
        """So many random bytes."""
        if size > len(self._piece) - self._used:
            if size >= PIECE_BYTES:
                return self._source(size)
            self._piece, self._used = self._source(PIECE_BYTES), 0
        start = self._used
        self._used += size
        return self._piece[start : self._used]
