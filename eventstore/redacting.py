"""Owns what a redaction erases and what the log keeps in its place (PROOF P7).

Payload and salt go; commitment and size stay, so that the chain and every proof hold as before. Without
the salt's 128 random bits a commitment cannot be guessed, not even for one-word output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from eventstore.log import NewEvent, Redaction, RedactionRefused, StoredEvent
from evidence.fold import OUTPUT_TYPES
from evidence.record import commitment


class AlreadyRedacted(RedactionRefused):
    """One of these events is erased already: ask again without it."""


TARGETS_MAX = 4000
"""Events of one redaction: it names each with its commitment and must fit into one event itself."""


def check_targets(request: Redaction) -> None:
    """Refuse, before anything is read, a list that is empty, too long, or names an event twice."""
    targets = request.targets
    if not 1 <= len(targets) <= TARGETS_MAX:
        raise RedactionRefused(f"a redaction has 1 to {TARGETS_MAX} targets: split a longer list")
    if len(set(targets)) != len(targets):
        raise RedactionRefused("a redaction names each event once")


def erased(request: Redaction, found: Mapping[int, StoredEvent]) -> list[StoredEvent]:
    """The rows of the targets as they are to be stored. Raises `RedactionRefused`, naming the event."""
    return [_erase(request.stream, seq, found.get(seq)) for seq in sorted(request.targets)]


def redaction_event(request: Redaction, rows: Sequence[StoredEvent]) -> NewEvent:
    """The event that says what was erased; digests in payloads are lowercase hex (P2.1a)."""
    targets = [{"seq": row.seq, "commitment": (row.commitment or b"").hex()} for row in rows]
    return NewEvent("redaction", {"targets": targets, "reason": request.reason, "actor": request.actor})


def _erase(stream: str, seq: int, row: StoredEvent | None) -> StoredEvent:
    if row is None:
        raise RedactionRefused(f"{stream} has no event {seq}")
    if row.type not in OUTPUT_TYPES:
        raise RedactionRefused(f"event {seq} is {row.type}: only stdout and stderr events can be redacted")
    if row.payload is None or row.salt is None:
        raise AlreadyRedacted(f"event {seq} is redacted already: leave it out")
    return replace(row, payload=None, salt=None, commitment=commitment(row.salt, row.payload))
