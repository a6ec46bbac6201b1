"""Attestations before the judge: edited, of another run, wrong, missing, too many (PROOF P9.1, P10, P11)."""

import io
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from evidence.attestation import SealedRun, attest, statements
from evidence.bundle import ATTESTATIONS, PROVENANCE, RUN_EVIDENCE, TEST_RESULT
from evidence.canonical import canonical, decode, encode
from evidence.checkpoint import parse_checkpoint
from evidence.dsse import key_id, sign_envelope
from evidence.note import Ed25519Signer, Verifier, sign_note
from evidence.policy import format_policy
from evidence.verdict import COMPLETE, REDACTED, WITHHELD
from evidence.verify import verify_bundle
from tests.evidence_samples import (
    ATTESTATION_KEY,
    EXAMPLE_EVIDENCE,
    HONEST,
    LOG_KEY,
    ORG,
    ORIGIN,
    OTHER_RUN,
    POLICY,
    RUN,
    Recorded,
    assert_caught,
    checkpoint_of,
    event_of,
    example,
    example_events,
    example_rows,
    flipped,
    judge,
    members,
    policy_of,
    record,
    repack,
    row,
    signer,
    tamper,
)

MEMBERS = members(HONEST)
UNATTESTED = {name: data for name, data in MEMBERS.items() if name not in ATTESTATIONS}
KEYLESS = format_policy(LOG_KEY.verifier_key)
RUN_OF_EXAMPLE = SealedRun(EXAMPLE_EVIDENCE, event_of(example_rows()[15]), MEMBERS["run.checkpoint"])
STATEMENTS = statements(RUN_OF_EXAMPLE)


def name_of(key: Ed25519Signer) -> str:
    """What envelopes call a key."""
    return key_id(Verifier.parse(key.verifier_key))


def bundle_with(name: str, statement: bytes, key: Ed25519Signer = ATTESTATION_KEY) -> bytes:
    """The honest bundle in which the server signed another statement."""
    return repack(MEMBERS | {name: sign_envelope(statement, key).to_bytes()})


