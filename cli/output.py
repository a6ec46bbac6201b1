"""Owns printing: JSON envelopes, errors, records, tables, colours; what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

import click

from cli.problems import Problem
from cli.terminal import one_line


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


def write_out(text: str) -> None:
    """Write a result to stdout."""
    sys.stdout.write(text)
    sys.stdout.flush()


def json_data(data: object, **beside: object) -> None:
    """Print `{"data": …}` as one line on stdout; `beside` adds keys, such as `nextCursor`.

    ASCII only: safe on a terminal, in any locale, and for readers that split lines at U+2028.
    """
    write_out(json.dumps({"data": data, **beside}, ensure_ascii=True) + "\n")


def pretty(value: object) -> str:
    """Indented JSON for people and files, ending in a line feed; keys keep their order."""
    return json.dumps(value, indent=2, ensure_ascii=True) + "\n"


def note(text: str) -> None:
    """A line for the person, on stderr, so that stdout holds results only."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def hint(text: str) -> None:
    """What to type next; only when a person is there to read it."""
    if is_terminal(sys.stderr):
        note(paint(text, sys.stderr, dim=True))


def warn(text: str) -> None:
    """Something that did not stop the command but should be known."""
    note(paint("warning: ", sys.stderr, colour="yellow", bold=True) + one_line(text))


def error(problem: Problem, *, as_json: bool) -> None:
    """Print the problem on stderr, in the form that the mode wants (CONTRACT §7.3)."""
    if as_json:
        note(json.dumps({"error": problem.to_dict()}, ensure_ascii=True, sort_keys=True, default=str))
        return
    number = f", HTTP {problem.status}" if problem.status else ""
    known = problem.code not in {"usage_error", "runtime_error", "unknown_command"}
    code = paint(f" ({problem.code}{number})", sys.stderr, dim=True) if known else ""
    note(paint("error: ", sys.stderr, colour="red", bold=True) + one_line(problem.message) + code)
    if problem.status and problem.details:
        note(paint("  details: ", sys.stderr, dim=True) + json.dumps(problem.details, default=str))
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


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, colours: Mapping[str, str]) -> None:
    """Print rows: aligned for a terminal, tab-separated and uncut for programs.

    `colours` maps a cell's text to its colour on a terminal.
    """
    cells = [["" if value is None else _cell(value) for value in row] for row in rows]
    if not is_terminal(sys.stdout):
        write_out("".join("\t".join(row) + "\n" for row in [list(columns), *cells]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        # The last column is the long one: it alone is cut to fit.
        last = index == len(columns) - 1
        shown.add_column(
            column, no_wrap=True, overflow="ellipsis" if last else "fold", ratio=1 if last else None
        )
    for row in cells:
        shown.add_row(*(Text(cell, style=colours.get(cell, "")) for cell in row))
    Console(no_color=not uses_colour(sys.stdout), highlight=False).print(shown)
