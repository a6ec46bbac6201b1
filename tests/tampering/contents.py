"""Rows of P10 about what the run says: evidence, output, artifacts, redactions, attestations."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from hypothesis import strategies as st

from evidence.attestation import SealedRun, attest
from evidence.bundle import ATTESTATIONS, TEST_RESULT
from evidence.canonical import decode, encode
from evidence.dsse import parse_envelope, sign_envelope
from evidence.fold import RunFold, raw_bytes
from evidence.record import encode_base64, format_time
from tests.evidence_samples import (
    ATTESTATION_KEY,
    LOG_KEY,
    StoredRow,
    event_of,
    members,
    numbered,
    record,
    repack,
    row,
    signer,
    tamper,
    tamper_entries,
)
from tests.tampering.heads import PROOF
from tests.tampering.kit import (
    HASHES,
    OUTPUT,
    SEAL,
    SECRETS,
    SILENT,
    TERMINAL,
    Draw,
    Tampered,
    Tamperings,
    bit_flipped,
    event,
    field_forged,
    forged,
    other,
    rows,
)
from tests.whole_proof import ARTIFACT, OUTPUTS, RECORDED, SIZE, WHOLE, whole_bundle

TAMPERINGS = Tamperings()
MEMBERS = members(WHOLE)
EVIDENCE = decode(MEMBERS["evidence.json"])
ENDING = {one["status"]: one["seq"] for one in map(event, range(1, SIZE + 1)) if one["type"] == "status"}
DIGESTS = HASHES.map(bytes.hex)
SUBSETS = st.sets(OUTPUT, min_size=1)


def with_event(seq: int, fields: dict[str, Any]) -> list[StoredRow]:
    """The rows with another event of the same seq, type and time, its record and all after it made anew."""
    changed = rows()
    kept = {name: event(seq)[name] for name in ("type", "seq", "createdAt")}
    changed[seq - 1] = row(encode(fields | kept), seq)
    return changed


# ---- evidence, output, artifacts ----------------------------------------------------------------


@TAMPERINGS.caught_as("E_EVIDENCE_DRIFT")
def a_field_of_evidence(draw: Draw) -> Tampered:
    """Edited by anyone, or by the server, whose seal then names the edited one."""
    false = encode(field_forged(draw, EVIDENCE))
    seal = event(SEAL) | {"evidenceSha256": sha256(false).hexdigest()}
    edited = tamper(WHOLE, "evidence.json", lambda _: false)
    return Tampered(
        draw(st.sampled_from([edited, whole_bundle(with_event(SEAL, seal), evidence=false)])), SEAL
    )


@TAMPERINGS.caught_as("E_EVIDENCE_DRIFT")
def a_field_of_terminal(draw: Draw) -> Tampered:
    """The final state that clients see, other than the events say; signed by the server."""
    false = field_forged(draw, event(TERMINAL)["workspaceRun"])
    return Tampered(whole_bundle(with_event(TERMINAL, {"workspaceRun": false})), TERMINAL)


@TAMPERINGS.caught_as("E_EVIDENCE_DRIFT")
def a_seal_of_other_evidence(draw: Draw) -> Tampered:
    """Right evidence, and a seal that names another."""
    seal = event(SEAL) | {"evidenceSha256": other(draw, DIGESTS, event(SEAL)["evidenceSha256"])}
    return Tampered(whole_bundle(with_event(SEAL, seal)), SEAL)


@TAMPERINGS.caught_as("E_EVIDENCE_DRIFT")
def an_event_edited_and_all_signed_again(draw: Draw) -> Tampered:
    """By the server, which kept evidence and seal: no record, root or signature is wrong."""
    collecting, uploaded = ENDING["collecting"], ENDING["archive_uploaded"]
    output, collected = draw(OUTPUT), next(item.seq for item in rows() if item.type == "artifact_collected")
    archive = event(uploaded)["archive"]
    longer = event(output)["data"] + draw(st.text("abc", min_size=1, max_size=9))
    edits = [
        (collecting, {"exitCode": other(draw, st.integers(0, 255), event(collecting)["exitCode"])}),
        (collecting, {"durationMs": other(draw, st.integers(0, 10**6), event(collecting)["durationMs"])}),
        (uploaded, {"archive": archive | {"sha256": draw(DIGESTS)}}),
        (
            uploaded,
            {"archive": archive | {"sizeBytes": other(draw, st.integers(1, 10**9), archive["sizeBytes"])}},
        ),
        (collected, {"sha256": draw(DIGESTS)}),
        (collected, {"path": other(draw, st.text("abc", min_size=1), event(collected)["path"])}),
    ]
    if "dataBase64" not in event(output):
        edits.append((output, {"data": longer}))
    seq, fields = draw(st.sampled_from(edits))
    return Tampered(whole_bundle(with_event(seq, event(seq) | fields)), SEAL)


@TAMPERINGS.caught_as("E_STREAM_DIGEST")
def output_edited_and_all_signed_again(draw: Draw) -> Tampered:
    """As long as it was, so that no field of the evidence differs."""
    seq = draw(OUTPUT.filter(lambda one: "dataBase64" not in event(one)))
    data = event(seq)["data"]
    at = draw(st.sampled_from([at for at, char in enumerate(data) if char.isascii() and char.isalnum()]))
    edited = data[:at] + other(draw, st.sampled_from("abcxyz019"), data[at]) + data[at + 1 :]
    return Tampered(whole_bundle(with_event(seq, {"data": edited})), SEAL)


@TAMPERINGS.caught_as("E_STREAM_DIGEST")
def a_seal_of_other_output(draw: Draw) -> Tampered:
    """Any of the four sums."""
    name = draw(
        st.sampled_from([f"{kind}{unit}" for kind in ("stdout", "stderr") for unit in ("Bytes", "Sha256")])
    )
    value = event(SEAL)[name]
    false = other(draw, st.integers(0, 2**40) if isinstance(value, int) else DIGESTS, value)
    return Tampered(whole_bundle(with_event(SEAL, event(SEAL) | {name: false})), SEAL)


@TAMPERINGS.caught_as("E_STREAM_DIGEST")
def output_shown_otherwise_than_its_bytes(draw: Draw) -> Tampered:
    """Text beside bytes of which it is not the text, recorded and sealed by the server."""
    seq = draw(OUTPUT)
    raw = draw(st.binary(max_size=12))
    shown = other(draw, st.text("ab\ufffd", max_size=6), raw.decode("utf-8", "replace"))
    said = {"data": shown, "dataBase64": encode_base64(raw)}
    events = [event_of(item) for item in with_event(seq, said)[: TERMINAL - 1]]
    recorded = record({key: one[key] for key in one if key != "seq"} for one in events)
    return Tampered(whole_bundle(recorded.rows, evidence=recorded.evidence), seq)


@TAMPERINGS.caught_as("E_ARTIFACT_DIGEST")
def an_artifact_exchanged(draw: Draw) -> Tampered:
    """Other content, or content of which no event tells."""
    content = other(draw, st.binary(max_size=8), ARTIFACT)
    untold = other(draw, st.text("art_rst12", min_size=1, max_size=6), "art_r1")
    bundles = [MEMBERS | {"artifacts/art_r1": content}]
    if untold[0] != "_":
        bundles.append(MEMBERS | {f"artifacts/{untold}": ARTIFACT})
    return Tampered(repack(draw(st.sampled_from(bundles))))


# ---- redactions ---------------------------------------------------------------------------------


def redacted(dropped: set[int], named: list[dict[str, Any]]) -> bytes:
    """The run after payloads were dropped and a redaction was recorded, signed by the server."""
    changed = [item.redacted() if item.seq in dropped else item for item in rows()]
    if named:
        leaf = {"type": "redaction", "targets": named, "reason": "secret", "actor": "key_k1"}
        changed.append(numbered(leaf, SIZE + 1, format_time(changed[-1].created_at_ms)))
    return whole_bundle(changed)


def target(seq: int) -> dict[str, Any]:
    """What a redaction says of this event."""
    return {"seq": seq, "commitment": (rows()[seq - 1].redacted().commitment or b"").hex()}


@TAMPERINGS.caught_as("E_STREAM_DIGEST")
def a_seal_of_more_or_less_than_erased_output_can_be(draw: Draw) -> Tampered:
    """Less than what is left, more than what is left and all that was erased, or no number at all."""
    erased = draw(OUTPUT)
    kind = event(erased)["type"]
    left = sum(len(raw_bytes(event(seq))) for seq in OUTPUTS if seq != erased and event(seq)["type"] == kind)
    most = left + rows()[erased - 1].payload_size
    numbers = st.integers(-(2**40), left - 1) | st.integers(most + 1, 2**40)
    false = draw(numbers | st.sampled_from(["", True, None]))
    fold = RunFold()
    for one in map(event, range(1, TERMINAL)):
        fold.apply(one)
    setattr(fold, f"{kind}_bytes", false)
    evidence = encode(fold.evidence())
    seal = {f"{kind}Bytes": false, "evidenceSha256": sha256(evidence).hexdigest()}
    changed = [item.redacted() if item.seq == erased else item for item in rows()]
    changed[TERMINAL - 1] = row(encode(event(TERMINAL) | {"workspaceRun": fold.run_view()}))
    changed[SEAL - 1] = row(encode(event(SEAL) | seal))
    leaf = {"type": "redaction", "targets": [target(erased)], "reason": "secret", "actor": "key_k1"}
    changed.append(numbered(leaf, SIZE + 1, format_time(changed[-1].created_at_ms)))
    return Tampered(whole_bundle(changed, evidence=evidence), SEAL)


@TAMPERINGS.caught_as("E_REDACTION_UNRECORDED")
def output_silently_dropped(draw: Draw) -> Tampered:
    """Some of it, beside a redaction that names other output or none; by the server or by anyone."""
    silent = draw(SUBSETS)
    named = draw(st.sets(OUTPUT)) - silent
    by_the_server = redacted(silent | named, [target(seq) for seq in sorted(named)])
    by_anyone = tamper_entries(WHOLE, lambda e: [e[seq - 1].__setitem__(8, b"-") for seq in silent])
    return Tampered(draw(st.sampled_from([by_the_server, by_anyone])), min(silent))


@TAMPERINGS.caught_as("E_REDACTION_UNRECORDED")
def another_payload_silently_dropped(draw: Draw) -> Tampered:
    """No leave to withhold covers what is not output."""
    seq = draw(SILENT)
    withheld = draw(st.sets(OUTPUT))
    bundle = tamper_entries(WHOLE, lambda e: [e[at - 1].__setitem__(8, b"-") for at in {seq, *withheld}])
    return Tampered(bundle, seq, {"allow_withheld": True})


@TAMPERINGS.caught_as("E_REDACTION_MISMATCH")
def other_output_dropped_than_recorded(draw: Draw) -> Tampered:
    """The redaction names output that is still there."""
    named = draw(SUBSETS)
    kept = draw(st.sets(st.sampled_from(sorted(named)), min_size=1))
    dropped = (named | draw(st.sets(OUTPUT))) - kept
    return Tampered(redacted(dropped, [target(seq) for seq in sorted(named)]), min(kept))


@TAMPERINGS.caught_as("E_REDACTION_MISMATCH")
def another_commitment_recorded(draw: Draw) -> Tampered:
    """The redaction names the event, and not what it held; or an event that is not there."""
    seq = draw(OUTPUT)
    wrong = target(seq) | {"commitment": other(draw, DIGESTS, target(seq)["commitment"])}
    absent = SIZE + draw(st.integers(1, 10**6))
    seq, named = draw(st.sampled_from([(seq, wrong), (absent, target(seq) | {"seq": absent})]))
    return Tampered(redacted({min(seq, OUTPUTS[-1])} & {wrong["seq"]}, [named]), seq)


@TAMPERINGS.caught_as("E_REDACTION_FORBIDDEN")
def what_is_never_redacted(draw: Draw) -> Tampered:
    """Dropped and recorded, and no output."""
    seq = draw(SILENT)
    return Tampered(redacted({seq}, [target(seq)]), seq)


# ---- attestations -------------------------------------------------------------------------------


NAMES = st.sampled_from(ATTESTATIONS)


def statement(name: str) -> dict[str, Any]:
    """What an attestation of the bundle says."""
    return decode(parse_envelope(MEMBERS[name]).payload)


def attested_as(name: str, body: dict[str, Any]) -> Tampered:
    """The bundle in which the server signed another statement."""
    return Tampered(repack(MEMBERS | {name: sign_envelope(encode(body), ATTESTATION_KEY).to_bytes()}))


@TAMPERINGS.caught_as("E_DSSE_SIG")
def an_attestation_edited(draw: Draw) -> Tampered:
    """A bit of the statement or of its signature, in an envelope that is well spelled."""
    name = draw(NAMES)
    envelope = parse_envelope(MEMBERS[name])
    edited = [
        replace(envelope, payload=bit_flipped(draw, envelope.payload)),
        replace(envelope, signature=bit_flipped(draw, envelope.signature)),
        replace(envelope, keyid=f"{envelope.keyid[:-8]}{draw(st.binary(min_size=4, max_size=4)).hex()}"),
    ]
    chosen = draw(st.sampled_from(edited).filter(lambda one: one != envelope))
    return Tampered(repack(MEMBERS | {name: chosen.to_bytes()}))


@TAMPERINGS.caught_as("E_DSSE_SIG")
def an_attestation_signed_by_another_key(draw: Draw) -> Tampered:
    """A stranger of the same name, or the log's own key."""
    name = draw(NAMES)
    thief = signer(ATTESTATION_KEY.name, f"thief {draw(SECRETS)}")
    body = parse_envelope(MEMBERS[name]).payload
    envelope = sign_envelope(body, draw(st.sampled_from([thief, LOG_KEY])))
    return Tampered(repack(MEMBERS | {name: envelope.to_bytes()}))


