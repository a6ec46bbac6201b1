"""What a verification answers: verdicts, exit codes, sentences, and the ways in (PROOF P9.2)."""

import io
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from evidence.absent import ABSENT_MAX, AbsentPayloads
from evidence.bundle import EntryChain, split_entry
from evidence.canonical import encode, parse
from evidence.chain import TYPES_KNOWN_MAX, Header
from evidence.checkpoint import parse_checkpoint
from evidence.contents import KEPT_BYTES_MAX
from evidence.note import sign_note
from evidence.record import encode_base64, genesis
from evidence.report import REWRITE, TRUTH
from evidence.verdict import CODES, Options, VerificationError
from evidence.verify import StreamVerifier, verify_bundle
from tests.evidence_samples import (
    EXAMPLE_EVIDENCE,
    HONEST,
    LOG_KEY,
    ORG,
    ORIGIN,
    POLICY,
    RUN,
    Recorded,
    StoredRow,
    assert_caught,
    attested,
    checkpoint_of,
    event_of,
    example,
    example_events,
    example_rows,
    flipped,
    judge,
    members,
    numbered,
    record,
    row,
    signed_by_the_server,
    tamper,
)


def test_the_verdict_is_an_object_with_every_key() -> None:
    """The JSON of P9.2, sentences included; failures have the same keys."""
    keys = {
        "verdict",
        "code",
        "seq",
        "clause",
        "message",
        "stream",
        "size",
        "root",
        "notBefore",
        "notAfter",
        "proven",
        "notProven",
    }
    for verdict in (
        judge(HONEST),
        judge(b""),
        judge(HONEST, policy=b""),
        judge(HONEST, expected_run="wsr_x"),
    ):
        assert verdict.to_dict().keys() == keys
        assert json.loads(json.dumps(verdict.to_dict())) == verdict.to_dict()
        assert {TRUTH, REWRITE} <= set(verdict.not_proven)
    assert judge(HONEST, expected_run="wsr_x").to_dict() | {"message": "", "notProven": []} == {
        "verdict": "FAILED",
        "code": "E_ORIGIN_MISMATCH",
        "seq": None,
        "clause": "P4.3",
        "message": "",
        "stream": RUN,
        "size": 16,
        "root": "o1/jxi1+E+KjNtDSPEw4MA37TwJcsGhnXw0gM6dfuWU=",
        "notBefore": None,
        "notAfter": None,
        "proven": [],
        "notProven": [],
    }


def test_what_is_proved_is_said_and_what_is_not_too() -> None:
    """Sentences name the key, the size, the seal, the output, and the limits of it all (P0)."""
    verdict = judge(HONEST, expected_run=None)
    text = "\n".join(verdict.proven)
    for part in (ORIGIN, RUN, "All 16 events", "event 16 seals", "evidence.json", "stdout and stderr"):
        assert part in text
    text = "\n".join(verdict.not_proven)
    for part in (
        "told the truth",
        "sign it again",
        "notAfter: none",
        "run.tlog-proof",
        "(--run)",
        "1 artifact:",
    ):
        assert part in text
    assert "(--run)" not in "\n".join(judge(HONEST).not_proven)


@pytest.mark.parametrize(
    ("bundle", "options", "expected"),
    [
        (HONEST, {}, ("COMPLETE", 0)),
        (example().bundle(rows=example_rows()[:9], open_prefix=True), {}, ("OPEN_PREFIX", 1)),
        (
            example().bundle(rows=example_rows()[:9], open_prefix=True),
            {"allow_open": True},
            ("OPEN_PREFIX", 0),
        ),
        (example().bundle(without=frozenset({"stdout"})), {}, ("FAILED", 1)),
        (example().bundle(without=frozenset({"stdout"})), {"allow_withheld": True}, ("WITHHELD", 0)),
        (tamper(HONEST, "evidence.json", lambda data: data + b" "), {}, ("FAILED", 1)),
        (HONEST[:-1], {}, ("FAILED", 2)),
        (HONEST, {"policy": b"nothing"}, ("FAILED", 2)),
    ],
)
def test_exit_codes_are_those_of_the_contract(bundle: bytes, options: dict[str, Any], expected: Any) -> None:
    """0 accepted, 1 refused, 2 unreadable (P9.2)."""
    verdict = judge(bundle, **options)
    assert (verdict.verdict, verdict.exit_code) == expected
    assert verdict.ok is (verdict.exit_code == 0)


