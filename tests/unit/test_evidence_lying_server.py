"""A server that signs what it should not: sound records, wrong contents, each named (PROOF P10)."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from evidence.canonical import encode
from evidence.verdict import REDACTED, WITHHELD, Verdict
from tests.evidence_samples import (
    EXAMPLE_EVIDENCE,
    OTHER_RUN,
    RUN,
    StoredRow,
    assert_caught,
    edit_line,
    event_of,
    example,
    example_rows,
    judge,
    numbered,
    record,
    row,
    sealed_again,
    signed_by_the_server,
    tamper,
    with_event,
)


def test_a_server_that_signs_a_shorter_prefix_is_not_final() -> None:
    """E_NOT_FINAL: with evidence.json, or with `terminal`, the seal must be there."""
    assert_caught(signed_by_the_server(example_rows()[:15]), "E_NOT_FINAL", 15)
    assert_caught(signed_by_the_server(example_rows()[:10]), "E_NOT_FINAL", 10)
    assert_caught(signed_by_the_server(example_rows()[:15], open_prefix=True), "E_NOT_FINAL", 15)


def test_output_after_the_seal_is_named() -> None:
    """E_EVENT_AFTER_SEAL, for output and for a second seal."""
    out, seal = event_of(example_rows()[6]), event_of(example_rows()[15])
    assert_caught(signed_by_the_server([*example_rows(), numbered(out, 17)]), "E_EVENT_AFTER_SEAL", 17)
    second = numbered(seal | {"lastPublicSeq": 16}, 17)
    assert_caught(signed_by_the_server([*example_rows(), second]), "E_EVENT_AFTER_SEAL", 17)


def test_nothing_follows_terminal_but_the_seal() -> None:
    """Readers of the stream stop at `terminal`: what stood between it and the seal would escape them."""
    rows = example_rows()
    out, terminal, seal = (event_of(rows[at]) for at in (6, 14, 15))
    for between in (out, terminal, {"type": "weather"}):
        bundle = [*rows[:15], numbered(between, 16), numbered(seal | {"lastPublicSeq": 16}, 17)]
        assert_caught(signed_by_the_server(bundle), "E_EVENT_AFTER_SEAL", 16)
        assert_caught(signed_by_the_server(bundle[:16]), "E_EVENT_AFTER_SEAL", 16)


def test_a_seal_follows_terminal_directly() -> None:
    """A run that is sealed without its final state was not ended as runs end."""
    rows = example_rows()
    seal = event_of(rows[15])
    early = [*rows[:14], numbered(seal | {"lastPublicSeq": 14}, 15)]
    assert_caught(signed_by_the_server(early), "E_NOT_FINAL", 15)


def test_a_sealed_run_without_evidence_cannot_be_read() -> None:
    """The bundle of a sealed run holds evidence.json (P8)."""
    assert_caught(example().bundle(open_prefix=True), "E_FORMAT")


WORKSPACE_RUN = event_of(example_rows()[14])["workspaceRun"]


@pytest.mark.parametrize("field", sorted(WORKSPACE_RUN))
def test_every_field_of_terminal_is_compared_with_the_fold(field: str) -> None:
    """A server that shows another final state than its events say is named, field by field (P12)."""
    value = WORKSPACE_RUN[field]
    forged = {bool: lambda: not value, int: lambda: value + 1, str: lambda: value + "x"}
    other = forged.get(type(value), lambda: {"forged": True})()
    for run in (
        WORKSPACE_RUN | {field: other},
        {key: item for key, item in WORKSPACE_RUN.items() if key != field},
    ):
        verdict = assert_caught(
            signed_by_the_server(with_event(15, workspaceRun=run)), "E_EVIDENCE_DRIFT", 15
        )
        assert field in verdict.message


@pytest.mark.parametrize(
    "run",
    [
        None,
        {},
        "done",
        WORKSPACE_RUN | {"extra": 1},
        WORKSPACE_RUN | {"exitCode": True},
        WORKSPACE_RUN | {"durationMs": True},
    ],
)
def test_terminal_is_the_fold_and_nothing_else(run: object) -> None:
    """No state, an empty one, a field more, and `true` for 1 are all another state."""
    assert_caught(signed_by_the_server(with_event(15, workspaceRun=run)), "E_EVIDENCE_DRIFT", 15)


def test_evidence_that_only_the_seal_vouches_for_drifts() -> None:
    """Evidence that says other things than the events is caught although the seal names its digest."""
    forged = EXAMPLE_EVIDENCE.replace(b'"exitCode":1', b'"exitCode":0')
    rows = with_event(16, evidenceSha256=sha256(forged).hexdigest())
    assert_caught(signed_by_the_server(rows, evidence=forged), "E_EVIDENCE_DRIFT", 16)


def test_a_seal_of_another_digest_drifts() -> None:
    """Right evidence, wrong digest in the seal."""
    assert_caught(signed_by_the_server(with_event(16, evidenceSha256="00" * 32)), "E_EVIDENCE_DRIFT", 16)
    assert_caught(signed_by_the_server(with_event(16, evidenceSha256=5)), "E_EVIDENCE_DRIFT", 16)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stdoutSha256", "00" * 32),
        ("stderrSha256", None),
        ("stdoutBytes", 13),
        ("stderrBytes", 22),
        ("stderrBytes", True),
    ],
)
def test_joined_output_that_differs_from_the_seal_is_named(field: str, value: object) -> None:
    """E_STREAM_DIGEST for each of the four numbers; a missing one is E_FORMAT."""
    code = "E_FORMAT" if value is None else "E_STREAM_DIGEST"
    assert_caught(signed_by_the_server(with_event(16, **{field: value})), code, 16)


@pytest.mark.parametrize(
    "fields",
    [
        {"data": "\ufffd raw\n"},
        {"data": "fine"},
        {"data": 7},
        {"data": "raw\n", "dataBase64": "cmF3Cg=="},
    ],
)
def test_output_shown_otherwise_than_its_bytes_is_named(fields: dict[str, Any]) -> None:
    """A server must not show other text than the bytes, nor bytes where text would do (P1.3)."""
    assert_caught(sealed_again(with_event(8, **fields)), "E_STREAM_DIGEST", 8)


def test_an_output_event_is_bounded() -> None:
    """64 KiB of raw bytes pass, one more does not (P1.3)."""
    assert judge(sealed_again(with_event(7, data="x" * 65536))).ok
    assert_caught(sealed_again(with_event(7, data="x" * 65537)), "E_FORMAT", 7)


def test_a_swapped_artifact_is_named() -> None:
    """E_ARTIFACT_DIGEST for other content, for a cut one, and for one that no event tells of."""
    content = b"<x/>"
    rows = with_event(11, sha256=sha256(content).hexdigest())
    honest = [("art_r1", [content[:2], content[2:]])]
    assert judge_with_artifacts(rows, honest).ok
    for other in (b"<y/>", b"<x/", b""):
        assert judge_with_artifacts(rows, [("art_r1", [other])]).code == "E_ARTIFACT_DIGEST"
    assert judge_with_artifacts(rows, [("art_r2", [content])]).code == "E_ARTIFACT_DIGEST"
    for size in (True, "1", 2):  # to Python, one byte and `true` are equal
        rows = with_event(11, sha256=sha256(b"x").hexdigest(), sizeBytes=size)
        assert judge_with_artifacts(rows, [("art_r1", [b"x"])]).code == "E_ARTIFACT_DIGEST", size


def judge_with_artifacts(rows: list[StoredRow], artifacts: Any) -> Verdict:
    """Judge a run, sealed over these rows, with artifact contents in its bundle."""
    recorded = record([event_of(item) for item in rows[:14]])
    return judge(recorded.bundle(artifacts=artifacts))


# ---- redaction ---------------------------------------------------------------------------------


def redact(
    *seqs: int, name: list[dict[str, Any]] | None = None, drop: tuple[int, ...] | None = None
) -> bytes:
    """The example with rows dropped and a redaction leaf at the end, honest unless told otherwise."""
    rows = example_rows()
    targets = []
    for seq in seqs:
        bound = rows[seq - 1].redacted().commitment
        assert bound is not None
        targets.append({"seq": seq, "commitment": bound.hex()})
    for seq in seqs if drop is None else drop:
        rows[seq - 1] = rows[seq - 1].redacted()
    leaf = {
        "type": "redaction",
        "targets": targets if name is None else name,
        "reason": "secret",
        "actor": "key_k1",
    }
    return signed_by_the_server([*rows, numbered(leaf, 17)])


def test_a_recorded_redaction_is_accepted_and_told() -> None:
    """REDACTED with the first erased event; its output is not proved, the rest is."""
    verdict = judge(redact(7, 8))
    assert (verdict.verdict, verdict.exit_code, verdict.seq) == (REDACTED, 0, 7)
    assert any("stderr" in sentence and "stdout" not in sentence for sentence in verdict.proven)
    assert any("events 7, 8" in sentence for sentence in verdict.not_proven)
    assert judge(redact(7)).verdict == REDACTED


def test_a_silently_dropped_payload_is_named() -> None:
    """E_REDACTION_UNRECORDED, for output without a redaction and for what is never redacted."""
    rows = example_rows()
    for seq in (7, 9):
        dropped = [item.redacted() if item.seq == seq else item for item in rows]
        assert_caught(signed_by_the_server(dropped), "E_REDACTION_UNRECORDED", seq)
        assert_caught(edit_line(seq, 9, lambda _: b"-"), "E_REDACTION_UNRECORDED", seq)
    assert_caught(edit_line(14, 9, lambda _: b"-"), "E_REDACTION_UNRECORDED", 14, allow_withheld=True)
    assert_caught(redact(7, drop=(7, 9)), "E_REDACTION_UNRECORDED", 9)


def test_other_rows_dropped_than_recorded_are_named() -> None:
    """E_REDACTION_MISMATCH: the target's payload is still there, or its commitment is another."""
    assert "payload is there" in assert_caught(redact(7, drop=(8,)), "E_REDACTION_MISMATCH", 7).message
    assert_caught(redact(7, drop=()), "E_REDACTION_MISMATCH", 7)
    assert_caught(redact(7, name=[{"seq": 7, "commitment": "00" * 32}]), "E_REDACTION_MISMATCH", 7)
    assert_caught(redact(7, name=[{"seq": 99, "commitment": "00" * 32}]), "E_REDACTION_MISMATCH", 99)


