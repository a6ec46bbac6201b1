"""Days of lists and plots, by UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import groupby
from typing import Protocol, TypeVar

DAYS_MAX = 366
"""Days between two that a page walks through."""


class _Created(Protocol):
    @property
    def created_at(self) -> str: ...


Row = TypeVar("Row", bound=_Created)


def by_day(rows: Sequence[Row], now: str) -> list[tuple[str, list[Row]]]:
    """Rows that lie together by the day they were made on, with that day's words."""
    today = date.fromisoformat(now[:10])
    grouped = groupby(rows, key=lambda row: row.created_at[:10])
    return [(day_words(date.fromisoformat(day), today), list(group)) for day, group in grouped]


def day_words(day: date, today: date) -> str:
    """`Today`, `Yesterday, 21 November`, `21 November`, `21 November 2025`."""
    if day == today:
        return "Today"
    words = f"{day.day} {day:%B}" + (f" {day.year}" if day.year != today.year else "")
    return f"Yesterday, {words}" if day == today - timedelta(days=1) else words


def short_day(day: date) -> str:
    """`21 Nov`."""
    return f"{day.day} {day:%b}"


def days_between(first: date, last: date) -> list[date]:
    """Both and all between, at most `DAYS_MAX`."""
    return [first + timedelta(days=number) for number in range(min((last - first).days + 1, DAYS_MAX))]
