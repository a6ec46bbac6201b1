"""Owns how stored payloads become frames of a stream: their bytes unchanged, LF alone between them."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.log import Framing, StoredEvent
from evidence.canonical import encode
from evidence.record import format_time


def join_frames(framing: Framing, events: Sequence[StoredEvent]) -> bytes:
    """The frames of `events` in order: NDJSON lines, or SSE `id`, `event`, `data` (CONTRACT §6.2)."""
    if framing is Framing.NDJSON:
        return b"".join([shown_payload(event) + b"\n" for event in events])
    return b"".join([_sse_frame(event) for event in events])


def shown_payload(event: StoredEvent) -> bytes:
    """The payload that readers get: the stored bytes, or after redaction a placeholder (P7).

    The placeholder keeps type, seq and time and says `redacted`, hence that it is not the proof bytes.
    """
    if event.payload is not None:
        return event.payload
    return encode(
        {
            "type": event.type,
            "seq": event.seq,
            "createdAt": format_time(event.created_at_ms),
            "data": "",
            "redacted": True,
        }
    )


def _sse_frame(event: StoredEvent) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), shown_payload(event))
