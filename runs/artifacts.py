"""Artifacts: kept files of runs and sandboxes, for as long as the plan says; their records stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from eventstore.log import Answer, Append, NewEvent, Record
from eventstore.views import ViewQuery, ViewRow
from evidence.canonical import decode, encode
from evidence.record import format_time, parse_time
from runs.access import Principal
from runs.commands import workspace_relative
from runs.dispatch import Store
from runs.host import Owner, SandboxHost
from runs.idempotency import IdempotentRequest
from runs.ids import is_id
from runs.limits import RunLimits
from runs.organization import OrganizationStream
from runs.plans import Plan, plan_of, retention_expires_at
from runs.refusal import Refusal, not_found
from runs.requests import check_artifacts
from runs.sandboxes import SandboxService
from runs.secret_names import secret_names
from runs.service import Page, list_page, restrict

COLLECT_ERRORS = {
    "file_not_found": "file_not_found",
    "path_outside_workspace": "path_outside_workspace",
    "artifact_collect_failed": "invalid_request",
}
"""Of an artifact that was asked for on demand: the error's code, and what the refusal is called."""

BLOB_UNUSED = "blob_unused"
"""The record kind of digests that one artifact less refers to."""


@dataclass(frozen=True, slots=True)
class RequestedFile:
    """A file to keep, and what to call it (default: its path)."""

    path: str
    name: str | None = None


class ArtifactService:
    """`/v1/artifacts` and `/v1/sandboxes/{id}/artifacts`."""

    def __init__(
        self, store: Store, host: SandboxHost, sandboxes: SandboxService, limits: RunLimits,
        now_ms: Callable[[], int],
    ) -> None:  # fmt: skip
        self._store = store
        self._host = host
        self._sandboxes = sandboxes
        self._limits = limits
        self._now_ms = now_ms
        self._stream = OrganizationStream(store)

    def __repr__(self) -> str:
        return f"ArtifactService({self._stream!r})"

    async def collect(
        self,
        who: Principal,
        sandbox_id: str,
        wanted: RequestedFile,
        idempotent: IdempotentRequest | None,
    ) -> Answer:
        """201 `{artifact}`: keep a file of a live sandbox."""
        who.require("artifact:create")
        who.require("file:read")
        async with self._stream.once(idempotent) as answer:
            if answer:
                return answer
            sandbox = await self._sandboxes.live(who, sandbox_id, "artifact:create")
            path = workspace_relative(wanted.path)
            named = {"name": wanted.name} if wanted.name is not None else {}
            check_artifacts([{"path": path, **named}], self._limits)
            names = await secret_names(self._store, sandbox.org_id, sandbox.project_id)
            owner = Owner(sandbox.org_id, sandbox.project_id, names)
            async with self._host.collected(owner, sandbox_id, path, wanted.name) as event:
                if event.type == "artifact_error":
                    raise _collect_refusal(event.fields["error"])
                place = {"actor": who.key_id, "sandboxId": sandbox_id, "projectId": sandbox.project_id}
                plan = await plan_of(self._store, sandbox.org_id)
                return await self._stream.append(
                    sandbox.org_id,
                    NewEvent(event.type, {**event.fields, **place}),
                    about=("artifacts", str(event.fields["artifactId"])),
                    render=partial(_created, plan),
                    idempotent=idempotent,
                )

    async def get(self, who: Principal, artifact_id: str, scope: str = "artifact:read") -> dict[str, Any]:
        """The Artifact object, deleted and expired ones included."""
        who.require(scope)
        row = await self._store.get_view("artifacts", artifact_id) if is_id(artifact_id, "art") else None
        if row is None or not who.sees(row.org_id, row.project_id):
            raise not_found("Artifact", artifact_id)
        return shown(row, await plan_of(self._store, row.org_id))

    async def list_artifacts(self, who: Principal, sandbox_id: str, query: ViewQuery) -> Page:
        """A sandbox's artifacts, also when the sandbox is gone."""
        await self._sandboxes.get(who, sandbox_id, "artifact:read")
        page = await list_page(self._store, "artifacts", restrict(who, query))
        plan = await plan_of(self._store, who.org_id)
        return Page([replace(row, doc=encode(shown(row, plan))) for row in page.rows], page.next_before)

    async def content(self, who: Principal, artifact_id: str) -> dict[str, Any]:
        """The Artifact object of a content that may still be read; otherwise 404 says why."""
        artifact = await self.get(who, artifact_id)
        if "deletedAt" in artifact:
            raise _gone("deleted", "This artifact was deleted.")
        # Exact, also before the reaper has passed: an answer after the time would be a broken promise.
        if parse_time(artifact["retentionExpiresAt"]) <= self._now_ms():
            raise _gone("expired", "The retention of this artifact is over.")
        return artifact

    async def delete(self, who: Principal, artifact_id: str) -> dict[str, Any]:
        """The Artifact object with `deletedAt`; deleting twice changes nothing.

        The content goes with the next sweep, unless another artifact or archive has the same bytes.
        """
        artifact = await self.get(who, artifact_id, "artifact:delete")
        if "deletedAt" not in artifact:
            event = NewEvent("artifact_deleted", {"actor": who.key_id, "artifactId": artifact_id})
            record = unused_blob(artifact["sha256"], self._now_ms() + self._limits.blob_grace_ms)
            await self._store.append(Append(who.org_id, None, [event], records=[record]))
            artifact = await self.get(who, artifact_id, "artifact:delete")
        return artifact


def unused_blob(sha256: str, sweep_at_ms: int) -> Record:
    """Asks the sweep to look at this content once its time has come."""
    return Record(BLOB_UNUSED, sha256, b"{}", sweep_at_ms)


def shown(row: ViewRow, plan: Plan) -> dict[str, Any]:
    """The Artifact object of CONTRACT §8: when it is gone follows from its age and the plan."""
    artifact = decode(row.doc)
    if "createdAt" in artifact:
        artifact["retentionExpiresAt"] = retention_expires_at(plan, artifact["createdAt"])
    return artifact


def expired_before(plan: Plan, now_ms: int) -> str:
    """Artifacts that were made at or before this time are over their retention."""
    return format_time(now_ms - plan.artifact_retention_ms)


def _created(plan: Plan, row: ViewRow | None) -> Answer:
    assert row is not None, "the event that was just appended made this row"
    return Answer(201, encode({"artifact": shown(row, plan)}))


def _gone(reason: str, why: str) -> Refusal:
    return Refusal("not_found", f"{why} Its record and its digest in the evidence stay.", {"reason": reason})


def _collect_refusal(error: object) -> Refusal:
    """What an `artifact_error` says: `{code, message, path}` (CONTRACT §3.5)."""
    found = cast("Mapping[str, str]", error)
    code = found["code"]
    return Refusal(COLLECT_ERRORS[code], found["message"], {"reason": code, "field": "path"})
