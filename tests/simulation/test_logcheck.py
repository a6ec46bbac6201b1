"""The judge of the crash programme sees what it must: forged logs of every kind that would be a loss."""

import base64
import hashlib
from typing import Any

import orjson

from tests.simulation import logcheck
from tests.simulation.ledger import Answer, Call, Crash, Finding, Ledger, Plan, Run
from tests.simulation.plans import archive, expected_output
from tests.simulation.steps import packed, request_of, steps

PLAN = Plan(op="op-1", lines=40, burst=41, pause_s="0", exit_code=0)
RUN = "wsr_a"


def _time(ms: int) -> str:
    return f"2026-01-01T00:00:{ms // 1000:02d}.{ms % 1000:03d}Z"


BEGIN_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""


def _log(
    *, ended: str = "succeeded", reason: str | None = None, cleanup: str = "finished"
) -> list[dict[str, Any]]:
    """An honest log of `PLAN`, one event a second."""
    out = expected_output(PLAN)
    raw = out["stdout"].decode("utf-8", "replace")
    events: list[dict[str, Any]] = [
        {"type": "status", "status": "awaiting_archive"},
        {"type": "status", "status": "archive_uploaded"},
        {"type": "status", "status": "starting"},
        {"type": "status", "status": "extracting"},
        {"type": "status", "status": "running"},
        {"type": "stdout", "data": raw, "dataBase64": _base64(out["stdout"])},
        {"type": "stderr", "data": out["stderr"].decode()},
        {"type": "status", "status": "collecting", "exitCode": 0},
        {"type": "cleanup", "reason": cleanup},
        {"type": "outcome", "status": ended, **({"failureReason": reason} if reason else {})},
        {"type": "terminal", "workspaceRun": {}},
    ]
    for seq, event in enumerate(events, 1):
        event.update(seq=seq, createdAt=_time(1000 * seq))
    return events


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _kinds(findings: list[Finding]) -> set[str]:
    return {finding.kind for finding in findings}


def _lines(events: list[dict[str, Any]]) -> list[bytes]:
    return [orjson.dumps(event) for event in events]


def _all(events: list[dict[str, Any]], crashes: tuple[Crash, ...] = ()) -> set[str]:
    return _kinds(
        [
            *logcheck.check_numbers(RUN, events),
            *logcheck.check_lifecycle(RUN, events),
            *logcheck.check_output(RUN, PLAN, events),
            *logcheck.check_ending(RUN, PLAN, events, crashes),
        ]
    )


def test_an_honest_log_has_nothing_to_find() -> None:
    """The judge does not cry without reason."""
    assert _all(_log()) == set()


def test_a_missing_a_repeated_and_a_moved_event_are_told_apart() -> None:
    """Lost, duplicated and reordered are different losses."""
    log = _log()
    assert _kinds(logcheck.check_numbers(RUN, log[:4] + log[5:])) == {"lost"}
    assert _kinds(logcheck.check_numbers(RUN, [*log[:5], log[4], *log[5:]])) >= {"duplicated"}
    assert _kinds(logcheck.check_numbers(RUN, [*log[:4], log[5], log[4], *log[6:]])) == {"reordered"}


def test_a_delivered_event_must_stay_with_its_bytes() -> None:
    """A reader saw it: it may neither go nor change."""
    lines = _lines(_log())
    delivered = dict(enumerate(lines, 1))
    assert logcheck.check_delivered(RUN, lines, delivered) == []
    assert _kinds(logcheck.check_delivered(RUN, lines[:-1], delivered)) == {"lost"}
    changed = [*lines[:5], lines[5].replace(b"op-1", b"op-2", 1), *lines[6:]]
    assert _kinds(logcheck.check_delivered(RUN, changed, delivered)) == {"changed"}
    assert _kinds(logcheck.check_prefix(RUN, lines[:3], lines[:4])) == {"lost"}
    assert _kinds(logcheck.check_prefix(RUN, changed, lines)) == {"changed"}
    assert logcheck.check_prefix(RUN, lines, lines[:4]) == []


