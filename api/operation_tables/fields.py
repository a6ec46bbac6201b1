"""What the fields of request bodies mean, and the bounds that the rules set beside their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.batches import EVENTS_MAX
from api.operation_tables.operation import PATH_PARAMETERS
from api.schemas.parts import described, identifier, one_of, ref
from evidence.fold import OUTPUT_EVENT_BYTES_MAX
from runs.limits import RunLimits
from runs.quotas import PROJECT_LIMITS

_LIMITS = RunLimits()
_METADATA = {
    "description": "Labels to filter listings by; keys are printable ASCII.",
    "maxProperties": _LIMITS.metadata_keys_max,
    "additionalProperties": {"type": "string", "maxLength": _LIMITS.metadata_value_chars_max},
    "propertyNames": {"minLength": 1, "maxLength": _LIMITS.metadata_key_chars_max, "pattern": "^[ -~]+$"},
}
_PROJECT = described(PATH_PARAMETERS["project_id"].schema, "The default project when left out.")
_VERSION = described(identifier("tplv"), "One exact version of a template.")
_TTL = {"description": "How long it lives, counted from now, in milliseconds."}
_FILE = {"description": "Absolute below `/workspace`, or relative to it."}
_NAME = {"description": "1 to 100 printable characters, not all of them blank.", "pattern": r"\S"}
_PLAN = {"description": "Sets retention, quotas and the longest time to live."}
_SHA256 = {"description": "Of the archive's bytes, in hexadecimal digits."}
_SIZE = {"description": "Of the archive in bytes."}
_STREAM = {"description": "Which of the command's two streams it came from."}
_TIMEOUT = {"description": "The command is stopped after this many milliseconds."}

FIELDS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "RequestedArtifactBody": {
        "path": {"description": "One file of the workspace, literally: no `*`, `?` or `[`.", "minLength": 1},
        "name": {"description": "What the artifact is called; its path when left out."},
    },
    "CreateRunBody": {
        "command": {"description": "One shell line.", "minLength": 1, "maxLength": _LIMITS.command_bytes_max},
        "template": {
            "description": "A slug such as `python-node`, the default; `external` for what runs elsewhere."
        },
        "templateVersionId": _VERSION,
        "projectId": _PROJECT,
        "sandboxId": described(identifier("sbx"), "A warm sandbox to use instead of a new one."),
        "keepSandbox": {"description": "Keep the sandbox after the run, until its time is over."},
        "timeoutMs": {
            "description": "The command is stopped after this many milliseconds, at most "
            f"{_LIMITS.timeout_ms_max}; a run that is recorded elsewhere is ended.",
            "minimum": 1,
            "maximum": _LIMITS.recorded_timeout_ms_max,
        },
        "metadata": _METADATA,
        "sourceMetadata": {**_METADATA, "description": "Where the archive came from: repository, branch, …"},
        "artifacts": {
            "description": "Files to collect when the command has ended.",
            "maxItems": _LIMITS.artifacts_requested_max,
        },
    },
    "CreateTransferBody": {
        "sha256": _SHA256,
        "sizeBytes": {**_SIZE, "maximum": _LIMITS.archive_bytes_max},
    },
    "FinalizeBody": {
        "uploadId": described(PATH_PARAMETERS["upload_id"].schema, "The id of the transfer."),
        "sha256": _SHA256,
        "sizeBytes": _SIZE,
    },
    "OutputTextBody": {
        "type": _STREAM,
        "data": {
            "description": f"At most {OUTPUT_EVENT_BYTES_MAX} bytes of UTF-8.",
            "maxLength": OUTPUT_EVENT_BYTES_MAX,
        },
    },
    "OutputBytesBody": {
        "type": _STREAM,
        "dataBase64": {
            "description": f"At most {OUTPUT_EVENT_BYTES_MAX} bytes, which need not be UTF-8.",
            "contentEncoding": "base64",
            "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$",
        },
    },
    "AppendBody": {
        "producerId": {
            "description": "Names the producer among those of the run; it stays the same across restarts.",
            "pattern": "^[!-~]{1,64}$",
        },
        "number": {
            "description": "Counts the producer's batches: 1, 2, 3 …; a number sent twice is one batch."
        },
        "expectedHead": {"description": "Refuse the batch unless the run's head has this size."},
        "events": {
            "description": "In order. None: a sign of life, or the beginning of the recording.",
            "maxItems": EVENTS_MAX,
        },
    },
    "FinishBody": {"exitCode": {"description": "Of the command; 128 + n when signal n ended it."}},
    "RedactionBody": {
        "targets": {"description": "The seqs of the output events to erase.", "minItems": 1},
        "reason": {"description": "Kept in the log for good, so it must not repeat what is erased."},
    },
    "CreateSandboxBody": {
        "template": {"description": "A slug such as `python-node`, the default."},
        "templateVersionId": _VERSION,
        "projectId": _PROJECT,
        "ttlMs": _TTL,
        "metadata": _METADATA,
        "restoreFrom": {"description": "Backups are not built here: `feature_not_enabled`."},
    },
    "TtlBody": {"ttlMs": _TTL},
    "CollectBody": {"path": _FILE, "name": {"description": "What the artifact is called."}},
    "RunCommandBody": {
        "command": {"description": "One shell line.", "maxLength": _LIMITS.command_bytes_max},
        "cwd": {"description": "The directory to run in; `/workspace` when left out."},
        "env": {"description": "Added to the command's environment."},
        "timeoutMs": {**_TIMEOUT, "maximum": _LIMITS.command_timeout_ms_max},
        "background": {"description": "Answer at once instead of at the command's end."},
        "collect": {"description": "Files to keep as artifacts when the command has ended."},
        "collectOn": {"description": "Collect always, or only after exit code 0."},
    },
    "CancelCommandBody": {
        "mode": {"description": "`graceful` sends SIGTERM first, `force` SIGKILL at once."}
    },
    "WriteFileBody": {
        "path": _FILE,
        "content": {"description": "In the encoding that `encoding` names."},
        "encoding": {"description": "How `content` is written."},
        "createParents": {"description": "Make missing directories on the way."},
        "overwrite": {"description": "False refuses when the file exists."},
    },
    "MkdirBody": {"path": _FILE, "parents": {"description": "Make missing directories on the way."}},
    "MoveFileBody": {
        "from": _FILE,
        "to": _FILE,
        "overwrite": {"description": "Replace what is there."},
    },
    "FileDownloadUrlBody": {"path": _FILE},
    "CreateArtifactBody": {"path": _FILE, "name": {"description": "The path's last part when left out."}},
    "CreatePreviewBody": {
        "port": {"description": "Where the program in the sandbox listens."},
        "authMode": {"description": "An API key at each request, or a token of the preview's own."},
    },
    "CreateProjectBody": {"name": _NAME},
    "UpdateProjectBody": {
        "name": _NAME,
        "limits": {
            "description": "By name; null lifts a limit.",
            "propertyNames": one_of(*PROJECT_LIMITS),
        },
    },
    "CreateApiKeyBody": {
        "name": _NAME,
        "scopes": {"description": "What the key may do.", "items": ref("Scope")},
        "projectIds": {"description": "Only these projects; every project when left out.", "minItems": 1},
    },
    "SecretBody": {"value": {"description": "Never answered again.", "format": "password"}},
    "CreateOrganizationBody": {"name": _NAME, "plan": _PLAN},
    "UpdateOrganizationBody": {"name": _NAME, "plan": _PLAN},
    "UserBody": {
        "name": _NAME,
        "role": {"description": "An owner may everything, a member least."},
        "email": {"description": "Invites the person to sign in; only where the server has sign-in."},
    },
    "UpdateUserBody": {"name": _NAME, "role": {"description": "An owner may everything, a member least."}},
}
"""By body and the field's name on the wire; merged over what the body's type already says."""

_DIGEST = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "CreateRunBody": {
        "command": "make test", "artifacts": [{"path": "report.xml"}], "metadata": {"branch": "main"},
    },
    "CreateTransferBody": {"sha256": _DIGEST, "sizeBytes": 3},
    "FinalizeBody": {
        "uploadId": "upl_4bfl2o7ngqdyzhx5t3wcrmkeva", "sha256": _DIGEST, "sizeBytes": 3,
    },
    "AppendBody": {
        "producerId": "laptop-1", "number": 1, "events": [{"type": "stdout", "data": "ok 1\n"}],
    },
    "FinishBody": {"exitCode": 0},
    "RedactionBody": {"targets": [17, 18], "reason": "printed a password"},
    "CreateSandboxBody": {"template": "python-node", "ttlMs": 600000},
    "TtlBody": {"ttlMs": 1800000},
    "RunCommandBody": {"command": "python3 -m unittest", "timeoutMs": 60000},
    "CancelCommandBody": {"mode": "graceful"},
    "WriteFileBody": {"path": "notes/todo.txt", "content": "one line\n", "createParents": True},
    "MkdirBody": {"path": "notes", "parents": True},
    "MoveFileBody": {"from": "notes/todo.txt", "to": "notes/done.txt"},
    "FileDownloadUrlBody": {"path": "report.xml"},
    "CreateArtifactBody": {"path": "report.xml", "name": "unit tests"},
    "CreatePreviewBody": {"port": 8000, "authMode": "token"},
    "CreateProjectBody": {"name": "payments"},
    "UpdateProjectBody": {"name": "payments"},
    "CreateApiKeyBody": {"name": "build server", "scopes": ["workspace_run:create", "workspace_run:read"]},
    "SecretBody": {"value": "the secret itself"},
    "CreateOrganizationBody": {"name": "Acme", "plan": "builder"},
    "UpdateOrganizationBody": {"name": "Acme Works"},
    "UserBody": {"name": "Ada", "role": "member"},
    "UpdateUserBody": {"role": "admin"},
}  # fmt: skip
"""A body of each kind as somebody might send it."""
