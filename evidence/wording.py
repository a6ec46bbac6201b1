"""Owns how numbers of things are said: one of a thing is never "1 things"."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 file`, `1,024 files`; `many` where it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
