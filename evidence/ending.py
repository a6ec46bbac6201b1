"""Owns the last judgements over a stream: redactions, seal, evidence, output, artifacts, attestations (P9.1).

Each function asks one question of what `Contents` remembered and raises `VerificationError` when the
answer is bad; the caller asks them in the order of P9.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, cast

from evidence.attestation import SealedRun, statements
from evidence.canonical import FormatError, canonical, decode, encode, parse
from evidence.contents import Contents, Stage, is_integer
from evidence.dsse import key_id, parse_envelope
from evidence.fold import EVIDENCE_PROJECTION
from evidence.note import Verifier
from evidence.verdict import VerificationError

FIELDS_NAMED_MAX = 8
"""Differing fields that a message names."""
FIELD_CHARS_MAX = 60
"""Characters of each such name."""
KEYID_CHARS_MAX = 120
"""Characters of a key's id that a message shows."""


def judge_redactions(contents: Contents, *, allow_withheld: bool) -> None:
    """Is every absent payload accounted for (P7)?"""
    contents.raise_complaint(Stage.REDACTION)
    absent = contents.absent
    seq = absent.first_irreplaceable()
    if seq is not None:
        raise VerificationError(
            "E_REDACTION_UNRECORDED",
            f"Event {seq} is neither stdout nor stderr, yet its payload is absent.",
            seq,
        )
    unrecorded = absent.unrecorded()
    if unrecorded and not allow_withheld:
        more = f" and {len(unrecorded) - 1} more" if len(unrecorded) > 1 else ""
        detail = (
            f"Event {unrecorded[0]}{more}. If the sender told you that output is "
            "withheld, allow it (--allow-withheld)."
        )
        raise VerificationError("E_REDACTION_UNRECORDED", detail, unrecorded[0])


def judge_seal(contents: Contents, size: int, evidence: bytes | None) -> None:
    """Does the stream end as it must (P4.1, P4.2)?"""
    contents.raise_complaint(Stage.SEAL)
    if not contents.is_run and evidence is not None:
        raise VerificationError("E_FORMAT", "The stream of an organisation has no evidence.json.")
    if contents.seal is None:
        if contents.terminal_seq is not None or evidence is not None:
            detail = f"It ends with event {size} and has no seal. Fetch the bundle again."
            raise VerificationError("E_NOT_FINAL", detail, size)
    elif evidence is None:
        raise VerificationError("E_FORMAT", "The run is sealed, but the bundle has no evidence.json.")


def judge_evidence(contents: Contents, seal: Mapping[str, Any], evidence: bytes) -> None:
    """Is evidence.json what was sealed and what the events say, and terminal too (P12)?"""
    if seal["projection"] != EVIDENCE_PROJECTION:
        detail = f"This verifier knows the projection {EVIDENCE_PROJECTION} only: use a newer one."
        raise VerificationError("E_FORMAT", detail, seal["seq"])
    for kind in contents.absent.types:  # what cannot be counted again is taken from the seal (P7)
        setattr(contents.fold, f"{kind}_bytes", seal[f"{kind}Bytes"])
    try:
        folded, view = contents.fold.evidence(), contents.fold.run_view()
        expected, final = encode(folded), encode(view)  # a fact may lie deeper there than in its event
    except FormatError as error:
        raise VerificationError("E_FORMAT", f"The events do not make a run: {error}.") from error
    if evidence != expected:
        raise VerificationError(
            "E_EVIDENCE_DRIFT", f"evidence.json: {_differences(evidence, folded)}.", seal["seq"]
        )
    if sha256(evidence).hexdigest() != seal["evidenceSha256"]:
        raise VerificationError("E_EVIDENCE_DRIFT", "The seal names another digest of it.", seal["seq"])
    terminal = contents.terminal
    assert terminal is not None, "judge_seal saw it directly before the seal, and its payload is never absent"
    shown = encode(terminal.get("workspaceRun"))
    if shown != final:
        raise VerificationError(
            "E_EVIDENCE_DRIFT", f"terminal: {_differences(shown, view)}.", terminal["seq"]
        )


def judge_output(contents: Contents, seal: Mapping[str, Any] | None) -> None:
    """Do the output events show their bytes rightly, and give the sealed digests (P1.3, P4.1)?"""
    contents.raise_complaint(Stage.OUTPUT)
    if seal is None:
        return
    for name, value in contents.digests.fields().items():
        if not name.startswith(tuple(contents.absent.types)) and encode(seal[name]) != encode(value):
            raise VerificationError(
                "E_STREAM_DIGEST", f"{name}: sealed {seal[name]}, found {value}.", seal["seq"]
            )
    for kind in contents.absent.types:
        least = contents.digests.size(kind)
        most = least + contents.absent.output_bytes_max[kind]
        sealed = seal[f"{kind}Bytes"]
        if type(sealed) is not int or not least <= sealed <= most:
            told = sealed if type(sealed) is int else "no number"
            detail = f"{kind}Bytes: sealed {told}, possible {least} to {most}."
            raise VerificationError("E_STREAM_DIGEST", detail, seal["seq"])


