"""The folds `run/v1` and `evidence/v1`, in every way that a run can end (PROOF P12, EXAMPLE)."""

from hashlib import sha256
from typing import Any

import pytest

from evidence.canonical import decode, encode
from evidence.fold import FoldError, RunFold, StreamDigests, raw_bytes, raw_size, seal_fields
from evidence.verdict import COMPLETE
from tests.evidence_samples import (
    EXAMPLE_EVIDENCE,
    EXAMPLE_PAYLOADS,
    Recorded,
    example_events,
    judge,
    record,
)

CREATED, PROGRESS, UPLOADED, STARTING, EXTRACTING, RUNNING, OUT, RAW, ERR = [
    {key: value for key, value in event.items() if key not in {"seq", "createdAt"}}
    for event in example_events()[:9]
]
ACTOR = {"actor": "key_k1"}
CANCEL = {"type": "cancel_requested"} | ACTOR
CLEANED = {"type": "cleanup", "cleanupStatus": "succeeded", "reason": "finished"}
NEVER_STARTED = {"type": "cleanup", "cleanupStatus": "not_requested", "reason": "never_started"}
CANCELED = {
    "type": "outcome",
    "status": "canceled",
    "failureClass": "canceled",
    "orchestrationSucceeded": True,
}


def collecting(**how: Any) -> dict[str, Any]:
    """The end of the command."""
    return {"type": "status", "status": "collecting", "durationMs": 230} | how


def failed(reason: str, class_: str, *, orchestrated: bool = True, **more: Any) -> dict[str, Any]:
    """An outcome with a reason."""
    return {
        "type": "outcome",
        "status": "failed",
        "failureReason": reason,
        "failureClass": class_,
        "orchestrationSucceeded": orchestrated,
    } | more


def views(recorded: Recorded) -> tuple[dict[str, Any], dict[str, Any]]:
    """Evidence, and the run as `terminal` shows it; the whole must verify."""
    verdict = judge(recorded.bundle())
    assert (verdict.verdict, verdict.code, verdict.message[:4]) == (COMPLETE, None, "All ")
    assert recorded.evidence is not None
    payload = recorded.rows[-2].payload
    assert payload is not None
    return decode(recorded.evidence), decode(payload)["workspaceRun"]


def test_the_example_folds_to_its_evidence_and_its_terminal() -> None:
    """Every byte of evidence.json, of `workspaceRun` and of the seal follows from the events before."""
    fold, digests = RunFold(), StreamDigests()
    for payload in EXAMPLE_PAYLOADS[:14]:
        event = decode(payload)
        fold.apply(event)
        digests.update(event)
    terminal, seal = (decode(payload) for payload in EXAMPLE_PAYLOADS[14:])
    assert encode(fold.run_view()) == encode(terminal["workspaceRun"])
    fold.apply(terminal)
    fold.apply(seal)
    evidence = encode(fold.evidence())
    assert evidence == EXAMPLE_EVIDENCE
    assert len(evidence) == 1462
    assert sha256(evidence).hexdigest() == "31f9076a4f8b6cf16390d6cc7f273847e5d7c0e0eb4bcadedcd49582df2ca133"
    assert fold.public_size == 15
    expected = {key: seal[key] for key in seal if key not in {"type", "seq", "createdAt"}}
    assert seal_fields(evidence, digests, fold.public_size) == expected


def test_canceled_while_running() -> None:
    """No artifacts and no exit code, but a duration; the class is `canceled`."""
    evidence, run = views(
        record(
            [
                CREATED,
                UPLOADED,
                STARTING,
                EXTRACTING,
                RUNNING,
                OUT,
                CANCEL,
                collecting(canceled=True),
                CLEANED,
                CANCELED,
            ]
        )
    )
    for view in (evidence, run):
        assert view["status"] == "canceled"
        assert view["failureClass"] == "canceled"
        assert view["durationMs"] == 230
        assert view["cleanupStatus"] == "succeeded"
        assert view["artifactIds"] == []
        assert not view.keys() & {"exitCode", "failureReason"}


