"""Warm sandboxes that boot slowly or never: the organisation's other requests are answered all the same."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from runs.limits import RunLimits
from runs.refusal import Refusal
from runs.sandboxes import SandboxRequest
from tests.serving import FINISH_S_MAX, Running, archive, serving


class Boots:
    """Stands before the host's `create`: boots hang until the test lets them go on, or fail."""

    def __init__(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self._running = running
        self._host = running.server.services.sandboxes._host
        self._create = self._host.create
        self._go_on = asyncio.Event()
        self._fail = False
        self.now = self.most = 0
        monkeypatch.setattr(self._host, "create", self._slow)

    async def _slow(self, sandbox_id: str, template: str, ttl_ms: int) -> int:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self._go_on.wait()
            if self._fail:
                raise Refusal("resource_allocation_failed", "It did not boot.")
            return await self._create(sandbox_id, template, ttl_ms)
        finally:
            self.now -= 1

    def wait(self, hanging: int) -> None:
        """Until so many hang."""
        wait_for(lambda: self.now == hanging)

    def go_on(self, *, fail: bool = False) -> None:
        """Let those that hang and all later ones boot, or fail."""
        self._fail = fail
        self._running.loop.call_soon_threadsafe(self._go_on.set)

    def repair(self) -> None:
        """From now on they boot."""
        self._fail = False


def wait_for(holds: Any) -> None:
    """Until it holds."""
    deadline = time.monotonic() + FINISH_S_MAX
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def asking(running: Running, boots: Boots, count: int) -> Iterator[list[Future[httpx2.Response]]]:
    """So many creations on their way; whatever the test finds, none waits for ever."""
    with ThreadPoolExecutor(count) as pool:
        try:
            yield [pool.submit(running.http.post, "/v1/sandboxes", json={}) for _ in range(count)]
        finally:
            boots.go_on()


def uploaded(running: Running) -> str:
    """A run that only has to be started."""
    run_id = running.create("true")
    assert running.upload(run_id, archive({"a": b""})).status_code == 200
    return run_id


def start(running: Running, run_id: str) -> httpx2.Response:
    """Ask for the start, which looks at the quota of sandboxes under the organisation's lock."""
    return running.http.post(f"/v1/workspace-runs/{run_id}/start")


def test_a_boot_that_hangs_stalls_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of the same organisation is started and ends while a sandbox boots; then that is there too."""
    with serving(tmp_path) as running:
        boots = Boots(running, monkeypatch)
        run_id = uploaded(running)
        with asking(running, boots, 1) as made:
            boots.wait(1)
            assert start(running, run_id).status_code == 200
            assert running.finished(run_id)["status"] == "succeeded"
            assert not made[0].done()
            boots.go_on()
            assert made[0].result(FINISH_S_MAX).status_code == 201
        assert repr(running.server.quotas) == "QuotaService(arriving={}, reserved={})"


def test_what_boots_counts_and_what_fails_to_gives_its_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the free plan two that boot are all there may be, for runs as well."""
    with serving(tmp_path, plan_default="free") as running:
        boots = Boots(running, monkeypatch)
        run_id = uploaded(running)
        with asking(running, boots, 2) as made:
            boots.wait(2)
            for refused in (running.http.post("/v1/sandboxes", json={}), start(running, run_id)):
                assert refused.status_code == 429
                details = refused.json()["error"]["details"]
                assert details == {"quota": "active_sandboxes", "limit": 2, "current": 2}
            boots.go_on(fail=True)
            assert [one.result(FINISH_S_MAX).status_code for one in made] == [503, 503]
            assert start(running, run_id).status_code == 200
            running.finished(run_id)
            boots.repair()
            statuses = [running.http.post("/v1/sandboxes", json={}).status_code for _ in range(3)]
            assert statuses == [201, 201, 429]


def test_so_many_boot_at_once_and_the_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its place in the quota; none begins beyond the limit, and all come to be."""
    with serving(tmp_path, runs=RunLimits(sandbox_boots_max=2)) as running:
        boots = Boots(running, monkeypatch)
        with asking(running, boots, 5) as made:
            wait_for(lambda: sum(map(len, running.server.quotas._reserved.values())) == 5)
            boots.wait(2)
            boots.go_on()
            assert [one.result(FINISH_S_MAX).status_code for one in made] == [201] * 5
        assert boots.most == 2


def test_a_creation_that_is_given_up_leaves_no_place_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it boots or waits for its turn; and no sandbox."""
    with serving(tmp_path, runs=RunLimits(sandbox_boots_max=1)) as running:
        boots, services = Boots(running, monkeypatch), running.server.services
        project_id = running.http.get("/v1/projects").json()["data"][0]["id"]

        async def begin() -> list[asyncio.Task[Any]]:
            who = await services.authenticate(running.key)
            assert who is not None
            request = SandboxRequest(project_id, "base", 60_000)
            return [asyncio.create_task(services.sandboxes.create(who, request, None)) for _ in range(2)]

        async def give_up(tasks: list[asyncio.Task[Any]]) -> list[Any]:
            for task in tasks:
                task.cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        tasks = asyncio.run_coroutine_threadsafe(begin(), running.loop).result(FINISH_S_MAX)
        wait_for(lambda: sum(map(len, running.server.quotas._reserved.values())) == 2)
        boots.wait(1)
        given_up = asyncio.run_coroutine_threadsafe(give_up(tasks), running.loop).result(FINISH_S_MAX)
        assert [type(one) for one in given_up] == [asyncio.CancelledError] * 2
        assert repr(running.server.quotas) == "QuotaService(arriving={}, reserved={})"
        boots.go_on()
        assert running.http.post("/v1/sandboxes", json={}).status_code == 201
        assert len(running.server.runner.kept_sandboxes()) == 1
