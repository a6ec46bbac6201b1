"""Schemas of sandboxes and what is done in them: commands, files, artifacts, previews (CONTRACT §8)."""

from __future__ import annotations

from api.schemas.parts import (
    COUNT,
    FLAG,
    LABELS,
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

_FILE = {"path": TEXT, "sizeBytes": COUNT, "type": one_of("file", "directory")}

SANDBOX_SCHEMAS: dict[str, Schema] = {
    "Sandbox": record(
        {
            "id": identifier("sbx"),
            "orgId": identifier("org"),
            "projectId": identifier("prj"),
            "status": one_of(
                "creating", "starting", "ready", "running", "idle", "expiring", "destroyed", "failed"
            ),
            "templateId": TEXT,
            "templateSlug": TEXT,
            "templateVersion": TEXT,
            "templateVersionId": TEXT,
            "ttlMs": COUNT,
            "expiresAt": TIME,
            "metadata": LABELS,
        },
        {
            "createdAt": TIME,
            "destroyedAt": TIME,
            "destroyedReason": one_of("idle_expired", "platform_cleanup", "ttl_expired", "user_killed"),
            "workspaceRunId": described(identifier("wsr"), "The run that made it, if one did."),
        },
        description="A place where commands run. Destroyed ones stay readable.",
    ),
    "Command": record(
        {
            "id": identifier("cmd"),
            "sandboxId": identifier("sbx"),
            "command": TEXT,
            "cwd": TEXT,
            "env": described(LABELS, "Values are not shown again where they may be secret."),
            "status": one_of(
                "queued", "starting", "running", "exited", "failed", "canceled", "timed_out", "killed"
            ),
        },
        {
            "exitCode": {"type": "integer"},
            "stdout": TEXT,
            "stderr": TEXT,
            "stdoutTruncated": FLAG,
            "stderrTruncated": FLAG,
            "startedAt": TIME,
            "finishedAt": TIME,
            "durationMs": COUNT,
            "cancelMode": one_of("graceful", "force"),
            "canceledAt": TIME,
            "collectErrors": list_of(ref("ArtifactError")),
            "collectStatus": one_of("failed", "not_requested", "partial", "pending", "skipped", "succeeded"),
            "killedReason": constant("sandbox_destroyed"),
            "terminationSignal": one_of("SIGKILL", "SIGTERM"),
        },
        description="One command in a sandbox. `stdout` and `stderr` are there once it has ended.",
    ),
    "FileStat": record(_FILE, {"modifiedAt": TIME}, description="What is known of a file or directory."),
    "FileEntry": record({"name": TEXT, **_FILE}, {"modifiedAt": TIME}),
    "FileList": record({"data": list_of(ref("FileEntry"))}),
    "FileContent": record({"content": TEXT, "encoding": one_of("utf8", "base64")}),
    "Deleted": record({"deleted": constant(True)}),
    "DownloadUrl": record(
        {
            "authMode": constant("api_key"),
            "method": constant("GET"),
            "url": described(TEXT, "Absolute, or a path of this server; wants the same bearer credential."),
        },
        {"headers": LABELS},
    ),
    "Artifact": record(
        {
            "id": identifier("art"),
            "orgId": identifier("org"),
            "projectId": identifier("prj"),
            "sandboxId": identifier("sbx"),
            "name": TEXT,
            "objectKey": TEXT,
            "sizeBytes": COUNT,
            "createdAt": TIME,
            "sha256": SHA256,
        },
        {
            "contentType": TEXT,
            "sourcePath": TEXT,
            "deletedAt": TIME,
            "retentionExpiresAt": TIME,
            "workspaceRunId": identifier("wsr"),
        },
        description="A file that was kept. When its content is deleted or expires, this record stays.",
    ),
    "Preview": record(
        {
            "id": identifier("prv"),
            "slug": TEXT,
            "orgId": identifier("org"),
            "projectId": identifier("prj"),
            "sandboxId": identifier("sbx"),
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "authMode": one_of("authenticated", "token"),
            "url": TEXT,
            "createdAt": TIME,
        },
        {"expiresAt": TIME, "revokedAt": TIME},
        description="A port of a sandbox, reachable at an address of its own.",
    ),
}