def test_canceled_before_the_start() -> None:
    """Nothing of a sandbox, a command or a duration is claimed."""
    evidence, run = views(record([CREATED, CANCEL, NEVER_STARTED, CANCELED]))
    absent = {
        "sandbox",
        "sandboxId",
        "commandId",
        "startedAt",
        "durationMs",
        "exitCode",
        "archive",
        "uploadedAt",
    }
    for view in (evidence, run):
        assert view["cleanupStatus"] == "not_requested"
        assert view["output"] == {"stdoutBytes": 0, "stderrBytes": 0, "truncated": False}
        assert not view.keys() & absent


def test_timeout() -> None:
    """The status is `failed`, the exit code is left out, artifacts are kept."""
    artifact = example_events()[10]
    del artifact["createdAt"]
    evidence, run = views(
        record(
            [
                CREATED,
                UPLOADED,
                STARTING,
                EXTRACTING,
                RUNNING,
                collecting(timedOut=True),
                artifact,
                CLEANED,
                failed("timeout", "user_command"),
            ]
        )
    )
    for view in (evidence, run):
        assert (view["failureReason"], view["failureClass"]) == ("timeout", "user_command")
        assert view["artifactIds"] == ["art_r1"]
        assert "exitCode" not in view


def test_a_bad_archive() -> None:
    """The run never ran: no start, duration or command; the message says why."""
    evidence, run = views(
        record(
            [
                CREATED,
                UPLOADED,
                STARTING,
                EXTRACTING,
                CLEANED,
                failed("archive_invalid", "user_input", failureMessage="not a gzip file"),
            ]
        )
    )
    for view in (evidence, run):
        assert view["failureMessage"] == "not a gzip file"
        assert not view.keys() & {"startedAt", "durationMs", "commandId", "exitCode"}


def test_a_crash_while_executing() -> None:
    """Recovery ends the run as the platform's failure, with what was recorded up to then."""
    recovered = {"type": "cleanup", "cleanupStatus": "failed", "reason": "recovered"}
    outcome = failed("internal_error", "platform", orchestrated=False, failureMessage="the server stopped")
    evidence, run = views(record([CREATED, UPLOADED, STARTING, EXTRACTING, RUNNING, OUT, recovered, outcome]))
    for view in (evidence, run):
        assert view["orchestrationSucceeded"] is False
        assert view["cleanupStatus"] == "failed"
        assert view["output"]["stdoutBytes"] == 5
        assert "startedAt" in view
        assert not view.keys() & {"exitCode", "durationMs"}


def test_a_crash_while_collecting_never_shows_the_exit_code() -> None:
    """Exit 0 of the command must not make a client exit 0 when the run failed (CONTRACT §3.4)."""
    recovered = {"type": "cleanup", "cleanupStatus": "succeeded", "reason": "recovered"}
    outcome = failed("internal_error", "platform", orchestrated=False)
    evidence, run = views(
        record([CREATED, UPLOADED, STARTING, EXTRACTING, RUNNING, collecting(exitCode=0), recovered, outcome])
    )
    assert "exitCode" not in evidence
    assert "exitCode" not in run
    assert run["durationMs"] == 230


def test_a_run_that_never_told_its_exit_code_shows_none() -> None:
    """Whatever the outcome claims, a code that no event holds is not made up."""
    outcome = {"type": "outcome", "status": "succeeded", "orchestrationSucceeded": True}
    evidence, run = views(record([CREATED, UPLOADED, STARTING, EXTRACTING, RUNNING, CLEANED, outcome]))
    assert "exitCode" not in evidence
    assert "exitCode" not in run


def test_expired() -> None:
    """A run that never got an archive failed for want of one."""
    evidence, run = views(record([CREATED, NEVER_STARTED, failed("upload_missing", "user_input")]))
    for view in (evidence, run):
        assert view["failureReason"] == "upload_missing"
        assert "archive" not in view


def test_uploaded_and_never_started() -> None:
    """The archive is told of, and the message says why the run ended."""
    outcome = CANCELED | {"failureMessage": "not started for 24 hours"}
    evidence, run = views(record([CREATED, PROGRESS, UPLOADED, NEVER_STARTED, outcome]))
    for view in (evidence, run):
        assert view["archive"]["sizeBytes"] == 1_200_000
        assert view["failureMessage"] == "not started for 24 hours"
    assert run["uploadedAt"] == run["archive"]["uploadedAt"]
    assert "uploadedAt" not in evidence


