"""Routes of sandboxes, commands, artifacts and previews (CONTRACT §2, §10)."""

from __future__ import annotations

from api.bodies import (
    CancelCommandBody,
    CreateArtifactBody,
    CreatePreviewBody,
    CreateSandboxBody,
    RunCommandBody,
    TtlBody,
)
from api.operation_tables.operation import (
    AFTER_SEQ,
    BYTES,
    METADATA,
    PROJECT,
    SEQ_LIMIT,
    SSE,
    Operation,
    Parameter,
    a_page,
    as_json,
    binary,
)
from api.schemas.parts import TEXT, described, one_of, record, ref, wraps

SANDBOXES = "/v1/sandboxes"
A_SANDBOX = f"{SANDBOXES}/{{sandbox_id}}"
IN_A_SANDBOX = ("sandbox_destroyed", "conflict")
_ANSWERED = as_json(wraps(sandbox="Sandbox"))
_RANGE = Parameter("range", "One range of bytes (RFC 9110 §14); anything else is ignored.", TEXT, "header")
_COMMAND = as_json(wraps(command="Command"))
_ARTIFACT = as_json(wraps(artifact="Artifact"))
_PREVIEW = as_json(wraps(preview="Preview"))
_NEW_PREVIEW = as_json(
    record(
        {"preview": ref("Preview")},
        {"previewToken": described(TEXT, "Of `token` previews; shown this once.")},
    )
)
_INCLUDE = Parameter("include", "`historical` adds destroyed ones.", one_of("historical"))
_RUNS_COMMANDS = (
    *IN_A_SANDBOX,
    "reserved_env_key",
    "path_outside_workspace",
    "file_not_found",
    "quota_exceeded",
    "slow_down",
)
_WAITS = "Waits for the end, or with `background` answers at once (202)."
_STARTED = {202: "Started in the background."}

