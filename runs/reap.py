"""Ends what nobody ended: runs that never got an archive, kept sandboxes past their time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from eventstore.command_logs import CommandLogs
from eventstore.log import NewEvent, StorageUnavailable
from eventstore.views import ViewQuery
from evidence.canonical import decode
from evidence.record import format_time
from runs import decide
from runs.dispatch import Store, runs_in
from runs.limits import RunLimits
from runs.retention import Retention
from runs.sandboxes import record_destroyed
from runs.session import load_session
from runs.uploads import TRANSFER

logger = logging.getLogger(__name__)
SANDBOX_PAGE = 500

DestroySandbox = Callable[[str], Awaitable[bool]]
"""Ends a sandbox for real (wired to the runner in `cli`); False when it is not here."""


class Reaper:
    """Looks around every `reap_interval_s`; every pass can be called by itself."""

    def __init__(
        self,
        store: Store,
        destroy_sandbox: DestroySandbox,
        *,
        retention: Retention,
        logs: CommandLogs,
        limits: RunLimits,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._retention = retention
        self._logs = logs
        self._destroy = destroy_sandbox
        self._limits = limits
        self._now_ms = now_ms

    def __repr__(self) -> str:
        return "Reaper()"

    async def recover(self) -> int:
        """After a start no kept sandbox is left: record their end."""
        return await self._end_sandboxes("platform_cleanup", lambda _: True)

    async def run_forever(self) -> None:
        """Reap until canceled; a failing pass is logged and tried again."""
        while True:
            await asyncio.sleep(self._limits.reap_interval_s)
            try:
                await self.end_overdue_runs()
                await self.end_expired_sandboxes()
                await self.forget_old_transfers()
                await asyncio.to_thread(self.forget_old_output)  # a day of a busy server has many files
                await self._retention.expire_artifacts()
                await self._retention.sweep_blobs()
            except StorageUnavailable as error:
                logger.warning("overdue runs are not ended yet: %s", error)
            except Exception:
                logger.exception("looking for overdue runs failed")

    async def end_overdue_runs(self) -> int:
        """End runs that waited for an archive or a start longer than allowed."""
        ended = 0
        latest = format_time(self._now_ms() - self._limits.awaiting_archive_ms_max)
        async for run in runs_in(self._store, ["awaiting_archive", "archive_uploaded"]):
            since = run.get("uploadedAt", run["createdAt"])
            if since <= latest and await self._end_run(run["id"]):
                ended += 1
        return ended

    async def end_expired_sandboxes(self) -> int:
        """Destroy kept sandboxes past their `expiresAt`."""
        now = format_time(self._now_ms())
        return await self._end_sandboxes("ttl_expired", lambda doc: doc["expiresAt"] <= now)

    async def forget_old_transfers(self) -> int:
        """Delete the records of staged transfers that expired long ago."""
        old = await self._store.expired_records(TRANSFER, self._now_ms())
        for record in old:
            await self._store.delete_record(TRANSFER, record.id)
        return len(old)

    async def record_expired(self, sandbox_id: str) -> None:
        """The runner ended a sandbox because its time was over: say so at once."""
        row = await self._store.get_view("sandboxes", sandbox_id)
        if row is not None and row.status != "destroyed":
            await record_destroyed(self._store, row.org_id, sandbox_id, "ttl_expired", "system")

    def forget_old_output(self) -> int:
        """Delete the kept output of commands that ended long ago, and what is too much of it."""
        old = self._logs.older_than((self._now_ms() - self._limits.command_logs_ms) / 1000)
        old += [
            one for one in self._logs.oldest_beyond(self._limits.command_logs_bytes_max) if one not in old
        ]
        for command_id in old:
            self._logs.delete(command_id)
        return len(old)

    async def _end_run(self, run_id: str) -> bool:
        session = await load_session(self._store, run_id, self._limits, self._now_ms)

        def decision(created_at_ms: int) -> list[NewEvent]:
            return decide.overdue(session, created_at_ms=created_at_ms)

        # Uploaded or started at the last moment, it is decided on anew: then nothing is overdue.
        return await session.conclude(decision) is not None

    async def _end_sandboxes(self, reason: str, over: Callable[[dict[str, Any]], bool]) -> int:
        ended = 0
        for org_id in await self._store.streams("org_"):
            before: tuple[str, str] | None = None
            while rows := await self._store.list_view(
                "sandboxes", ViewQuery(org_id=org_id, statuses=["ready"], before=before, limit=SANDBOX_PAGE)
            ):
                before = (rows[-1].sort_key, rows[-1].id)
                for row in rows:
                    if over(decode(row.doc)):
                        await self._destroy(row.id)
                        await record_destroyed(self._store, org_id, row.id, reason, "system")
                        ended += 1
        return ended