def lie(name: str, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The honest bundle in which the server changed a statement before it signed it."""
    statement = decode(STATEMENTS[name])
    change(statement)
    return bundle_with(name, encode(statement))


def events_without_place(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """To be recorded again: without numbers and times."""
    return [{k: v for k, v in event.items() if k not in {"seq", "createdAt"}} for event in events]


def test_honest_attestations_are_told_of() -> None:
    """The verdict names them and the key, and does not say that they are missing."""
    verdict = judge(HONEST)
    told = [sentence for sentence in verdict.proven if "attestations" in sentence]
    expected = (
        "The attestations test-result.dsse.json, provenance.dsse.json, run-evidence.dsse.json say what this "
        f"run shows; they are signed by {name_of(ATTESTATION_KEY)}, which your policy trusts for that."
    )
    assert told == [expected]
    assert not any("attestation" in sentence for sentence in verdict.not_proven)


# ---- the rows of P10 ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTESTATIONS)
def test_an_edited_attestation_is_named(name: str) -> None:
    """E_DSSE_SIG: a statement changed after it was signed, or a signature changed."""
    envelope = decode(MEMBERS[name])
    statement = STATEMENTS[name]
    for edited in (
        statement.replace(b"FAILED", b"PASSED").replace(b'"status":"failed"', b'"status":"succeeded"'),
        flipped(statement, len(statement) // 2),
        b"",
    ):
        forged = encode(envelope | {"payload": b64encode(edited).decode()})
        if edited != statement:
            verdict = assert_caught(repack(MEMBERS | {name: forged}), "E_DSSE_SIG")
            assert name in verdict.message
            assert "does not fit" in verdict.message
    only = envelope["signatures"][0]
    other_signature = sign_envelope(b"{}", ATTESTATION_KEY).signature
    swapped = envelope | {"signatures": [only | {"sig": b64encode(other_signature).decode()}]}
    assert_caught(repack(MEMBERS | {name: encode(swapped)}), "E_DSSE_SIG")


@pytest.mark.parametrize("name", ATTESTATIONS)
def test_the_attestation_of_another_run_is_named(name: str) -> None:
    """E_ATTESTATION_SUBJECT, though the other run did the same with the same archive to the same end."""
    events = events_without_place(example_events()[:14])
    events[0]["runId"] = OTHER_RUN
    other = record(events)
    assert other.evidence is not None
    note = sign_note(checkpoint_of(other.rows, stream=OTHER_RUN), LOG_KEY)
    spliced = attest(SealedRun(other.evidence, event_of(other.rows[-1]), note), ATTESTATION_KEY)[name]
    assert name in assert_caught(repack(MEMBERS | {name: spliced}), "E_ATTESTATION_SUBJECT").message


@pytest.mark.parametrize(("name", "wrong"), [(a, b) for a in ATTESTATIONS for b in ATTESTATIONS if a != b])
def test_an_attestation_in_the_place_of_another_is_named(name: str, wrong: str) -> None:
    """The three are about different things, so none passes for another."""
    assert_caught(repack(MEMBERS | {name: MEMBERS[wrong]}), "E_ATTESTATION_SUBJECT")


def forge(value: Any) -> Any:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "x"
        case list():
            return value[1:] if value else ["x"]
        case _:
            return dict(list(value.items())[1:]) | {"forged": True}


def predicate_paths() -> list[tuple[str, tuple[str, ...]]]:
    """Each field of each predicate, and of the objects directly in it."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for name, body in STATEMENTS.items():
        for field, value in decode(body)["predicate"].items():
            found.append((name, (field,)))
            if isinstance(value, dict):
                found += [(name, (field, inner)) for inner in value]
    return found


@pytest.mark.parametrize(("name", "path"), predicate_paths())
def test_a_wrong_result_signed_by_the_server_is_named(name: str, path: tuple[str, ...]) -> None:
    """E_ATTESTATION_RESULT: a server that attests other things than it recorded, field by field."""

    def change(statement: dict[str, Any]) -> None:
        *outer, last = path
        place = statement["predicate"]
        for step in outer:
            place = place[step]
        place[last] = forge(place[last])

    verdict = assert_caught(lie(name, change), "E_ATTESTATION_RESULT")
    assert f"{name}: other than the events say in {path[0]}." in verdict.message


def test_a_failed_run_that_is_attested_as_passed_is_named() -> None:
    """The lie that pays most."""
    honest = decode(STATEMENTS[TEST_RESULT])
    assert honest["predicate"]["result"] == "FAILED"
    honest["predicate"]["result"] = "PASSED"
    verdict = assert_caught(bundle_with(TEST_RESULT, encode(honest)), "E_ATTESTATION_RESULT")
    assert "in result." in verdict.message
    assert verdict.clause == "P11"


@pytest.mark.parametrize(
    ("change", "code", "part"),
    [
        (lambda s: s.update(subject=[]), "E_ATTESTATION_SUBJECT", "subject"),
        (lambda s: s.pop("subject"), "E_ATTESTATION_SUBJECT", "subject"),
        (lambda s: s["subject"].append(s["subject"][0]), "E_ATTESTATION_SUBJECT", "subject"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), "E_ATTESTATION_SUBJECT", "subject"),
        (lambda s: s["subject"][0].update(name="other"), "E_ATTESTATION_SUBJECT", "subject"),
        (lambda s: s.update(predicateType="https://example.org/x"), "E_ATTESTATION_RESULT", "predicateType"),
        (lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"), "E_ATTESTATION_RESULT", "_type"),
        (lambda s: s.update(extra=1), "E_ATTESTATION_RESULT", "extra"),
        (lambda s: s.pop("predicate"), "E_ATTESTATION_RESULT", "not an object"),
        (lambda s: s["predicate"].update(extra=1), "E_ATTESTATION_RESULT", "extra"),
        (lambda s: s["predicate"].clear(), "E_ATTESTATION_RESULT", "in "),
    ],
)
@pytest.mark.parametrize("name", ATTESTATIONS)
def test_nothing_around_the_predicate_can_differ(
    name: str, change: Callable[[dict[str, Any]], None], code: str, part: str
) -> None:
    """Statement type, predicate type, subjects, and keys that nobody asked for."""
    assert part in assert_caught(lie(name, change), code).message


def test_a_number_in_the_place_of_a_truth_value_differs() -> None:
    """To Python 0 equals False; to an auditor they are two statements."""

    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["buildDefinition"]["externalParameters"]["keepSandbox"] = 0

    assert "predicate" in assert_caught(lie(PROVENANCE, change), "E_ATTESTATION_RESULT").message


@pytest.mark.parametrize(
    ("statement", "part"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (STATEMENTS[TEST_RESULT] + b" ", "canonical"),
        (STATEMENTS[TEST_RESULT].replace(b":", b": ", 1), "canonical"),
        (b'{"a":1.5}', "floats"),
    ],
)
def test_a_statement_in_another_spelling_is_refused(statement: bytes, part: str) -> None:
    """E_FORMAT: rightly signed, but not the bytes that a statement has (P9.3)."""
    assert part in assert_caught(bundle_with(TEST_RESULT, statement), "E_FORMAT").message


def test_an_envelope_in_another_spelling_is_refused() -> None:
    """E_FORMAT with the member's name."""
    for change in (
        lambda data: data + b"\n",
        lambda data: data.replace(b":", b": ", 1),
        lambda _: b"",
        lambda _: b"{}",
    ):
        verdict = assert_caught(tamper(HONEST, RUN_EVIDENCE, change), "E_FORMAT")
        assert RUN_EVIDENCE in verdict.message


# ---- which of them must be there ----------------------------------------------------------------


@pytest.mark.parametrize("name", ATTESTATIONS)
def test_a_missing_attestation_is_named(name: str) -> None:
    """The evidence says which there must be; also when only one is missing and absence is allowed."""
    left = {key: data for key, data in MEMBERS.items() if key != name}
    for options in ({}, {"allow_unattested": True}):
        assert f"lacks {name}" in assert_caught(repack(left), "E_FORMAT", **options).message


def test_an_attestation_too_many_is_named() -> None:
    """A run that made nothing has no provenance, whatever the server signs."""
    events = events_without_place([*example_events()[:10], *example_events()[12:14]])
    recorded = record(events)
    assert judge(recorded.bundle()).ok
    for options in ({}, {"allow_unattested": True}, {"allow_unattested": True, "policy": KEYLESS}):
        more = repack(members(recorded.bundle()) | {PROVENANCE: MEMBERS[PROVENANCE]})
        assert PROVENANCE in assert_caught(more, "E_FORMAT", **options).message


def test_open_runs_and_organisations_carry_none() -> None:
    """Nothing is attested before the end, and nothing about an organisation."""
    prefix = example().bundle(rows=example_rows()[:9], open_prefix=True)
    assert judge(prefix, allow_open=True).ok
    assert not any("ttestation" in sentence for sentence in judge(prefix, allow_open=True).not_proven)
    created = {"type": "organization_created", "orgId": ORG, "seq": 1, "actor": "system"}
    first = row(encode(created | {"createdAt": "2026-11-22T14:00:00.000Z"}))
    organisation = Recorded([first], None, stream=ORG).bundle()
    assert judge(organisation, expected_run=ORG, allow_open=True).ok
    for bundle, run in ((prefix, RUN), (organisation, ORG)):
        more = repack(members(bundle) | {RUN_EVIDENCE: MEMBERS[RUN_EVIDENCE]})
        verdict = assert_caught(more, "E_FORMAT", expected_run=run, allow_open=True)
        assert RUN_EVIDENCE in verdict.message


def test_erased_and_withheld_output_leaves_the_attestations_whole() -> None:
    """They tell digests, which the seal keeps."""
    withheld = judge(example().bundle(without=frozenset({"stdout"})), allow_withheld=True)
    assert withheld.verdict == WITHHELD
    rows = example_rows()
    rows[6] = rows[6].redacted()
    target = {"seq": 7, "commitment": (rows[6].commitment or b"").hex()}
    leaf = {"type": "redaction", "targets": [target], "reason": "secret", "actor": "key_k1"}
    later = event_of(example_rows()[15])["createdAt"]
    erased = judge(example().bundle(rows=[*rows, row(encode(leaf | {"seq": 17, "createdAt": later}))]))
    assert erased.verdict == REDACTED
    for verdict in (withheld, erased):
        assert any("attestations" in sentence for sentence in verdict.proven)


# ---- whose keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [signer(ATTESTATION_KEY.name, "thief"), signer(f"{ORIGIN}/other", "other"), LOG_KEY]
)
def test_only_the_policys_attestation_keys_count(key: Ed25519Signer) -> None:
    """E_DSSE_SIG for a stranger, and for the log's own key: it signs checkpoints and nothing else (P6)."""
    forged = repack(MEMBERS | attest(RUN_OF_EXAMPLE, key))
    message = assert_caught(forged, "E_DSSE_SIG").message
    assert "#crownest attestation" in message
    assert name_of(key) in message