SANDBOX_OPERATIONS = (
    Operation(
        "POST", SANDBOXES, "createSandbox", "Sandboxes", "Create a sandbox",
        scope="sandbox:create",
        description="A warm sandbox: runs and commands can use it until its time is over or it is killed.",
        body=CreateSandboxBody, status=201, answer=_ANSWERED, is_idempotent=True,
        errors=(
            "sandbox_ttl_exceeded", "invalid_metadata_key", "invalid_metadata_value", "metadata_too_large",
            "metadata_too_many_keys", "feature_not_enabled", "quota_exceeded",
            "resource_allocation_failed",
        ),
    ),
    Operation(
        "GET", SANDBOXES, "listSandboxes", "Sandboxes", "List live sandboxes, newest first",
        scope="sandbox:read", parameters=(_INCLUDE, PROJECT, METADATA),
        answer=a_page("Sandbox"), is_paginated=True,
    ),
    Operation(
        "GET", A_SANDBOX, "getSandbox", "Sandboxes", "Get a sandbox",
        scope="sandbox:read", answer=_ANSWERED,
    ),
    Operation(
        "DELETE", A_SANDBOX, "killSandbox", "Sandboxes", "Kill a sandbox",
        scope="sandbox:kill", description="What runs in it is killed; its record stays.",
        answer=_ANSWERED, is_idempotent=True, errors=("conflict",),
    ),
    Operation(
        "POST", f"{A_SANDBOX}/ttl", "setSandboxTtl", "Sandboxes", "Set how long a sandbox lives",
        scope="sandbox:extend", description="Counted from now.",
        body=TtlBody, answer=_ANSWERED, is_idempotent=True, errors=(*IN_A_SANDBOX, "sandbox_ttl_exceeded"),
    ),
    Operation(
        "POST", f"{A_SANDBOX}/extend", "extendSandbox", "Sandboxes",
        "Set how long a sandbox lives (older name)",
        scope="sandbox:extend", body=TtlBody, answer=_ANSWERED, is_idempotent=True,
        successor="setSandboxTtl", errors=(*IN_A_SANDBOX, "sandbox_ttl_exceeded"),
    ),
    Operation(
        "POST", f"{A_SANDBOX}/commands", "createCommand", "Commands", "Run a command",
        scope="command:run", description=_WAITS,
        body=RunCommandBody, answer=_COMMAND, also=_STARTED, is_idempotent=True, errors=_RUNS_COMMANDS,
    ),
    Operation(
        "POST", f"{A_SANDBOX}/commands/run", "runCommand", "Commands", "Run a command and wait (older name)",
        scope="command:run", body=RunCommandBody, answer=_COMMAND, is_idempotent=True,
        successor="createCommand", errors=_RUNS_COMMANDS,
    ),
    Operation(
        "POST", f"{A_SANDBOX}/commands/start", "startCommand", "Commands",
        "Run a command in the background (older name)",
        scope="command:run", body=RunCommandBody, status=202, answer=_COMMAND, is_idempotent=True,
        successor="createCommand", errors=_RUNS_COMMANDS,
    ),
    Operation(
        "GET", "/v1/commands/{command_id}", "getCommand", "Commands", "Get a command",
        scope="command:read", answer=_COMMAND,
    ),
    Operation(
        "POST", "/v1/commands/{command_id}/cancel", "cancelCommand", "Commands", "Cancel a command",
        scope="command:cancel", description="A command that has ended is answered as it stands.",
        body=CancelCommandBody, is_body_required=False, answer=_COMMAND, is_idempotent=True,
        errors=IN_A_SANDBOX,
    ),
    Operation(
        "GET", "/v1/commands/{command_id}/logs", "listCommandLogs", "Commands", "Replay a command's output",
        scope="command:read", parameters=(AFTER_SEQ, SEQ_LIMIT), answer=a_page("CommandLog"),
    ),
    Operation(
        "GET", "/v1/commands/{command_id}/stream", "streamCommandLogs", "Commands",
        "Follow a command's output",
        scope="command:read", parameters=(AFTER_SEQ, SEQ_LIMIT),
        answer={SSE: described(TEXT, "Frames whose `data` is one CommandEvent; `terminal` is the last.")},
    ),
    Operation(
        "POST", f"{A_SANDBOX}/artifacts", "createArtifact", "Artifacts", "Keep a file of a sandbox",
        scope="artifact:create", description="Wants `file:read` too.",
        body=CreateArtifactBody, status=201, answer=_ARTIFACT, is_idempotent=True,
        errors=(*IN_A_SANDBOX, "path_outside_workspace", "file_not_found", "quota_exceeded"),
    ),
    Operation(
        "GET", f"{A_SANDBOX}/artifacts", "listArtifacts", "Artifacts",
        "List a sandbox's artifacts, newest first",
        scope="artifact:read", description="Also when the sandbox is gone.",
        answer=a_page("Artifact"), is_paginated=True,
    ),
    Operation(
        "GET", "/v1/artifacts/{artifact_id}", "getArtifact", "Artifacts", "Get an artifact's record",
        scope="artifact:read", answer=_ARTIFACT,
    ),
    Operation(
        "GET", "/v1/artifacts/{artifact_id}/download", "downloadArtifact", "Artifacts",
        "Download an artifact",
        scope="artifact:read",
        description="`ETag` and `Repr-Digest` (RFC 9530) carry the digest that the log vouches for.",
        parameters=(_RANGE,), answer=binary(BYTES, "The content."),
        also={206: "The range that was asked for."}, errors=("range_not_satisfiable",),
    ),
    Operation(
        "POST", "/v1/artifacts/{artifact_id}/download-url", "createArtifactDownloadUrl", "Artifacts",
        "Where to download an artifact",
        scope="artifact:read", answer=as_json(ref("DownloadUrl")),
    ),
    Operation(
        "DELETE", "/v1/artifacts/{artifact_id}", "deleteArtifact", "Artifacts",
        "Delete an artifact's content",
        scope="artifact:delete", description="The record stays, with `deletedAt`.", answer=_ARTIFACT,
    ),
    Operation(
        "POST", f"{A_SANDBOX}/previews", "createPreview", "Previews", "Open a port of a sandbox",
        scope="preview:create", body=CreatePreviewBody, status=201, answer=_NEW_PREVIEW,
        errors=(*IN_A_SANDBOX, "quota_exceeded"),
    ),
    Operation(
        "GET", f"{A_SANDBOX}/previews", "listPreviews", "Previews", "List a sandbox's previews, newest first",
        scope="preview:read", answer=a_page("Preview"), is_paginated=True,
    ),
    Operation(
        "GET", "/v1/previews/{preview_id}", "getPreview", "Previews", "Get a preview",
        scope="preview:read", answer=_PREVIEW,
    ),
    Operation(
        "DELETE", "/v1/previews/{preview_id}", "revokePreview", "Previews", "Close a preview",
        scope="preview:revoke", answer=_PREVIEW,
    ),
)  # fmt: skip
