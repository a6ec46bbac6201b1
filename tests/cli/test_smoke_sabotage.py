"""`crownest smoke` against a sound server and some that break promises."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.smoke_checks import CHECKS
from client.api import CrownestClient
from tests.cli.cli_runner import CROWNEST, Shell
from tests.cli.real_server import RealServer, serving
from tests.cli.sabotage_proxy import SABOTAGES, Sabotage, proxy

SMOKE_S_MAX = 240
SIDE_BY_SIDE = 4
"""Smokes at a time: each spends most of its time waiting for sleeping commands."""
SOUND = "sound"


@dataclass(frozen=True)
class Outcome:
    """What one smoke said."""

    status: int
    report: dict[str, Any]
    err: str

    @property
    def reasons(self) -> dict[str, str | None]:
        """Line -> why it is not proven, None if it is."""
        return {line["name"]: line["reason"] for line in self.report["checks"]}


def smoke(server: RealServer, sabotage: Sabotage) -> Outcome:
    """Run the real command through a proxy."""
    with proxy(server.url, sabotage) as url:
        done = subprocess.run(
            [CROWNEST, "smoke", "--json"],
            env={**server.env(url), "CROWNEST_WORKSPACE_RUN_E2E": "1"},
            capture_output=True,
            timeout=SMOKE_S_MAX,
            check=False,
        )
    err = done.stderr.decode()
    assert done.stdout, err
    return Outcome(done.returncode, json.loads(done.stdout)["data"], err)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """One server behind all proxies."""
    with serving(tmp_path_factory.mktemp("smoke")) as running:
        yield running


@pytest.fixture(scope="module")
def outcomes(server: RealServer) -> Iterator[dict[str, Future[Outcome]]]:
    """All smokes, started together."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        started = {SOUND: pool.submit(smoke, server, Sabotage())}
        for name, broken in SABOTAGES.items():
            started[name] = pool.submit(smoke, server, broken())
        yield started


def test_there_is_one_sabotage_for_each_line() -> None:
    """Nine promises, nine ways to break one."""
    assert list(SABOTAGES) == list(CHECKS)
    assert len(CHECKS) == 9


def test_a_sound_server_proves_all_nine(outcomes: dict[str, Future[Outcome]]) -> None:
    """Through the same proxy that the sabotages use."""
    outcome = outcomes[SOUND].result()
    assert outcome.reasons == dict.fromkeys(CHECKS)
    assert (outcome.status, outcome.report["proven"], outcome.err) == (0, True, "")


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_broken_promise_fails_exactly_its_own_line(outcomes: dict[str, Future[Outcome]], name: str) -> None:
    """The others stay proven, and the status is 1."""
    outcome = outcomes[name].result()
    assert [line for line, reason in outcome.reasons.items() if reason] == [name], outcome.reasons
    assert (outcome.status, outcome.report["proven"]) == (1, False)


def test_nothing_is_left_behind(server: RealServer, outcomes: dict[str, Future[Outcome]]) -> None:
    """No run goes on; no sandbox lives but the one whose deletion was sabotaged."""
    for outcome in outcomes.values():
        outcome.result()
    with CrownestClient(server.url, server.key) as client:
        runs = client.list_runs(limit=500).items
        assert {run["status"] for run in runs} <= {"succeeded", "failed", "canceled"}
        alive = [sandbox["id"] for sandbox in client.list_sandboxes().items]
        assert len(alive) <= 1
        for sandbox_id in alive:
            client.delete_sandbox(sandbox_id)


@pytest.mark.parametrize("missing", ["CROWNEST_WORKSPACE_RUN_E2E", "CROWNEST_API_KEY"])
def test_it_refuses_unless_it_is_asked_twice(
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
) -> None:
    """Real runs are made: a usage message, status 2, nothing sent."""
    shell = Shell(tmp_path, "http://127.0.0.1:9", capfdbinary, monkeypatch)
    shell.env["CROWNEST_WORKSPACE_RUN_E2E"] = "1"
    del shell.env[missing]
    result = shell("smoke")
    assert result.status == 2
    assert "CROWNEST_WORKSPACE_RUN_E2E=1 CROWNEST_API_KEY=" in result.err


def test_no_server_is_one_error_and_not_nine(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is not there broke no promise."""
    shell = Shell(tmp_path, "http://127.0.0.1:9", capfdbinary, monkeypatch)
    shell.env["CROWNEST_WORKSPACE_RUN_E2E"] = "1"
    result = shell("smoke")
    assert (result.status, result.out) == (1, b"")
    assert "Nothing answers" in result.err
