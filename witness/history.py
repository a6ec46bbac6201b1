"""Folds the entries of a log into what each stream may do next, and finds what it may not (P5.1, P5.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint
from evidence.logentry import KeyChange, StreamEntry, parse_entry
from evidence.verdict import CODES
from evidence.wording import counted

FINDINGS_MAX = 1000
"""Findings that are told one by one; a log that holds more is broken anyway."""
CREATION_EVENTS = 1
"""Events of a run when its first entry is written, in the transaction of that very event (P5.1)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that an honest log does not show. `entry` is its index in the log, from 0."""

    code: str
    detail: str
    stream: str | None = None
    entry: int | None = None

    @property
    def message(self) -> str:
        """The code's meaning, completed."""
        return f"{CODES[self.code].meaning} {self.detail}"

    def to_dict(self) -> dict[str, Any]:
        """For programs; every key always present."""
        return {
            "code": self.code,
            "clause": CODES[self.code].clause,
            "message": self.message,
            "stream": self.stream,
            "entry": self.entry,
        }


@dataclass(slots=True)
class Stream:
    """The newest checkpoint of a stream in the log, where its first one stands, and how many there are."""

    first_entry: int
    entries: int
    size: int
    root: bytes


class History:
    """What the entries so far say. Memory grows with the number of streams, about 400 bytes each."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.size = 0
        self.streams: dict[str, Stream] = {}
        self.runs: list[str] = []
        """In the order of their creation."""
        self.unsealed: set[str] = set()
        self.key_changes: list[tuple[int, KeyChange]] = []
        self.findings: list[Finding] = []
        self.findings_left_out = 0

    def __repr__(self) -> str:
        return f"History({self.origin!r}, size={self.size}, findings={len(self.findings)})"

    def add(self, data: bytes) -> None:
        """Take the next entry; no entry raises."""
        index, self.size = self.size, self.size + 1
        try:
            entry = parse_entry(data)
        except FormatError as error:
            self._find("E_FORMAT", f"Entry {index} is none ({error}).", None, index)
            return
        if entry.origin != self.origin:
            self._find("E_ORIGIN_MISMATCH", f"Entry {index} is of {entry.origin}.", None, index)
        elif isinstance(entry, KeyChange):
            self.key_changes.append((index, entry))
        else:
            self._add_checkpoint(index, entry)

    def _add_checkpoint(self, index: int, entry: StreamEntry) -> None:
        new, known = entry.checkpoint, self.streams.get(entry.stream)
        if known is None:
            self.streams[entry.stream] = Stream(index, 1, new.size, new.root)
            if entry.is_run:
                self.runs.append(entry.stream)
                self.unsealed.add(entry.stream)
                if new.size != CREATION_EVENTS:
                    # Else a first seal would pass for the creation, and a second one for the first.
                    detail = f"Its first entry has {counted(new.size, 'event')}: its creation was not logged."
                    self._find("E_LOG_FORK", detail, entry.stream, index)
            return
        fault = _fork(known, new) or (_second_seal(known, new) if entry.is_run else None)
        if fault is not None:
            self._find(*fault, entry.stream, index)
        self.unsealed.discard(entry.stream)
        known.entries += 1
        if new.size > known.size:
            known.size, known.root = new.size, new.root

    def _find(self, code: str, detail: str, stream: str | None, index: int) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(code, detail, stream, index))
        else:
            self.findings_left_out += 1


def _fork(known: Stream, new: Checkpoint) -> tuple[str, str] | None:
    if new.size < known.size:
        return "E_LOG_FORK", f"It had {counted(known.size, 'event')}, and later it has {new.size}."
    if new.size == known.size and new.root != known.root:
        return "E_LOG_FORK", f"Two roots were signed for {counted(new.size, 'event')}."
    return None


def _second_seal(known: Stream, new: Checkpoint) -> tuple[str, str] | None:
    """After creation and seal only redactions follow, one event each."""
    if new.size == known.size:
        return "E_DOUBLE_SEAL", f"Its checkpoint of {counted(new.size, 'event')} stands in the log twice."
    if known.entries >= 2 and new.size != known.size + 1:
        return "E_DOUBLE_SEAL", f"It grew from {known.size:,} to {counted(new.size, 'event')} after its seal."
    return None
