"""Routes of Workspace Runs: create, upload, start, follow, cancel, evidence (CONTRACT §2, §4, §6)."""

from __future__ import annotations

from api.bodies import AppendBody, CreateRunBody, CreateTransferBody, FinalizeBody, FinishBody
from api.operation_tables.operation import (
    AFTER_SEQ,
    JSON,
    METADATA,
    NDJSON,
    PROJECT,
    SEQ_LIMIT,
    SSE,
    Operation,
    Parameter,
    a_page,
    as_json,
)
from api.schemas.parts import COUNT, FLAG, TEXT, described, ref, wraps

RUNS = "/v1/workspace-runs"
A_RUN = as_json(wraps(workspaceRun="WorkspaceRun"))
AN_ARCHIVE = as_json(wraps(archive="WorkspaceRunArchive", workspaceRun="WorkspaceRun"))
UPLOAD_CODES = (
    "upload_checksum_mismatch", "upload_size_mismatch", "upload_conflict", "file_too_large", "conflict",
)  # fmt: skip

STREAM = Parameter(
    "stream", "`true` follows the events live until `terminal`, or without end in an organisation.", FLAG
)
LAST_EVENT_ID = Parameter(
    "Last-Event-ID",
    "What a browser's EventSource sends to go on; the larger of this and `afterSeq` wins.",
    TEXT,
    "header",
)
REPLAY = (
    "The same stored events in the framing that `Accept` asks for: a JSON page, Server-Sent Events "
    "(`text/event-stream`, or `stream=true`), or one JSON object a line (`application/x-ndjson`). "
    "Keepalives of a stream are comments. A reader that lost its connection goes on with `afterSeq` set to "
    "the last seq that it saw; nothing is skipped and nothing comes twice."
)
APPEND = (
    "For a run of template `external`, which is executed elsewhere. The first batch begins the recording, "
    "also when it holds no events. The answer comes once the batch is durable. A batch whose answer was lost "
    "is sent again with the same number: it is stored once. Refusals are `conflict` with `details.reason`: "
    "`number_gap` (with `expectedNumber`), `number_reused`, `number_too_old`, `head_mismatch` (with `head`), "
    "`run_ended` (with `status`), `not_recorded` or `too_many_producers`. Many small batches go faster "
    "through the WebSocket `…/events/session`: it takes the same bodies and answers `{number, head}` for "
    "each."
)
NOTHING_NEW = {204: "The `Last-Event-ID` is at or past `terminal`: there is nothing more, so stop asking."}

