"""A full disk: clear refusals, nothing acknowledged lost, and everything goes on once there is room."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from evidence.verify import verify_bundle
from tests.requires import need
from tests.serving import archive, archive_headers
from tests.simulation.power import PowerRig, why_no_power_cuts
from tests.simulation.server import ServerProcess

DISK_BYTES = 48 * 1024 * 1024
LEFT_BYTES = 3 * 1024 * 1024
"""Room for the run's first events, after the ballast is in."""
WAIT_S_MAX = 60.0
PRINTS_FOR_EVER = "i=0; while :; do i=$((i+1)); printf '%08d %01000d\\n' $i 0; done"
NDJSON = {"accept": "application/x-ndjson"}


@dataclass
class Small:
    """A server whose data folder lies on a small disk, and the ballast that fills the disk."""

    http: httpx2.Client
    inside: Path
    """The disk, as the server sees it."""

    def fill(self, left_bytes: int) -> None:
        """Leave this much room on the disk."""
        free = os.statvfs(self.inside)
        with (self.inside / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, free.f_bavail * free.f_frsize - left_bytes)

    def empty(self) -> None:
        """Give the room back."""
        (self.inside / "ballast").unlink()

    def create(self, command: str) -> httpx2.Response:
        """POST a new run."""
        return self.http.post("/v1/workspace-runs", json={"command": command, "timeoutMs": 120_000})

    def started(self, command: str) -> str:
        """A run that was created, uploaded and started."""
        run_id: str = self.create(command).json()["workspaceRun"]["id"]
        data = archive({"a.txt": run_id.encode()})
        path = f"/v1/workspace-runs/{run_id}"
        assert self.http.put(f"{path}/archive", content=data, headers=archive_headers(data)).is_success
        assert self.http.post(f"{path}/start").is_success
        return run_id

    def run(self, run_id: str) -> dict[str, Any]:
        """The run as it stands."""
        run: dict[str, Any] = self.http.get(f"/v1/workspace-runs/{run_id}").json()["workspaceRun"]
        return run

    def log(self, run_id: str) -> list[bytes]:
        """The stored payloads."""
        return self.http.get(f"/v1/workspace-runs/{run_id}/events", headers=NDJSON).content.splitlines()

    def wait_for_end(self, run_id: str) -> dict[str, Any]:
        """Poll until the run is terminal."""
        deadline = time.monotonic() + WAIT_S_MAX
        while (run := self.run(run_id))["status"] not in {"succeeded", "failed", "canceled"}:
            assert time.monotonic() < deadline, f"{run_id} is still {run['status']}"
            time.sleep(0.05)
        return run


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    """A server on a disk of `DISK_BYTES`, made for this test."""
    need("loop")
    if why := why_no_power_cuts(tmp_path / "trial"):
        pytest.skip(f"needs loop: {why}")
    with PowerRig(tmp_path / "rig", DISK_BYTES) as rig:
        rig.format()
        rig.mount()
        environment = {"CROWNEST_RUNS__STORAGE_RETRY_S": "0.2"}
        server = ServerProcess(
            rig.mount_point / "data", tmp_path / "home", prefix=rig.prefix, environment=environment
        )
        try:
            with _client_of(server) as http:
                yield Small(http, Path(f"/proc/{rig.holder_pid}/root{rig.mount_point}"))
        finally:
            server.kill()


def _client_of(server: ServerProcess) -> httpx2.Client:
    import asyncio

    server.start()
    asyncio.run(server.wait_ready())
    key = json.loads(server.config.read_text())["apiKey"]
    return httpx2.Client(base_url=server.url, headers={"authorization": f"Bearer {key}"}, timeout=WAIT_S_MAX)


def test_a_full_disk_is_said_clearly_loses_nothing_and_is_survived(small: Small) -> None:
    """While a run prints the disk fills up: 500 with a message, then room, the run's end, the next run."""
    before = small.wait_for_end(small.started("echo before"))
    before_log = small.log(before["id"])
    small.fill(LEFT_BYTES)
    printing = small.started(PRINTS_FOR_EVER)

    refused = _until_refused(small)
    error = refused.json()["error"]
    assert refused.status_code == 500
    assert error["code"] == "internal_error"
    assert "space" in error["message"] or "disk" in error["message"]
    assert error["requestId"]
    assert small.log(before["id"]) == before_log, "reading needs no room"
    seen = small.log(printing)

    small.empty()
    ended = small.wait_for_end(printing)
    assert (ended["status"], ended["failureReason"]) == ("failed", "internal_error")
    assert "exitCode" not in ended
    log = small.log(printing)
    assert log[: len(seen)] == seen
    assert [json.loads(line)["seq"] for line in log] == list(range(1, len(log) + 1))
    _check_numbered(log)

    after = small.wait_for_end(small.started("echo after"))
    assert after["status"] == "succeeded"
    for run_id in (before["id"], printing, after["id"]):
        _check_proof(small, run_id)


def test_an_archive_that_does_not_fit_is_refused_and_can_be_sent_again(small: Small) -> None:
    """The upload answers 500 and leaves the run waiting; with room the same upload succeeds."""
    run_id = small.create("true").json()["workspaceRun"]["id"]
    data = archive({"a.bin": os.urandom(4 * 1024 * 1024)})
    headers = {**archive_headers(data), "idempotency-key": "same"}
    path = f"/v1/workspace-runs/{run_id}/archive"
    small.fill(2 * 1024 * 1024)
    refused = small.http.put(path, content=data, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (500, "internal_error")
    assert small.run(run_id)["status"] == "awaiting_archive"
    small.empty()
    accepted = small.http.put(path, content=data, headers=headers)
    assert accepted.status_code == 200, accepted.text
    assert accepted.json()["workspaceRun"]["status"] == "archive_uploaded"


def _until_refused(small: Small) -> httpx2.Response:
    """Create runs until one is refused; every one that was acknowledged must be there."""
    created: list[str] = []
    deadline = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < deadline:
        answer = small.create("true")
        if not answer.is_success:
            for run_id in created:
                assert small.run(run_id)["status"] == "awaiting_archive"
            return answer
        created.append(answer.json()["workspaceRun"]["id"])
        time.sleep(0.02)
    pytest.fail("the disk never became full")


def _check_numbered(log: list[bytes]) -> None:
    """The output that was stored is the numbered lines from the first on, without a gap."""
    events = [json.loads(line) for line in log]
    printed = "".join(event["data"] for event in events if event["type"] == "stdout")
    assert printed
    whole_lines = printed.split("\n")[:-1]
    assert [int(line[:8]) for line in whole_lines] == list(range(1, len(whole_lines) + 1))


def _check_proof(small: Small, run_id: str) -> None:
    import io

    bundle = small.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle").content
    policy = small.http.get("/v1/proof/policy").content
    verdict = verify_bundle(io.BytesIO(bundle), policy, expected_run=run_id)
    assert verdict.verdict == "COMPLETE", verdict.to_dict()


def test_the_ballast_is_what_fills_the_disk(tmp_path: Path) -> None:
    """The rig's small disk is really small: a control for the two tests above."""
    need("loop")
    if why := why_no_power_cuts(tmp_path / "trial"):
        pytest.skip(f"needs loop: {why}")
    with PowerRig(tmp_path / "rig", DISK_BYTES) as rig:
        rig.format()
        rig.mount()
        done = subprocess.run(
            [*rig.prefix, "dd", "if=/dev/zero", f"of={rig.mount_point}/big", "bs=1M", "count=200"],
            capture_output=True,
            check=False,
        )
        assert b"No space left" in done.stderr
