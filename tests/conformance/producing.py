"""What a producer outside sends: recorded runs, batches, and where they go (CONTRACT §2.1)."""

from __future__ import annotations

from typing import Any

from tests.conformance.target import Target, expect

Json = Any
PRODUCER = "conformance"


def created(server: Target) -> str:
    """A run that waits to be recorded, made on the server itself."""
    run_id: str = server.base.create(template="external")["id"]
    return run_id


def events_of(run_id: str) -> str:
    """Where batches go."""
    return f"/v1/workspace-runs/{run_id}/events"


def batch(number: int, *texts: str, **fields: Json) -> Json:
    """A batch of these lines; of one line when none is given."""
    events = [{"type": "stdout", "data": text} for text in texts or ("from outside\n",)]
    return {"producerId": PRODUCER, "number": number, "events": events, **fields}


def recorded(server: Target, *batches: Json) -> str:
    """A run with these batches, appended on the server itself."""
    run_id = created(server)
    for body in batches or (batch(1),):
        expect(server.base.post(events_of(run_id), body), 200)
    return run_id


def output(server: Target, run_id: str) -> str:
    """What the log holds of stdout."""
    events = server.base.events(run_id)
    return "".join(event["data"] for event in events if event["type"] == "stdout")
