"""Requests made to hurt: a run that could never end, and ids that are none."""

from pathlib import Path
from typing import Any

import pytest

from eventstore.log import LogLimits
from runs.limits import RunLimits
from tests.serving import Running, archive, serving

CONTROL = "\x01"
"""JSON spells it with six characters."""


def _create(running: Running, **fields: Any) -> tuple[int, dict[str, Any]]:
    answer = running.http.post("/v1/workspace-runs", json={"command": "true", **fields})
    body: dict[str, Any] = answer.json()
    return answer.status_code, body


def test_a_request_whose_end_would_not_fit_into_an_event_is_refused(running: Running) -> None:
    """Every field keeps its own limit, but `terminal` would repeat the paths and be too large to append."""
    paths = [{"path": CONTROL * 1680 + str(number)} for number in range(32)]
    status, body = _create(running, command="true #" + CONTROL * 32_000, artifacts=paths)
    assert (status, body["error"]["code"]) == (400, "invalid_request")
    assert body["error"]["details"]["field"] == "body"


def test_the_largest_request_ends_and_verifies(running: Running) -> None:
    """All limits of one request together, with every artifact missing."""
    paths = [{"path": "a" * 4090 + str(number), "name": "n" * 255} for number in range(32)]
    run = running.run("true #" + "x" * 32_000, artifacts=paths)
    assert (run["status"], len(run["artifactErrors"])) == ("succeeded", 32)
    verdict = running.http.post(f"/v1/workspace-runs/{run['id']}/verify").json()["verdict"]
    assert verdict["verdict"] == "COMPLETE"


def test_twice_the_largest_request_fits_into_an_event() -> None:
    """The two limits belong to different rooms; together they promise that every run can end."""
    assert 2 * RunLimits().request_bytes_max < LogLimits().payload_bytes_max


def test_a_run_that_cannot_be_ended_does_not_keep_the_server_from_starting(tmp_path: Path) -> None:
    """Such a run, made under other limits, is left as it stands; all others are served."""
    paths = [{"path": CONTROL * 1680 + str(number)} for number in range(32)]
    loose = RunLimits(request_bytes_max=1024 * 1024)
    with serving(tmp_path, runs=loose) as running:
        status, body = _create(running, command="true #" + CONTROL * 32_000, artifacts=paths)
        assert status == 201
        run_id = body["workspaceRun"]["id"]
        running.upload(run_id, archive({"a.txt": b"a"}))
        running.http.post(f"/v1/workspace-runs/{run_id}/start")
        running.wait_for_status(run_id, "collecting")
        key = running.key
    with serving(tmp_path, key=key) as running:
        assert running.run("true")["status"] == "succeeded"


@pytest.mark.parametrize(
    "sandbox_id", ["", "x", "../../etc", "wsr_abc", "sbx_", "sbx_a\0b", "sbx_" + "a" * 900_000]
)
def test_a_sandbox_is_named_by_an_id(running: Running, sandbox_id: str) -> None:
    """Whatever else stands there would be stored in the log, or not fit into it."""
    status, body = _create(running, sandboxId=sandbox_id)
    assert (status, body["error"]["code"]) == (400, "invalid_request")
    assert body["error"]["details"]["field"] == "sandboxId"


def test_a_sandbox_that_never_was_is_no_row(running: Running) -> None:
    """A run that names one ends with `sandbox_conflict`, and nothing is listed that nobody could end."""
    run = running.run("true", sandboxId="sbx_neverwas")
    assert (run["status"], run["failureReason"]) == ("failed", "sandbox_conflict")
    assert running.http.get("/v1/sandboxes/sbx_neverwas").status_code == 404


def test_a_run_canceled_in_the_queue_leaves_no_living_sandbox(tmp_path: Path) -> None:
    """It was promised one at its start; the promise ends with the run."""
    with serving(tmp_path, runs=RunLimits(executing_max=1)) as running:
        first, second = running.create("sleep 60"), running.create()
        for run_id in (first, second):
            assert running.upload(run_id, archive({"a.txt": b"a"})).status_code == 200
            started = running.http.post(f"/v1/workspace-runs/{run_id}/start").json()["workspaceRun"]
        running.wait_for_status(first, "running")
        running.http.post(f"/v1/workspace-runs/{second}/cancel")
        sandbox = running.http.get(f"/v1/sandboxes/{started['sandboxId']}").json()["sandbox"]
        assert sandbox["status"] == "destroyed"
        living = [row["id"] for row in running.http.get("/v1/sandboxes").json()["data"]]
        assert living == [running.get(first)["sandboxId"]]
        running.http.post(f"/v1/workspace-runs/{first}/cancel")
        running.finished(first)
