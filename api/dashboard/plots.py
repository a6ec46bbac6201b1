"""Plots as numbers: where bars, lines, ticks and labels of an SVG lie. What they look like is the style's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TICKS_MAX = 4
LABELS_WIDE, LABELS_NARROW = 8, 4
"""Labels under a plot, on a wide and on a narrow screen."""
BAR_SHARE = 0.62
"""Of a day's room that its bar takes."""
GAP = 1.5
"""Between the parts of a stacked bar."""
EPSILON = 1e-9
LEFT, TOP, BOTTOM = 60.0, 10.0, 22.0
"""The room for the numbers at the side, above the highest one, and for the labels below."""


@dataclass(frozen=True, slots=True)
class Series:
    """Values over the days, and how they are drawn: `solid`, `bad` or `hollow`."""

    name: str
    look: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle; `partial` when its day is not over."""

    x: float
    y: float
    width: float
    height: float
    look: str
    partial: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across the plot, with its number."""

    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Label:
    """A word under a day; `anchor` keeps the outer ones inside."""

    x: float
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing of `width` by `height`; `line` and `area` are SVG paths, empty in a plot of bars."""

    width: float
    height: float
    left: float
    base: float
    ticks: Sequence[Tick]
    labels: Sequence[Label]
    bars: Sequence[Bar] = ()
    line: str = ""
    area: str = ""
    dot: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """The room of a plot, and the names of its days; `partial` when the last one is not over."""

    width: float
    height: float
    names: Sequence[str]
    labels_max: int
    partial: bool

    @property
    def step(self) -> float:
        """The room of one day."""
        return (self.width - LEFT) / max(len(self.names), 1)

    @property
    def base(self) -> float:
        """The height at which zero lies."""
        return self.height - BOTTOM

    def y(self, value: float, top: float) -> float:
        """Where a value lies."""
        return round(self.base - (self.base - TOP) * value / top, 1)

    def ticks(self, top: float, step: float, unit: str) -> list[Tick]:
        """Zero, the top, and what lies evenly between."""
        parts = round(top / step)
        values = [top * number / parts for number in range(parts + 1)]
        return [Tick(self.y(value, top), number_text(value, unit if value else "")) for value in values]

    def labels(self) -> list[Label]:
        """As many names of days as there is room for."""
        count = len(self.names)
        every = max(1, math.ceil(count / self.labels_max))
        shown = range(count - 1, -1, -every)
        return [
            Label(round(LEFT + self.step * (at + 0.5), 1), self.names[at], self._anchor(at)) for at in shown
        ]

    def _anchor(self, at: int) -> str:
        if at == len(self.names) - 1 and len(self.names) > 2:
            return "end"
        return "start" if at == 0 and len(self.names) > 2 else "middle"


def bars(frame: Frame, series: Sequence[Series], unit: str = "", *, whole: bool = False) -> Plot:
    """Stacked bars, the first series at the bottom; `whole` for what is counted: no tick is a fraction."""
    totals = [sum(one.values[at] for one in series) for at in range(len(frame.names))]
    top, step = scale_of(max(totals, default=0), whole=whole)
    width = round(frame.step * BAR_SHARE, 1)
    found: list[Bar] = []
    for at in range(len(frame.names)):
        x, stacked = round(LEFT + frame.step * at + (frame.step - width) / 2, 1), 0.0
        partial = frame.partial and at == len(frame.names) - 1
        for one in series:
            if not one.values[at]:
                continue
            y, below = frame.y(stacked + one.values[at], top), frame.y(stacked, top)
            height = max(below - y - (GAP if stacked else 0), 1.0)
            found.append(Bar(x, y, width, round(height, 1), one.look, partial))
            stacked += one.values[at]
    return Plot(
        frame.width, frame.height, LEFT, frame.base, frame.ticks(top, step, unit), frame.labels(), bars=found
    )


def line(frame: Frame, values: Sequence[float], unit: str = "") -> Plot:
    """One line with the area under it; a dot says where it stands now."""
    top, step = scale_of(max(values, default=0))
    points = [(round(LEFT + frame.step * (at + 0.5), 1), frame.y(one, top)) for at, one in enumerate(values)]
    path = "M" + "L".join(f"{x} {y}" for x, y in points) if points else ""
    area = f"{path}L{points[-1][0]} {frame.base}L{points[0][0]} {frame.base}z" if points else ""
    return Plot(
        frame.width, frame.height, LEFT, frame.base, frame.ticks(top, step, unit), frame.labels(),
        line=path, area=area, dot=points[-1] if points else None,
    )  # fmt: skip


def scale_of(most: float, *, whole: bool = False) -> tuple[float, float]:
    """The value at the upper edge, and the distance of ticks, at most `TICKS_MAX` above zero.

    That is 1, 2, 2.5 or 5 of some power of ten, and the edge is the first tick that lies not below `most`.
    """
    if most <= 0:
        return 1.0, 1.0
    rough = most / TICKS_MAX
    power = 10.0 ** math.floor(math.log10(rough))
    steps = (power * factor for factor in (1, 2, 2.5, 5, 10, 20))
    step = next(
        one
        for one in steps
        if one >= rough * (1 - EPSILON) and not (whole and one != math.floor(one + EPSILON))
    )
    step = round(step) if whole else step
    return step * math.ceil(most / step - EPSILON), step


def number_text(value: float, unit: str = "") -> str:
    """`0`, `2.5`, `1,200`, `25 k`, with a unit behind."""
    if value >= 10_000:
        text = f"{value / 1000:,.1f}".removesuffix(".0") + " k"
    else:
        text = f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{text} {unit}" if unit else text