@TAMPERINGS.caught_as("E_ATTESTATION_SUBJECT")
def an_attestation_of_something_else(draw: Draw) -> Tampered:
    """Of another digest or name, of more, of nothing, or taken from another of the three."""
    name = draw(NAMES)
    body = statement(name)
    first, *rest = body["subject"]
    subjects = [
        [first | {"digest": {"sha256": draw(DIGESTS)}}, *rest],
        [field_forged(draw, first), *rest],
        [first, first, *rest],
        [],
        forged(draw, body["subject"]),
        statement(other(draw, NAMES, name))["subject"],
    ]
    return attested_as(name, body | {"subject": draw(st.sampled_from(subjects))})


@TAMPERINGS.caught_as("E_ATTESTATION_SUBJECT")
def an_attestation_of_another_run(draw: Draw) -> Tampered:
    """Rightly signed by this server over a run that differs in one output."""
    name = draw(st.sampled_from([name for name in ATTESTATIONS if name != TEST_RESULT]))
    run = SealedRun(
        encode(EVIDENCE | {"workspaceRunId": f"wsr_{draw(SECRETS)}"}),
        event(SEAL),
        MEMBERS["run.checkpoint"].replace(RECORDED.stream.encode(), f"wsr_{draw(SECRETS)}".encode()),
        PROOF.index,
    )
    return Tampered(repack(MEMBERS | {name: attest(run, ATTESTATION_KEY)[name]}))


@TAMPERINGS.caught_as("E_ATTESTATION_RESULT")
def an_attestation_that_says_other_things(draw: Draw) -> Tampered:
    """Any field of any predicate, or the statement around it; signed by the server."""
    name = draw(NAMES)
    body = statement(name)
    around = {key: value for key, value in body.items() if key != "subject"}
    said = draw(st.sampled_from([body | {"predicate": field_forged(draw, body["predicate"])}, None]))
    return attested_as(name, said or field_forged(draw, around) | {"subject": body["subject"]})


@TAMPERINGS.caught_as("E_ATTESTATION_RESULT")
def a_wrong_result(draw: Draw) -> Tampered:
    """The lie that pays most."""
    body = statement(TEST_RESULT)
    right = body["predicate"]["result"]
    result = draw(st.sampled_from([word for word in ("PASSED", "WARNED", "FAILED") if word != right]))
    return attested_as(TEST_RESULT, body | {"predicate": body["predicate"] | {"result": result}})
