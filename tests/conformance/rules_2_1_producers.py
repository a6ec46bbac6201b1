"""CONTRACT §2.1 and §6.6: runs that are recorded from outside, batch by batch."""

from __future__ import annotations

from typing import Any

from tests.conformance import mutants
from tests.conformance.producing import batch, created, events_of, output, recorded
from tests.conformance.registry import rule
from tests.conformance.rows import row
from tests.conformance.target import Target, archive, expect, must, refused
from tests.conformance.wire import Answer

EVENTS = "POST /v1/workspace-runs/*/events"
FINISH = "POST /v1/workspace-runs/*/finish"
NEEDS = "external_runs"
HEAD = {"head": {"size": 99}}
STEPS = [
    "awaiting_archive", "extracting", "running", "stdout", "collecting", "cleanup", "outcome", "terminal",
]  # fmt: skip


def _append(server: Target) -> Answer:
    return server.post(events_of(created(server)), batch(1))


def _finish(server: Target) -> Answer:
    return server.post(f"/v1/workspace-runs/{recorded(server)}/finish", {"exitCode": 0})


row("2.1", EVENTS, _append, 200, ("head",), name="append_events", needs=NEEDS)
row("2.1", FINISH, _finish, 200, ("workspaceRun",), name="finish", needs=NEEDS)


@rule("2.1", needs=NEEDS, broken_by={"a gap is taken": mutants.instead(EVENTS, 200, HEAD)})
def rule_2_1_a_gap_in_the_numbers_is_refused(server: Target) -> None:
    """A batch whose number is not the next one is 409 and leaves nothing."""
    run_id = recorded(server)
    refused(server.post(events_of(run_id), batch(3, "lost\n")), 409, "conflict")
    must("lost" not in output(server, run_id), "the batch behind the gap is stored")


@rule(
    "2.1",
    needs=NEEDS,
    broken_by={
        "the repetition is refused": mutants.instead(EVENTS, 409, {"error": {"code": "conflict"}}),
        "the head moves": mutants.setting(EVENTS, "head.size", 99),
    },
)
def rule_2_1_a_number_counts_once(server: Target) -> None:
    """A batch that comes again answers the head as it was behind it, and is stored once."""
    run_id = recorded(server, batch(1, "first\n"))
    first = expect(server.base.post(events_of(run_id), batch(1, "first\n")), 200)["head"]
    expect(server.base.post(events_of(run_id), batch(2, "second\n")), 200)
    again = expect(server.post(events_of(run_id), batch(1, "first\n")), 200)["head"]
    must(again == first, f"{again} instead of {first}")
    must(output(server, run_id) == "first\nsecond\n", "a batch is stored twice")


@rule("2.1", needs=NEEDS, broken_by={"any head will do": mutants.instead(EVENTS, 200, HEAD)})
def rule_2_1_the_expected_head_is_looked_at(server: Target) -> None:
    """With `expectedHead` a batch is stored exactly there; elsewhere it is 409."""
    run_id = recorded(server)
    head = expect(server.base.post(events_of(run_id), batch(1)), 200)["head"]["size"]
    refused(server.post(events_of(run_id), batch(2, "wrong\n", expectedHead=head - 1)), 409, "conflict")
    expect(server.post(events_of(run_id), batch(2, "right\n", expectedHead=head)), 200)
    must("wrong" not in output(server, run_id), "the refused batch is stored")


@rule("2.1", needs=NEEDS, broken_by={"an own run is written": mutants.instead(EVENTS, 200, HEAD)})
def rule_2_1_runs_that_are_executed_here_take_no_events(server: Target) -> None:
    """Appending to a run that is not recorded is 409."""
    refused(server.post(events_of(server.base.create()["id"]), batch(1)), 409, "conflict")


@rule(
    "2.1",
    needs=NEEDS,
    broken_by={
        "it takes an archive": mutants.instead("PUT **/archive", 200, {"archive": {}, "workspaceRun": {}})
    },
)
def rule_2_1_recorded_runs_take_no_archive(server: Target) -> None:
    """Uploading to a recorded run and starting it is 409."""
    run_id = created(server)
    refused(server.upload(run_id, archive()), 409, "conflict")
    refused(server.post(f"/v1/workspace-runs/{run_id}/start"), 409, "conflict")


@rule("2.1", needs=NEEDS, broken_by={"it goes on": mutants.instead(EVENTS, 200, HEAD)})
def rule_2_1_a_canceled_recording_is_over(server: Target) -> None:
    """A cancel ends a recorded run at once, and its producer's next batch is 409 with the status."""
    run_id = recorded(server)
    run = expect(server.base.post(f"/v1/workspace-runs/{run_id}/cancel"), 200)["workspaceRun"]
    must(run["status"] == "canceled", f"the run is {run['status']}")
    error = refused(server.post(events_of(run_id), batch(2)), 409, "conflict")
    must(error["details"] == {"reason": "run_ended", "status": "canceled"}, f"{error['details']}")


@rule(
    "2.1",
    needs=NEEDS,
    broken_by={"another code is taken": mutants.status(FINISH, 200, mutants.is_error)},
)
def rule_2_1_a_run_is_finished_once(server: Target) -> None:
    """The same exit code again answers the same run; another one is 409."""
    path = f"/v1/workspace-runs/{recorded(server)}/finish"
    first = server.base.post(path, {"exitCode": 3})
    again = server.post(path, {"exitCode": 3})
    must((again.status, again.body) == (first.status, first.body), f"{again.status}: {again.body[:200]!r}")
    refused(server.post(path, {"exitCode": 4}), 409, "conflict")


@rule(
    "6.6",
    needs=NEEDS,
    broken_by={
        "a sandbox is claimed": mutants.altered(
            "GET /v1/workspace-runs/*/events",
            lambda event: {**event, "isolation": "namespaces"} if "isolation" in event else event,
        ),
        "nobody is named": mutants.altered(
            "GET /v1/workspace-runs/*/events",
            lambda event: {key: value for key, value in event.items() if key != "producer"},
        ),
    },
)
def rule_6_6_recorded_runs_say_that_they_are(server: Target) -> None:
    """A recorded run has the events of EXAMPLE: provider external, no isolation, output with its producer."""
    run_id = recorded(server)
    expect(server.base.post(f"/v1/workspace-runs/{run_id}/finish", {"exitCode": 0}), 200)
    events: list[Any] = server.events(run_id)
    steps = [event["status"] if event["type"] == "status" else event["type"] for event in events]
    must(steps == STEPS, f"the events are {steps}")
    where = {key: events[1][key] for key in ("provider", "isolation", "limits")}
    must(where == {"provider": "external", "isolation": "none", "limits": {}}, f"{where}")
    must(events[3]["producer"] == {"id": "conformance", "number": 1}, "the output names no producer")
