"""Schemas of events: a run's, an organisation's, a command's log (CONTRACT §6)."""

from __future__ import annotations

from api.schemas.parts import (
    ANY_OBJECT,
    BASE64,
    COUNT,
    SEQ,
    SHA256,
    TEXT,
    TIME,
    Schema,
    constant,
    described,
    identifier,
    one_of,
    record,
    ref,
)
from api.schemas.runs import CLEANUP_STATUSES, FAILURE_CLASSES, FAILURE_REASONS

ORGANIZATION_EVENT_TYPES = (
    "organization_created", "organization_updated", "user_added", "user_updated", "user_removed",
    "project_created", "project_updated", "api_key_created", "api_key_revoked", "secret_set",
    "secret_deleted", "sandbox_created", "sandbox_extended", "sandbox_destroyed", "artifact_collected",
    "artifact_deleted", "artifact_expired", "preview_created", "preview_revoked", "preview_expired",
    "command_started", "command_finished", "file_written", "signing_key_rotated",
)  # fmt: skip


def event(
    kind: str, required: dict[str, Schema] | None = None, optional: dict[str, Schema] | None = None
) -> Schema:
    """An event of this type: every one has `type`, `seq` and `createdAt`."""
    return record({"type": constant(kind), "seq": SEQ, "createdAt": TIME, **(required or {})}, optional)


def union(names: dict[str, str]) -> Schema:
    """One of these schemas, told apart by `type`."""
    return {
        "oneOf": [ref(name) for name in names.values()],
        "discriminator": {
            "propertyName": "type",
            "mapping": {kind: f"#/components/schemas/{name}" for kind, name in names.items()},
        },
    }


_OUTPUT = {"data": TEXT}
_OUTPUT_OPTIONAL = {
    "dataBase64": described(BASE64, "The bytes, exactly when they were not UTF-8."),
    "producer": described(
        record({"id": TEXT, "number": SEQ}), "Whose batch it came with, when it was recorded from outside."
    ),
}

_RUN_EVENTS = {
    "status": "StatusEvent", "archive_progress": "ArchiveProgressEvent", "stdout": "StdoutEvent",
    "stderr": "StderrEvent", "output_truncated": "OutputTruncatedEvent",
    "artifact_collected": "ArtifactCollectedEvent", "artifact_error": "ArtifactErrorEvent",
    "cancel_requested": "CancelRequestedEvent", "cleanup": "CleanupEvent", "outcome": "OutcomeEvent",
    "terminal": "TerminalEvent",
}  # fmt: skip
_COMMAND_EVENTS = {"log": "CommandLogEvent", "terminal": "CommandTerminalEvent", "error": "StreamErrorEvent"}

EVENT_SCHEMAS: dict[str, Schema] = {
    "RunEvent": {
        **union(_RUN_EVENTS),
        "description": "One event of a run. New types may be added: ignore what you do not know.",
    },
    "StatusEvent": event(
        "status",
        {"status": ref("WorkspaceRunStatus")},
        {
            "actor": TEXT,
            "archive": ref("WorkspaceRunArchive"),
            "sandboxId": identifier("sbx"),
            "commandId": identifier("cmd"),
            "request": described(ANY_OBJECT, "As resolved at creation; on the first event."),
            "template": ref("RunTemplate"),
            "exitCode": {"type": "integer"},
            "durationMs": COUNT,
        },
    ),
    "ArchiveProgressEvent": event("archive_progress", {"receivedBytes": COUNT}, {"sizeBytes": COUNT}),
    "StdoutEvent": event("stdout", _OUTPUT, _OUTPUT_OPTIONAL),
    "StderrEvent": event("stderr", _OUTPUT, _OUTPUT_OPTIONAL),
    "OutputTruncatedEvent": event(
        "output_truncated", {"stream": one_of("stdout", "stderr"), "keptBytes": COUNT}
    ),
    "ArtifactCollectedEvent": event(
        "artifact_collected",
        {
            "artifactId": identifier("art"),
            "path": TEXT,
            "name": TEXT,
            "sha256": SHA256,
            "sizeBytes": COUNT,
            "contentType": TEXT,
        },
    ),
    "ArtifactErrorEvent": event("artifact_error", {"error": ref("ArtifactError")}),
    "CancelRequestedEvent": event("cancel_requested", {"actor": TEXT}),
    "CleanupEvent": event(
        "cleanup",
        {
            "cleanupStatus": one_of(*CLEANUP_STATUSES),
            "reason": one_of("finished", "kept", "never_started", "recovered"),
        },
        {"expiresAt": TIME},
    ),
    "OutcomeEvent": event(
        "outcome",
        {"status": one_of("succeeded", "failed", "canceled"), "orchestrationSucceeded": {"type": "boolean"}},
        {
            "failureReason": one_of(*FAILURE_REASONS),
            "failureClass": one_of(*FAILURE_CLASSES),
            "failureMessage": TEXT,
        },
    ),
    "TerminalEvent": event("terminal", {"workspaceRun": ref("WorkspaceRun")}),
    "OrganizationEvent": record(
        {"type": one_of(*ORGANIZATION_EVENT_TYPES), "seq": SEQ, "createdAt": TIME, "actor": TEXT},
        description="One change of an organisation: who (`actor`), what (`type`) and the facts of that type.",
    ),
    "CommandLog": record(
        {
            "commandId": identifier("cmd"),
            "seq": SEQ,
            "stream": one_of("stdout", "stderr"),
            "data": TEXT,
            "createdAt": TIME,
        },
        description="A piece of what a command wrote.",
    ),
    "CommandEvent": {**union(_COMMAND_EVENTS), "description": "What the stream of a command's log carries."},
    "CommandLogEvent": record(
        {
            "type": constant("log"),
            "seq": SEQ,
            "stream": one_of("stdout", "stderr"),
            "data": TEXT,
            "createdAt": TIME,
        },
        {"commandId": identifier("cmd")},
    ),
    "CommandTerminalEvent": record(
        {"type": constant("terminal"), "command": ref("Command"), "createdAt": TIME}
    ),
    "StreamErrorEvent": record({"type": constant("error"), "code": TEXT, "message": TEXT, "createdAt": TIME}),
}
