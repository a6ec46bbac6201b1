"""Writes the events of a run or a command: its bytes to stdout and stderr, or one JSON envelope a line."""

from __future__ import annotations

import base64
import binascii
import sys
from typing import TYPE_CHECKING, TextIO

from cli import output
from cli.terminal import TerminalFilter
from client.errors import BadAnswer

if TYPE_CHECKING:
    from client.shapes import Command, CommandEvent, Event, WorkspaceRun


class StreamWriter:
    """One of the two output streams: bytes as they are for files and pipes, filtered on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._filter = TerminalFilter() if output.is_terminal(stream) else None
        self._mid_line = False

    def write(self, data: bytes) -> None:
        """Write and flush, so that what a live command says is seen when it says it."""
        if not data:
            return
        self._mid_line = not data.endswith(b"\n")
        if self._filter:
            self._stream.write(self._filter.feed(data))
        else:
            self._stream.buffer.write(data)
        self._stream.flush()

    def finish(self) -> None:
        """End colours, and on a terminal the line, so that what follows stands on its own."""
        if self._filter:
            self._stream.write(self._filter.close() + ("\n" if self._mid_line else ""))
            self._stream.flush()
            self._filter, self._mid_line = TerminalFilter(), False


class EventWriter:
    """Takes the events of one run in order; remembers where it stands and how the run ended."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._streams = {"stdout": StreamWriter(sys.stdout), "stderr": StreamWriter(sys.stderr)}
        self.last_seq = 0
        self.ended: WorkspaceRun | None = None
        self.truncated = False

    def write(self, event: Event) -> None:
        """Print one event. In text mode only output is printed; types not known here are skipped."""
        self.last_seq = max(self.last_seq, event["seq"])
        self.truncated = self.truncated or event["type"] == "output_truncated"
        if event["type"] == "terminal":
            self.ended = event.get("workspaceRun")
        if self._as_json:
            output.json_data(event)
        elif event["type"] in self._streams:
            self._streams[event["type"]].write(raw_output(event))

    def finish(self) -> None:
        """Call once, however it ended."""
        for stream in self._streams.values():
            stream.finish()


class CommandWriter:
    """Takes the events of one command in a sandbox; remembers where it stands and how it ended."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._streams = {"stdout": StreamWriter(sys.stdout), "stderr": StreamWriter(sys.stderr)}
        self.last_seq = 0
        self.ended: Command | None = None

    def write(self, event: CommandEvent) -> None:
        """Print one event. In text mode only output is printed; types not known here are skipped."""
        self.last_seq = max(self.last_seq, event.get("seq", 0))
        if event["type"] == "terminal":
            self.ended = event.get("command")
        if self._as_json:
            output.json_data(event)
        elif event["type"] == "log" and (stream := self._streams.get(event.get("stream", ""))):
            stream.write(raw_output(event))

    def finish(self) -> None:
        """Call once, however it ended."""
        for stream in self._streams.values():
            stream.finish()


def raw_output(event: Event | CommandEvent) -> bytes:
    """The bytes that the command wrote: `dataBase64` where they were not UTF-8 (PROOF P1.3)."""
    encoded = event.get("dataBase64")
    if encoded is None:
        return event.get("data", "").encode("utf-8", "replace")
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as exc:
        raise BadAnswer(f"Event {event.get('seq')} holds base64 that cannot be decoded.") from exc
