"""Shows lists and single things alike in all groups: a table for people, lines for programs, JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

import click

from cli import output
from cli.options import WholeNumber
from evidence.visible import one_line

F = TypeVar("F", bound=Callable[..., Any])

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """How one kind of thing is listed.

    `columns` are fields of the object, for programs. `terminal` makes a person's row, by column, of an
    object and the present time; its last column is the long one.
    """

    columns: Sequence[str]
    terminal: Callable[[Item, float], Mapping[str, object]]
    drop_first: Sequence[str] = ()
    colours: Mapping[str, str] = field(default_factory=dict[str, str])
    last_whole: bool = False
    """Whether the last column, say an address, is folded rather than cut where it does not fit."""
    empty: str = ""
    """What to say to a person when there is nothing."""


def page_options(command: F) -> F:
    """Add --limit and --cursor."""
    for option in (
        click.option("--cursor", metavar="CURSOR", help="Go on where the last page ended."),
        click.option("--limit", metavar="N", type=WholeNumber(1, 500), help="At most so many."),
    ):
        command = option(command)
    return command


def show_list(
    items: Sequence[object],
    view: View,
    *,
    as_json: bool,
    next_cursor: str | None = None,
    cursor: str | None = None,
) -> None:
    """Print one page; in JSON mode a page that is not the last has `nextCursor` beside `data`."""
    if as_json:
        more = {"hasMore": True, "nextCursor": next_cursor} if next_cursor else {}
        output.json_data(items, **more)
        return
    things = [cast("Item", item) for item in items]
    if things and output.is_terminal(sys.stdout):
        now_s = time.time()
        rows = [view.terminal(thing, now_s) for thing in things]
        names = list(rows[0])
        cells = [list(row.values()) for row in rows]
        output.table(
            names, cells, colours=view.colours, drop_first=view.drop_first, last_whole=view.last_whole
        )
    elif not output.is_terminal(sys.stdout):
        rows_for_programs = [[flat(thing.get(name)) for name in view.columns] for thing in things]
        output.lines(view.columns, rows_for_programs)
    if next_cursor:
        output.note(one_line(f"more: repeat with --cursor {next_cursor}"))
    elif not things and cursor is None and view.empty:
        output.hint(view.empty)


def show_one(thing: object, *, as_json: bool, first: Sequence[str] = ("id",)) -> None:
    """Print one thing: as it came in JSON mode, else one field a line with the telling ones first."""
    if as_json:
        output.json_data(thing)
        return
    fields = cast("Item", thing)
    ordered = {name: fields[name] for name in first if name in fields} | dict(fields)
    output.record({name: flat(value) for name, value in ordered.items() if value not in ({}, [])})


def flat(value: object) -> object:
    """Lists and mappings of plain values as one text: `a,b` and `a=1,b=2`."""
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value)
        return ",".join(f"{key}={_plain(content)}" for key, content in pairs.items())
    if isinstance(value, list):
        return ",".join(_plain(content) for content in cast("list[object]", value))
    return value


def _plain(value: object) -> str:
    """A value inside one: a nested mapping as `{a=1,b=2}`, which is shorter than JSON."""
    if isinstance(value, dict):
        return f"{{{flat(cast('dict[str, object]', value))}}}"
    return value if isinstance(value, str) else output.json_text(value)


def age(created_at: str, now_s: float) -> str:
    """How long ago an ISO 8601 time was, in its largest unit; the text itself where it is no time."""
    try:
        seconds = now_s - datetime.fromisoformat(created_at).timestamp()
    except ValueError:
        return created_at
    for unit, unit_s in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f}{unit} ago"
    return "just now"


def since(iso_time: object, now_s: float) -> str:
    """The age of a time; empty where there is none."""
    return age(iso_time, now_s) if isinstance(iso_time, str) else ""


def when(iso_time: object, now_s: float) -> str:
    """A time that may lie ahead: `in 2h`, else its age; empty where there is none."""
    if not isinstance(iso_time, str):
        return ""
    try:
        ahead_s = datetime.fromisoformat(iso_time).timestamp() - now_s
    except ValueError:
        return iso_time
    for unit, unit_s in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if ahead_s >= unit_s:
            return f"in {ahead_s / unit_s:.0f}{unit}"
    return age(iso_time, now_s)


def size(size_bytes: object) -> str:
    """A size in its largest binary unit; empty where there is none."""
    if not isinstance(size_bytes, int):
        return ""
    for unit, unit_bytes in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes >= unit_bytes:
            return f"{size_bytes / unit_bytes:.1f} {unit}"
    return f"{size_bytes} B"