def test_a_policy_without_an_attestation_key_says_which_line_to_add() -> None:
    """E_DSSE_SIG: nothing is taken on the word of the bundle."""
    message = assert_caught(HONEST, "E_DSSE_SIG", policy=KEYLESS).message
    assert "your policy trusts none" in message
    assert "#crownest attestation <verifier key>" in message


def test_a_keyid_cannot_command_the_terminal() -> None:
    """Names from a bundle are shown escaped and cut."""
    envelope = decode(MEMBERS[TEST_RESULT])
    keyid = f"\u202e{'n' * 200}+{'0' * 8}"
    envelope["signatures"][0]["keyid"] = keyid
    message = assert_caught(repack(MEMBERS | {TEST_RESULT: encode(envelope)}), "E_DSSE_SIG").message
    assert message.isascii()
    assert "n" * 120 not in message


def test_a_retired_attestation_key_counts_as_any_retired_key() -> None:
    """E_KEY_RETIRED where no size of the log is shown within which it counted (P6)."""
    hex_id = name_of(ATTESTATION_KEY).rpartition("+")[2]
    policy = POLICY.replace(b"quorum", f"#crownest until {hex_id} 99\nquorum".encode())
    assert_caught(HONEST, "E_KEY_RETIRED", policy=policy)


def test_two_attestation_keys_are_both_named() -> None:
    """While keys change, statements of one bundle may be signed by either."""
    new = signer(ATTESTATION_KEY.name, "new attestation")
    policy = policy_of(attestation_vkeys=[ATTESTATION_KEY.verifier_key, new.verifier_key])
    mixed = repack(MEMBERS | {TEST_RESULT: sign_envelope(STATEMENTS[TEST_RESULT], new).to_bytes()})
    text = "\n".join(judge(mixed, policy=policy).proven)
    for key in (ATTESTATION_KEY, new):
        assert name_of(key) in text


