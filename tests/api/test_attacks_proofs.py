"""A server that signs lies about how a run began and ended: sound records, impossible stories."""

from typing import Any

import pytest

from evidence.canonical import encode
from evidence.fold import RunFold, StreamDigests, seal_fields
from tests.evidence_samples import (
    OTHER_RUN,
    RUN,
    Recorded,
    StoredRow,
    assert_caught,
    example_events,
    judge,
    row,
    signed_by_the_server,
    with_event,
)


def _events() -> list[dict[str, Any]]:
    """The example up to and with its outcome."""
    return [event for event in example_events() if event["type"] not in {"terminal", "seal"}]


def _signed(events: list[dict[str, Any]]) -> bytes:
    """The bundle of these events as a server records them; terminal, seal and evidence fit them."""
    fold, digests = RunFold(), StreamDigests()
    rows: list[StoredRow] = []

    def add(event: dict[str, Any]) -> None:
        numbered = {**event, "seq": len(rows) + 1}
        rows.append(row(encode(numbered)))
        fold.apply(numbered)
        digests.update(numbered)

    for event in events:
        add(event)
    evidence = encode(fold.evidence())
    last = {"createdAt": fold.last_created_at}
    add({**last, "type": "terminal", "workspaceRun": fold.run_view()})
    add({**last, "type": "seal", **seal_fields(evidence, digests, fold.public_size)})
    return Recorded(rows, evidence).bundle()


def test_the_story_as_it_is_recorded_verifies() -> None:
    """What the lies below are made of is sound."""
    assert judge(_signed(_events()), expected_run=RUN).verdict == "COMPLETE"


def test_a_run_that_begins_again_as_another_is_named() -> None:
    """Else its evidence would be that of the other run, under the id that the auditor expects."""
    first, second, *rest = _events()
    again = {**first, "runId": OTHER_RUN, "createdAt": second["createdAt"]}
    assert_caught(_signed([first, again, second, *rest]), "E_RUN_MISMATCH", 2)
    assert_caught(_signed([first, {**again, "runId": RUN}, second, *rest]), "E_RUN_MISMATCH", 2)


def test_nothing_stands_between_outcome_and_terminal() -> None:
    """Whatever came there, a second outcome or another state, would change how the run is said to end."""
    events = _events()
    at = {"createdAt": events[-1]["createdAt"]}
    output = next(event for event in events if event["type"] == "stdout")
    running = next(event for event in events if event.get("status") == "running")
    for more in (output, running, {**events[-1], "status": "succeeded"}):
        assert_caught(_signed([*events, {**more, **at}]), "E_EVENT_AFTER_SEAL", len(events) + 1)


def test_a_run_without_an_outcome_is_not_final() -> None:
    """A terminal event alone says nothing that the fold would take."""
    events = _events()[:-1]
    assert_caught(_signed(events), "E_NOT_FINAL", len(events) + 1)


@pytest.mark.parametrize("status", ["running", "", "Succeeded", None])
def test_an_outcome_is_one_of_three(status: object) -> None:
    """A run that is sealed as still running has not ended."""
    assert_caught(signed_by_the_server(with_event(14, status=status)), "E_FORMAT", 14)
