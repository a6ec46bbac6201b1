"""Verifies runs as they are sealed, one at a time and at rest most of the time (decision 1141).

It follows the global log, in which every seal and every redaction is an entry, so that nothing has to say
what is due. Its place in it is a record: a server that was restarted goes on where it was.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from api.bundles import write_bundle_file
from api.services import Services
from eventstore.log import Record, StorageUnavailable
from eventstore.views import ViewRow
from evidence.canonical import decode, encode
from evidence.verify import verify_bundle
from runs.refusal import Refusal

_logger = logging.getLogger(__name__)

PLACE, LOG = "verdict_place", "log"
"""The record that holds how many entries of the log were looked at."""
PAGE = 256


async def verify_run(services: Services, run: ViewRow) -> dict[str, Any]:
    """The verdict over the run's stored bytes (the JSON object of P9.2); it is kept for lists."""
    path = await write_bundle_file(services, run.id)
    try:
        verdict = await asyncio.to_thread(verify_bundle, path, services.policy(), expected_run=run.id)
    finally:
        path.unlink(missing_ok=True)
    found = verdict.to_dict()
    size = found["size"] or await services.store.size(run.id)
    await services.verdicts.keep(run.org_id, run.id, size, found)
    return found


class Checker:
    """Verifies what the global log says was sealed or redacted."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __repr__(self) -> str:
        return "Checker()"

    async def run_forever(self) -> None:
        """Look at each entry once it is published, until cancelled; a full disk is waited for."""
        limits = self._services.limits
        if not limits.check_events_max:
            return
        while True:
            began = time.monotonic()
            advanced = self._services.sequencer.published.advanced  # before the look: nothing is missed
            try:
                found = await self.check_next()
            except (StorageUnavailable, OSError) as error:  # not the run's fault: its place is not passed
                _logger.warning("sealed runs are not verified yet: %s", error)
                await asyncio.sleep(limits.check_retry_s)
                continue
            if found:
                await asyncio.sleep((time.monotonic() - began) * limits.check_rest)
            else:
                await advanced.wait()

    async def check_next(self) -> bool:
        """Look at entries up to the next run to verify, and verify it; False when none are left.

        Crash window: verified, and the place not kept. Then it is verified once more.
        """
        services, limits = self._services, self._services.limits
        size = services.sequencer.published.size
        place = max(await self._place(), size - limits.check_backlog_max)
        if place >= size:
            return False
        for entry in await services.global_log.logged(place, min(size, place + PAGE)):
            place += 1
            run = await self._due(entry.stream, entry.size)
            if run is not None:
                await self._verify(run)
                break
        await services.store.put_record(Record(PLACE, LOG, encode({"entries": place})))
        return True

    async def _place(self) -> int:
        record = await self._services.store.get_record(PLACE, LOG)
        entries: int = decode(record.doc)["entries"] if record else 0
        return entries

    async def _due(self, stream: str | None, size: int) -> ViewRow | None:
        """The run, if the entry is its seal or a redaction and the run is not too long."""
        services = self._services
        if stream is None or not stream.startswith("wsr_") or size > services.limits.check_events_max:
            return None
        evidence = await services.store.get_view("evidence", stream)
        if evidence is None or size <= int(evidence.labels["lastPublicSeq"]):
            return None
        return await services.store.get_view("runs", stream)

    async def _verify(self, run: ViewRow) -> None:
        try:
            verdict = await verify_run(self._services, run)
        except Refusal as error:
            _logger.warning("Run %s could not be verified: %s", run.id, error)
            return
        if verdict["verdict"] == "FAILED":
            _logger.error("The record of run %s is not as it was signed: %s", run.id, verdict["message"])
