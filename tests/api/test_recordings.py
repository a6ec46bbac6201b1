"""Runs that are recorded from outside: batches by POST, the end, and the proof of both (CONTRACT §2.1)."""

import asyncio
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import root
from evidence.verify import verify_bundle
from runs.limits import RunLimits
from tests.recording_kit import (
    append,
    appended,
    batch,
    finish,
    out,
    output,
    raw,
    recorded,
    refused,
    steps,
)
from tests.serving import Running, archive, serving


def test_a_recorded_run_has_the_events_of_the_example_and_verifies(running: Running) -> None:
    """As EXAMPLE has it: provider external, no isolation, no limits; complete to an offline verifier."""
    run_id = recorded(
        running,
        batch(1, out("ok 1\n"), raw(b"\xff\xfe raw\n"), raw("é".encode(), "stderr")),
        metadata={"a": "b"},
    )
    answer = finish(running, run_id, 3)
    assert answer.status_code == 200
    run = answer.json()["workspaceRun"]
    assert (run["status"], run["exitCode"], run["failureReason"]) == ("failed", 3, "command_exit")
    assert run["sandbox"] == {"provider": "external", "isolation": "none", "limits": {}}
    assert run["cleanupStatus"] == "not_requested"
    assert "sandboxId" not in run
    assert steps(running, run_id) == [
        "awaiting_archive", "extracting", "running", "stdout", "stdout", "stderr", "collecting", "cleanup",
        "terminal",
    ]  # fmt: skip
    events = running.events(run_id)
    assert events[1]["runner"] == "kit"
    assert events[2].keys() == {"type", "seq", "createdAt", "status", "commandId"}
    assert events[3]["producer"] == {"id": "kit", "number": 1}
    assert "dataBase64" in events[4]
    assert (events[5]["data"], "dataBase64" in events[5]) == ("é", False)
    bundle = running.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle").content
    policy = running.http.get("/v1/proof/policy").content
    verdict = verify_bundle(io.BytesIO(bundle), policy, expected_run=run_id, allow_unlogged=False)
    assert verdict.verdict == "COMPLETE", verdict


def test_a_batch_without_events_begins_and_is_number_one(running: Running) -> None:
    """The command's start is known although it prints nothing; the next batch is number 2."""
    run_id = recorded(running, batch(1))
    assert steps(running, run_id) == ["awaiting_archive", "extracting", "running"]
    assert appended(running, run_id, batch(1)) == 3
    assert appended(running, run_id, batch(2, out("x"))) == 4


def test_a_sign_of_life_uses_up_no_number(running: Running) -> None:
    """Once it has begun, a batch without events stores nothing, whatever its number says."""
    run_id = recorded(running, batch(1, out("x")))
    for number in (1, 2, 7):
        assert appended(running, run_id, batch(number)) == 4
    assert appended(running, run_id, batch(2, out("y"))) == 5


def test_a_repeated_batch_is_answered_as_it_was_and_stored_once(running: Running) -> None:
    """The answer of any of the last batches can be asked for again."""
    run_id = recorded(running)
    sizes = [appended(running, run_id, batch(n, out(f"{n}\n"), out("."))) for n in range(2, 6)]
    assert sizes == [5, 7, 9, 11]
    again = [appended(running, run_id, batch(n, out(f"{n}\n"), out("."))) for n in range(2, 6)]
    assert again == sizes
    assert output(running, run_id) == b"2\n.3\n.4\n.5\n."


def test_the_same_number_for_something_else_is_refused(running: Running) -> None:
    """Two programs that share an id would lose output silently; told by count and size."""
    run_id = recorded(running, batch(1, out("first")))
    for other in (batch(1, out("other")), batch(1, out("other!"))):
        answer = append(running, run_id, other)
        if len(other["events"][0]["data"]) == 5:
            assert answer.status_code == 200  # not to be told apart, and so not compared
        else:
            error = refused(answer, 409, "conflict")
            assert error["details"] == {"reason": "number_reused", "expectedNumber": 2}
    assert output(running, run_id) == b"first"


def test_a_gap_says_which_number_is_next(running: Running) -> None:
    """Nothing of the batch is stored."""
    run_id = recorded(running)
    error = refused(append(running, run_id, batch(4, out("lost"))), 409, "conflict")
    assert error["details"] == {"reason": "number_gap", "expectedNumber": 2}
    error = refused(append(running, run_id, batch(2, out("lost"), producer="new")), 409, "conflict")
    assert error["details"] == {"reason": "number_gap", "expectedNumber": 1}
    assert output(running, run_id) == b""


