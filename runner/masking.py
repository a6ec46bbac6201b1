"""Masks secrets in a command's output before anything is recorded, wherever the output is cut.

The masked output depends on the bytes alone and never on the pieces in which they arrive. Every position is
looked at a bounded number of times, so no output makes the work more than linear in its length.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from runner.secret_forms import FORM_BYTES_MIN, PIECE_BYTES, base64_pieces, plain_pieces

MASK = b"***"
INDENT_BYTES_MAX = 16
"""Spaces in front of a line of wrapped base64, as in YAML."""
_WRAP = re.compile(rb"\r?\n[ \t]{0,%d}" % INDENT_BYTES_MAX)
_OPEN_WRAP = re.compile(
    rb"(?:\r?\n[ \t]{0,%d}|\r)(?=[A-Za-z0-9+/_-]{0,%d}\Z)" % (INDENT_BYTES_MAX, PIECE_BYTES)
)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]+")
_OPEN_BYTES_MAX = 2 * PIECE_BYTES + INDENT_BYTES_MAX + len(b"\r\n")
"""How far from the end the line of wrapped base64 may end in which an unfinished piece begins."""

Span = tuple[int, int]


class _Pieces:
    """What to look for: finds pieces at every position, and what may become one."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._known = frozenset(pieces)
        self._ordered = sorted(self._known)
        lengths: dict[bytes, set[int]] = {}
        for piece in self._known:
            lengths.setdefault(piece[:FORM_BYTES_MIN], set()).add(len(piece))
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}
        self._words = frozenset(int.from_bytes(start, sys.byteorder) for start in lengths)

    def __len__(self) -> int:
        return len(self._known)

    def spans(self, data: bytes) -> Iterator[Span]:
        """The longest piece at every position, in no order."""
        for start in self._candidates(data):
            for length in self._lengths[data[start : start + FORM_BYTES_MIN]]:
                piece = data[start : start + length]
                if piece in self._known:
                    yield start, start + len(piece)
                    break

    def may_begin(self, tail: bytes) -> bool:
        """Whether some piece begins with `tail` and goes on."""
        after = bisect_right(self._ordered, tail)
        return after < len(self._ordered) and self._ordered[after].startswith(tail)

    def _candidates(self, data: bytes) -> Iterator[int]:
        """Where the first four bytes are those of a piece: as integers they are compared quickly."""
        view, size = memoryview(data), FORM_BYTES_MIN
        for offset in range(size):
            words = view[offset : offset + (len(data) - offset) // size * size].cast("I")
            if not self._words.isdisjoint(words):
                known = self._words
                yield from (offset + size * index for index, word in enumerate(words) if word in known)


class Masking:
    """The secrets of one command; shared by the maskers of its streams."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        encoded = {piece for secret in secrets for piece in base64_pieces(secret)}
        plain = {piece for secret in secrets for piece in plain_pieces(secret)}
        self._encoded = _Pieces(encoded)
        self._all = _Pieces(encoded | plain)

    def __repr__(self) -> str:
        return f"Masking(pieces={len(self._all)})"

    def text(self, text: str) -> str:
        """A message without the secrets."""
        data = text.encode("utf-8", "surrogateescape")
        return Masker(self).feed(data, final=True).decode("utf-8", "replace")

    def spans(self, data: bytes) -> list[Span]:
        """Where pieces of secrets stand, by their beginning; spans may overlap."""
        return sorted((*self._all.spans(data), *self._wrapped(data)))

    def decided(self, data: bytes) -> int:
        """How many bytes can be given out: what follows them may be the beginning of a piece."""
        end = len(data)
        for start in range(max(0, end - PIECE_BYTES + 1), end):
            if self._all.may_begin(data[start:]):
                end = start
                break
        wrap = _OPEN_WRAP.search(data, max(0, len(data) - _OPEN_BYTES_MAX))
        if wrap and _wraps_base64(data, wrap):
            after = data[wrap.end() :]
            for start in range(wrap.start() - PIECE_BYTES + 1, wrap.start()):
                if self._encoded.may_begin(data[start : wrap.start()] + after):
                    return min(start, end)
        return end

    def _wrapped(self, data: bytes) -> Iterator[Span]:
        """Pieces of base64 with a line break in them; a full line holds more than a piece."""
        for wrap in _WRAP.finditer(data):
            if _wraps_base64(data, wrap):
                first = wrap.start() - PIECE_BYTES + 1
                joined = data[first : wrap.start()] + data[wrap.end() : wrap.end() + PIECE_BYTES - 1]
                gap = wrap.end() - wrap.start()
                for start, end in self._encoded.spans(joined):
                    if start < PIECE_BYTES - 1 < end:
                        yield first + start, first + end + gap


def _wraps_base64(data: bytes, wrap: re.Match[bytes]) -> bool:
    """Whether the line break stands behind as much base64 as a piece has."""
    start = wrap.start() - PIECE_BYTES
    return start >= 0 and _BASE64.fullmatch(data, start, wrap.start()) is not None


class Masker:
    """One stream of output: bytes go in, and come out with every secret replaced by `***`.

    What touches or overlaps is one `***`. Only what may be the beginning of a secret is held back.
    """

    def __init__(self, masking: Masking) -> None:
        self._masking = masking
        self._before: bytes = b""
        """What was given out last, unmasked: a line break is judged by the line that it ends."""
        self._held: bytes = b""
        self._covered = -1
        """Bytes at the beginning of what is held that belong to a `***` given out; -1: none is open."""

    def __repr__(self) -> str:
        return f"Masker({self._masking!r}, held={len(self._held)})"

    def feed(self, data: bytes, *, final: bool = False) -> bytes:
        """The masked bytes that are decided now; with `final`, everything that is left."""
        first = len(self._before)
        data = self._before + self._held + data
        decided = len(data) if final else max(first, self._masking.decided(data))
        out: list[bytes] = []
        covered = first + self._covered
        for start, end in self._masking.spans(data):
            if start >= decided:
                break
            if start > covered:
                out += (data[max(covered, first) : start], MASK)
            covered = max(covered, end)
        out.append(data[max(covered, first) : decided])
        self._before = data[max(0, decided - PIECE_BYTES) : decided]
        self._held = data[decided:]
        self._covered = covered - decided if covered >= decided else -1
        return b"".join(out)

    def forget(self) -> int:
        """Drop what is held back; how many bytes it had."""
        dropped, self._held, self._covered = len(self._held), b"", -1
        return dropped