def test_an_open_prefix_says_that_more_may_follow() -> None:
    """Also an empty one, and one whose output is withheld."""
    for size in (0, 1, 9):
        bundle = example().bundle(rows=example_rows()[:size], open_prefix=True, without=frozenset({"stdout"}))
        verdict = judge(bundle, allow_open=True, allow_withheld=True)
        assert (verdict.verdict, verdict.size, verdict.exit_code) == ("OPEN_PREFIX", size, 0)
        assert any("later events may exist" in sentence for sentence in verdict.not_proven)


def test_an_open_prefix_still_shows_its_output_rightly() -> None:
    """What can be checked without a seal is checked."""
    rows = example_rows()[:8]
    rows[7] = row(encode(example_events()[7] | {"data": "fine"}))
    assert_caught(example().bundle(rows=rows, open_prefix=True), "E_STREAM_DIGEST", 8)


def test_many_erased_events_are_counted_not_listed() -> None:
    """A sentence names ten events and the number of the rest."""
    out = {"type": "stdout", "data": "x"}
    events = [{k: v for k, v in e.items() if k not in {"seq", "createdAt"}} for e in example_events()]
    recorded = record([*events[:6], *[out] * 15, *events[9:14]])
    bundle = recorded.bundle(without=frozenset({"stdout"}))
    sentences = judge(bundle, allow_withheld=True).not_proven
    assert any("16 and 5 more;" in sentence for sentence in sentences)


# ---- organisations ------------------------------------------------------------------------------


def organisation(*more: dict[str, Any]) -> Recorded:
    """An organisation's stream (CONTRACT §6.7)."""
    at = {"createdAt": "2026-11-22T14:00:00.000Z", "actor": "system"}
    events = [
        {
            "type": "organization_created",
            "orgId": ORG,
            "name": "Acme",
            "plan": "enterprise",
            "schema": "events/v1",
        },
        {"type": "project_created", "projectId": "prj_a1", "name": "default", "limits": {}},
        *more,
    ]
    return Recorded(
        [row(encode(at | event | {"seq": n})) for n, event in enumerate(events, 1)], None, stream=ORG
    )


def test_the_stream_of_an_organisation_is_always_open() -> None:
    """It has no seal: its verdict is OPEN_PREFIX (P2.3a)."""
    verdict = judge(organisation().bundle(), expected_run=ORG, allow_open=True)
    assert (verdict.verdict, verdict.code, verdict.exit_code, verdict.stream) == ("OPEN_PREFIX", None, 0, ORG)
    late = {"type": "artifact_collected", "artifactId": "art_9", "sizeBytes": 4, "path": "p", "name": "n"}
    recorded = organisation(late | {"sha256": sha256(b"late").hexdigest()})
    for content, code in ((b"late", None), (b"fate", "E_ARTIFACT_DIGEST")):
        bundle = recorded.bundle(artifacts=[("art_9", [content])])
        assert judge(bundle, expected_run=ORG, allow_open=True).code == code


def test_the_types_of_a_run_mean_nothing_in_an_organisation() -> None:
    """`terminal` ends runs only; an artifact whose id is no text is nobody's."""
    strange = {"type": "artifact_collected", "artifactId": ["art_9"]}
    recorded = organisation({"type": "terminal"}, strange, {"type": "weather"})
    assert judge(recorded.bundle(), expected_run=ORG, allow_open=True).ok
    bundle = recorded.bundle(artifacts=[("art_9", [b""])])
    assert judge(bundle, expected_run=ORG, allow_open=True).code == "E_ARTIFACT_DIGEST"