@pytest.mark.parametrize("seq", [1, 2, 10, 11, 15, 16])
def test_what_is_never_redacted_cannot_be_a_target(seq: int) -> None:
    """E_REDACTION_FORBIDDEN for everything that is not output."""
    assert_caught(redact(seq), "E_REDACTION_FORBIDDEN", seq)


@pytest.mark.parametrize(
    "targets",
    [
        [],
        {},
        [7],
        [{"seq": 7}],
        [{"seq": "7", "commitment": "00" * 32}],
        [{"seq": 0, "commitment": "00" * 32}],
        [{"seq": True, "commitment": "00" * 32}],  # to Python, `true` is 1
    ],
)
def test_a_redaction_that_cannot_be_read_is_refused(targets: Any) -> None:
    """E_FORMAT at the redaction."""
    assert_caught(redact(7, name=targets), "E_FORMAT", 17)
    assert_caught(redact(7, name=[{"seq": 7, "commitment": "AA" * 32}]), "E_FORMAT", 17)


def test_withheld_output_is_accepted_only_if_the_auditor_was_told() -> None:
    """WITHHELD with leave, E_REDACTION_UNRECORDED without."""
    bundle = example().bundle(without=frozenset({"stdout", "stderr"}))
    assert_caught(bundle, "E_REDACTION_UNRECORDED", 7)
    verdict = judge(bundle, allow_withheld=True)
    assert (verdict.verdict, verdict.exit_code, verdict.seq) == (WITHHELD, 0, 7)
    assert any("events 7, 8, 9" in sentence for sentence in verdict.not_proven)


