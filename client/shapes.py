"""The shapes of what a server answers (CONTRACT §3, §8), as far as callers here read them.

Unknown fields are kept and tolerated (CONTRACT §1); every optional field may be absent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, NotRequired, Required, TypedDict, TypeVar

JsonObject = dict[str, Any]
"""A parsed JSON object, shape not yet checked."""

TERMINAL_STATUSES = frozenset({"succeeded", "failed", "canceled"})
STATUSES = (
    "awaiting_archive", "archive_uploaded", "starting", "extracting", "running", "collecting",
    "succeeded", "failed", "canceled",
)  # fmt: skip
"""The states of a run in the order of its life (CONTRACT §3.3)."""


class ArchiveFacts(TypedDict, total=False):
    """What the server knows of an uploaded archive: lowercase hex digest, bytes."""

    sha256: Required[str]
    sizeBytes: Required[int]
    uploadedAt: str


class WorkspaceRun(TypedDict, total=False):
    """A run (CONTRACT §3.2)."""

    id: Required[str]
    status: Required[str]
    orgId: str
    projectId: str
    command: str
    keepSandbox: bool
    metadata: dict[str, str]
    templateSlug: str
    createdAt: str
    startedAt: str
    finishedAt: str
    durationMs: int
    exitCode: int
    failureReason: str
    failureClass: str
    failureMessage: str
    sandboxId: str
    cleanupStatus: str
    artifactIds: list[str]
    artifactErrors: list[JsonObject]
    archive: ArchiveFacts


class Transfer(TypedDict):
    """A staged upload (CONTRACT §4.2)."""

    id: str
    uploadUrl: str
    headers: NotRequired[dict[str, str]]
    maxSizeBytes: NotRequired[int]
    status: NotRequired[str]


class Event(TypedDict, total=False):
    """One event of a run (CONTRACT §6.1); `dataBase64` holds raw bytes exactly when they were not UTF-8."""

    type: Required[str]
    seq: Required[int]
    createdAt: str
    status: str
    data: str
    dataBase64: str
    code: str
    message: str
    workspaceRun: WorkspaceRun
    receivedBytes: int
    sizeBytes: int
    artifactId: str
    path: str


class Sandbox(TypedDict, total=False):
    """A sandbox (CONTRACT §8)."""

    id: Required[str]
    status: Required[str]
    destroyedAt: str
    destroyedReason: str
    expiresAt: str


class Artifact(TypedDict, total=False):
    """An artifact (CONTRACT §8); `sha256` is this server's addition."""

    id: Required[str]
    sandboxId: str
    name: str
    sourcePath: str
    sizeBytes: int
    sha256: str
    deletedAt: str


class Quota(TypedDict, total=False):
    """One limit; seconds may be fractions. `projectId` says whose it is when an owner set it."""

    limit: Required[float]
    current: float
    remaining: float
    resetAt: str
    projectId: str


class ProjectUsage(TypedDict, total=False):
    """What one project used, and what its owner allows; this server's addition."""

    projectId: Required[str]
    metrics: dict[str, float]
    quotas: dict[str, Quota]


class Usage(TypedDict, total=False):
    """The usage of a month (CONTRACT §8); `metrics` and `projects` are this server's additions."""

    period: Required[dict[str, str]]
    quotas: dict[str, Quota]
    pricingVersion: str
    computeUnitSeconds: dict[str, float]
    credits: dict[str, float]
    metrics: dict[str, float]
    projects: list[ProjectUsage]


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, newest first; `next_cursor` is None on the last page."""

    items: list[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order; `next_seq` is the last one's seq (pass it back as `after_seq`), None when empty."""

    events: list[Event]
    has_more: bool
    next_seq: int | None


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to run (CONTRACT §3.1). Only what was set is sent; the server decides the rest."""

    command: str
    project_id: str | None = None
    template: str | None = None
    sandbox_id: str | None = None
    keep_sandbox: bool = False
    timeout_ms: int | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    source_metadata: dict[str, str] = field(default_factory=dict[str, str])
    artifacts: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def body(self) -> JsonObject:
        """The JSON body of POST /v1/workspace-runs."""
        optional: JsonObject = {
            "projectId": self.project_id,
            "template": self.template,
            "sandboxId": self.sandbox_id,
            "keepSandbox": self.keep_sandbox or None,
            "timeoutMs": self.timeout_ms,
            "metadata": self.metadata or None,
            "sourceMetadata": self.source_metadata or None,
            "artifacts": self.artifacts or None,
        }
        return {"command": self.command, **{k: v for k, v in optional.items() if v is not None}}
