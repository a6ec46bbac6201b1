"""Routes of the proof: of a run, of an organisation, of the global log (CONTRACT §2.1, PROOF)."""

from __future__ import annotations

from api.bodies import RedactionBody
from api.operation_tables.operation import (
    AFTER_SEQ,
    BYTES,
    SEQ_LIMIT,
    Operation,
    Parameter,
    Tag,
    a_page,
    as_json,
    binary,
    plain,
)
from api.operation_tables.runs import RUNS
from api.schemas.parts import FLAG, SEQ, wraps

ZIP = "application/zip"
_FROM = Parameter("from", "The earlier size, in events.", SEQ, required=True)
_TO = Parameter("to", "The later size; left out, the present one.", SEQ)
_WITHOUT = Parameter(
    "without",
    "Output to hold back, so that the proof can be shown without it.",
    {"type": "string", "pattern": "^(stdout|stderr)?(,(stdout|stderr)?)*$"},
)
_ARTIFACTS = Parameter("artifacts", "`true` adds the contents of artifacts; wants `artifact:read` too.", FLAG)


def proofs_of(
    base: str, noun: str, tag: Tag, scope: str, *, bundle: tuple[Parameter, ...] = ()
) -> tuple[Operation, ...]:
    """The four routes that prove a stream; `noun` ends their operation ids."""
    whose = "a run" if noun == "WorkspaceRun" else "an organisation"
    return (
        Operation(
            "GET", f"{base}/proof/checkpoint", f"get{noun}Checkpoint", tag, f"Signed checkpoint of {whose}",
            scope=scope, answer=plain("A signed note: origin, size, Merkle root, signatures."),
        ),
        Operation(
            "GET", f"{base}/proof/bundle", f"get{noun}ProofBundle", tag, f"Proof bundle of {whose}",
            scope=scope,
            description="Everything that `crownest verify` needs, in one file: events, evidence, signatures.",
            parameters=bundle, answer=binary(ZIP, "The proof bundle."),
            errors=("file_too_large", "conflict"),
        ),
        Operation(
            "GET", f"{base}/proof/events", f"get{noun}ProofEvents", tag, f"Window of the events of {whose}",
            scope=scope,
            description="Events as they are stored, internal ones too, and a proof up to the signed root.",
            parameters=(AFTER_SEQ, SEQ_LIMIT), answer=plain("Records, a range proof, and the checkpoint."),
        ),
        Operation(
            "GET", f"{base}/proof/consistency", f"get{noun}Consistency", tag, f"Consistency of {whose}",
            scope=scope,
            description="Proves that the first `from` events stand unchanged among the first `to`.",
            parameters=(_FROM, _TO),
            answer=plain("A consistency proof and the checkpoint of the later size."),
        ),
    )  # fmt: skip


_READ = "workspace_run:read"
_A_RUN = f"{RUNS}/{{run_id}}"

PROOF_OPERATIONS = (
    *proofs_of(_A_RUN, "WorkspaceRun", "Proof", _READ, bundle=(_WITHOUT, _ARTIFACTS)),
    Operation(
        "POST", f"{_A_RUN}/verify", "verifyWorkspaceRun", "Proof", "Let the server check its own proof",
        scope=_READ,
        description="The auditor's own code over the stored bytes. It does not replace your own check.",
        answer=as_json(wraps(verdict="Verdict")), errors=("conflict", "file_too_large"),
    ),
    Operation(
        "GET", f"{_A_RUN}/attestations", "listWorkspaceRunAttestations", "Proof", "Attestations of a run",
        scope=_READ, description="Signed statements in DSSE envelopes; none before the run has ended.",
        answer=a_page("Attestation"),
    ),
    Operation(
        "POST", f"{_A_RUN}/redactions", "redactWorkspaceRun", "Proof", "Erase output of a run",
        scope="workspace_run:redact",
        description=(
            "Erases the text of these output events everywhere and records who did it and why. It cannot be "
            "undone. The proof of everything else still holds."
        ),
        body=RedactionBody, status=201, answer=as_json(wraps(redaction="Redaction")), is_idempotent=True,
        errors=("conflict",),
    ),
    Operation(
        "GET", "/v1/proof/policy", "getProofPolicy", "Proof", "The trust policy",
        is_public=True, description="The keys to trust. Keep it apart from every bundle that it is to judge.",
        answer=plain("The policy file."),
    ),
    Operation(
        "GET", "/v1/signing-keys", "listSigningKeys", "Proof", "Signing keys, newest first",
        scope="audit:read", answer=a_page("SigningKey"),
    ),
    Operation(
        "POST", "/v1/signing-keys/rotate", "rotateSigningKey", "Proof", "Put a new signing key in force",
        scope="signing_key:rotate",
        description="The old key vouches for the new one in the log. It cannot be undone.",
        answer=as_json(wraps(signingKey="SigningKey")), errors=("conflict",),
    ),
    Operation(
        "GET", "/log/checkpoint", "getLogCheckpoint", "Global log", "Newest checkpoint of the global log",
        is_public=True, answer=plain("A signed note, with the cosignatures that it got."),
        errors=("not_found",),
    ),
    Operation(
        "GET", "/log/tile/{path}", "getLogTile", "Global log", "A tile or an entry bundle",
        is_public=True, description="C2SP tlog-tiles. The path has slashes; its bytes never change.",
        answer=binary(BYTES, "Hashes, or entries."),
    ),
    Operation(
        "GET", "/log/handovers", "listLogHandovers", "Global log", "Sizes at which a key handed over",
        is_public=True, answer=plain("One size a line."),
    ),
    Operation(
        "GET", "/log/handover/{size}", "getLogHandover", "Global log", "The checkpoint of a handover",
        is_public=True, answer=plain("A note that the old and the new key signed."),
    ),
)  # fmt: skip