def test_redacted_output_keeps_the_sealed_sums_in_evidence() -> None:
    """The fold takes what cannot be counted again from the seal, and notices when evidence differs (P7)."""
    bundle = tamper(
        redact(7, 8), "evidence.json", lambda data: data.replace(b'"stdoutBytes":12', b'"stdoutBytes":11')
    )
    assert_caught(bundle, "E_EVIDENCE_DRIFT", 16)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (lambda text: text.replace(b'"data":', b'"data": '), "E_NONCANONICAL"),
        (lambda text: text.replace(b'"data":', b'"data":"x","data":'), "E_NONCANONICAL"),
        (lambda text: text[:-1] + b',"a":1}', "E_NONCANONICAL"),
        (lambda text: text.replace(b"ok 1", b"\\u006fk 1"), "E_NONCANONICAL"),
        (lambda text: text.replace(b"ok 1", "\u2028".encode()), "E_NONCANONICAL"),
        (lambda text: b'{"a":1.5,' + text[1:], "E_NONCANONICAL"),
        (lambda text: b"[]", "E_FORMAT"),
        (lambda text: text[:-1], "E_FORMAT"),
        (lambda text: text.replace(b"ok 1", b"\xff"), "E_FORMAT"),
        (lambda text: text.replace(b'"stdout"', b'"stderr"'), "E_HEADER_PAYLOAD_DISAGREE"),
        (lambda text: text.replace(b'"seq":7', b'"seq":8'), "E_HEADER_PAYLOAD_DISAGREE"),
        (lambda text: text.replace(b"01.000Z", b"01.001Z"), "E_HEADER_PAYLOAD_DISAGREE"),
        (lambda text: text.replace(b',"seq":7', b""), "E_HEADER_PAYLOAD_DISAGREE"),
        (lambda text: text.replace(b'"data":"ok 1\\n",', b""), "E_FORMAT"),
        (lambda text: text.replace(b'"ok 1\\n"', b"1"), "E_FORMAT"),
    ],
)
def test_a_payload_that_the_server_recorded_wrongly_is_named(
    payload: Callable[[bytes], bytes], code: str
) -> None:
    """Signed and chained, yet spelled twice, unreadable, or at odds with its record."""
    rows = example_rows()
    text = payload(rows[6].payload or b"")
    assert text != rows[6].payload
    rows[6] = replace(rows[6], payload=text, payload_size=len(text))
    assert_caught(signed_by_the_server(rows), code, 7)


