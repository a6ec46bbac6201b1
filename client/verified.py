"""Following a run with proof: only what its server proved is handed out (PROOF P3.4)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import cast

from client.api import CrownestClient
from client.shapes import Event
from evidence.verdict import VerificationError
from evidence.window import StreamReading

WINDOW_EVENTS_MAX = 500
"""Events asked for at once: what the server gives at most."""


def follow_verified(
    client: CrownestClient, run_id: str, reading: StreamReading, after_seq: int
) -> Iterator[Event]:
    """Yield each public event after `after_seq` up to and including `terminal`, all of them proved.

    The event stream of the server is a wake-up only: what it says is never shown, and not believed. Raises
    what the client and the reading raise, E_NOT_FINAL where the stream ends and no `terminal` is proved;
    `reading` then still stands where everything was well.
    """
    seq = after_seq
    ended = False
    for event in _caught_up(client, run_id, reading, seq):
        seq, ended = event["seq"], event["type"] == "terminal"
        yield event
    if not ended:
        for wake_up in client.stream_events(run_id, after_seq=seq):
            if wake_up["type"] == "terminal" and wake_up["seq"] <= after_seq:
                ended = _is_terminal(client, run_id, reading, wake_up["seq"])
            elif wake_up["seq"] > seq or wake_up["type"] == "terminal":
                for event in _caught_up(client, run_id, reading, seq):
                    seq, ended = event["seq"], event["type"] == "terminal"
                    yield event
            if ended:
                break
    if not ended:
        raise VerificationError("E_NOT_FINAL", f"The server says that it ended, and proves {seq} events.")
    reading.finish()


def _is_terminal(client: CrownestClient, run_id: str, reading: StreamReading, seq: int) -> bool:
    """Whether the run is proved to have ended at this event, which lies before those that are asked for."""
    return any(event["type"] == "terminal" for event in _caught_up(client, run_id, reading, max(seq - 1, 0)))


def _caught_up(
    client: CrownestClient, run_id: str, reading: StreamReading, after_seq: int
) -> Iterator[Event]:
    """Windows until the newest checkpoint is reached; the internal events behind `terminal` included."""
    consistency = partial(client.proof_consistency, run_id)
    while True:
        data = client.proof_events(run_id, after_seq=after_seq, limit=WINDOW_EVENTS_MAX)
        events = cast("list[Event]", reading.take(after_seq, data, consistency))
        yield from (event for event in events if event["type"] not in {"seal", "redaction"})
        after_seq = reading.seq
        if not events or reading.caught_up:
            return