def judge_artifact(contents: Contents, artifact_id: str, chunks: Iterable[bytes]) -> None:
    """Is this the content that was collected (P8)?"""
    if artifact_id not in contents.artifacts:
        raise VerificationError("E_ARTIFACT_DIGEST", f"No event tells that {artifact_id} was collected.")
    digest, size = sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    sha256_told, size_told = contents.artifacts[artifact_id]
    if digest.hexdigest() != sha256_told or not is_integer(size_told, size):
        raise VerificationError(
            "E_ARTIFACT_DIGEST", f"{artifact_id}: {size} bytes, sha256 {digest.hexdigest()}."
        )


def judge_shown_evidence(shown: bytes, evidence: bytes | None) -> None:
    """Is a pretty evidence.json, `proof` beside, the same object as the verified one (P9.2a)?"""
    if evidence is None:
        raise VerificationError("E_NOT_FINAL", "An open run has no evidence to compare the file with.")
    try:
        value = parse(shown)
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            value = {key: fields[key] for key in fields if key != "proof"}
        same = canonical(value) == evidence
    except FormatError as error:
        raise VerificationError("E_FORMAT", f"The evidence file: {error}.") from error
    if not same:
        detail = _differences(canonical(value), cast("dict[str, Any]", parse(evidence)))
        raise VerificationError("E_EVIDENCE_DRIFT", f"The evidence file: {detail}.")


def judge_attested_members(names: Iterable[str], run: SealedRun | None) -> dict[str, bytes]:
    """The statements that this run warrants; is there an attestation of which it warrants none (P11)?

    An open run and an organisation (None) warrant none.
    """
    try:
        expected = {} if run is None else statements(run)
    except FormatError as error:
        raise VerificationError("E_FORMAT", f"Nothing can be attested: {error}.") from error
    for name in names:
        if name not in expected:
            raise VerificationError("E_FORMAT", f"{name} is here, but this run warrants no such statement.")
    return expected


def judge_attestation(name: str, expected: bytes, data: bytes | None, keys: Sequence[Verifier]) -> Verifier:
    """The key that signed it: is it one for attestations, and is the statement the one of this run (P11)?"""
    if data is None:
        detail = f"The bundle lacks {name}. If it is of a time before attestations: --allow-unattested."
        raise VerificationError("E_FORMAT", detail)
    try:
        envelope = parse_envelope(data)
        signer = envelope.signer_among(keys)
        if signer is None:
            raise VerificationError("E_DSSE_SIG", f"{name}: {_why_unsigned(envelope.keyid, keys)}")
        if envelope.payload == expected:
            return signer
        found, right = decode(envelope.payload), decode(expected)
    except FormatError as error:
        raise VerificationError("E_FORMAT", f"{name}: {error}.") from error
    if found.get("subject") != right["subject"]:
        raise VerificationError("E_ATTESTATION_SUBJECT", f"{name}: its subject is another.")
    told, shown = found.get("predicate"), right["predicate"]
    if told == shown:
        told, shown = found, right
    raise VerificationError("E_ATTESTATION_RESULT", f"{name}: {_differences(encode(told), shown)}.")


def _why_unsigned(keyid: str, keys: Sequence[Verifier]) -> str:
    """What an auditor does about a signature that no key of the policy accounts for."""
    named = ascii(keyid)[1:-1][:KEYID_CHARS_MAX]  # it may be made to confuse a terminal
    if any(key_id(key) == keyid for key in keys):
        return f"the signature of {named} does not fit: the statement or it was changed."
    known = ", ".join(key_id(key) for key in keys) or "none"
    return (
        f"it names {named}; your policy trusts {known}. If that is a key of this server, "
        "add its line to the policy: #crownest attestation <verifier key>."
    )


def _differences(shown: bytes, expected: Mapping[str, Any]) -> str:
    """The names of the fields in which two objects differ, for people."""
    try:
        value = parse(shown)
    except FormatError as error:
        return str(error)
    if not isinstance(value, dict):
        return "it is not an object"
    found = cast("dict[str, Any]", value)
    names = [
        ascii(name)[1:-1][:FIELD_CHARS_MAX]  # the name may be made to confuse a terminal
        for name in sorted(found.keys() | expected.keys())
        if name not in found or name not in expected or encode(found[name]) != encode(expected[name])
    ]
    if not names:
        return "its bytes are not canonical"
    more = f" and {len(names) - FIELDS_NAMED_MAX} more" if len(names) > FIELDS_NAMED_MAX else ""
    return f"other than the events say in {', '.join(names[:FIELDS_NAMED_MAX])}{more}"
