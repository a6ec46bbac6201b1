"""Previews: who may open a port of a sandbox to a browser, for how long, and how many (CONTRACT §2, §7.2)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from eventstore.log import Answer, Append, NewEvent, Record, StorageUnavailable
from eventstore.views import ViewQuery, ViewRow
from evidence.canonical import decode, encode
from evidence.record import format_time, parse_time
from runs.access import Principal
from runs.dispatch import Store
from runs.idempotency import IdempotentRequest
from runs.ids import is_id, new_id
from runs.limits import RunLimits
from runs.locks import NamedLocks
from runs.organization import OrganizationStream, append_to_organization
from runs.plans import plan_of
from runs.refusal import Refusal, not_found
from runs.service import Page, list_page, restrict

logger = logging.getLogger(__name__)

PREVIEW_TOKEN = "preview_token"  # noqa: S105 # the name of a record kind
"""The record kind that holds a token's hash under its preview's id; tokens themselves are never stored."""

TOKEN_PREFIX = "cnp_"  # noqa: S105 # what every token begins with
TOKEN_BYTES = 32
ID_PREFIX = "prv"
PAGE = 500


class PortClosed(Exception):
    """Nothing listens on this port of the sandbox, or it did not take the connection."""


class SandboxGone(Exception):
    """The sandbox is not here any more."""


Dial = Callable[[str, int], Awaitable[socket.socket]]
"""Connects to a port (1 to 65535) inside a sandbox, by its id; raises `PortClosed` or `SandboxGone`."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What the proxy must know of a preview that may be opened now."""

    id: str
    org_id: str
    project_id: str
    sandbox_id: str
    port: int
    auth_mode: str
    """`authenticated` (an API key of the organisation) or `token`."""
    expires_at_ms: int


