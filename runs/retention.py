"""Ends artifacts whose time is over, and removes contents that nobody refers to any more.

"Expired" is exact for readers (`runs.artifacts`); this makes it so on disk. Contents are named by their
digest, so the same bytes may be another artifact's or an archive's: a content goes only when it has been
without a reference for `blob_grace_ms`. Crash window: an expiry that is recorded and whose content is not yet
removed is found again, since the record that asks for the removal lies in the same append.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from eventstore.log import Append, NewEvent, Record
from eventstore.views import ViewQuery
from evidence.canonical import decode
from runs.artifacts import BLOB_UNUSED, expired_before, unused_blob
from runs.dispatch import Store
from runs.limits import RunLimits
from runs.plans import plan_of
from runs.uploads import ARCHIVE_BLOB

DeleteBlob = Callable[[str, float], bool]
"""Removes a blob unless it was stored again after this unix time; whether it is gone. Blocking."""
_PAGE = 500
_LAST_ID = "~"
"""Sorts behind every id."""


class Retention:
    """Expires artifacts and sweeps contents; the reaper calls both."""

    def __init__(
        self, store: Store, delete_blob: DeleteBlob, limits: RunLimits, now_ms: Callable[[], int]
    ) -> None:
        self._store = store
        self._delete_blob = delete_blob
        self._limits = limits
        self._now_ms = now_ms

    def __repr__(self) -> str:
        return "Retention()"

    async def expire_artifacts(self) -> int:
        """Record `artifact_expired` for every artifact past its retention."""
        expired = 0
        for org_id in await self._store.streams("org_"):
            before = (expired_before(await plan_of(self._store, org_id), self._now_ms()), _LAST_ID)
            while rows := await self._store.list_view(
                "artifacts", ViewQuery(org_id, statuses=["stored"], before=before, limit=_PAGE)
            ):
                before = (rows[-1].sort_key, rows[-1].id)
                for row in rows:
                    await self._expire(org_id, decode(row.doc))
                    expired += 1
        return expired

    async def _expire(self, org_id: str, artifact: dict[str, Any]) -> None:
        event = NewEvent("artifact_expired", {"actor": "system", "artifactId": artifact["id"]})
        record = unused_blob(artifact["sha256"], self._now_ms() + self._limits.blob_grace_ms)
        await self._store.append(Append(org_id, None, [event], records=[record]))

    async def sweep_blobs(self) -> int:
        """Remove contents that were let go of long enough ago and that nothing refers to."""
        swept = 0
        for record in await self._store.expired_records(BLOB_UNUSED, self._now_ms()):
            if not await self._is_used(record.id):
                swept += await self._sweep(record)
            await self._store.delete_record(BLOB_UNUSED, record.id)
        return swept

    async def _sweep(self, record: Record) -> bool:
        stored_before_s = (self._now_ms() - self._limits.blob_grace_ms) / 1000
        return await asyncio.to_thread(self._delete_blob, record.id, stored_before_s)

    async def _is_used(self, sha256: str) -> bool:
        if await self._store.get_record(ARCHIVE_BLOB, sha256):
            return True
        for org_id in await self._store.streams("org_"):
            query = ViewQuery(org_id, statuses=["stored"], labels={"sha256": sha256}, limit=1)
            if await self._store.list_view("artifacts", query):
                return True
        return False
