"""Makes text from elsewhere safe to show on a terminal: colours pass, everything that commands it does not.

A run's output and a server's messages are written by others. On a terminal, control sequences could
retitle the window, write the clipboard, answer as if typed, or hide what was printed; see
docs/decisions/0101-terminal-output.md. Output that goes to a file or pipe is never touched.
"""

from __future__ import annotations

import codecs
import re

from evidence.visible import visible

SEQUENCE_CHARS_MAX = 64
"""A colour sequence longer than this is shown, not obeyed."""

RESET = "\x1b[0m"

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_BEGINS_COLOUR = re.compile(r"\x1b(\[[0-9;:]*)?")
# C0 without tab, line feed and carriage return (progress bars need it), DEL, and C1.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class TerminalFilter:
    """Filters one stream that arrives in pieces; a sequence may be split between them.

    `feed` takes raw bytes and answers text; `close` answers what was still held back, and ends the
    colours that the stream left on.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._coloured = False

    def __repr__(self) -> str:
        return f"TerminalFilter(held={self._held!r}, coloured={self._coloured})"

    def feed(self, data: bytes) -> str:
        """Filter the next piece."""
        return self._filter(self._held + self._decoder.decode(data))

    def close(self) -> str:
        """The end of the stream."""
        rest = _neutral(self._held + self._decoder.decode(b"", final=True))
        self._held = ""
        return rest + (RESET if self._coloured else "")

    def _filter(self, text: str) -> str:
        text, self._held = _split_unfinished(text)
        parts: list[str] = []
        end = 0
        for match in _COLOUR.finditer(text):
            parts.append(_neutral(text[end : match.start()]))
            if len(match.group()) <= SEQUENCE_CHARS_MAX:
                parts.append(match.group())
                self._coloured = match.group() not in {RESET, "\x1b[m"}
            else:
                parts.append(_neutral(match.group()))
            end = match.end()
        parts.append(_neutral(text[end:]))
        return "".join(parts)


def _split_unfinished(text: str) -> tuple[str, str]:
    """Split off a colour sequence that may go on in the next piece."""
    start = text.rfind("\x1b", max(0, len(text) - SEQUENCE_CHARS_MAX))
    if start >= 0 and _BEGINS_COLOUR.fullmatch(text, start):
        return text[:start], text[start:]
    return text, ""


def harmless(text: str) -> str:
    """A whole text from elsewhere as a terminal may show it: its lines stay, what commands does not."""
    one = TerminalFilter()
    return one.feed(text.encode("utf-8", "replace")) + one.close()


def _neutral(text: str) -> str:
    return _CONTROLS.sub(visible, text)
