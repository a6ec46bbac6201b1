"""The perfect trees that a log of some size consists of (PROOF P3.1), as a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, GROUND, TOP = 980.0, 102.0, 6.0
GAP = 14.0
SLOPE = 0.6
"""Half the width of a tree for its height, so that all of them have the same shape."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A triangle whose top is at `x`, `y`, with a line for each level below; `leaves` is a power of two."""

    leaves: int
    x: float
    peak: str
    levels: str


def forest_of(size: int) -> Sequence[Tree]:
    """The trees of a log of this size, the largest first."""
    leaves = [1 << bit for bit in range(size.bit_length() - 1, -1, -1) if size >> bit & 1]
    heights = [count.bit_length() for count in leaves]
    room = WIDTH - GAP * (len(leaves) - 1)
    scale = min((GROUND - TOP) / max(heights, default=1), room / max(2 * SLOPE * sum(heights), 1))
    found: list[Tree] = []
    left = 0.0
    for count, height in zip(leaves, heights, strict=True):
        half, tall = height * scale * SLOPE, height * scale
        x = left + half
        peak = f"M{left:.1f} {GROUND}L{x:.1f} {GROUND - tall:.1f}L{x + half:.1f} {GROUND}z"
        levels = "".join(
            f"M{x - half * level / height:.1f} {GROUND - tall * (1 - level / height):.1f}"
            f"H{x + half * level / height:.1f}"
            for level in range(1, height)
        )
        found.append(Tree(count, round(x, 1), peak, levels))
        left += 2 * half + GAP
    return found
