"""Schemas of a Workspace Run, its archive and transfer, and its evidence (CONTRACT §3, §4, §6.6)."""

from __future__ import annotations

from api.schemas.parts import (
    ANY_OBJECT,
    COUNT,
    FLAG,
    LABELS,
    SEQ,
    SHA256,
    TEXT,
    TIME,
    Schema,
    constant,
    described,
    identifier,
    list_of,
    one_of,
    record,
    ref,
)
from runs.decide import STATUSES

FAILURE_REASONS = (
    "upload_missing", "archive_invalid", "archive_too_large", "extraction_failed", "command_exit", "timeout",
    "sandbox_conflict", "sandbox_unavailable", "internal_error",
)  # fmt: skip
FAILURE_CLASSES = ("user_input", "user_command", "platform", "canceled")
CLEANUP_STATUSES = ("not_requested", "pending", "succeeded", "failed")

# What the object `WorkspaceRun` and its evidence have in common; both are folded from the same events.
_SHARED_REQUIRED = {
    "orgId": identifier("org"),
    "projectId": identifier("prj"),
    "status": ref("WorkspaceRunStatus"),
    "command": described(TEXT, "One shell line."),
    "metadata": described(LABELS, "What listings are filtered by."),
    "createdAt": TIME,
    "envKeys": described(list_of(TEXT), "Names of injected secrets, never their values."),
    "artifactIds": list_of(identifier("art")),
    "artifactErrors": list_of(ref("ArtifactError")),
    "sourceMetadata": described(LABELS, "Where the archive came from."),
    "timeoutMs": {"type": "integer", "minimum": 1},
    "keepSandbox": FLAG,
    "artifacts": list_of(ref("CollectedArtifact")),
    "output": ref("OutputSummary"),
}
_SHARED_OPTIONAL = {
    "archive": ref("WorkspaceRunArchive"),
    "sandboxId": identifier("sbx"),
    "sandbox": ref("SandboxIsolation"),
    "commandId": identifier("cmd"),
    "startedAt": described(TIME, "When the command was started."),
    "finishedAt": described(TIME, "When the outcome was known."),
    "durationMs": described(COUNT, "How long the command ran."),
    "exitCode": described(
        {"type": "integer"},
        "Only of runs that succeeded or failed by `command_exit`; 128 + n after signal n.",
    ),
    "cleanupStatus": one_of(*CLEANUP_STATUSES),
    "failureReason": one_of(*FAILURE_REASONS),
    "failureClass": one_of(*FAILURE_CLASSES),
    "failureMessage": TEXT,
    "orchestrationSucceeded": described(FLAG, "False when the platform failed, not the command."),
}

_ENDED = frozenset({"cleanupStatus", "orchestrationSucceeded"})
"""Every run that has evidence has them."""

_LIMIT = record({"value": COUNT, "enforced": FLAG})

RUN_SCHEMAS: dict[str, Schema] = {
    "WorkspaceRunStatus": one_of(*STATUSES),
    "WorkspaceRun": record(
        {
            "id": identifier("wsr"),
            **_SHARED_REQUIRED,
            "templateId": TEXT,
            "templateSlug": TEXT,
            "templateVersion": TEXT,
            "templateVersionId": TEXT,
            "evidenceAvailable": FLAG,
        },
        {**_SHARED_OPTIONAL, "uploadedAt": TIME},
        description="One command over one uploaded archive, and how it ended. Absent facts are absent keys.",
    ),
    "WorkspaceRunArchive": record({"sha256": SHA256, "sizeBytes": COUNT}, {"uploadedAt": TIME}),
    "WorkspaceRunArchiveTransfer": record(
        {
            "id": identifier("upl"),
            "workspaceRunId": identifier("wsr"),
            "checksumAlgorithm": constant("sha256"),
            "method": constant("PUT"),
            "uploadUrl": described(TEXT, "Where to PUT the bytes: absolute, or a path of this server."),
            "headers": described(LABELS, "To be sent along with the bytes."),
            "expiresAt": TIME,
            "maxSizeBytes": COUNT,
            "status": one_of("pending", "uploaded", "finalized", "expired"),
        },
        description="Leave to upload one archive in a request of its own.",
    ),
    "StreamHead": record(
        {"size": described(COUNT, "Events so far, and the seq of the last one: pass it as `expectedHead`.")},
        {"truncated": described(constant(value=True), "The cap on output is reached: no more is kept.")},
        description="Where the run's log stands.",
    ),
    "OutputSummary": record({"stdoutBytes": COUNT, "stderrBytes": COUNT, "truncated": FLAG}),
    "SandboxIsolation": record(
        {"provider": TEXT, "isolation": TEXT, "limits": {"type": "object", "additionalProperties": _LIMIT}},
        description="What ran the command, and which limits were really enforced.",
    ),
    "RunTemplate": record({"id": TEXT, "slug": TEXT, "version": TEXT, "versionId": TEXT}),
    "CollectedArtifact": record(
        {"id": identifier("art"), "name": TEXT, "path": TEXT, "sha256": SHA256, "sizeBytes": COUNT}
    ),
    "ArtifactError": record(
        {
            "path": TEXT,
            "code": one_of("file_not_found", "path_outside_workspace", "artifact_collect_failed"),
            "message": TEXT,
        },
        description="Why a requested file was not collected. It does not by itself fail the run.",
    ),
    "Evidence": record(
        {
            "workspaceRunId": identifier("wsr"),
            **_SHARED_REQUIRED,
            "cleanupStatus": one_of(*CLEANUP_STATUSES),
            "orchestrationSucceeded": FLAG,
            "projection": constant("evidence/v1"),
            "actor": described(TEXT, "The API key that asked for the run."),
            "artifactsRequested": list_of(ANY_OBJECT),
            "template": ref("RunTemplate"),
            "proof": ref("EvidenceProof"),
        },
        {key: schema for key, schema in _SHARED_OPTIONAL.items() if key not in _ENDED},
        description="The Evidence Bundle: folded from the run's events, sealed by digest in the log.",
    ),
    "EvidenceProof": record(
        {
            "origin": described(TEXT, "The name of this server's log."),
            "size": described(SEQ, "Events that the checkpoint covers."),
            "root": described(TEXT, "The Merkle root, in base64."),
            "checkpoint": described(TEXT, "The signed checkpoint of the run."),
            "evidenceSha256": described(SHA256, "Over the canonical bytes of the bundle without `proof`."),
            "sealSeq": SEQ,
        },
        description="Where the log vouches for this bundle.",
    ),
}  # fmt: skip
