"""Runs and sandboxes that nobody ends are ended by the clock (CONTRACT §11)."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from eventstore.blobs import BlobStore
from runner.limits import RunnerLimits
from runs.limits import RunLimits
from runs.reap import Reaper
from runs.retention import Retention
from tests.serving import Running, archive, archive_headers, serving

T = TypeVar("T")
DAY_MS = 24 * 60 * 60 * 1000


def _reap(running: Running, ahead_ms: int, what: Callable[[Reaper], Awaitable[T]]) -> T:
    """Let a reaper whose clock is ahead do one pass inside the server's loop."""
    services = running.server.services
    limits = services.runs.limits

    def later_ms() -> int:
        return services.runs.now_ms() + ahead_ms

    blobs = BlobStore(running.data_dir / "blobs")
    retention = Retention(services.store, blobs.delete_unless_newer, limits, later_ms)
    destroy = running.server.runner.destroy_sandbox
    later = Reaper(
        services.store,
        destroy,
        retention=retention,
        logs=services.commands.logs,
        limits=limits,
        now_ms=later_ms,
    )

    async def once() -> T:
        return await what(later)

    return asyncio.run_coroutine_threadsafe(once(), running.loop).result(30)


@pytest.fixture
def running(tmp_path: Path) -> object:
    """A server whose own reaper stays quiet."""
    with serving(
        tmp_path, runs=RunLimits(reap_interval_s=3600), runner=RunnerLimits(kept_ttl_ms=60_000)
    ) as server:
        yield server


def test_a_run_without_an_archive_expires(running: Running) -> None:
    """After 24 h: failed, `upload_missing`, sealed; younger ones are left alone."""
    run_id = running.create()
    assert _reap(running, DAY_MS - 60_000, Reaper.end_overdue_runs) == 0
    assert _reap(running, DAY_MS + 1, Reaper.end_overdue_runs) == 1
    run = running.get(run_id)
    assert (run["status"], run["failureReason"], run["failureClass"]) == (
        "failed",
        "upload_missing",
        "user_input",
    )
    assert running.http.post(f"/v1/workspace-runs/{run_id}/verify").json()["verdict"]["verdict"] == "COMPLETE"
    assert _reap(running, 2 * DAY_MS, Reaper.end_overdue_runs) == 0


def test_an_uploaded_run_that_nobody_starts_is_canceled(running: Running) -> None:
    """With a message that says why."""
    run_id = running.create()
    running.upload(run_id, archive({"a": b""}))
    _reap(running, DAY_MS + 1, Reaper.end_overdue_runs)
    run = running.get(run_id)
    assert run["status"] == "canceled"
    assert "never started" in run["failureMessage"]


def test_a_kept_sandbox_ends_with_its_time(running: Running) -> None:
    """Destroyed, `ttl_expired`, no longer listed as live."""
    sandbox_id = running.run("true", keepSandbox=True)["sandboxId"]
    assert _reap(running, 0, Reaper.end_expired_sandboxes) == 0
    assert _reap(running, 61_000, Reaper.end_expired_sandboxes) == 1
    sandbox = running.http.get(f"/v1/sandboxes/{sandbox_id}").json()["sandbox"]
    assert (sandbox["status"], sandbox["destroyedReason"]) == ("destroyed", "ttl_expired")
    assert running.http.get("/v1/sandboxes").json()["data"] == []


def test_an_old_transfer_is_forgotten(running: Running) -> None:
    """Its record goes some time after it expired."""
    run_id = running.create()
    data = archive({"a": b""})
    wanted = {"sha256": archive_headers(data)["x-crownest-archive-sha256"], "sizeBytes": len(data)}
    upload = running.http.post(f"/v1/workspace-runs/{run_id}/archive-transfer", json=wanted).json()[
        "transfer"
    ]
    assert _reap(running, DAY_MS // 2, Reaper.forget_old_transfers) == 0
    assert _reap(running, 2 * DAY_MS, Reaper.forget_old_transfers) == 1
    assert running.http.put(upload["uploadUrl"], content=data).status_code == 404


def test_kept_sandboxes_do_not_outlive_the_server(tmp_path: Path) -> None:
    """After a restart they are recorded as destroyed."""
    with serving(tmp_path) as running:
        key = running.key
        sandbox_id = running.run("true", keepSandbox=True)["sandboxId"]
    with serving(tmp_path, key) as running:
        sandbox = running.http.get(f"/v1/sandboxes/{sandbox_id}").json()["sandbox"]
        assert (sandbox["status"], sandbox["destroyedReason"]) == ("destroyed", "platform_cleanup")