def test_one_byte_of_output_that_is_missing_twice_or_other_is_found() -> None:
    """The output is the numbered lines, from the first on and without a gap."""
    whole = expected_output(PLAN)["stdout"]
    at = whole.index(b"000020")
    for forged in (whole[:at] + whole[at + 14 :], whole[:at] + whole[at - 14 :], whole[:-1]):
        log = _log()
        log[5]["dataBase64"] = _base64(forged)
        assert _all(log) in ({"changed"}, {"lost"})


def test_a_run_that_a_crash_met_must_have_ended_as_recovered() -> None:
    """Executing at a crash means `failed`, `internal_error`; anything else is a lie about what was seen."""
    met = Crash("kill", BEGIN_MS + 9_500)  # after `collecting` and `cleanup`, before the outcome
    earlier = Crash("kill", BEGIN_MS + 3_500)  # in `starting`: it is simply executed afterwards
    recovered = _log(ended="failed", reason="internal_error", cleanup="recovered")
    assert _all(_log(), (met,)) == {"unfinished"}
    assert _all(recovered, (met,)) == set()
    assert _all(_log(), (earlier,)) == set()
    assert _all(recovered, (earlier,)) == {"unfinished"}
    assert _all(recovered) == {"unfinished"}
    assert _kinds(logcheck.check_ending(RUN, PLAN, _log()[:8], ())) == {"unfinished"}


def test_a_step_of_the_lifecycle_that_happens_twice_is_found() -> None:
    """One start, one cleanup, one outcome, one end."""
    for place in (2, 8, 9):
        log = _log()
        log.insert(place, log[place])
        for seq, event in enumerate(log, 1):
            log[seq - 1] = {**event, "seq": seq}
        assert "duplicated" in _kinds(logcheck.check_lifecycle(RUN, log))


def test_an_acknowledged_call_without_its_event_is_found() -> None:
    """Whatever was answered with 2xx stands in the log."""
    run = Run(PLAN, run_id=RUN)
    for name in steps(PLAN):
        body = orjson.dumps({"workspaceRun": {"id": RUN, "sandboxId": "sbx_1"}})
        run.calls[name] = Call(name, Answer(200, body))
    sha256 = packed(PLAN)[1]
    log = _log()
    log[0] |= {"runId": RUN, "request": {"metadata": {"op": PLAN.op}}}
    log[1] |= {"archive": {"sha256": sha256}}
    log[2] |= {"sandboxId": "sbx_1"}
    made = logcheck.promises(run, sha256)
    assert [promise.call for promise in made] == ["create", "upload", "start"]
    assert all(promise.kept_by(log) for promise in made)
    for missing, promise in enumerate(made):
        assert not promise.kept_by(log[:missing] + log[missing + 1 :])


def test_a_retry_sends_the_same_bytes_under_the_same_key() -> None:
    """Otherwise the server would be right to refuse it, and the programme would prove nothing."""
    run = Run(Plan(op="op-2", lines=1, burst=2, pause_s="0", exit_code=0, staged=True), run_id=RUN)
    made = {"transfer": {"id": "upl_1", "uploadUrl": "/v1/upload"}}
    run.calls["transfer"] = Call("transfer", Answer(201, orjson.dumps(made)))
    first, again = ([request_of(run, name) for name in steps(run.plan)] for _ in range(2))
    assert first == again
    keys = [request.key for request in first if request.key]
    assert len(keys) == len(set(keys)) == 4
    assert hashlib.sha256(archive(run.plan)).hexdigest() == packed(run.plan)[1]
    assert archive(run.plan) != archive(PLAN)


def test_what_is_read_after_the_cut_promises_nothing() -> None:
    """Answers and events count only when they were read before the power went."""
    ledger, run, call = Ledger(), Run(PLAN), Call("create")
    ledger.power_is_off = True
    ledger.acknowledge(call, Answer(201, b"{}"))
    ledger.deliver(run, 1, b"{}")
    assert call.answer is None
    assert run.delivered == {}
    ledger.power_is_off = False
    ledger.acknowledge(call, Answer(201, b"{}"))
    ledger.deliver(run, 1, b"{}")
    ledger.deliver(run, 1, b'{"other":1}')
    assert call.answer == Answer(201, b"{}")
    assert ledger.counts["delivered events"] == 1
    assert ledger.findings.counts == {"changed": 1}
