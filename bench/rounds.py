"""Owns interleaved rounds: every side once a round, each round another one first, and who fails is named."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from bench import results
from bench.common import ROUNDS

OURS = "CrowNest"
"""How titles of our own sides begin. What they cannot do is no figure but a fault, and ends the bench."""
FAILURES = (OSError, RuntimeError, EOFError, TimeoutError, AssertionError, ExceptionGroup)

T = TypeVar("T")


async def attempt(question: str, title: str, side: Callable[[], Awaitable[T]]) -> T | None:
    """What this side answers; None, and a note in the results, when somebody else's failed."""
    try:
        return await side()
    except FAILURES as error:
        if title.startswith(OURS):
            raise
        results.note_missing(f"{question}: {title}", f"it failed: {type(error).__name__} {error}".rstrip())
        return None


async def interleaved(question: str, sides: Mapping[str, Callable[[], Awaitable[T]]]) -> dict[str, list[T]]:
    """What each side measured in each round, without the sides that failed once."""
    order, found = deque(sides), {title: list[T]() for title in sides}
    for number in range(ROUNDS):
        results.progress(f"{question}: round {number + 1} of {ROUNDS}")
        for title in list(order):
            measured = await attempt(question, title, sides[title])
            if measured is None:
                order.remove(title)
                del found[title]
            else:
                found[title].append(measured)
        order.rotate(-1)
    return found
