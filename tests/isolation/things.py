"""Makes one of each thing in a project: runs in their states, sandboxes, files, artifacts, keys, people."""

from __future__ import annotations

import itertools
import time
from functools import cached_property
from typing import Any

import httpx2

from tests.serving import FINISH_S_MAX, TERMINAL, archive, archive_headers

DATA = archive({"a.txt": b"a"})
HEADERS = archive_headers(DATA)
WANTED = {"sha256": HEADERS["x-crownest-archive-sha256"], "sizeBytes": len(DATA)}
POLL_S = 0.02
_numbers = itertools.count(1)


class Maker:
    """Makes things in one project with the organisation's first key. Shared ones are only ever read."""

    def __init__(self, http: httpx2.Client, org_id: str, project_id: str) -> None:
        self.http, self.org_id, self.project_id = http, org_id, project_id

    def _made(self, method: str, path: str, **sent: Any) -> dict[str, Any]:
        answer = self.http.request(method, path, **sent)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    # ---- runs

    def awaiting(self, **fields: Any) -> str:
        """A run without an archive."""
        body = {"command": "true", "projectId": self.project_id, **fields}
        run_id: str = self._made("POST", "/v1/workspace-runs", json=body)["workspaceRun"]["id"]
        return run_id

    def recorded(self) -> str:
        """A recorded run that has begun."""
        run_id = self.awaiting(template="external")
        begin = {"producerId": "maker", "number": 1, "events": []}
        self._made("POST", f"/v1/workspace-runs/{run_id}/events", json=begin)
        return run_id

    def uploaded(self, **fields: Any) -> str:
        """A run with its archive."""
        run_id = self.awaiting(**fields)
        self._made("PUT", f"/v1/workspace-runs/{run_id}/archive", content=DATA, headers=HEADERS)
        return run_id

    def transfer(self, run_id: str) -> str:
        """A staged upload that nothing was sent to."""
        path = f"/v1/workspace-runs/{run_id}/archive-transfer"
        upload_id: str = self._made("POST", path, json=WANTED)["transfer"]["id"]
        return upload_id

    def filled_transfer(self, run_id: str) -> str:
        """One whose bytes have come."""
        upload_id = self.transfer(run_id)
        path = f"/v1/workspace-runs/{run_id}/archive-transfer/{upload_id}"
        self._made("PUT", path, content=DATA)
        return upload_id

    def finalized_transfer(self) -> tuple[str, str]:
        """A run, and its transfer that is over."""
        run_id = self.awaiting()
        upload_id = self.filled_transfer(run_id)
        path = f"/v1/workspace-runs/{run_id}/archive/finalize"
        self._made("POST", path, json={"uploadId": upload_id, **WANTED})
        return run_id, upload_id

    def run(self) -> dict[str, Any]:
        """A run that ended well, printed a line and left an artifact."""
        run_id = self.uploaded(command="echo out; cp a.txt b.txt", artifacts=[{"path": "b.txt"}])
        self._made("POST", f"/v1/workspace-runs/{run_id}/start")
        deadline = time.monotonic() + FINISH_S_MAX
        while True:
            run: dict[str, Any] = self._made("GET", f"/v1/workspace-runs/{run_id}")["workspaceRun"]
            if run["status"] in TERMINAL:
                assert run["status"] == "succeeded", run
                return run
            assert time.monotonic() < deadline, f"{run_id} is still {run['status']}"
            time.sleep(POLL_S)

    @cached_property
    def ended(self) -> str:
        """An ended run for everybody to read."""
        run_id: str = self.run()["id"]
        return run_id

    def output_seq(self, run_id: str) -> int:
        """The seq of the run's line."""
        events = self._made("GET", f"/v1/workspace-runs/{run_id}/events")["data"]
        seq: int = next(event["seq"] for event in events if event["type"] == "stdout")
        return seq

    # ---- sandboxes and what is in them

    def sandbox(self) -> str:
        """A warm sandbox with a file `f` in it."""
        body = {"projectId": self.project_id}
        sandbox_id: str = self._made("POST", "/v1/sandboxes", json=body)["sandbox"]["id"]
        self._made("PUT", f"/v1/sandboxes/{sandbox_id}/files", json={"path": "f", "content": "f"})
        return sandbox_id

    @cached_property
    def live(self) -> str:
        """A warm sandbox for everybody to use."""
        return self.sandbox()

    @cached_property
    def destroyed(self) -> str:
        """A sandbox that was killed; it left a command, an artifact and perhaps a preview."""
        sandbox_id = self.sandbox()
        self.last_command = self.command(sandbox_id)
        self._made("DELETE", f"/v1/sandboxes/{sandbox_id}")
        return sandbox_id

    def command(self, sandbox_id: str, line: str = "echo out", *, background: bool = False) -> str:
        """A command: over, or still running."""
        body = {"command": line, "background": background}
        found = self._made("POST", f"/v1/sandboxes/{sandbox_id}/commands", json=body)
        command_id: str = found["command"]["id"]
        return command_id

    @cached_property
    def over(self) -> str:
        """A command that has ended, for everybody to read."""
        return self.command(self.live)

    @cached_property
    def command_of_destroyed(self) -> str:
        """A command whose sandbox is gone."""
        return self.last_command if self.destroyed else ""

    def artifact(self) -> str:
        """A kept file."""
        path = f"/v1/sandboxes/{self.live}/artifacts"
        artifact_id: str = self._made("POST", path, json={"path": "f"})["artifact"]["id"]
        return artifact_id

    @cached_property
    def kept(self) -> str:
        """A kept file for everybody to read."""
        return self.artifact()

    @cached_property
    def deleted_artifact(self) -> str:
        """One that was deleted."""
        artifact_id = self.artifact()
        self._made("DELETE", f"/v1/artifacts/{artifact_id}")
        return artifact_id

    def preview(self) -> str:
        """An open port of a sandbox of its own: a sandbox has few of them."""
        path = f"/v1/sandboxes/{self.sandbox()}/previews"
        preview_id: str = self._made("POST", path, json={"port": 8000})["preview"]["id"]
        return preview_id

    @cached_property
    def shown(self) -> str:
        """A preview for everybody to look at."""
        return self.preview()

    @cached_property
    def revoked_preview(self) -> str:
        """One that was closed."""
        preview_id = self.preview()
        self._made("DELETE", f"/v1/previews/{preview_id}")
        return preview_id

    # ---- accounts

    def key(self) -> str:
        """A key of this project alone."""
        body = {"name": "k", "scopes": ["usage:read"], "projectIds": [self.project_id]}
        key_id: str = self._made("POST", "/v1/api-keys", json=body)["apiKey"]["id"]
        return key_id

    @cached_property
    def revoked_key(self) -> str:
        """One that was revoked."""
        key_id = self.key()
        self._made("DELETE", f"/v1/api-keys/{key_id}")
        return key_id

    def user(self) -> str:
        """A member of the organisation."""
        body = {"name": f"Ada {next(_numbers)}", "role": "member"}
        user_id: str = self._made("POST", f"/v1/orgs/{self.org_id}/users", json=body)["user"]["id"]
        return user_id

    @cached_property
    def removed_user(self) -> str:
        """One who was removed."""
        user_id = self.user()
        self._made("DELETE", f"/v1/orgs/{self.org_id}/users/{user_id}")
        return user_id

    def secret(self) -> str:
        """The name of a secret."""
        name = f"SECRET_{next(_numbers)}"
        path = f"/v1/projects/{self.project_id}/secrets/{name}"
        self._made("PUT", path, json={"value": "correct horse"})
        return name

    def deleted_secret(self) -> str:
        """The name of one that was deleted."""
        name = self.secret()
        self._made("DELETE", f"/v1/projects/{self.project_id}/secrets/{name}")
        return name

    def ids(self) -> set[str]:
        """Of the shared things: what nobody else's listing may hold."""
        return {self.org_id, self.project_id, self.ended, self.live, self.kept, self.over}
