"""The UTC calendar month and day that a time falls into: usage is counted by them (CONTRACT §8)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from evidence.record import format_time, parse_time


def month_of(created_at: str) -> str:
    """`YYYY-MM` of a time as events write it."""
    return created_at[: len("YYYY-MM")]


def day_of(created_at: str) -> str:
    """`YYYY-MM-DD` of a time as events write it."""
    return created_at[: len("YYYY-MM-DD")]


def is_day(period: str) -> bool:
    """Whether a period is a day, where others are months or words."""
    return len(period) == len("YYYY-MM-DD") and period[4] == "-"


def month_at(at_ms: int) -> str:
    """`YYYY-MM` of unix milliseconds."""
    return month_of(format_time(at_ms))


def month_bounds_ms(month: str) -> tuple[int, int]:
    """When the month begins, and when the next one does; unix milliseconds."""
    year, number = (int(part) for part in month.split("-"))
    following = (year + 1, 1) if number == 12 else (year, number + 1)
    return _first_ms(year, number), _first_ms(*following)


def split_by_month(start: str, end: str) -> Iterator[tuple[str, int]]:
    """Each month that the time from `start` to `end` touches, with its milliseconds in it.

    Nothing when `end` does not lie behind `start`.
    """
    at_ms, end_ms = parse_time(start), parse_time(end)
    while at_ms < end_ms:
        month = month_at(at_ms)
        until_ms = min(end_ms, month_bounds_ms(month)[1])
        yield month, until_ms - at_ms
        at_ms = until_ms


def _first_ms(year: int, number: int) -> int:
    return int(datetime(year, number, 1, tzinfo=UTC).timestamp()) * 1000
