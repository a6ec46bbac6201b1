"""How a list tells age."""

from __future__ import annotations

import pytest

from cli.listing import age

NOON_S = 1_781_697_600.0  # 2026-06-17T12:00:00Z


@pytest.mark.parametrize(
    ("created_at", "told"),
    [
        ("2026-06-17T12:00:00.000Z", "just now"),
        ("2026-06-17T11:59:30.000Z", "just now"),
        ("2026-06-17T12:00:05.000Z", "just now"),
        ("2026-06-17T11:57:00.000Z", "3m ago"),
        ("2026-06-17T07:00:00.000Z", "5h ago"),
        ("2026-06-10T12:00:00.000Z", "7d ago"),
        ("", ""),
        ("yesterday", "yesterday"),
    ],
)
def test_an_age_is_told_in_its_largest_unit(created_at: str, told: str) -> None:
    """A clock that is ahead of ours is no reason for a negative age."""
    assert age(created_at, NOON_S) == told
