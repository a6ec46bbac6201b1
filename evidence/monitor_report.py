"""Owns what a monitor says of its newest look at a log: a signed note that others may show (PROOF P5.6).

The text of the note is a first line that names its form and a second one of canonical JSON. Printer and
parser are a pair. What a monitor cannot fit in is counted: a log with a thousand faults needs no list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from evidence.canonical import FormatError, canonical, parse
from evidence.merkle import HASH_BYTES
from evidence.note import Signer, Verifier, open_note, sign_note
from evidence.record import decode_base64, encode_base64
from evidence.visible import one_line

FORM = "crownest/monitor-report/v1"
FINDINGS_MAX, NOTICES_MAX, NAMES_MAX = 20, 10, 32
"""Findings, notices (and things unreadable), and names of witnesses that one report holds."""
TEXT_CHARS_MAX = 300
CUT_MARK = "…"


@dataclass(frozen=True, slots=True)
class Found:
    """Something that an honest log does not show. `entry` is its index in the log, from 0."""

    code: str
    detail: str
    stream: str | None = None
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class MonitorReport:
    """One look: when it ended (unix seconds), what the log was then, and what is wrong with it.

    `origin` is empty and `size` 0 where the log was never read. `findings_count` counts those left out too.
    """

    looked_s: int
    origin: str
    size: int
    root: bytes
    cosigned: Sequence[str]
    quorum_met: bool
    findings_count: int
    findings: Sequence[Found]
    notices: Sequence[str]
    unreadable: Sequence[str]

    def to_note(self, signer: Signer) -> bytes:
        """The pair of `open_report`."""
        fields: Mapping[str, object] = {
            "cosigned": [_short(name) for name in self.cosigned[:NAMES_MAX]],
            "findings": [_fields(found) for found in self.findings[:FINDINGS_MAX]],
            "findingsCount": self.findings_count,
            "lookedSeconds": self.looked_s,
            "notices": [_short(text) for text in self.notices[:NOTICES_MAX]],
            "origin": self.origin,
            "quorumMet": self.quorum_met,
            "root": encode_base64(self.root),
            "size": self.size,
            "unreadable": [_short(text) for text in self.unreadable[:NOTICES_MAX]],
        }
        return sign_note(f"{FORM}\n{canonical(fields).decode()}\n", signer)


def open_report(note: bytes, key: Verifier) -> MonitorReport:
    """Read a report that this key signed. Raises `FormatError`, `NoteError` for a signature that is none."""
    text = open_note(note, [key]).text
    form, _, rest = text.partition("\n")
    if form != FORM:
        raise FormatError(f"a report begins with '{FORM}'")
    value = parse(rest.encode())
    if not isinstance(value, dict):
        raise FormatError("a report is a JSON object")
    fields = cast("dict[str, Any]", value)
    try:
        return MonitorReport(
            looked_s=_number(fields["lookedSeconds"]),
            origin=_text(fields["origin"]),
            size=_number(fields["size"]),
            root=_root(fields["root"]),
            cosigned=_texts(fields["cosigned"], NAMES_MAX),
            quorum_met=_flag(fields["quorumMet"]),
            findings_count=_number(fields["findingsCount"]),
            findings=[_found(one) for one in _list(fields["findings"], FINDINGS_MAX)],
            notices=_texts(fields["notices"], NOTICES_MAX),
            unreadable=_texts(fields["unreadable"], NOTICES_MAX),
        )
    except KeyError as error:
        raise FormatError(f"a report has {error.args[0]}") from error


def _fields(found: Found) -> Mapping[str, object]:
    return {
        "code": found.code,
        "detail": _short(found.detail),
        "entry": found.entry,
        "stream": found.stream,
    }


def _short(text: str) -> str:
    """Text that may be of the log's making, so that no report is too large for a note."""
    plain = one_line(text.encode("utf-8", "replace").decode())
    return plain if len(plain) <= TEXT_CHARS_MAX else plain[: TEXT_CHARS_MAX - len(CUT_MARK)] + CUT_MARK


def _found(value: object) -> Found:
    if not isinstance(value, dict):
        raise FormatError("a finding is a JSON object")
    fields = cast("dict[str, Any]", value)
    stream, entry = fields["stream"], fields["entry"]
    return Found(
        _text(fields["code"]),
        _text(fields["detail"]),
        None if stream is None else _text(stream),
        None if entry is None else _number(entry),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        raise FormatError(f"a text of a report has at most {TEXT_CHARS_MAX} characters")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FormatError("a number of a report is a whole one, not below 0")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise FormatError("quorumMet is true or false")
    return value


def _root(value: object) -> bytes:
    root = decode_base64(_text(value))
    if len(root) not in {0, HASH_BYTES}:
        raise FormatError(f"a root has {HASH_BYTES} bytes")
    return root


def _list(value: object, most: int) -> list[object]:
    if not isinstance(value, list) or len(cast("list[object]", value)) > most:
        raise FormatError(f"a list of a report has at most {most} items")
    return cast("list[object]", value)


def _texts(value: object, most: int) -> list[str]:
    return [_text(one) for one in _list(value, most)]
