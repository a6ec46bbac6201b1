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
    projectId: str
    templateSlug: str
    ttlMs: int
    metadata: dict[str, str]
    createdAt: str
    destroyedAt: str
    destroyedReason: str
    expiresAt: str


class Command(TypedDict, total=False):
    """A command in a sandbox; `exitCode` is there when it ended by itself."""

    id: Required[str]
    status: Required[str]
    sandboxId: str
    command: str
    exitCode: int
    durationMs: int


class CommandEvent(TypedDict, total=False):
    """One frame of a command's stream; `seq` is on every `log`."""

    type: Required[str]
    seq: int
    stream: str
    data: str
    dataBase64: str
    command: Command
    code: str
    message: str


class FileEntry(TypedDict, total=False):
    """A file or folder of a workspace; `name` in listings, `modifiedAt` where one was asked for."""

    path: Required[str]
    name: str
    type: str
    sizeBytes: int
    modifiedAt: str


class Artifact(TypedDict, total=False):
    """An artifact (CONTRACT §8); `sha256` is this server's addition."""

    id: Required[str]
    sandboxId: str
    name: str
    sourcePath: str
    sizeBytes: int
    sha256: str
    createdAt: str
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


class Preview(TypedDict, total=False):
    """A preview (CONTRACT §8)."""

    id: Required[str]
    url: Required[str]
    sandboxId: str
    port: int
    authMode: str
    createdAt: str
    expiresAt: str
    revokedAt: str


class ApiKey(TypedDict, total=False):
    """An API key without its secret (CONTRACT §8)."""

    id: Required[str]
    name: str
    prefix: str
    last4: str
    scopes: list[str]
    projectIds: list[str]
    createdAt: str
    lastUsedAt: str
    revokedAt: str


class Project(TypedDict, total=False):
    """A project; `limits` are those that its owner set."""

    id: Required[str]
    orgId: str
    name: str
    limits: dict[str, int]
    createdAt: str


class Secret(TypedDict, total=False):
    """A project secret: its name and times, never its value."""

    projectId: Required[str]
    name: Required[str]
    createdAt: str
    updatedAt: Required[str]
    deletedAt: str


class Organization(TypedDict, total=False):
    """An organisation."""

    id: Required[str]
    name: str
    plan: str
    createdAt: str


class User(TypedDict, total=False):
    """A person of an organisation."""

    id: Required[str]
    name: str
    role: str
    createdAt: str
    removedAt: str


PLANS = ("free", "builder", "scale", "enterprise")
"""The plans of CONTRACT §7.2."""
ROLES = ("owner", "admin", "member")

DEFAULT_KEY_SCOPES = (
    "sandbox:create", "sandbox:read", "sandbox:kill", "sandbox:extend",
    "command:run", "command:read", "command:cancel", "code:run", "file:read", "file:write",
    "artifact:create", "artifact:read", "artifact:delete",
    "preview:create", "preview:read", "preview:revoke",
    "workspace_run:create", "workspace_run:read", "workspace_run:cancel",
)  # fmt: skip
"""What a new key may do when nothing else is said: all but backup, usage, key and project scopes (§1.1)."""


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
class LogPage:
    """What a command has written so far, from one place on."""

    events: list[CommandEvent]
    has_more: bool


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """What to run in a sandbox: a shell line, the folder in the workspace, variables, and a time limit."""

    command: str
    cwd: str | None = None
    env: dict[str, str] = field(default_factory=dict[str, str])
    timeout_ms: int | None = None

    def body(self) -> JsonObject:
        """The JSON body of POST /v1/sandboxes/{id}/commands, without `background`."""
        optional: JsonObject = {"cwd": self.cwd, "env": self.env or None, "timeoutMs": self.timeout_ms}
        return {"command": self.command, **{k: v for k, v in optional.items() if v is not None}}


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
