"""What a run leaves behind: artifacts and kept sandboxes, read and removed on behalf of a principal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from eventstore.log import NewEvent
from eventstore.views import ViewQuery, ViewRow
from evidence.canonical import decode
from runs.access import Principal
from runs.dispatch import Store
from runs.ids import is_id
from runs.organization import append_to_organization
from runs.refusal import Refusal, not_found
from runs.service import Page, list_page, restrict

LIVE_STATUSES = ("creating", "starting", "running", "ready")

DestroySandbox = Callable[[str], Awaitable[bool]]
"""Ends a sandbox for real (wired to the runner in `cli`); False when it is not here."""


class ResourceService:
    """Artifacts and sandboxes of CONTRACT §2."""

    def __init__(self, store: Store, destroy_sandbox: DestroySandbox) -> None:
        self._store = store
        self._destroy = destroy_sandbox

    def __repr__(self) -> str:
        return "ResourceService()"

    async def artifact(self, who: Principal, artifact_id: str, scope: str = "artifact:read") -> ViewRow:
        """The artifact's record, deleted ones included."""
        who.require(scope)
        return await self._visible(who, "artifacts", "Artifact", artifact_id, "art")

    async def artifacts(self, who: Principal, sandbox_id: str, query: ViewQuery) -> Page:
        """A sandbox's artifacts, also when the sandbox is gone."""
        who.require("artifact:read")
        await self._visible(who, "sandboxes", "Sandbox", sandbox_id, "sbx")
        return await list_page(self._store, "artifacts", restrict(who, query))

    async def artifact_content(self, who: Principal, artifact_id: str) -> dict[str, Any]:
        """The artifact object of a content that is still there; a removed one is 404."""
        row = await self.artifact(who, artifact_id)
        if row.status == "deleted":
            raise Refusal(
                "not_found",
                "This artifact was deleted. Its record and its digest in the evidence stay.",
                {"reason": "deleted"},
            )
        return decode(row.doc)

    async def delete_artifact(self, who: Principal, artifact_id: str) -> ViewRow:
        """Record the deletion in the organisation's stream; deleting twice changes nothing.

        The content stays in the blob store while another artifact or archive has the same bytes.
        """
        row = await self.artifact(who, artifact_id, "artifact:delete")
        if row.status != "deleted":
            event = NewEvent("artifact_deleted", {"actor": who.key_id, "artifactId": artifact_id})
            await append_to_organization(self._store, row.org_id, event)
            row = await self.artifact(who, artifact_id, "artifact:delete")
        return row

    async def sandbox(self, who: Principal, sandbox_id: str, scope: str = "sandbox:read") -> ViewRow:
        """The sandbox's record, destroyed ones included."""
        who.require(scope)
        return await self._visible(who, "sandboxes", "Sandbox", sandbox_id, "sbx")

    async def sandboxes(self, who: Principal, query: ViewQuery, *, historical: bool) -> Page:
        """Live sandboxes, or with `historical` all of them; newest first."""
        who.require("sandbox:read")
        statuses = () if historical else LIVE_STATUSES
        live = ViewQuery(
            query.org_id, query.project_ids, None, statuses, query.labels, query.before, query.limit
        )
        return await list_page(self._store, "sandboxes", restrict(who, live))

    async def kill_sandbox(self, who: Principal, sandbox_id: str) -> ViewRow:
        """Destroy for good, then record it; killing twice changes nothing.

        Crash window: destroyed and not yet recorded. Sandboxes do not outlive the server, so the next
        start records the destruction.
        """
        row = await self.sandbox(who, sandbox_id, "sandbox:kill")
        if row.status == "destroyed":
            return row
        await self._destroy(sandbox_id)
        await record_destroyed(self._store, row.org_id, sandbox_id, "user_killed", who.key_id)
        return await self.sandbox(who, sandbox_id, "sandbox:kill")

    async def _visible(self, who: Principal, view: str, what: str, row_id: str, prefix: str) -> ViewRow:
        row = await self._store.get_view(view, row_id) if is_id(row_id, prefix) else None
        if row is None or not who.sees(row.org_id, row.project_id):
            raise not_found(what, row_id)
        return row


async def record_destroyed(store: Store, org_id: str, sandbox_id: str, reason: str, actor: str) -> None:
    """`sandbox_destroyed` in the organisation's stream: final in any interleaving."""
    fields = {"actor": actor, "sandboxId": sandbox_id, "destroyedReason": reason}
    await append_to_organization(store, org_id, NewEvent("sandbox_destroyed", fields))