def test_header_and_payload_that_disagree_are_named() -> None:
    """The size, the run's own id, a boolean for seq 1, and the seal's last public seq."""
    rows = example_rows()
    rows[6] = replace(rows[6], payload_size=rows[6].payload_size + 1)
    assert_caught(signed_by_the_server(rows), "E_HEADER_PAYLOAD_DISAGREE", 7)
    assert_caught(signed_by_the_server(with_event(1, runId=OTHER_RUN)), "E_HEADER_PAYLOAD_DISAGREE", 1)
    assert_caught(signed_by_the_server(with_event(1, runId=None)), "E_HEADER_PAYLOAD_DISAGREE", 1)
    assert_caught(signed_by_the_server(with_event(1, seq=True)), "E_HEADER_PAYLOAD_DISAGREE", 1)
    for last in (14, 16, "15"):
        rows = with_event(16, lastPublicSeq=last)
        assert_caught(signed_by_the_server(rows), "E_HEADER_PAYLOAD_DISAGREE", 16)


def test_a_fold_that_this_verifier_does_not_know_is_refused() -> None:
    """A new fold is a new name: the message says to use a newer verifier (P12)."""
    verdict = assert_caught(signed_by_the_server(with_event(16, projection="evidence/v2")), "E_FORMAT", 16)
    assert "newer" in verdict.message


def test_events_whose_evidence_would_be_nested_too_deeply_make_no_run() -> None:
    """The fold puts `limits` one level deeper than its event has them: the run is refused, not the file."""
    limits: dict[str, Any] = {}
    for _ in range(62):
        limits = {"a": limits}
    (at,) = [at for at, item in enumerate(example_rows()) if event_of(item).get("status") == "extracting"]
    rows = with_event(at + 1, limits=limits)
    assert_caught(signed_by_the_server(rows), "E_FORMAT", None)


def test_a_run_that_does_not_begin_as_a_run_has_no_evidence() -> None:
    """Without `awaiting_archive` there is nothing to compare evidence with."""
    rows = example_rows()
    event = {
        "type": "status",
        "status": "weird",
        "seq": 1,
        "createdAt": "2026-11-22T14:03:00.000Z",
        "runId": RUN,
    }
    rows[0] = row(encode(event))
    assert_caught(signed_by_the_server(rows), "E_FORMAT")
