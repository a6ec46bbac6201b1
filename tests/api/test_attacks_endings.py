"""A cancel at the worst moment: between the cleanup of a refused sandbox and the run's outcome."""

from dataclasses import dataclass

import pytest

from evidence.fold import RunFold, StreamDigests
from evidence.record import parse_time
from runs.decide import cancel
from tests.evidence_samples import example_events


@dataclass
class _Run:
    fold: RunFold
    digests: StreamDigests


@pytest.mark.parametrize("cleaned_up", [False, True])
def test_a_canceled_run_has_exactly_one_cleanup(cleaned_up: bool) -> None:  # noqa: FBT001  # pytest passes it by name
    """CONTRACT §6.6: every run has one, and the runner may have reported it a moment before."""
    run = _Run(RunFold(), StreamDigests())
    events = example_events()[:4]
    assert events[-1]["status"] == "starting"
    if cleaned_up:
        last = {"seq": 5, "createdAt": events[-1]["createdAt"]}
        events.append(
            {**last, "type": "cleanup", "cleanupStatus": "not_requested", "reason": "never_started"}
        )
    for event in events:
        run.fold.apply(event)
    ended = cancel(run, actor="key_a", created_at_ms=parse_time(events[-1]["createdAt"]))
    types = [event["type"] for event in events] + [event.type for event in ended]
    assert types.count("cleanup") == 1
    assert types[-3:] == ["outcome", "terminal", "seal"]
