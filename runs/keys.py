"""API keys: made with no more than the maker's own rights, listed, revoked, and when each was last used."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from eventstore.log import LogError, NewEvent, Record
from eventstore.views import ViewQuery, ViewRow
from evidence.canonical import decode, encode
from evidence.record import format_time
from runs.access import ALL_SCOPES, Principal
from runs.credentials import api_key_fields, hash_record, new_secret
from runs.dispatch import Store
from runs.ids import is_id, new_id
from runs.limits import RunLimits
from runs.naming import check_name
from runs.organization import OrganizationStream, append_to_organization, rendered
from runs.refusal import Refusal, not_found
from runs.service import Page

logger = logging.getLogger(__name__)

KEY_USE = "api_key_use"
"""The record kind that holds when a key was last used; not folded from the log (CONTRACT §6.7)."""
_PAGE = 500


class KeyUse:
    """When each key was last used: in memory at once, on disk at most once a minute and key."""

    def __init__(self, store: Store, limits: RunLimits, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._limits = limits
        self._now_ms = now_ms
        self._used_ms: dict[str, int] = {}
        self._unsaved: set[str] = set()
        self._saved_ms: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"KeyUse(keys={len(self._used_ms)}, unsaved={len(self._unsaved)})"

    def note(self, key_id: str) -> None:
        """This key was used now."""
        self._used_ms[key_id] = self._now_ms()
        self._unsaved.add(key_id)

    async def last_used_at(self, key_id: str) -> str | None:
        """ISO time of the last use, None for a key never used."""
        if key_id in self._used_ms:
            return format_time(self._used_ms[key_id])
        record = await self._store.get_record(KEY_USE, key_id)
        return str(decode(record.doc)["lastUsedAt"]) if record else None

    async def save(self) -> None:
        """Write down what changed; a crash loses at most `key_use_interval_s` of it."""
        unsaved, self._unsaved = self._unsaved, set()
        for key_id in sorted(unsaved):
            doc = encode({"lastUsedAt": format_time(self._used_ms[key_id])})
            await self._store.put_record(Record(KEY_USE, key_id, doc))

    async def run_forever(self) -> None:
        """Save until canceled, and once more then."""
        try:
            while True:
                await asyncio.sleep(self._limits.key_use_interval_s)
                await self._try_to_save()
        finally:
            await self._try_to_save()

    async def _try_to_save(self) -> None:
        try:
            await self.save()
        except LogError as error:
            logger.warning("the last use of API keys is not stored: %s", error)


class KeyService:
    """`/v1/api-keys` (CONTRACT §2, §2.1)."""

    def __init__(self, store: Store, use: KeyUse) -> None:
        self._store = store
        self._use = use
        self._stream = OrganizationStream(store)

    def __repr__(self) -> str:
        return f"KeyService({self._use!r})"

    async def create(
        self, who: Principal, name: str, scopes: Sequence[str], project_ids: Sequence[str] | None
    ) -> tuple[dict[str, Any], str]:
        """The ApiKey object and its secret, which is stored nowhere and shown this once."""
        who.require("api_key:create")
        check_name("name", name)
        wanted = self._scopes(who, scopes)
        projects = await self._projects(who, project_ids)
        key_id, secret = new_id("key"), new_secret()
        fields = api_key_fields(
            key_id, name, secret, scopes=wanted, project_ids=projects, user_id=who.user_id
        )
        # No idempotency key is honoured here: a stored answer would be a stored secret (decision 0902).
        await self._stream.append(
            who.org_id,
            NewEvent("api_key_created", {"actor": who.key_id, "apiKey": fields}),
            about=("api_keys", key_id),
            render=rendered("apiKey"),
            records=[hash_record(secret, key_id, who.org_id)],
        )
        return await self.get(who, key_id, "api_key:create"), secret

    def _scopes(self, who: Principal, scopes: Sequence[str]) -> frozenset[str]:
        if not scopes:
            raise Refusal("invalid_request", "scopes must name at least one scope.", {"field": "scopes"})
        for scope in scopes:
            if scope not in ALL_SCOPES:
                raise Refusal(
                    "invalid_request",
                    f"There is no scope {scope[:80]!r}. {_nearest(scope)}GET /auth.md lists them.",
                    {"field": "scopes"},
                )
            if scope not in who.scopes:
                raise Refusal(
                    "forbidden",
                    f"A key cannot be given the scope {scope}, which its maker lacks.",
                    {"requiredScope": scope},
                )
        return frozenset(scopes)

    async def _projects(self, who: Principal, project_ids: Sequence[str] | None) -> list[str] | None:
        if project_ids is None:
            return sorted(who.project_ids) if who.project_ids is not None else None
        if not project_ids:
            raise Refusal(
                "invalid_request",
                "projectIds must name at least one project; leave it out for every project.",
                {"field": "projectIds"},
            )
        for project_id in sorted(set(project_ids)):
            row = await self._store.get_view("projects", project_id) if is_id(project_id, "prj") else None
            if row is None or not who.sees(row.org_id, project_id):
                raise Refusal(
                    "forbidden", f"Project {project_id[:80]} cannot be used.", {"projectId": project_id[:80]}
                )
        return sorted(set(project_ids))

    async def get(self, who: Principal, key_id: str, scope: str = "api_key:read") -> dict[str, Any]:
        """The ApiKey object with `lastUsedAt`, never the secret; revoked ones too."""
        who.require(scope)
        row = await self._store.get_view("api_keys", key_id) if is_id(key_id, "key") else None
        if row is None or not _visible(who, row):
            raise not_found("API key", key_id)
        return await self._shown(row)

    async def list_keys(self, who: Principal, query: ViewQuery) -> Page:
        """Newest first; a key of some projects sees itself and the keys of no other projects."""
        who.require("api_key:read")
        rows: list[ViewRow] = []
        before = query.before
        while len(rows) <= query.limit:
            page = await self._store.list_view("api_keys", ViewQuery(who.org_id, before=before, limit=_PAGE))
            rows += [row for row in page if _visible(who, row)]
            if len(page) < _PAGE:
                break
            before = (page[-1].sort_key, page[-1].id)
        more, rows = len(rows) > query.limit, rows[: query.limit]
        shown = [replace(row, doc=encode(await self._shown(row))) for row in rows]
        return Page(shown, (rows[-1].sort_key, rows[-1].id) if more else None)

    async def revoke(self, who: Principal, key_id: str) -> dict[str, Any]:
        """`revokedAt` is set for good; what it has open ends within seconds. Twice changes nothing."""
        key = await self.get(who, key_id, "api_key:revoke")
        if "revokedAt" not in key:
            event = NewEvent("api_key_revoked", {"actor": who.key_id, "apiKeyId": key_id})
            await append_to_organization(self._store, who.org_id, event)
            key = await self.get(who, key_id, "api_key:revoke")
        return key

    async def _shown(self, row: ViewRow) -> dict[str, Any]:
        used = await self._use.last_used_at(row.id)
        return {**decode(row.doc), **({"lastUsedAt": used} if used else {})}


def _nearest(scope: str) -> str:
    found = difflib.get_close_matches(scope[:80], sorted(ALL_SCOPES), n=1)
    return f"Did you mean {found[0]!r}? " if found else ""


def _visible(who: Principal, row: ViewRow) -> bool:
    if row.org_id != who.org_id:
        return False
    if who.project_ids is None or row.id == who.key_id:
        return True
    projects = decode(row.doc).get("projectIds")
    return projects is not None and set(projects) <= who.project_ids
