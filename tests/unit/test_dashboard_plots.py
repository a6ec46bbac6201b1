"""Where bars, lines and ticks of plots lie, and the perfect trees of a log."""

import re
from datetime import date

import pytest

from api.dashboard.days import by_day, day_words, days_between
from api.dashboard.forest import GROUND, WIDTH, forest_of
from api.dashboard.plots import LEFT, TICKS_MAX, TOP, Frame, Series, bars, line, number_text, scale_of
from api.dashboard.run_rows import RunRow


@pytest.mark.parametrize("whole", [False, True], ids=["measured", "counted"])
@pytest.mark.parametrize("most", [0, 0.001, 0.3, 1, 3, 7.2, 9, 10, 11, 99, 100, 101, 12345, 3.6e9])
def test_a_scale_holds_the_highest_value_with_few_round_ticks(most: float, *, whole: bool) -> None:
    """At most a handful, none of them a fraction where things are counted."""
    if whole:
        most = round(most)
    top, step = scale_of(most, whole=whole)
    assert top >= most
    assert 1 <= round(top / step) <= TICKS_MAX
    assert abs(top / step - round(top / step)) < 1e-6
    assert not whole or (step == int(step) and step >= 1)
    assert most == 0 or top - step < most, "no empty room of a whole tick"


def test_bars_are_stacked_in_their_day_and_the_last_one_is_pale() -> None:
    """Each as high as its value, none wider than its day."""
    frame = Frame(LEFT + 400, 110, ["a", "b", "c", "d"], 4, partial=True)
    plot = bars(frame, [Series("one", "solid", [4, 0, 2, 1]), Series("two", "bad", [0, 0, 2, 0])], whole=True)
    assert [(bar.look, bar.partial) for bar in plot.bars] == [
        ("solid", False), ("solid", False), ("bad", False), ("solid", True),
    ]  # fmt: skip
    first, lower, upper, _ = plot.bars
    assert (first.y, first.y + first.height) == (TOP, plot.base)
    assert upper.y == TOP
    assert upper.y + upper.height < lower.y + 0.1
    assert all(bar.width <= frame.step and LEFT <= bar.x <= frame.width - bar.width for bar in plot.bars)
    assert [tick.text for tick in plot.ticks] == ["0", "1", "2", "3", "4"]


def test_a_line_goes_through_every_day() -> None:
    """And its dot lies at the last one."""
    plot = line(Frame(LEFT + 400, 110, ["a", "b", "c", "d"], 2, partial=False), [0, 1, 2, 2], "MiB")
    assert len(re.findall(r"[ML]", plot.line)) == 4
    assert plot.dot == (LEFT + 350, TOP)
    assert plot.ticks[0].text == "0"
    assert plot.ticks[-1].text == "2 MiB"
    assert [label.text for label in plot.labels] == ["d", "b"]


def test_numbers_are_short() -> None:
    """Thousands are grouped or shortened, zeros behind the point left out."""
    texts = [number_text(value) for value in (0, 0.25, 2.5, 1200, 25_000, 12_500)]
    assert texts == ["0", "0.25", "2.5", "1,200", "25 k", "12.5 k"]


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 48_213, 2**40 - 1])
def test_a_log_is_a_forest_of_perfect_trees(size: int) -> None:
    """Largest first, all of them on the ground and inside the drawing."""
    trees = forest_of(size)
    leaves = [tree.leaves for tree in trees]
    assert sum(leaves) == size
    assert leaves == sorted(leaves, reverse=True)
    assert all(count & (count - 1) == 0 for count in leaves)
    for tree in trees:
        left, _, top_x, top_y, right, _ = map(float, re.findall(r"[\d.]+", tree.peak))
        assert 0 <= left < top_x < right <= WIDTH + 0.1
        assert 0 < top_y < GROUND


def test_days_have_words() -> None:
    """Today and yesterday by name, and a year only where it is another."""
    today = date(2026, 11, 22)
    words = [
        day_words(day, today) for day in (today, date(2026, 11, 21), date(2026, 3, 1), date(2025, 12, 31))
    ]
    assert words == ["Today", "Yesterday, 21 November", "1 March", "31 December 2025"]
    assert len(days_between(date(2026, 1, 1), date(2026, 1, 3))) == 3
    rows: list[RunRow] = []
    assert by_day(rows, "2026-11-22T00:00:00.000Z") == []