def test_an_organisation_has_no_seal_no_evidence_and_no_redactions() -> None:
    """What belongs to runs alone is refused in its stream."""
    seal = event_of(example_rows()[15]) | {"lastPublicSeq": 2, "createdAt": "2026-11-22T14:00:00.000Z"}
    verdict = assert_caught(organisation(seal).bundle(), "E_FORMAT", 3, expected_run=ORG)
    assert "has no seal" in verdict.message
    assert_caught(organisation().bundle(evidence=b"{}"), "E_FORMAT", expected_run=ORG)
    recorded = organisation()
    dropped = [recorded.rows[0], recorded.rows[1].redacted()]
    bound = dropped[1].commitment or b""
    leaf = {"type": "redaction", "targets": [{"seq": 2, "commitment": bound.hex()}]}
    rows = [*dropped, numbered(leaf, 3)]
    assert_caught(recorded.bundle(rows=rows), "E_REDACTION_FORBIDDEN", 2, expected_run=ORG)
    other = [
        row(
            encode(
                {
                    "type": "organization_created",
                    "orgId": "org_x",
                    "seq": 1,
                    "createdAt": "2026-11-22T14:00:00.000Z",
                }
            )
        )
    ]
    assert_caught(recorded.bundle(rows=other), "E_HEADER_PAYLOAD_DISAGREE", 1, expected_run=ORG)


# ---- the pretty evidence file -------------------------------------------------------------------


def pretty(**changes: Any) -> bytes:
    """What `evidence --output` writes: indented, with the proof beside the evidence."""
    value = {"proof": {"origin": ORIGIN, "size": 16}, **json.loads(EXAMPLE_EVIDENCE), **changes}
    return json.dumps(value, indent=2).encode()


def test_a_pretty_evidence_file_is_compared_with_the_sealed_one() -> None:
    """Parse, drop `proof`, canonicalise, compare (P9.2a)."""
    for shown in (pretty(), EXAMPLE_EVIDENCE):
        verdict = judge(HONEST, shown=shown)
        assert (verdict.verdict, verdict.exit_code) == ("COMPLETE", 0)


@pytest.mark.parametrize(
    ("shown", "code", "part"),
    [
        (pretty(exitCode=0), "E_EVIDENCE_DRIFT", "exitCode"),
        (pretty(extra=1), "E_EVIDENCE_DRIFT", "extra"),
        (pretty(exitCode=1.0), "E_FORMAT", "floats"),
        (b"[]", "E_EVIDENCE_DRIFT", "not an object"),
        (b"{", "E_FORMAT", "not JSON"),
        (b"\xff", "E_FORMAT", "UTF-8"),
    ],
)
def test_an_edited_evidence_file_is_named(shown: bytes, code: str, part: str) -> None:
    """The message names the field."""
    verdict = judge(HONEST, shown=shown)
    assert (verdict.code, verdict.exit_code) == (code, 1)
    assert part in verdict.message


def test_an_evidence_file_is_nothing_without_a_sealed_run(tmp_path: Path) -> None:
    """An open run has no evidence; a bad bundle proves none."""
    path = tmp_path / "proof.zip"
    path.write_bytes(example().bundle(rows=example_rows()[:9], open_prefix=True))
    assert verify_bundle(path, POLICY, shown=pretty()).code == "E_NOT_FINAL"
    verdict = verify_bundle(io.BytesIO(flipped(HONEST, HONEST.index(b"ok 1"))), POLICY, shown=pretty())
    assert (verdict.code, verdict.seq) == ("E_PAYLOAD_MISMATCH", 7)


# ---- entry by entry, as the server does it ------------------------------------------------------


def note(rows: list[StoredRow]) -> bytes:
    """The signed checkpoint of these rows."""
    return sign_note(checkpoint_of(rows), LOG_KEY)


def test_stored_rows_are_judged_without_a_bundle() -> None:
    """The server feeds entries as it reads them; the verdict is the one of the bundle."""
    rows = example_rows()
    verifier = StreamVerifier(POLICY, Options(expected_run=RUN, allow_unlogged=True))
    assert verifier.progress == (0, 0)
    assert verifier.begin(note(rows), b"")
    chain = EntryChain(RUN, genesis(RUN, b""))
    for number, item in enumerate(rows, 1):
        assert verifier.add(split_entry(chain.add(item)))
        assert verifier.progress == (number, 16)
    verdict = verifier.finish(EXAMPLE_EVIDENCE, attestations=attested(rows, note(rows), EXAMPLE_EVIDENCE))
    assert verdict == judge(HONEST)
    assert verifier.finish(b"ignored") is verdict