_SHA256 = Parameter(
    "x-crownest-archive-sha256",
    "The SHA-256 digest of the archive in hexadecimal digits.",
    {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
    "header",
    required=True,
)
_SIZE = Parameter("x-crownest-archive-size", "The archive's size in bytes.", COUNT, "header", required=True)
_STATUS = Parameter("status", "Only in this state.", ref("WorkspaceRunStatus"))
_GZIP = "application/gzip"

RUN_OPERATIONS = (
    Operation(
        "POST", RUNS, "createWorkspaceRun", "Workspace Runs", "Create a run",
        scope="workspace_run:create",
        description=(
            "The run waits for its archive (`awaiting_archive`). Template, timeout and project are resolved "
            "now and recorded as the run's first event."
        ),
        body=CreateRunBody, status=201, answer=A_RUN, is_idempotent=True,
        errors=(
            "forbidden", "invalid_metadata_key", "invalid_metadata_value", "metadata_too_large",
            "metadata_too_many_keys", "path_outside_workspace", "quota_exceeded",
        ),
    ),
    Operation(
        "GET", RUNS, "listWorkspaceRuns", "Workspace Runs", "List runs, newest first",
        scope="workspace_run:read", parameters=(PROJECT, _STATUS, METADATA),
        answer=a_page("WorkspaceRun"), is_paginated=True,
    ),
    Operation(
        "GET", f"{RUNS}/{{run_id}}", "getWorkspaceRun", "Workspace Runs", "Get a run",
        scope="workspace_run:read", answer=A_RUN,
    ),
    Operation(
        "PUT", f"{RUNS}/{{run_id}}/archive", "uploadWorkspaceRunArchive", "Workspace Runs",
        "Upload the archive directly",
        scope="workspace_run:create",
        description="A gzipped tar. Size and digest are checked here, its content when the run starts.",
        upload=_GZIP, parameters=(_SHA256, _SIZE), answer=AN_ARCHIVE, is_idempotent=True, errors=UPLOAD_CODES,
    ),
    Operation(
        "POST", f"{RUNS}/{{run_id}}/archive-transfer", "createWorkspaceRunArchiveTransfer", "Workspace Runs",
        "Begin a staged upload",
        scope="workspace_run:create",
        description="Answers where to PUT the bytes. Too large an archive is refused here.",
        body=CreateTransferBody, status=201, answer=as_json(wraps(transfer="WorkspaceRunArchiveTransfer")),
        is_idempotent=True, errors=("upload_conflict", "conflict"),
    ),
    Operation(
        "PUT", f"{RUNS}/{{run_id}}/archive-transfer/{{upload_id}}", "uploadWorkspaceRunArchiveTransfer",
        "Workspace Runs", "Send the bytes of a staged upload",
        scope="workspace_run:create",
        description="May be repeated until the transfer is finalized; the last bytes count.",
        upload=_GZIP, status=204,
        errors=("upload_not_found", "upload_expired", "upload_conflict", "upload_size_mismatch", "conflict"),
    ),
    Operation(
        "POST", f"{RUNS}/{{run_id}}/archive/finalize", "finalizeWorkspaceRunArchive", "Workspace Runs",
        "Finish a staged upload",
        scope="workspace_run:create", body=FinalizeBody, answer=AN_ARCHIVE, is_idempotent=True,
        errors=(*UPLOAD_CODES, "upload_not_found", "upload_expired", "upload_incomplete"),
    ),
    Operation(
        "POST", f"{RUNS}/{{run_id}}/start", "startWorkspaceRun", "Workspace Runs", "Start a run",
        scope="workspace_run:create",
        description="Needs the archive. Starting again changes nothing and answers the run as it stands.",
        answer=A_RUN, is_idempotent=True,
        errors=("upload_incomplete", "conflict", "quota_exceeded", "slow_down"),
    ),
    Operation(
        "POST", f"{RUNS}/{{run_id}}/cancel", "cancelWorkspaceRun", "Workspace Runs", "Cancel a run",
        scope="workspace_run:cancel",
        description="A run that has ended, or is collecting already, is answered as it stands.",
        answer=A_RUN, is_idempotent=True, errors=("conflict",),
    ),
    Operation(
        "GET", f"{RUNS}/{{run_id}}/events", "listWorkspaceRunEvents", "Workspace Runs",
        "Replay or follow a run's events",
        scope="workspace_run:read", description=REPLAY,
        parameters=(AFTER_SEQ, SEQ_LIMIT, STREAM, LAST_EVENT_ID),
        answer={
            JSON: ref("RunEventPage"),
            SSE: described(TEXT, "Frames of `id`, `event` and `data`; each `data` is one RunEvent."),
            NDJSON: described(TEXT, "One RunEvent a line."),
        },
        also=NOTHING_NEW,
    ),
    Operation(
        "POST", f"{RUNS}/{{run_id}}/events", "appendWorkspaceRunEvents", "Workspace Runs",
        "Append output to a recorded run",
        scope="workspace_run:append", description=APPEND,
        body=AppendBody, answer=as_json(wraps(head="StreamHead")), errors=("conflict",),
    ),
    Operation(
        "POST", f"{RUNS}/{{run_id}}/finish", "finishWorkspaceRun", "Workspace Runs",
        "Finish a recorded run",
        scope="workspace_run:append",
        description=(
            "Folds, seals and proves what was recorded. The same exit code again answers the same; a run "
            "that ended otherwise is a `conflict`."
        ),
        body=FinishBody, answer=A_RUN, is_idempotent=True, errors=("conflict",),
    ),
    Operation(
        "GET", f"{RUNS}/{{run_id}}/evidence", "getWorkspaceRunEvidence", "Workspace Runs",
        "Get the Evidence Bundle of a run",
        scope="workspace_run:read",
        description=(
            "There as soon as `terminal` is seen; before that it is 404 with `details.reason` "
            "`evidence_not_available`."
        ),
        answer=as_json(wraps(evidence="Evidence")),
    ),
)  # fmt: skip
