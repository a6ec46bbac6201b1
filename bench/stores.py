"""Logs and runs for the benches: real ones, made through the public ports."""

from __future__ import annotations

import time
from pathlib import Path

from bench.common import line
from eventstore.log import Append, EventLog, NewEvent
from eventstore.sqlite.log import SqliteLog
from evidence.note import Ed25519Signer
from projections.projector import Projections
from runs.decide import created, status_event
from runs.ids import new_id

BATCH = 1000
TEMPLATE = {"id": "tpl_bench", "slug": "base", "version": "sha256-0", "versionId": "tplv_0"}


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


async def open_log(path: Path) -> SqliteLog:
    """A log with projections and a fresh signer."""
    key = Ed25519Signer.generate("crownest.local/bench")
    return await SqliteLog.open(path, signer=lambda: key, projector=Projections(), clock_ms=now_ms)


async def create_run(log: EventLog, org_id: str = "org_bench", project_id: str = "prj_bench") -> str:
    """A run that is `running`, so that output may follow."""
    run_id = new_id("wsr")
    request = {
        "command": "make test", "projectId": project_id, "template": "base", "timeoutMs": 600_000,
        "keepSandbox": False, "metadata": {}, "sourceMetadata": {}, "artifacts": [],
    }  # fmt: skip
    first = created(run_id=run_id, org_id=org_id, actor="key_bench", request=request, template=TEMPLATE)
    uploaded = status_event(
        "archive_uploaded", {"archive": {"sha256": "0" * 64, "sizeBytes": 1}, "actor": "key_bench"}
    )
    starting = status_event("starting", {"sandboxId": new_id("sbx"), "actor": "key_bench"})
    extracting = status_event(
        "extracting",
        {"provider": "process", "isolation": "none", "limits": {}, "template": TEMPLATE, "runner": "local"},
    )
    running = status_event("running", {"commandId": new_id("cmd"), "entries": 1, "bytes": 1})
    await log.append(Append(run_id, 0, [first, uploaded, starting, extracting, running]))
    return run_id


async def fill(log: EventLog, run_id: str, events: int) -> None:
    """Append output events in large batches."""
    for start in range(0, events, BATCH):
        batch = [NewEvent("stdout", line(number)) for number in range(start, min(start + BATCH, events))]
        await log.append(Append(run_id, None, batch))