# ---- bundles without ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contents", "policy"), [(UNATTESTED, POLICY), (UNATTESTED, KEYLESS), (MEMBERS, KEYLESS)]
)
def test_absence_is_reported_when_it_is_allowed(contents: dict[str, bytes], policy: bytes) -> None:
    """Bundles of a time before attestations, and policies without a key for them: told as not proven."""
    bundle = repack(contents)
    verdict = judge(bundle, policy=policy, allow_unattested=True)
    assert (verdict.verdict, verdict.exit_code) == (COMPLETE, 0)
    assert any("ttestation" in sentence for sentence in verdict.not_proven)
    assert not any("ttestation" in sentence for sentence in verdict.proven)
    refused = judge(bundle, policy=policy)
    assert refused.code == ("E_DSSE_SIG" if contents is MEMBERS else "E_FORMAT")
    pretty = io.BytesIO(bundle)
    shown = {"shown": EXAMPLE_EVIDENCE, "allow_unlogged": True}
    assert verify_bundle(pretty, policy, **shown, allow_unattested=True).ok
    assert not verify_bundle(pretty, policy, **shown).ok


def test_what_is_there_is_judged_although_absence_is_allowed() -> None:
    """The option excuses what is missing, never what is wrong."""
    assert any("attestations" in told for told in judge(HONEST, allow_unattested=True).proven)
    wrong = lie(TEST_RESULT, lambda statement: statement["predicate"].update(result="PASSED"))
    assert_caught(wrong, "E_ATTESTATION_RESULT", allow_unattested=True)


def test_attestations_are_judged_last() -> None:
    """Everything else is blamed before (P9.1)."""
    broken = MEMBERS | {TEST_RESULT: b"", "evidence.json": b"{}"}
    assert_caught(repack(broken), "E_EVIDENCE_DRIFT", 16)
    pin = parse_checkpoint(checkpoint_of([*example_rows(), *example_rows()[:1]]))
    assert_caught(repack(UNATTESTED), "E_ROLLBACK", pin=pin)
    assert_caught(repack(UNATTESTED), "E_INCLUSION", allow_unlogged=False)


def test_evidence_of_which_nothing_can_be_attested_is_refused() -> None:
    """A server whose archive has no digest gets no further, with or without statements."""
    events = events_without_place(example_events()[:14])
    events[2]["archive"] = {"sha256": "none", "sizeBytes": 1}
    assert "64 lowercase" in assert_caught(record(events).bundle(), "E_FORMAT").message
    assert canonical(decode(STATEMENTS[TEST_RESULT])) == STATEMENTS[TEST_RESULT]