def test_the_expected_head_decides(running: Running) -> None:
    """A mismatch tells the head; a batch that is stored already is answered all the same."""
    run_id = recorded(running)
    error = refused(append(running, run_id, batch(2, out("x"), expectedHead=2)), 409, "conflict")
    assert error["details"] == {"reason": "head_mismatch", "head": 3}
    assert appended(running, run_id, batch(2, out("x"), expectedHead=3)) == 4
    assert appended(running, run_id, batch(2, out("x"), expectedHead=3)) == 4


def test_producers_of_one_run_do_not_disturb_each_other(running: Running) -> None:
    """Each has its own numbers; with all racing every line is there once, in its producer's order."""
    run_id = recorded(running)
    names = ["alpha", "beta", "gamma", "delta"]

    def produce(name: str) -> None:
        for number in range(1, 26):
            appended(running, run_id, batch(number, out(f"{name} {number}\n"), producer=name))

    threads = [threading.Thread(target=produce, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    lines = output(running, run_id).decode().splitlines()
    assert len(lines) == 100
    for name in names:
        assert [line for line in lines if line.startswith(name)] == [f"{name} {n}" for n in range(1, 26)]
    assert finish(running, run_id).status_code == 200
    verdict = running.http.post(f"/v1/workspace-runs/{run_id}/verify").json()["verdict"]
    assert verdict["verdict"] == "COMPLETE"


def test_one_producer_that_sends_a_batch_many_times_at_once_stores_it_once(running: Running) -> None:
    """Twelve racing copies of the same batch have one effect and one answer."""
    run_id = recorded(running)
    sizes: list[int] = []

    def produce() -> None:
        sizes.append(appended(running, run_id, batch(2, out("once\n"))))

    threads = [threading.Thread(target=produce) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sizes == [4] * 12
    assert output(running, run_id) == b"once\n"


def test_finish_is_done_once(running: Running) -> None:
    """The same exit code answers the same run, another one and further output are refused."""
    run_id = recorded(running, batch(1, out("x")))
    first = finish(running, run_id, 0)
    assert first.json()["workspaceRun"]["status"] == "succeeded"
    assert finish(running, run_id, 0).content == first.content
    ended = {"reason": "run_ended", "status": "succeeded"}
    assert refused(finish(running, run_id, 1), 409, "conflict")["details"] == ended
    assert refused(append(running, run_id, batch(2, out("x"))), 409, "conflict")["details"] == ended


def test_finish_with_a_key_has_one_answer(running: Running) -> None:
    """An idempotency key works as elsewhere: the stored answer, and 409 for another request."""
    run_id = recorded(running)
    first = finish(running, run_id, 0, **{"idempotency-key": "k"})
    assert finish(running, run_id, 0, **{"idempotency-key": "k"}).content == first.content
    refused(finish(running, run_id, 1, **{"idempotency-key": "k"}), 409, "idempotency_key_reused")


def test_what_was_never_begun_cannot_be_finished(running: Running) -> None:
    """There is no command that could have ended."""
    run_id = running.create("make", template="external")
    error = refused(finish(running, run_id), 409, "conflict")
    assert error["details"] == {"reason": "not_begun"}


def test_runs_of_the_two_kinds_are_not_mixed_up(running: Running) -> None:
    """Each refuses what belongs to the other, and says what to do."""
    own, other = running.create(), recorded(running)
    assert refused(append(running, own, batch(1)), 409, "conflict")["details"] == {"reason": "not_recorded"}
    assert refused(finish(running, own), 409, "conflict")["details"] == {"reason": "not_recorded"}
    reason = {"reason": "recorded_run"}
    assert refused(running.upload(other, archive({"a": b"a"})), 409, "conflict")["details"] == reason
    path = f"/v1/workspace-runs/{other}"
    assert refused(running.http.post(f"{path}/start"), 409, "conflict")["details"] == reason
    wanted = {"sha256": "a" * 64, "sizeBytes": 1}
    answer = running.http.post(f"{path}/archive-transfer", json=wanted)
    assert refused(answer, 409, "conflict")["details"] == reason


@pytest.mark.parametrize(
    "field",
    [{"keepSandbox": True}, {"artifacts": [{"path": "a"}]}, {"sandboxId": "sbx_a"}, {"timeoutMs": 2**40}],
    ids=lambda field: next(iter(field)),
)
def test_what_needs_a_sandbox_is_refused_at_creation(running: Running, field: dict[str, Any]) -> None:
    """Each names its field."""
    body = {"command": "make", "template": "external", **field}
    error = refused(running.http.post("/v1/workspace-runs", json=body), 400, "invalid_request")
    assert error["details"]["field"] == next(iter(field))


def test_recorded_runs_may_last_longer_than_ours(running: Running) -> None:
    """A day by default and weeks if asked for: they hold nothing here."""
    run_id = running.create("make", template="external")
    assert running.get(run_id)["timeoutMs"] == RunLimits().recorded_timeout_ms_default
    assert running.get(running.create("make", template="external", timeoutMs=10**9))["timeoutMs"] == 10**9
    answer = running.http.post("/v1/workspace-runs", json={"command": "make", "timeoutMs": 10**9})
    refused(answer, 400, "invalid_request")


def test_a_sandbox_cannot_be_external(running: Running) -> None:
    """Nor can the template be asked for by its version."""
    answer = running.http.post("/v1/sandboxes", json={"template": "external"})
    refused(answer, 400, "invalid_request")
    version = running.get(recorded(running))["templateVersionId"]
    body = {"command": "make", "templateVersionId": version}
    refused(running.http.post("/v1/workspace-runs", json=body), 400, "invalid_request")


def test_a_cancel_ends_it_at_once(running: Running) -> None:
    """Nobody here could stop the command; its producer is told with its next batch."""
    run_id = recorded(running, batch(1, out("x")))
    run = running.http.post(f"/v1/workspace-runs/{run_id}/cancel").json()["workspaceRun"]
    assert (run["status"], run["failureClass"]) == ("canceled", "canceled")
    assert steps(running, run_id)[-4:] == ["cancel_requested", "collecting", "cleanup", "terminal"]
    error = refused(append(running, run_id, batch(2, out("y"))), 409, "conflict")
    assert error["details"] == {"reason": "run_ended", "status": "canceled"}
    refused(finish(running, run_id), 409, "conflict")
    assert running.http.post(f"/v1/workspace-runs/{run_id}/verify").json()["verdict"]["verdict"] == "COMPLETE"


def test_a_cancel_before_it_began_ends_it_like_any_other(running: Running) -> None:
    """It never ran."""
    run_id = running.create("make", template="external")
    running.http.post(f"/v1/workspace-runs/{run_id}/cancel")
    assert steps(running, run_id) == ["awaiting_archive", "cancel_requested", "cleanup", "terminal"]


def _metered(running: Running) -> dict[str, Any]:
    usage: dict[str, Any] = running.http.get("/v1/usage").json()
    return {name: usage.get(name) for name in ("computeUnitSeconds", "credits", "quotas", "events")}


def test_nothing_is_metered_and_no_secret_is_named(running: Running) -> None:
    """No sandbox, no command and no compute of ours were used, and no secret was given to anybody."""
    project = running.http.get("/v1/projects").json()["data"][0]["id"]
    running.http.put(f"/v1/projects/{project}/secrets/TOKEN", json={"value": "correct horse"})
    running.run("true")
    before = _metered(running)
    assert before["computeUnitSeconds"]["used"] or before["quotas"]
    run_id = recorded(running, batch(1, out("x")))
    finish(running, run_id)
    assert _metered(running) == before
    assert running.get(run_id)["envKeys"] == []


def test_output_past_the_cap_is_not_kept_and_said_so(tmp_path: Path) -> None:
    """Whole events up to the cap, `output_truncated` once, every further batch answered with the head."""
    with serving(tmp_path, runs=RunLimits(recorded_output_bytes_max=10)) as running:
        run_id = recorded(running, batch(1, out("12345")))
        answer = append(running, run_id, batch(2, out("678"), raw(b"9abc", "stderr"), out("d")))
        assert answer.json() == {"head": {"size": 6, "truncated": True}}
        for number in (2, 3, 9):
            answer = append(running, run_id, batch(number, out("more")))
            assert answer.json() == {"head": {"size": 6, "truncated": True}}
        assert output(running, run_id) == b"12345678"
        cut = running.events(run_id)[-1]
        assert (cut["type"], cut["stream"], cut["keptBytes"]) == ("output_truncated", "stderr", 8)
        run = finish(running, run_id).json()["workspaceRun"]
        assert run["output"] == {"stdoutBytes": 8, "stderrBytes": 0, "truncated": True}
        verdict = running.http.post(f"/v1/workspace-runs/{run_id}/verify").json()["verdict"]
        assert verdict["verdict"] == "COMPLETE"


def test_old_batches_and_too_many_producers_are_refused(tmp_path: Path) -> None:
    """What a session keeps in memory is bounded, and the refusal says how to go on."""
    limits = RunLimits(recorded_batches_kept=2, recorded_producers_max=2)
    with serving(tmp_path, runs=limits) as running:
        run_id = recorded(running, *(batch(n, out(str(n))) for n in range(1, 5)))
        assert appended(running, run_id, batch(3, out("3"))) == 6
        error = refused(append(running, run_id, batch(2, out("2"))), 409, "conflict")
        assert error["details"] == {"reason": "number_too_old", "expectedNumber": 5}
        appended(running, run_id, batch(1, out("x"), producer="second"))
        error = refused(append(running, run_id, batch(1, out("x"), producer="third")), 409, "conflict")
        assert error["details"] == {"reason": "too_many_producers"}
        appended(running, run_id, batch(2, out("x"), producer="second"))


def test_a_run_that_fell_out_of_memory_goes_on(tmp_path: Path) -> None:
    """Its session is folded from the log again, with numbers, digests and repeated answers as they were."""
    with serving(tmp_path, runs=RunLimits(recordings_cached_max=1)) as running:
        first, second = recorded(running, batch(1, out("a"))), recorded(running, batch(1, out("b")))
        for number in (2, 3):
            assert appended(running, first, batch(number, out("a"))) == 3 + number
            assert appended(running, second, batch(number, raw(b"\xff"))) == 3 + number
            assert appended(running, first, batch(number, out("a"))) == 3 + number
        for run_id in (first, second):
            assert finish(running, run_id).status_code == 200
            verdict = running.http.post(f"/v1/workspace-runs/{run_id}/verify").json()["verdict"]
            assert verdict["verdict"] == "COMPLETE"


def test_a_recorded_run_goes_on_over_a_restart(tmp_path: Path) -> None:
    """It is not ended as recovered: its command runs elsewhere, and its producer goes on by number."""
    with serving(tmp_path) as running:
        key = running.key
        silent, talking = recorded(running), recorded(running, batch(1, out("a\n"), raw(b"\xff")))
    with serving(tmp_path, key) as running:
        assert running.server.recovered == {"ended": 0, "queued": 0}
        assert appended(running, silent, batch(1)) == 3
        error = refused(append(running, silent, batch(3, out("x"))), 409, "conflict")
        assert error["details"]["expectedNumber"] == 2
        assert appended(running, talking, batch(1, out("a\n"), raw(b"\xff"))) == 5
        assert appended(running, talking, batch(2, out("b\n"))) == 6
        for run_id in (silent, talking):
            assert finish(running, run_id).json()["workspaceRun"]["status"] == "succeeded"
            verdict = running.http.post(f"/v1/workspace-runs/{run_id}/verify").json()["verdict"]
            assert verdict["verdict"] == "COMPLETE"
    result = CliRunner().invoke(root, ["rebuild", "--data", str(tmp_path), "--json", "--check"])
    assert json.loads(result.output)["data"]["differences"] == []


def _end_lost(running: Running) -> int:
    work = running.server.services.recordings.end_lost()
    return asyncio.run_coroutine_threadsafe(work, running.loop).result(30)


def test_a_producer_that_vanished_does_not_leave_its_run_running(tmp_path: Path) -> None:
    """After the silence that is allowed: failed as our fault, with a message; runs of ours are left alone."""
    with serving(tmp_path, runs=RunLimits(recorded_silence_ms_max=0, reap_interval_s=3600)) as running:
        run_id, waiting = recorded(running, batch(1, out("x"))), running.create()
        assert _end_lost(running) == 1
        run = running.get(run_id)
        assert (run["status"], run["failureReason"]) == ("failed", "internal_error")
        assert "producer" in run["failureMessage"]
        assert "exitCode" not in run
        assert steps(running, run_id)[-2:] == ["cleanup", "terminal"]
        verdict = running.http.post(f"/v1/workspace-runs/{run_id}/verify").json()["verdict"]
        assert verdict["verdict"] == "COMPLETE"
        assert running.get(waiting)["status"] == "awaiting_archive"
        assert _end_lost(running) == 0
        error = refused(append(running, run_id, batch(2, out("y"))), 409, "conflict")
        assert error["details"] == {"reason": "run_ended", "status": "failed"}


def test_a_producer_that_is_heard_of_keeps_its_run(running: Running) -> None:
    """Within the allowed silence nothing is ended."""
    run_id = recorded(running)
    assert _end_lost(running) == 0
    assert running.get(run_id)["status"] == "running"


def test_a_recorded_run_over_its_time_is_ended_as_timed_out(running: Running) -> None:
    """The command may go on where it is; what it prints from now on is not recorded."""
    run_id = recorded(running, timeoutMs=1)
    assert _end_lost(running) == 1
    run = running.get(run_id)
    assert (run["status"], run["failureReason"]) == ("failed", "timeout")
    assert running.events(run_id)[-4]["timedOut"] is True


def test_the_example_of_the_page_works(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """As it stands in docs/recording.md, but for address and key."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "recording.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    code = code.replace("http://127.0.0.1:8787", running.url).replace("cn_live_…", running.key)
    exec(compile(code, "docs/recording.md", "exec"), {})
    assert capsys.readouterr().out == "succeeded\n"
    newest = running.http.get("/v1/workspace-runs?limit=1").json()["data"][0]["id"]
    assert output(running, newest) == b"ok 1\n"


def test_appending_to_what_is_not_there_is_404(running: Running) -> None:
    """As for every other route, whatever the body."""
    refused(append(running, "wsr_" + "a" * 26, batch(1)), 404, "not_found")
    refused(append(running, "nonsense", batch(1)), 404, "not_found")