def test_recorded_elsewhere() -> None:
    """A run recorded by a remote producer has no archive and no sandbox of ours, and says so."""
    external = {
        "type": "status",
        "status": "extracting",
        "provider": "external",
        "isolation": "none",
        "limits": {},
        "runner": "ci-7",
        "template": {"id": "tpl_x", "slug": "external", "version": "1", "versionId": "tplv_x"},
    }
    producer = {"producer": {"id": "p1", "number": 1}}
    outcome = {"type": "outcome", "status": "succeeded", "orchestrationSucceeded": True}
    evidence, run = views(
        record(
            [
                CREATED,
                external,
                RUNNING,
                OUT | producer,
                RAW | producer,
                collecting(exitCode=0),
                NEVER_STARTED,
                outcome,
            ]
        )
    )
    assert evidence["sandbox"] == {"provider": "external", "isolation": "none", "limits": {}}
    assert evidence["template"]["slug"] == run["templateSlug"] == "external"
    for view in (evidence, run):
        assert view["exitCode"] == 0
        assert view["output"]["stdoutBytes"] == 12
        assert not view.keys() & {"sandboxId", "archive", "failureReason", "failureClass"}


def test_a_kept_sandbox_and_capped_output() -> None:
    """Keeping counts as no cleanup; the cap is told of in the output."""
    capped = {"type": "output_truncated", "stream": "stdout", "keptBytes": 5}
    kept = {
        "type": "cleanup",
        "cleanupStatus": "not_requested",
        "reason": "kept",
        "expiresAt": "2026-11-22T15:03:00.000Z",
    }
    outcome = {"type": "outcome", "status": "succeeded", "orchestrationSucceeded": True}
    evidence, _ = views(
        record(
            [
                CREATED,
                UPLOADED,
                STARTING,
                EXTRACTING,
                RUNNING,
                OUT,
                capped,
                collecting(exitCode=0),
                kept,
                outcome,
            ]
        )
    )
    assert evidence["output"]["truncated"] is True
    assert evidence["cleanupStatus"] == "not_requested"


LIVE = [
    # status after each event of the example, and what the view must and must not hold by then
    ("awaiting_archive", {"envKeys", "timeoutMs", "sourceMetadata", "output"}, {"archive", "cleanupStatus"}),
    ("awaiting_archive", set(), {"archive"}),
    ("archive_uploaded", {"archive", "uploadedAt"}, {"sandboxId"}),
    ("starting", {"sandboxId", "cleanupStatus"}, {"sandbox"}),
    ("extracting", {"sandbox"}, {"startedAt"}),
    ("running", {"startedAt", "commandId"}, {"durationMs"}),
    ("running", set(), {"durationMs"}),
    ("running", set(), {"durationMs"}),
    ("running", set(), {"durationMs"}),
    ("collecting", {"durationMs"}, {"exitCode", "finishedAt"}),
    ("collecting", set(), {"exitCode"}),
    ("collecting", set(), {"exitCode"}),
    ("collecting", set(), {"exitCode"}),
    ("failed", {"exitCode", "finishedAt", "failureReason"}, set()),
]


def test_the_view_is_valid_at_every_moment() -> None:
    """Facts appear with their event and not before; cleanup is pending only while a sandbox waits for it."""
    fold = RunFold()
    assert fold.status == ""
    for event, (status, present, absent) in zip(example_events(), LIVE, strict=False):
        fold.apply(event)
        view = fold.run_view()
        assert view["status"] == status == fold.status
        assert view.keys() >= present
        assert not view.keys() & absent
        assert view["evidenceAvailable"] is fold.terminal is (status == "failed")
        if "cleanupStatus" in view:
            assert (view["cleanupStatus"] == "pending") is (fold.cleanup_status is None)
        assert fold.last_created_at == event["createdAt"]
        encode(view)
    assert repr(fold) == "RunFold(wsr_01k9x4m2c7d8e9f0g1h2j3k4m5 failed at 14)"
    assert repr(RunFold()) == "RunFold(? empty at 0)"


