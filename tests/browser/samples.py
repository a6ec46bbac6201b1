"""What a dashboard shows in tests and screenshots: runs of every kind, made over HTTP on a real server."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.serving import TERMINAL, archive, archive_headers

FINISH_S_MAX = 60.0


@dataclass
class Site:
    """A server with a client that holds its first key, and the ids of what was made on it, by a name."""

    url: str
    key: str
    http: httpx2.Client
    ids: dict[str, str] = field(default_factory=dict[str, str])

    def create(self, command: str, **fields: Any) -> str:
        """A new run's id."""
        answer = self.http.post("/v1/workspace-runs", json={"command": command, **fields})
        assert answer.status_code == 201, answer.text
        run_id: str = answer.json()["workspaceRun"]["id"]
        return run_id

    def start(self, command: str, files: dict[str, bytes] | None = None, **fields: Any) -> str:
        """A run that executes a command over files."""
        run_id = self.create(command, **fields)
        self.upload_and_start(run_id, files)
        return run_id

    def upload_and_start(self, run_id: str, files: dict[str, bytes] | None = None) -> None:
        """Let a run that waits for its archive execute over files."""
        data = archive(files or {"README.md": b"a sample\n"})
        path = f"/v1/workspace-runs/{run_id}"
        answer = self.http.put(f"{path}/archive", content=data, headers=archive_headers(data))
        assert answer.status_code == 200, answer.text
        assert self.http.post(f"{path}/start").status_code == 200

    def run(self, command: str, files: dict[str, bytes] | None = None, **fields: Any) -> str:
        """A run that has ended."""
        run_id = self.start(command, files, **fields)
        self.wait_for(run_id, *TERMINAL)
        return run_id

    def warm(self, **fields: Any) -> str:
        """A warm sandbox's id."""
        answer = self.http.post("/v1/sandboxes", json={"template": "base", **fields})
        assert answer.status_code == 201, answer.text
        sandbox_id: str = answer.json()["sandbox"]["id"]
        return sandbox_id

    def status(self, run_id: str) -> str:
        """The run's status now."""
        status: str = self.http.get(f"/v1/workspace-runs/{run_id}").json()["workspaceRun"]["status"]
        return status

    def wait_for(self, run_id: str, *statuses: str) -> None:
        """Poll until the run is in one of these states."""
        deadline = time.monotonic() + FINISH_S_MAX
        while (status := self.status(run_id)) not in statuses:
            assert time.monotonic() < deadline, f"{run_id} is still {status}"
            time.sleep(0.05)

    def redact(self, run_id: str, stream: str, reason: str) -> list[int]:
        """Erase all output of a stream; answers the events that it was."""
        events = self.http.get(f"/v1/workspace-runs/{run_id}/events?limit=500").json()["data"]
        targets = [event["seq"] for event in events if event["type"] == stream]
        body = {"targets": targets, "reason": reason}
        assert self.http.post(f"/v1/workspace-runs/{run_id}/redactions", json=body).status_code == 201
        return targets

    def cancel(self, run_id: str) -> None:
        """End a run that executes."""
        assert self.http.post(f"/v1/workspace-runs/{run_id}/cancel").status_code == 200


REPORT = """
printf '\\033[1mcollecting\\033[0m\\n'
for n in $(seq 1 60); do printf '\\033[32mok\\033[0m   tests/case_%03d\\n' "$n"; done
printf '\\033[31mFAIL\\033[0m tests/case_061: expected 3, got 4\\n' >&2
mkdir -p out && printf '{"failed": 1}\\n' > out/report.json
exit 1
"""
PASSING = "for n in 1 2 3; do echo line $n; done; mkdir -p out; echo done > out/summary.txt"
RUNNING_MS = 60 * 60 * 1000
"""Longer than it takes to look at every page, on a busy machine too."""
METADATA = {"repository": "acme/ledger", "branch": "main", "commit": "7be2d10"}


def fill(site: Site) -> None:
    """Make what the pages show: `site.ids` has succeeded, failed, redacted, canceled, running, waiting …."""
    out = [{"path": "out/report.json"}]
    site.ids["succeeded"] = site.run(PASSING, metadata=METADATA, artifacts=[{"path": "out/summary.txt"}])
    site.ids["failed"] = site.run(REPORT.strip(), metadata={**METADATA, "pr": "2217"}, artifacts=out)
    site.ids["redacted"] = site.run("echo public; sleep 0.3; echo token=hunter2 >&2", metadata=METADATA)
    site.redact(site.ids["redacted"], "stderr", "ticket 5512")
    site.ids["canceled"] = site.start("sleep 600", metadata=METADATA)
    site.wait_for(site.ids["canceled"], "running")
    site.cancel(site.ids["canceled"])
    site.ids["warm"] = site.warm(metadata={"purpose": "pairing"})
    opened = site.http.post(f"/v1/sandboxes/{site.ids['warm']}/previews", json={"port": 8000})
    site.ids["preview"] = opened.json()["preview"]["id"]
    site.ids["waiting"] = site.create("pytest -q", metadata=METADATA)
    ticking = "for n in $(seq 1 100000); do echo tick $n; sleep 1; done"
    site.ids["running"] = site.start(ticking, timeoutMs=RUNNING_MS)
    site.wait_for(site.ids["running"], "running")
    made = site.http.post("/v1/projects", json={"name": "payments"})
    assert made.status_code == 201, made.text
    site.ids["project"] = made.json()["project"]["id"]
    key = {"name": "ci-main", "scopes": ["workspace_run:create", "workspace_run:read", "artifact:read"]}
    made = site.http.post("/v1/api-keys", json=key)
    site.ids["key"] = made.json()["apiKey"]["id"]