class PreviewService:
    """Commands and reads of previews on behalf of a `Principal`, and the end of those past their time.

    `url_of` makes the address of a slug: it is configuration, so it is added to each answer and stands
    neither in an event nor in a view.
    """

    def __init__(
        self, store: Store, limits: RunLimits, now_ms: Callable[[], int], url_of: Callable[[str], str]
    ) -> None:
        self._store = store
        self._limits = limits
        self._now_ms = now_ms
        self._url_of = url_of
        self._stream = OrganizationStream(store)
        self._organization = NamedLocks()

    def __repr__(self) -> str:
        return "PreviewService()"

    async def create(
        self, who: Principal, sandbox_id: str, *, port: int, auth_mode: str,
        idempotent: IdempotentRequest | None,
    ) -> Answer:  # fmt: skip
        """Open a port of a live sandbox until the sandbox's present expiry: 201 `{preview, previewToken?}`.

        The token is in this one answer only: an idempotent retry is answered without it. Refusals: 404, 410
        `sandbox_destroyed`, 409 `conflict` (not ready), 429 `quota_exceeded`.
        """
        who.require("preview:create")
        async with self._stream.once(idempotent) as answer:
            if answer:
                return answer
            async with self._organization(who.org_id):
                sandbox = await self._live_sandbox(who, sandbox_id)
                await self._require_room(who.org_id, sandbox_id)
                return await self._append_created(who, sandbox, port, auth_mode, idempotent)

    async def get(self, who: Principal, preview_id: str, scope: str = "preview:read") -> ViewRow:
        """The preview's row with its `url`, ended ones included; 404 for unknown and other tenants' ids."""
        who.require(scope)
        row = await self._store.get_view("previews", preview_id) if is_id(preview_id, ID_PREFIX) else None
        if row is None or not who.sees(row.org_id, row.project_id):
            raise not_found("Preview", preview_id)
        return self._shown(row)

    async def list_previews(self, who: Principal, sandbox_id: str, query: ViewQuery) -> Page:
        """A sandbox's previews, newest first, ended ones and those of a destroyed sandbox included."""
        who.require("preview:read")
        await self._sandbox(who, sandbox_id)
        page = await list_page(self._store, "previews", restrict(who, query))
        return Page([self._shown(row) for row in page.rows], page.next_before)

    async def revoke(self, who: Principal, preview_id: str) -> ViewRow:
        """Close the preview for good; revoking twice, or what has ended, changes nothing.

        Crash window: revoked and the token's hash still there. It opens nothing and expires by itself.
        """
        row = await self.get(who, preview_id, "preview:revoke")
        async with self._organization(row.org_id):
            row = await self.get(who, preview_id, "preview:revoke")
            if row.status == "live":
                event = NewEvent("preview_revoked", {"actor": who.key_id, "previewId": preview_id})
                await append_to_organization(self._store, row.org_id, event)
                await self._store.delete_record(PREVIEW_TOKEN, preview_id)
        return await self.get(who, preview_id, "preview:revoke")

    async def live(self, slug: str) -> Preview | None:
        """The preview of this slug if it may be opened now; None once revoked, expired or without sandbox."""
        preview_id = f"{ID_PREFIX}_{slug}"
        row = await self._store.get_view("previews", preview_id) if is_id(preview_id, ID_PREFIX) else None
        if row is None or not await self._is_live(row):
            return None
        doc = decode(row.doc)
        return Preview(
            id=row.id,
            org_id=row.org_id,
            project_id=row.project_id,
            sandbox_id=row.parent,
            port=doc["port"],
            auth_mode=doc["authMode"],
            expires_at_ms=parse_time(doc["expiresAt"]),
        )

    async def is_token(self, preview: Preview, token: str) -> bool:
        """Whether `token` is the one that was given out for this very preview."""
        record = await self._store.get_record(PREVIEW_TOKEN, preview.id)
        return record is not None and hmac.compare_digest(record.doc, _token_hash(token))

    async def expire_overdue(self) -> int:
        """Append `preview_expired` for what is past its time or lost its sandbox; how many there were."""
        expired = 0
        for org_id in await self._store.streams("org_"):
            async for row in self._with_status_live(org_id):
                if not await self._is_live(row):
                    event = NewEvent("preview_expired", {"actor": "system", "previewId": row.id})
                    await append_to_organization(self._store, org_id, event)
                    await self._store.delete_record(PREVIEW_TOKEN, row.id)
                    expired += 1
        for record in await self._store.expired_records(PREVIEW_TOKEN, self._now_ms()):
            await self._store.delete_record(PREVIEW_TOKEN, record.id)
        return expired

    async def run_forever(self) -> None:
        """`expire_overdue` every `reap_interval_s`; a failing pass is logged and tried again."""
        while True:
            await asyncio.sleep(self._limits.reap_interval_s)
            try:
                await self.expire_overdue()
            except StorageUnavailable as error:
                logger.warning("overdue previews are not ended yet: %s", error)
            except Exception:
                logger.exception("looking for overdue previews failed")

    async def _append_created(
        self,
        who: Principal,
        sandbox: ViewRow,
        port: int,
        auth_mode: str,
        idempotent: IdempotentRequest | None,
    ) -> Answer:
        preview_id = new_id(ID_PREFIX)
        expires_at = decode(sandbox.doc)["expiresAt"]
        fields = {
            "actor": who.key_id,
            "previewId": preview_id,
            "projectId": sandbox.project_id,
            "sandboxId": sandbox.id,
            "port": port,
            "authMode": auth_mode,
            "slug": preview_id.removeprefix(f"{ID_PREFIX}_"),
            "expiresAt": expires_at,
        }
        token = TOKEN_PREFIX + secrets.token_hex(TOKEN_BYTES) if auth_mode == "token" else None
        records = (
            [Record(PREVIEW_TOKEN, preview_id, _token_hash(token), parse_time(expires_at))] if token else []
        )
        claim = idempotent.claim(self._created_answer) if idempotent else None
        event = NewEvent("preview_created", fields)
        done = await self._store.append(Append(who.org_id, None, [event], claim=claim, records=records))
        if done.replayed and done.answer:
            return done.answer
        return self._created_answer(await self._store.get_view("previews", preview_id), token)

    def _created_answer(self, row: ViewRow | None, token: str | None = None) -> Answer:
        assert row is not None, "an event about a preview always answers its row"
        secret = b',"previewToken":' + encode(token) if token else b""
        return Answer(201, b'{"preview":' + self._shown(row).doc + secret + b"}")

    def _shown(self, row: ViewRow) -> ViewRow:
        doc: dict[str, Any] = decode(row.doc)
        return replace(row, doc=encode({**doc, "url": self._url_of(doc["slug"])}))

    async def _require_room(self, org_id: str, sandbox_id: str) -> None:
        """Count under the organisation's lock, so that the limits are exact however many ask at once."""
        in_organization = in_sandbox = 0
        async for row in self._with_status_live(org_id):
            if await self._is_live(row):
                in_organization += 1
                in_sandbox += row.parent == sandbox_id
        plan = await plan_of(self._store, org_id)
        for what, quota, used, limit in (
            ("sandbox", "previews_per_sandbox", in_sandbox, plan.previews_per_sandbox_max),
            ("organisation", "previews", in_organization, plan.previews_per_org_max),
        ):
            if used >= limit:
                raise Refusal(
                    "quota_exceeded",
                    f"This {what} has {used} live previews, and {limit} are allowed. Revoke one first.",
                    {"quota": quota, "limit": limit, "current": used},
                )

    async def _with_status_live(self, org_id: str) -> AsyncIterator[ViewRow]:
        """Rows that no event has ended yet: some may be past their time."""
        before: tuple[str, str] | None = None
        while rows := await self._store.list_view(
            "previews", ViewQuery(org_id=org_id, statuses=["live"], before=before, limit=PAGE)
        ):
            before = (rows[-1].sort_key, rows[-1].id)
            for row in rows:
                yield row

    async def _is_live(self, row: ViewRow) -> bool:
        """By the events, by the clock, and by the sandbox behind it, whether the reaper came round or not."""
        if row.status != "live" or decode(row.doc)["expiresAt"] <= format_time(self._now_ms()):
            return False
        sandbox = await self._store.get_view("sandboxes", row.parent)
        return sandbox is not None and sandbox.status != "destroyed"

    async def _sandbox(self, who: Principal, sandbox_id: str) -> ViewRow:
        row = await self._store.get_view("sandboxes", sandbox_id) if is_id(sandbox_id, "sbx") else None
        if row is None or not who.sees(row.org_id, row.project_id):
            raise not_found("Sandbox", sandbox_id)
        return row

    async def _live_sandbox(self, who: Principal, sandbox_id: str) -> ViewRow:
        row = await self._sandbox(who, sandbox_id)
        over = decode(row.doc).get("expiresAt", "~") <= format_time(self._now_ms())
        if row.status == "destroyed" or over:
            raise Refusal("sandbox_destroyed", "This sandbox has ended. Make a new one, and preview that.")
        if row.status != "ready":
            raise Refusal(
                "conflict",
                f"This sandbox is {row.status}. Previews need one that is kept: wait until it is `ready`.",
            )
        return row


def _token_hash(token: str) -> bytes:
    """Plain SHA-256 is right: 256 random bits cannot be guessed."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest().encode()