def test_a_copy_goes_its_own_way() -> None:
    """A cached fold survives a transaction that is rolled back."""
    fold, digests = RunFold(), StreamDigests()
    for event in example_events()[:10]:
        fold.apply(event)
        digests.update(event)
    before, sums = encode(fold.run_view()), digests.fields()
    other, more = fold.copy(), digests.copy()
    for event in example_events()[6:14]:
        other.apply(event)
        more.update(event)
    assert encode(fold.run_view()) == before
    assert digests.fields() == sums
    assert encode(other.run_view()) != before
    assert more.fields() != sums


def test_internal_events_leave_no_trace_in_views() -> None:
    """`seal` and `redaction` are not public: the fold ignores them."""
    fold = RunFold()
    for event in example_events():
        fold.apply(event)
    seen = encode(fold.run_view())
    fold.apply({"type": "redaction", "seq": 17, "createdAt": "2026-11-23T00:00:00.000Z"})
    assert (encode(fold.run_view()), fold.public_size) == (seen, 15)


def test_an_unknown_event_moves_nothing_but_the_end() -> None:
    """Later versions may add types: they count as public events and change no fact."""
    fold = RunFold()
    fold.apply(example_events()[0])
    before = fold.run_view()
    fold.apply({"type": "weather", "seq": 2, "createdAt": "2026-11-22T14:03:00.000Z"})
    assert (fold.run_view(), fold.public_size) == (before, 2)
    fold.apply({"type": "status", "status": "paused", "seq": 3, "createdAt": "2026-11-22T14:03:00.000Z"})
    assert fold.run_view()["status"] == "paused"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": []},
        {"type": "stdout"},
        {"type": "stdout", "data": 5},
        {"type": "stdout", "data": "x"},
        {"type": "status"},
        {"type": "status", "status": {}},
        {"type": "status", "status": "awaiting_archive"},
        {"type": "status", "status": "awaiting_archive", "request": []},
        {"type": "status", "status": "archive_uploaded", "archive": "x", "createdAt": "now"},
        {"type": "artifact_collected", "artifactId": "art_1"},
        {"type": "outcome", "status": "failed"},
    ],
)
def test_an_event_without_the_fields_of_its_type_cannot_be_folded(event: dict[str, Any]) -> None:
    """A hostile payload is a `FoldError` that names the event, never a bare exception."""
    with pytest.raises(FoldError, match="does not have the fields"):
        RunFold().apply(event)


def test_a_run_without_its_first_event_has_no_view() -> None:
    """There is nothing to show before the run was created."""
    for view in (RunFold().run_view, RunFold().evidence):
        with pytest.raises(FoldError, match="awaiting_archive"):
            view()


@pytest.mark.parametrize(
    ("event", "raw"),
    [
        ({"data": ""}, b""),
        ({"data": "plain"}, b"plain"),
        ({"data": "\u20ac\u2028"}, "\u20ac\u2028".encode()),
        ({"data": "\ufffd", "dataBase64": "/w=="}, b"\xff"),
        ({"data": "\ufffd\ufffd", "dataBase64": "//4="}, b"\xff\xfe"),
        ({"data": "\ufffda\ufffd", "dataBase64": "/2H+"}, b"\xffa\xfe"),
    ],
)
def test_output_is_counted_as_the_bytes_that_were_written(event: dict[str, Any], raw: bytes) -> None:
    """`dataBase64` where present, else the UTF-8 of `data`; counting makes no copy (P4.1)."""
    assert raw_bytes(event) == raw
    assert raw_size(event) == len(raw)


@pytest.mark.parametrize(
    "event", [{}, {"data": 1}, {"data": "x", "dataBase64": "///"}, {"data": "x", "dataBase64": 1}]
)
def test_output_that_cannot_be_read_is_named(event: dict[str, Any]) -> None:
    """A missing text and base64 in another spelling are refused."""
    with pytest.raises(FoldError, match="cannot be read"):
        raw_bytes(event | {"seq": 3})


def test_digests_ignore_everything_but_output() -> None:
    """Only `stdout` and `stderr` have bytes."""
    digests = StreamDigests()
    digests.update({"type": "status", "status": "running"})
    empty = sha256(b"").hexdigest()
    assert digests.fields() == {
        "stdoutBytes": 0,
        "stdoutSha256": empty,
        "stderrBytes": 0,
        "stderrSha256": empty,
    }
