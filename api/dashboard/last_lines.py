"""The last line that a run has printed so far, as plain text: a hint in a list, no part of the record."""

from __future__ import annotations

import re
import unicodedata

from eventstore.log import EventLog
from evidence.canonical import decode
from evidence.fold import OUTPUT_TYPES

EVENTS_READ = 4
"""Events from the end in which a line is looked for; with none there the list shows none."""
LINE_CHARS_MAX = 200

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # control sequences: colours, cursor moves
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # strings: titles, links
    r"|\x1b[ -/]*[0-~]?"  # all others
)


async def last_line(log: EventLog, run_id: str) -> str:
    """The newest line with something on it, at most `LINE_CHARS_MAX` characters; empty without one."""
    size = await log.size(run_id)
    events = await log.read(run_id, max(0, size - EVENTS_READ), EVENTS_READ)
    for event in reversed(events):
        if event.type in OUTPUT_TYPES and event.payload is not None:
            lines = [plain(line) for line in decode(event.payload)["data"].split("\n")]
            if shown := next((line for line in reversed(lines) if line), ""):
                return shown
    return ""


def plain(line: str) -> str:
    """What a terminal would show of the line in the end, without colours and control characters."""
    text = _ESCAPES.sub("", line)
    rewritten = [part for part in text.split("\r") if part.strip()]
    visible = (
        char if unicodedata.category(char)[0] != "C" else " " for char in (rewritten[-1] if rewritten else "")
    )
    return " ".join("".join(visible).split())[:LINE_CHARS_MAX]
