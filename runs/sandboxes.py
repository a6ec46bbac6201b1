"""Warm and kept sandboxes: made, listed, given more time, and ended (CONTRACT §2, §8)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from eventstore.log import Answer, LogError, NewEvent
from eventstore.views import ViewQuery, ViewRow
from evidence.record import format_time
from runs.access import Principal
from runs.dispatch import Store
from runs.host import SandboxHost
from runs.idempotency import IdempotentRequest
from runs.ids import is_id, new_id
from runs.limits import RunLimits
from runs.locks import NamedPlaces
from runs.organization import OrganizationStream, append_to_organization, rendered
from runs.plans import plan_of
from runs.quotas import LIVE_STATUSES, QuotaService
from runs.refusal import Refusal, not_found
from runs.requests import check_metadata
from runs.screening import screen
from runs.service import Page, ResolveTemplate, list_page, require_project, restrict


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """What a caller asks of a new sandbox, every default resolved."""

    project_id: str
    template: str
    ttl_ms: int
    template_version_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


class SandboxService:
    """`/v1/sandboxes`."""

    def __init__(
        self,
        store: Store,
        host: SandboxHost,
        templates: ResolveTemplate,
        limits: RunLimits,
        *,
        quotas: QuotaService,
    ) -> None:
        self._store = store
        self._host = host
        self._templates = templates
        self._limits = limits
        self._quotas = quotas
        self._stream = OrganizationStream(store)
        self._booting = NamedPlaces(limits.sandbox_boots_max)

    def __repr__(self) -> str:
        return f"SandboxService({self._stream!r})"

    async def create(
        self, who: Principal, request: SandboxRequest, idempotent: IdempotentRequest | None
    ) -> Answer:
        """201 `{sandbox}`, ready for commands and runs.

        Its place in the quota is reserved before it boots, and given back if it does not come to be: a slow
        boot holds up nobody but its caller, and the organisation's boots beyond `sandbox_boots_max`.

        Crash windows: reserved and not yet started, started and not yet recorded. Neither reservations nor
        sandboxes outlive the server, so nothing is left.
        """
        who.require("sandbox:create")
        async with self._stream.once(idempotent) as answer:
            if answer:
                return answer
            await self._check(who, request)
            await require_project(self._store, who, request.project_id)
            template = self._templates(request.template, request.template_version_id)
            if template is None:
                raise Refusal(
                    "invalid_request",
                    f"There is no template {(request.template_version_id or request.template)[:80]!r}. "
                    "Use python-node, python, node or base.",
                    {"field": "templateVersionId" if request.template_version_id else "template"},
                )
            sandbox_id = new_id("sbx")
            async with (
                self._quotas.admit_sandbox(who.org_id, request.project_id, sandbox_id),
                self._booting(who.org_id),
            ):
                return await self._start(who, sandbox_id, request, template, idempotent)

    async def _start(
        self,
        who: Principal,
        sandbox_id: str,
        request: SandboxRequest,
        template: Mapping[str, str],
        idempotent: IdempotentRequest | None,
    ) -> Answer:
        expires_at_ms = await self._host.create(sandbox_id, template["versionId"], request.ttl_ms)
        event = NewEvent(
            "sandbox_created",
            {
                "actor": who.key_id,
                "sandboxId": sandbox_id,
                "projectId": request.project_id,
                "template": dict(template),
                "ttlMs": request.ttl_ms,
                "expiresAt": format_time(expires_at_ms),
                "metadata": dict(request.metadata),
                **self._host.facts(),
            },
        )
        try:
            return await self._stream.append(
                who.org_id,
                event,
                about=("sandboxes", sandbox_id),
                render=rendered("sandbox", 201),
                idempotent=idempotent,
            )
        except (LogError, asyncio.CancelledError):
            await asyncio.shield(self._host.destroy(sandbox_id))
            raise

    async def _check(self, who: Principal, request: SandboxRequest) -> None:
        check_metadata("metadata", request.metadata, self._limits)
        screen((f"metadata.{key}", value) for key, value in request.metadata.items())
        longest_ms = (await plan_of(self._store, who.org_id)).create_ttl_ms_max
        if request.ttl_ms > longest_ms:
            raise Refusal(
                "sandbox_ttl_exceeded",
                f"ttlMs is at most {longest_ms} for a new sandbox. Extend it later.",
                {"field": "ttlMs", "maxTtlMs": longest_ms},
            )

    async def get(self, who: Principal, sandbox_id: str, scope: str = "sandbox:read") -> ViewRow:
        """The sandbox's record, destroyed ones included."""
        who.require(scope)
        row = await self._store.get_view("sandboxes", sandbox_id) if is_id(sandbox_id, "sbx") else None
        if row is None or not who.sees(row.org_id, row.project_id):
            raise not_found("Sandbox", sandbox_id)
        return row

    async def live(self, who: Principal, sandbox_id: str, scope: str, *, to_look: bool = False) -> ViewRow:
        """The record of a sandbox that can be used: `sandbox_destroyed` or `conflict` otherwise.

        `to_look` admits the one that a run made for itself while its command runs: to read, never to change.
        """
        row = await self.get(who, sandbox_id, scope)
        if row.status == "destroyed":
            raise destroyed(sandbox_id)
        if row.status != "ready" and not (to_look and row.status == "running"):
            raise Refusal(
                "conflict",
                f"Sandbox {sandbox_id} is {row.status}: it belongs to its run until that ends and keeps it.",
                {"status": row.status},
            )
        return row

    async def list_sandboxes(self, who: Principal, query: ViewQuery, *, historical: bool) -> Page:
        """Live sandboxes, or with `historical` all of them; newest first.

        A named project that the key cannot see is 403 (CONTRACT §11).
        """
        who.require("sandbox:read")
        for project_id in query.project_ids or ():
            await require_project(self._store, who, project_id)
        live = replace(query, statuses=() if historical else LIVE_STATUSES)
        return await list_page(self._store, "sandboxes", restrict(who, live))

    async def extend(
        self,
        who: Principal,
        sandbox_id: str,
        ttl_ms: int,
        idempotent: IdempotentRequest | None,
    ) -> Answer:
        """200 `{sandbox}`: it ends `ttl_ms` from now, which may be sooner than before."""
        async with self._stream.once(idempotent) as answer:
            if answer:
                return answer
            row = await self.live(who, sandbox_id, "sandbox:extend")
            longest_ms = (await plan_of(self._store, row.org_id)).extend_ttl_ms_max
            if ttl_ms > longest_ms:
                raise Refusal(
                    "sandbox_ttl_exceeded",
                    f"ttlMs is at most {longest_ms} on this plan.",
                    {"field": "ttlMs", "maxTtlMs": longest_ms},
                )
            expires_at = format_time(self._host.extend(sandbox_id, ttl_ms))
            fields = {
                "actor": who.key_id,
                "sandboxId": sandbox_id,
                "ttlMs": ttl_ms,
                "expiresAt": expires_at,
            }
            return await self._stream.append(
                row.org_id,
                NewEvent("sandbox_extended", fields),
                about=("sandboxes", sandbox_id),
                render=rendered("sandbox"),
                idempotent=idempotent,
            )

    async def kill(
        self, who: Principal, sandbox_id: str, idempotent: IdempotentRequest | None = None
    ) -> Answer:
        """Destroy for good, then record it; killing twice changes nothing.

        Crash window: destroyed and not yet recorded. Sandboxes do not outlive the server, so the next
        start records the destruction.
        """
        async with self._stream.once(idempotent) as answer:
            if answer:
                return answer
            row = await self.get(who, sandbox_id, "sandbox:kill")
            if row.status == "destroyed":
                return rendered("sandbox")(row)
            await self._host.destroy(sandbox_id)
            return await self._stream.append(
                row.org_id,
                destroyed_event(sandbox_id, "user_killed", who.key_id),
                about=("sandboxes", sandbox_id),
                render=rendered("sandbox"),
                idempotent=idempotent,
            )


def destroyed(sandbox_id: str) -> Refusal:
    """410: the sandbox was ended or its time is over; its record and its artifacts stay."""
    return Refusal(
        "sandbox_destroyed",
        f"Sandbox {sandbox_id} was destroyed or has expired. Create another one; its record stays.",
    )


def destroyed_event(sandbox_id: str, reason: str, actor: str) -> NewEvent:
    """`sandbox_destroyed`: final in any interleaving."""
    return NewEvent("sandbox_destroyed", {"actor": actor, "sandboxId": sandbox_id, "destroyedReason": reason})


async def record_destroyed(store: Store, org_id: str, sandbox_id: str, reason: str, actor: str) -> None:
    """Append `sandbox_destroyed` to the organisation's stream."""
    await append_to_organization(store, org_id, destroyed_event(sandbox_id, reason, actor))
