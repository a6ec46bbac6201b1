"""Owns printing: JSON envelopes, errors, records, tables, colours; what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

import click

from cli.problems import Problem
from evidence.visible import one_line

if TYPE_CHECKING:
    from evidence.verdict import Verdict

PAGE_CHARS = 96
COLUMN_GAP_CHARS = 2
FOR_PROGRAMS = frozenset({"field"})
"""Details that an error's message says in words; with --json they are there."""
LAST_COLUMN_CHARS_MIN = 24
"""Room that the last column of a table gets before other columns are shown."""


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads this stream."""
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def uses_colour(stream: TextIO) -> bool:
    """Colour only on a terminal, never with NO_COLOR or on a dumb one."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(
    text: str, stream: TextIO, *, colour: str | None = None, bold: bool = False, dim: bool = False
) -> str:
    """Style `text` if the stream takes colour."""
    if not uses_colour(stream):
        return text
    return click.style(text, fg=colour, bold=bold or None, dim=dim or None)


def width_chars(stream: TextIO) -> int:
    """The columns of a terminal; for files and pipes those of a usual page."""
    if not is_terminal(stream):
        return PAGE_CHARS
    import shutil  # and with it every way to pack files

    return shutil.get_terminal_size((PAGE_CHARS, 0)).columns


def write_out(text: str) -> None:
    """Write a result to stdout."""
    sys.stdout.write(text)
    sys.stdout.flush()


def json_data(data: object, **beside: object) -> None:
    """Print `{"data": …}` as one line on stdout; `beside` adds keys, such as `nextCursor`.

    ASCII only: safe on a terminal, in any locale, and for readers that split lines at U+2028.
    """
    write_out(json.dumps({"data": data, **beside}, ensure_ascii=True) + "\n")


def json_text(value: object) -> str:
    """A value as JSON within a line."""
    return json.dumps(value, ensure_ascii=True)


def pretty(value: object) -> str:
    """Indented JSON for people and files, ending in a line feed; keys keep their order."""
    return json.dumps(value, indent=2, ensure_ascii=True) + "\n"


def note(text: str) -> None:
    """A line for the person, on stderr, so that stdout holds results only.

    It may be painted; what comes from a server goes through `one_line` first.
    """
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def hint(text: str) -> None:
    """What to type next; only when a person is there to read it."""
    if is_terminal(sys.stderr):
        note(paint(one_line(text), sys.stderr, dim=True))


def warn(text: str) -> None:
    """Something that did not stop the command but should be known."""
    note(paint("warning: ", sys.stderr, colour="yellow", bold=True) + one_line(text))


def verdict(result: Verdict) -> None:
    """Print a verification's verdict in words on stdout."""
    from evidence.verdict_text import verdict_text

    def styled(text: str, style: str) -> str:
        if style in {"bold", "dim"}:
            return paint(text, sys.stdout, bold=style == "bold", dim=style == "dim")
        return paint(text, sys.stdout, colour=style)

    fancy = is_terminal(sys.stdout) and (sys.stdout.encoding or "").lower() in {"utf-8", "utf8"}
    marks = ("\N{CHECK MARK}", "\N{BULLET}") if fancy else ("+", "-")
    write_out(verdict_text(result, styled, marks=marks, width_chars=width_chars(sys.stdout)))


def error(problem: Problem, *, as_json: bool) -> None:
    """Print the problem on stderr, in the form that the mode wants (CONTRACT §7.3)."""
    if as_json:
        note(json.dumps({"error": problem.to_dict()}, ensure_ascii=True, sort_keys=True, default=str))
        return
    number = f", HTTP {problem.status}" if problem.status else ""
    known = problem.code not in {"usage_error", "runtime_error", "unknown_command"}
    code = paint(f" ({problem.code}{number})", sys.stderr, dim=True) if known else ""
    note(paint("error: ", sys.stderr, colour="red", bold=True) + one_line(problem.message) + code)
    told = {name: value for name, value in (problem.details or {}).items() if name not in FOR_PROGRAMS}
    if problem.status and told:
        facts = ", ".join(f"{name}={_cell(value)}" for name, value in told.items())
        note(paint("  details: ", sys.stderr, dim=True) + facts)
    if problem.remediation:
        note(paint("  try: ", sys.stderr, colour="cyan") + one_line(problem.remediation))


def record(fields: Mapping[str, object]) -> None:
    """Print `key: value` lines on stdout; absent values are left out."""
    lines = [
        f"{paint(key + ':', sys.stdout, dim=True)} {_cell(value)}\n"
        for key, value in fields.items()
        if value is not None
    ]
    write_out("".join(lines))


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return one_line(value)
    return json.dumps(value, ensure_ascii=True)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    colours: Mapping[str, str],
    drop_first: Sequence[str],
    last_whole: bool = False,
) -> None:
    """Print rows for a terminal; the last column is the long one: cut to fit, or folded if `last_whole`.

    `colours` maps a cell's text to its colour; columns of `drop_first` go, in that order, when the
    terminal is too narrow for all.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [["" if value is None else _cell(value) for value in row] for row in rows]
    console = Console(color_system="auto" if uses_colour(sys.stdout) else None, highlight=False)
    widths = [max(map(len, (column, *(row[i] for row in cells)))) for i, column in enumerate(columns)]
    last_chars = widths[-1] if last_whole else min(widths[-1], LAST_COLUMN_CHARS_MIN)
    kept = _fitting(columns, [*widths[:-1], last_chars], console.width, drop_first)
    room = console.width - sum(widths[index] + COLUMN_GAP_CHARS for index in kept[:-1])
    widths[-1] = max(1, min(widths[-1], room))
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, COLUMN_GAP_CHARS, 0, 0))
    for index in kept:
        folded = last_whole and index == kept[-1]
        shown.add_column(
            columns[index], no_wrap=not folded, overflow="fold" if folded else "ellipsis", width=widths[index]
        )
    for row in cells:
        shown.add_row(*(Text(row[index], style=colours.get(row[index], "")) for index in kept))
    console.print(shown)


def _fitting(
    columns: Sequence[str], widths: Sequence[int], width: int, drop_first: Sequence[str]
) -> list[int]:
    """The indexes of the columns to show, so that the last one gets the room that `widths` says."""
    kept = list(range(len(columns)))
    for name in drop_first:
        needed = sum(widths[index] + COLUMN_GAP_CHARS for index in kept[:-1]) + widths[-1]
        if needed > width:
            kept.remove(columns.index(name))
    return kept


def lines(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows for programs: a header, tabs between, nothing cut."""
    cells = [["" if value is None else _cell(value) for value in row] for row in rows]
    write_out("".join("\t".join(row) + "\n" for row in [list(columns), *cells]))
