"""Owns the folds `run/v1` and `evidence/v1` of a run's events, and what its seal says (PROOF P12, P4.1).

Pure: events in, views out. The server's projections and the verifier call the same code, and each
field is folded from the event where its fact happened, never from `terminal`. An absent fact is an
absent key (CONTRACT §6.6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from hashlib import sha256
from typing import Any, ClassVar

from evidence.canonical import FormatError
from evidence.record import decode_base64

RUN_PROJECTION = "run/v1"
EVIDENCE_PROJECTION = "evidence/v1"
TERMINAL_STATUSES = frozenset({"succeeded", "failed", "canceled"})
OUTPUT_TYPES = frozenset({"stdout", "stderr"})
OUTPUT_EVENT_BYTES_MAX = 64 * 1024
"""Raw bytes of one output event (P1.3)."""

Event = Mapping[str, Any]
"""A parsed payload. Its shape is checked by using it: a wrong one raises `FoldError`."""


class FoldError(FormatError):
    """An event lacks a field that its type must have, or holds something else there."""


class RunFold:
    """Everything the events of one run say so far, in seq order; its attributes are the facts.

    Internal events (`seal`, `redaction`) are ignored. An attribute is None (or empty) until the event
    of its fact was applied; `status` is `""` before the first event.
    """

    def __init__(self) -> None:
        self.public_size = 0
        """Seq of the last public event."""
        self.last_created_at = ""
        self.status = ""
        self.terminal = False
        """Whether the outcome is known: nothing but `terminal` and the seal can follow."""
        self.run_id = self.org_id = self.actor = self.project_id = self.command = ""
        self.created_at = ""
        self.timeout_ms = 0
        self.keep_sandbox = False
        self.request: Event = {}
        """As resolved at creation; the attributes around it are its parts that views show."""
        self.metadata: Event = {}
        self.source_metadata: Event = {}
        self.artifacts_requested: list[Any] = []
        self.template: Event = {}
        self.env_keys: list[Any] = []
        self.archive: dict[str, Any] | None = None
        self.sandbox_id: str | None = None
        self.sandbox: dict[str, Any] | None = None
        self.command_id: str | None = None
        self.started_at: str | None = None
        self.duration_ms: int | None = None
        self.exit_code: int | None = None
        """As the process ended; views show it only where CONTRACT §3.4 allows it."""
        self.timed_out = False
        self.cancel_requested = False
        self.artifacts: list[dict[str, Any]] = []
        self.artifact_errors: list[Any] = []
        self.stdout_bytes = self.stderr_bytes = 0
        self.truncated = False
        self.cleanup_status: str | None = None
        self.outcome: Event | None = None

    def apply(self, event: Event) -> None:
        """Fold one event. Raises `FoldError` when it lacks what its type must have.

        Output costs a length and two assignments: this runs inside every append.
        """
        try:
            kind = event["type"]
            if kind == "stdout":
                self.stdout_bytes += raw_size(event)
            elif kind == "stderr":
                self.stderr_bytes += raw_size(event)
            elif kind in _INTERNAL:
                return
            elif kind in self._APPLY:
                self._APPLY[kind](self, event)
            self.public_size = event["seq"]
            self.last_created_at = event["createdAt"]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise FoldError(
                f"event {event.get('seq')!a} does not have the fields of its type: {error!r}"
            ) from error

    def apply_output(self, stdout_bytes: int, stderr_bytes: int, last_seq: int, last_created_at: str) -> None:
        """Fold consecutive output events at once: what they sum up to, and where the last one stands."""
        self.stdout_bytes += stdout_bytes
        self.stderr_bytes += stderr_bytes
        self.public_size, self.last_created_at = last_seq, last_created_at

    def run_view(self) -> dict[str, Any]:
        """The fold `run/v1`: the Workspace Run object of CONTRACT §3.2, at any moment of the run.

        Raises `FoldError` when the run's first event was not applied.
        """
        view = self._common() | {
            "id": self.run_id,
            "evidenceAvailable": self.outcome is not None,
            "templateId": self.template["id"],
            "templateSlug": self.template["slug"],
            "templateVersion": self.template["version"],
            "templateVersionId": self.template["versionId"],
        }
        if self.archive:
            view["uploadedAt"] = self.archive["uploadedAt"]
        return view

    def evidence(self) -> dict[str, Any]:
        """The fold `evidence/v1`: the Evidence Bundle of CONTRACT §3.5, complete once the outcome is known.

        Raises `FoldError` when the run's first event was not applied.
        """
        return self._common() | {
            "workspaceRunId": self.run_id,
            "projection": EVIDENCE_PROJECTION,
            "actor": self.actor,
            "artifactsRequested": self.artifacts_requested,
            "template": self.template,
        }

    def copy(self) -> RunFold:
        """An independent fold that stands where this one stands."""
        other = copy(self)
        other.artifacts = self.artifacts.copy()
        other.artifact_errors = self.artifact_errors.copy()
        return other

    def __repr__(self) -> str:
        """Shows the state, for tests and logs."""
        return f"RunFold({self.run_id or '?'} {self.status or 'empty'} at {self.public_size})"

    def _common(self) -> dict[str, Any]:
        if not self.run_id:
            raise FoldError("the run does not start with status awaiting_archive: it has no view")
        view: dict[str, Any] = {
            "orgId": self.org_id,
            "projectId": self.project_id,
            "status": self.status,
            "command": self.command,
            "createdAt": self.created_at,
            "timeoutMs": self.timeout_ms,
            "keepSandbox": self.keep_sandbox,
            "metadata": self.metadata,
            "sourceMetadata": self.source_metadata,
            "envKeys": self.env_keys,
            "artifacts": self.artifacts.copy(),
            "artifactIds": [artifact["id"] for artifact in self.artifacts],
            "artifactErrors": self.artifact_errors.copy(),
            "output": {
                "stdoutBytes": self.stdout_bytes,
                "stderrBytes": self.stderr_bytes,
                "truncated": self.truncated,
            },
        }
        optional = {
            "archive": self.archive,
            "sandboxId": self.sandbox_id,
            "sandbox": self.sandbox,
            "commandId": self.command_id,
            "startedAt": self.started_at,
            "durationMs": self.duration_ms,
            "cleanupStatus": self._cleanup_status(),
        }
        view |= {key: value for key, value in optional.items() if value is not None}
        if self.outcome is not None:
            view |= self._ending(self.outcome)
        return view

    def _cleanup_status(self) -> str | None:
        """`pending` only between asking for a sandbox and the one cleanup event (CONTRACT §6.6)."""
        if self.cleanup_status is None and self.sandbox_id is not None:
            return "pending"
        return self.cleanup_status

    def _ending(self, outcome: Event) -> dict[str, Any]:
        view = {
            "finishedAt": outcome["createdAt"],
            "orchestrationSucceeded": outcome["orchestrationSucceeded"],
        }
        view |= {key: outcome[key] for key in _FAILURE_FIELDS if key in outcome}
        shown = self.status == "succeeded" or outcome.get("failureReason") == "command_exit"
        if shown and self.exit_code is not None:  # else a client would exit 0 for a failed run (§3.4)
            view["exitCode"] = self.exit_code
        return view

    def _status(self, event: Event) -> None:
        status: str = event["status"]
        if status in self._STATUS:
            self._STATUS[status](self, event)
        self.status = status

    def _created(self, event: Event) -> None:
        request = event["request"]
        self.run_id, self.org_id, self.actor = event["runId"], event["orgId"], event["actor"]
        self.created_at = event["createdAt"]
        self.env_keys = event["envKeys"]
        self.command, self.project_id = request["command"], request["projectId"]
        self.timeout_ms, self.keep_sandbox = request["timeoutMs"], request["keepSandbox"]
        self.metadata, self.source_metadata = request["metadata"], request["sourceMetadata"]
        self.artifacts_requested = request["artifacts"]
        self.request = request
        self.template = _template(event["template"])

    def _archive_uploaded(self, event: Event) -> None:
        archive = event["archive"]
        self.archive = {
            "sha256": archive["sha256"],
            "sizeBytes": archive["sizeBytes"],
            "uploadedAt": event["createdAt"],
        }

    def _starting(self, event: Event) -> None:
        self.sandbox_id = event["sandboxId"]

    def _extracting(self, event: Event) -> None:
        self.sandbox = {key: event[key] for key in ("provider", "isolation", "limits")}
        self.template = _template(event["template"])

    def _running(self, event: Event) -> None:
        self.command_id, self.started_at = event["commandId"], event["createdAt"]

    def _collecting(self, event: Event) -> None:
        self.duration_ms = event["durationMs"]
        self.exit_code = event.get("exitCode")
        self.timed_out = event.get("timedOut", False)

    def _artifact_collected(self, event: Event) -> None:
        artifact = {key: event[key] for key in ("name", "path", "sha256", "sizeBytes")}
        self.artifacts.append({"id": event["artifactId"]} | artifact)

    def _artifact_error(self, event: Event) -> None:
        self.artifact_errors.append(event["error"])

    def _output_truncated(self, _event: Event) -> None:
        self.truncated = True

    def _cancel_requested(self, _event: Event) -> None:
        self.cancel_requested = True

    def _cleanup(self, event: Event) -> None:
        self.cleanup_status = event["cleanupStatus"]

    def _outcome(self, event: Event) -> None:
        self.outcome = {"orchestrationSucceeded": event["orchestrationSucceeded"]} | {
            key: event[key] for key in ("createdAt", *_FAILURE_FIELDS) if key in event
        }
        if event["status"] not in TERMINAL_STATUSES:
            raise ValueError("an outcome's status is succeeded, failed or canceled")
        self.status = event["status"]
        self.terminal = True

    _APPLY: ClassVar[dict[str, Callable[[RunFold, Event], None]]] = {
        "status": _status,
        "artifact_collected": _artifact_collected,
        "artifact_error": _artifact_error,
        "output_truncated": _output_truncated,
        "cancel_requested": _cancel_requested,
        "cleanup": _cleanup,
        "outcome": _outcome,
    }
    _STATUS: ClassVar[dict[str, Callable[[RunFold, Event], None]]] = {
        "awaiting_archive": _created,
        "archive_uploaded": _archive_uploaded,
        "starting": _starting,
        "extracting": _extracting,
        "running": _running,
        "collecting": _collecting,
    }


class StreamDigests:
    """Running digests of the raw bytes of both output streams (P4.1)."""

    def __init__(self) -> None:
        self._bytes = {"stdout": 0, "stderr": 0}
        self._hashes = {"stdout": sha256(), "stderr": sha256()}

    def update(self, event: Event) -> None:
        """Take in one event; all but `stdout` and `stderr` are ignored. Raises `FoldError`."""
        kind = event["type"]
        if kind in OUTPUT_TYPES:
            self.feed(kind, raw_bytes(event))

    def feed(self, kind: str, raw: bytes) -> None:
        """Take in the raw bytes of one `stdout` or `stderr` event."""
        self._bytes[kind] += len(raw)
        self._hashes[kind].update(raw)

    def size(self, kind: str) -> int:
        """Raw bytes of one stream so far."""
        return self._bytes[kind]

    def fields(self) -> dict[str, int | str]:
        """The four fields that the seal holds."""
        return {
            f"{kind}{unit}": value
            for kind in ("stdout", "stderr")
            for unit, value in (("Bytes", self._bytes[kind]), ("Sha256", self._hashes[kind].hexdigest()))
        }

    def copy(self) -> StreamDigests:
        """Independent digests that stand where these stand."""
        other = StreamDigests()
        other._bytes = self._bytes.copy()
        other._hashes = {kind: digest.copy() for kind, digest in self._hashes.items()}
        return other


def seal_fields(evidence: bytes, digests: StreamDigests, last_public_seq: int) -> dict[str, Any]:
    """What the seal says beside `type`, `seq`, `createdAt` (P4.1); `evidence`: bytes of evidence.json."""
    return {
        "evidenceSha256": sha256(evidence).hexdigest(),
        "projection": EVIDENCE_PROJECTION,
        "lastPublicSeq": last_public_seq,
        **digests.fields(),
    }


def raw_bytes(event: Event) -> bytes:
    """What the command wrote: `dataBase64` where present, else the UTF-8 of `data`. Raises `FoldError`."""
    try:
        encoded: str | None = event.get("dataBase64")
        data: str = event["data"]
        return data.encode() if encoded is None else decode_base64(encoded)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FoldError(f"event {event.get('seq')!a}: its output cannot be read: {error}") from error


def raw_size(event: Event) -> int:
    """`len(raw_bytes(event))` without making the bytes."""
    encoded: str | None = event.get("dataBase64")
    if encoded is not None:
        return len(encoded) // 4 * 3 - encoded[-2:].count("=")
    data: str = event["data"]
    return len(data) if data.isascii() else len(data.encode())


def _template(template: Event) -> dict[str, Any]:
    return {key: template[key] for key in ("id", "slug", "version", "versionId")}


_INTERNAL = frozenset({"seal", "redaction"})
_FAILURE_FIELDS = ("failureClass", "failureReason", "failureMessage")
