"""Following a run or a command across dropped connections: the reconnect ladder of CONTRACT §6.4."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from client.errors import ApiError, ClientError, ConnectionFailed, StreamInterrupted
from client.shapes import CommandEvent, Event

RECONNECT_DELAYS_MS = (250, 500, 1000, 2000, 4000)
"""Waits before each reconnect; the budget starts anew whenever a connection brought a new event."""

E = TypeVar("E", Event, CommandEvent)


class _Place(Generic[E]):
    """Where the reader stands: the last event seen, whether any connection stood, whether the run ended."""

    def __init__(self, after_seq: int, *, connected: bool) -> None:
        self.last_seq, self.connected, self.ended = after_seq, connected, False

    def fresh(self, events: Iterator[E]) -> Iterator[E]:
        """The events of one connection that were not seen before."""
        self.connected = True
        for event in events:
            if event["type"] == "error":
                raise _event_error(event)
            if event["type"] == "terminal":
                self.ended = True
                yield event
                return
            if event["type"] == "heartbeat":
                yield event  # transport noise: its seq must never move the resume point
            elif (seq := event.get("seq", 0)) > self.last_seq:
                self.last_seq = seq
                yield event


def follow(
    open_stream: Callable[[int], AbstractContextManager[Iterator[E]]],
    after_seq: int = 0,
    *,
    reconnect: bool = True,
    resuming: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[E]:
    """Yield each event once, in order, up to and including `terminal`; `open_stream` opens it after a seq.

    An `error` event is raised as `ApiError`, and so is the server's refusal. The first connection is not
    retried, because when nothing answers, waiting does not help the caller, unless this is `resuming` a
    stream that stood before. Without `reconnect` an early end raises `StreamInterrupted` at once.
    """
    place: _Place[E] = _Place(after_seq, connected=resuming)
    attempts = 0
    while True:
        before, cause = place.last_seq, None
        try:
            with open_stream(place.last_seq) as events:
                yield from place.fresh(events)
        except (ConnectionFailed, ApiError) as exc:
            if not (place.connected and _may_pass(exc)):
                raise
            cause = exc
        if place.ended:
            return
        attempts = 0 if place.last_seq > before else attempts
        if not reconnect or attempts == len(RECONNECT_DELAYS_MS):
            raise StreamInterrupted(place.last_seq, cause)
        sleep(RECONNECT_DELAYS_MS[attempts] / 1000)
        attempts += 1


def _may_pass(error: ClientError) -> bool:
    """A broken connection, or a proxy's own 502, 503, 504 while the server restarts; refusals are final."""
    if isinstance(error, ApiError):
        return error.code == "invalid_error_response" and error.status in {502, 503, 504}
    return True


def _event_error(event: Event | CommandEvent) -> ApiError:
    message = event.get("message", "The server ended the stream with an error.")
    return ApiError(event.get("code", "internal_error"), message, status=None)
