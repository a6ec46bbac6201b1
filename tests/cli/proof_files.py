"""Makes genuine, sealed proof bundles of small runs, and damages copies of them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evidence.attestation import SealedRun, attest
from evidence.bundle import write_bundle
from evidence.canonical import canonical, decode
from evidence.checkpoint import Checkpoint, format_checkpoint
from evidence.fold import RunFold, StreamDigests, seal_fields
from evidence.merkle import CompactRange
from evidence.note import Ed25519Signer, sign_note
from evidence.policy import format_policy
from evidence.record import commitment, format_time, genesis, leaf_hash, record_bytes
from evidence.tlog import TlogProof

RUN = "wsr_0example0example0example00"
ORIGIN = "crownest.local/0123456789abcdef"
START_MS = 1_795_356_180_000
TEMPLATE = {"id": "tpl_base", "slug": "base", "version": "1", "versionId": "tplv_1"}
REQUEST = {
    "artifacts": [],
    "command": "make test",
    "keepSandbox": False,
    "metadata": {"repo": "acme/app"},
    "projectId": "prj_1",
    "sourceMetadata": {},
    "template": "base",
    "timeoutMs": 600_000,
}
EVENTS: list[dict[str, Any]] = [
    {"type": "status", "status": "awaiting_archive", "runId": RUN, "orgId": "org_1", "actor": "key_1",
     "envKeys": [], "schema": "events/v1", "request": REQUEST, "template": TEMPLATE},
    {"type": "status", "status": "archive_uploaded", "actor": "key_1",
     "archive": {"sha256": "ab" * 32, "sizeBytes": 12}},
    {"type": "status", "status": "starting", "actor": "key_1", "sandboxId": "sbx_1"},
    {"type": "status", "status": "extracting", "provider": "process", "isolation": "none", "limits": {},
     "runner": "local", "template": TEMPLATE},
    {"type": "status", "status": "running", "commandId": "cmd_1", "entries": 1, "bytes": 5},
    {"type": "stdout", "data": "FAILED (failures=1)\n"},
    {"type": "stderr", "data": "\ufffd\n", "dataBase64": "/wo="},
    {"type": "status", "status": "collecting", "durationMs": 9, "exitCode": 1},
    {"type": "cleanup", "cleanupStatus": "succeeded", "reason": "finished"},
    {"type": "outcome", "status": "failed", "failureReason": "command_exit", "failureClass": "user_command",
     "orchestrationSucceeded": True},
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row as a log would store it."""

    seq: int
    type: str
    created_at_ms: int
    payload: bytes | None
    salt: bytes | None
    payload_size: int
    commitment: bytes | None = None


@dataclass(frozen=True)
class Proof:
    """A bundle and the policy that trusts its signer."""

    bundle: bytes
    policy: bytes
    evidence: bytes


def make_proof(*, sealed: bool = True, without: frozenset[str] = frozenset()) -> Proof:
    """A run that failed with exit code 1, signed by a key of this test."""
    signer = Ed25519Signer.generate(ORIGIN)
    rows, evidence = _rows(sealed=sealed)
    tree, prev = CompactRange(), genesis(RUN, b"")
    for row in rows:
        assert row.payload is not None
        assert row.salt is not None
        bound = commitment(row.salt, row.payload)
        created_at = format_time(row.created_at_ms)
        prev = leaf_hash(record_bytes(RUN, row.seq, row.type, created_at, row.payload_size, bound, prev))
        tree.append(prev)
    text = format_checkpoint(ORIGIN, RUN, tree.size, tree.root())
    checkpoint = sign_note(text, signer)
    # The global log holds nothing but this run's checkpoint: its leaf is the root.
    log_note = sign_note(str(Checkpoint(ORIGIN, 1, leaf_hash(text.encode()))), signer)
    attestation_signer = Ed25519Signer.generate(f"{ORIGIN}/attestation")
    out = io.BytesIO()
    write_bundle(
        out,
        stream=RUN,
        rows=rows,
        checkpoint=checkpoint,
        anchor=b"",
        evidence=evidence if sealed else None,
        without=without,
        tlog_proof=TlogProof(0, (), log_note).to_bytes() if sealed else None,
        attestations=_attestations(rows, evidence, checkpoint, attestation_signer) if sealed else None,
    )
    policy = format_policy(signer.verifier_key, attestation_vkeys=[attestation_signer.verifier_key])
    return Proof(out.getvalue(), policy, evidence)


def _attestations(
    rows: list[Row], evidence: bytes, checkpoint: bytes, signer: Ed25519Signer
) -> dict[str, bytes]:
    assert rows[-1].payload is not None
    return attest(SealedRun(evidence, decode(rows[-1].payload), checkpoint, 0), signer)


def _rows(*, sealed: bool) -> tuple[list[Row], bytes]:
    fold, digests, rows = RunFold(), StreamDigests(), []
    for fields in EVENTS if sealed else EVENTS[:6]:
        rows.append(_row(len(rows) + 1, fields, fold, digests))
    evidence = canonical(fold.evidence()) if sealed else b""
    if sealed:
        run_view = {**fold.run_view(), "evidenceAvailable": True}
        rows.append(_row(len(rows) + 1, {"type": "terminal", "workspaceRun": run_view}, fold, digests))
        seal = {"type": "seal", **seal_fields(evidence, digests, len(rows))}
        rows.append(_row(len(rows) + 1, seal, fold, digests))
    return rows, evidence


def _row(seq: int, fields: dict[str, Any], fold: RunFold, digests: StreamDigests) -> Row:
    at_ms = START_MS + 10 * seq
    event = {**fields, "seq": seq, "createdAt": format_time(at_ms)}
    fold.apply(event)
    digests.update(event)
    payload = canonical(event)
    salt = hashlib.sha256(f"salt{seq}".encode()).digest()[:16]
    return Row(seq, event["type"], at_ms, payload, salt, len(payload))


def tampered(bundle: bytes, member: str, change: Callable[[bytes], bytes]) -> bytes:
    """A copy of the bundle with one member changed, the zip itself being sound."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle)) as source, zipfile.ZipFile(out, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            target.writestr(info, change(content) if info.filename == member else content)
    return out.getvalue()