def test_after_the_first_failure_nothing_more_is_taken() -> None:
    """`begin` and `add` answer that going on is pointless, and the first failure stays."""
    rows = example_rows()
    entries = [split_entry(EntryChain(RUN, genesis(RUN, b"")).add(item)) for item in rows]
    verifier = StreamVerifier(POLICY)
    assert verifier.begin(note(rows), b"")
    assert verifier.add(entries[0])
    assert not verifier.add(entries[0])
    assert not verifier.add(entries[1])
    assert verifier.finish().code == "E_SEQ_DUP"
    verifier = StreamVerifier(POLICY)
    assert not verifier.begin(b"junk", b"")
    assert not verifier.add(entries[0])
    assert verifier.finish().code == "E_FORMAT"
    verifier = StreamVerifier(b"junk")
    assert not verifier.begin(note(rows), b"")
    assert verifier.finish().exit_code == 2
    verifier = StreamVerifier(POLICY)
    assert not verifier.add(entries[0])
    assert verifier.finish().exit_code == 2


def test_a_checkpoint_that_is_no_checkpoint_is_named() -> None:
    """A rightly signed note over something else."""
    for text in (
        "hello\n",
        f"{ORIGIN}/run/{RUN}\n16\n",
        f"{ORIGIN}/run/{RUN}\n016\n{encode_base64(bytes(32))}\n",
    ):
        assert_caught(example().bundle(note=sign_note(text, LOG_KEY)), "E_FORMAT")
    assert_caught(tamper(HONEST, "run.checkpoint", lambda _: b""), "E_FORMAT")


# ---- limits -------------------------------------------------------------------------------------


def test_what_must_be_remembered_is_bounded() -> None:
    """Artifact events, type names and absent payloads have named limits, told as E_FORMAT."""
    error = {"type": "artifact_error", "error": {"code": "x", "message": "m" * 500_000, "path": "p"}}
    count = KEPT_BYTES_MAX // 500_000 + 1
    rows = [*example_rows()[:6], *(numbered(error, 7 + n) for n in range(count))]
    assert_caught(signed_by_the_server(rows, open_prefix=True), "E_FORMAT", 6 + count)
    names = [f"t_{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(TYPES_KNOWN_MAX)]
    rows = [*example_rows()[:6], *(numbered({"type": name}, 7 + n) for n, name in enumerate(names))]
    assert judge(signed_by_the_server(rows, open_prefix=True), allow_open=True).code == "E_FORMAT"


def test_absent_payloads_are_counted_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past it the stream is refused rather than the memory filled."""
    assert ABSENT_MAX == 4_000_000
    monkeypatch.setattr("evidence.absent.ABSENT_MAX", 2)
    absent = AbsentPayloads()
    line = encode_base64(bytes(32)).encode() + b"\n"
    for seq in (1, 2):
        absent.add(Header(seq, "stdout", "", 0, line))
    assert len(absent) == 2
    with pytest.raises(VerificationError, match="absent"):
        absent.add(Header(3, "stdout", "", 0, line))


def test_every_code_has_its_clause_and_meaning() -> None:
    """The table is complete sentences, and errors are made of it."""
    for name, code in CODES.items():
        assert name.startswith("E_")
        assert code.clause.startswith("P")
        assert code.meaning.endswith(".")
        assert str(VerificationError(name, "Because.")) == f"{name}: {code.meaning} Because."


def test_a_bundle_open_as_a_file_works_too(tmp_path: Path) -> None:
    """Any seekable binary file will do."""
    path = tmp_path / "proof.zip"
    path.write_bytes(HONEST)
    with path.open("rb") as file:
        assert verify_bundle(file, POLICY, allow_unlogged=True).ok
    assert parse(members(HONEST)["evidence.json"]) == parse(EXAMPLE_EVIDENCE)
    assert parse_checkpoint(checkpoint_of(example_rows())).size == 16
