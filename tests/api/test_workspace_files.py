"""Files of a warm sandbox over HTTP: what the published tools use, and what they must not reach."""

import base64
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.serving import Running, archive


@pytest.fixture(scope="module")
def base(running: Running) -> Iterator[str]:
    """The path of a warm sandbox's files."""
    sandbox_id = running.http.post("/v1/sandboxes", json={"template": "base"}).json()["sandbox"]["id"]
    yield f"/v1/sandboxes/{sandbox_id}/files"
    running.http.delete(f"/v1/sandboxes/{sandbox_id}")


def write(running: Running, base: str, path: str, content: str, **fields: object) -> httpx2.Response:
    """PUT a file."""
    return running.http.put(base, json={"path": path, "content": content, **fields})


def code(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


def test_a_file_is_written_read_listed_moved_and_deleted(running: Running, base: str) -> None:
    """Absolute and relative paths are the same file."""
    file = write(running, base, "/workspace/a/b.txt", "grüße\n", createParents=True).json()["file"]
    assert (file["path"], file["sizeBytes"], file["type"]) == ("/workspace/a/b.txt", 8, "file")
    read = running.http.get(f"{base}/read?path=a/b.txt").json()
    assert read == {"content": "grüße\n", "encoding": "utf8"}
    assert running.http.get(f"{base}/stat?path=a/b.txt").json()["file"] == file
    entries = running.http.get(f"{base}?path=/workspace/a").json()["data"]
    assert [(one["name"], one["type"], one["sizeBytes"]) for one in entries] == [("b.txt", "file", 8)]
    moved = running.http.post(f"{base}/move", json={"from": "a/b.txt", "to": "c.txt"}).json()["file"]
    assert moved["path"] == "/workspace/c.txt"
    assert running.http.request("DELETE", f"{base}?path=a").json() == {"deleted": True}
    assert running.http.request("DELETE", f"{base}?path=c.txt").json() == {"deleted": True}
    left = {one["name"] for one in running.http.get(base).json()["data"]}
    assert not left & {"a", "c.txt"}


def test_bytes_travel_as_base64_and_are_downloaded_whole(running: Running, base: str) -> None:
    """What is no UTF-8 is not guessed at."""
    data = bytes(range(256)) * 100
    written = write(running, base, "bin", base64.b64encode(data).decode(), encoding="base64")
    assert written.json()["file"]["sizeBytes"] == len(data)
    assert code(running.http.get(f"{base}/read?path=bin")) == (400, "invalid_file_encoding")
    read = running.http.get(f"{base}/read?path=bin&encoding=base64").json()["content"]
    assert base64.b64decode(read) == data
    url = running.http.post(f"{base}/download-url", json={"path": "bin"}).json()
    assert (url["method"], url["authMode"]) == ("GET", "api_key")
    downloaded = running.http.get(url["url"])
    assert downloaded.content == data
    assert downloaded.headers["content-disposition"].startswith("attachment")
    assert code(write(running, base, "bin", "not base64!", encoding="base64")) == (
        400,
        "invalid_file_encoding",
    )


@pytest.mark.parametrize(
    ("request_line", "body", "expected"),
    [
        ("GET /read?path=absent", None, (404, "file_not_found")),
        ("GET /read?path=../etc/passwd", None, (400, "path_outside_workspace")),
        ("GET /read?path=/etc/passwd", None, (400, "path_outside_workspace")),
        ("GET /read", None, (400, "invalid_request")),
        ("GET /read?path=a&encoding=latin1", None, (400, "invalid_request")),
        ("GET /download?path=absent", None, (404, "file_not_found")),
        ("GET /stat?path=%00", None, (400, "invalid_request")),
        ("PUT ", {"path": "../x", "content": ""}, (400, "path_outside_workspace")),
        ("PUT ", {"path": "no/such/folder", "content": ""}, (404, "file_not_found")),
        ("PUT ", {"path": "big", "content": "x" * (256 * 1024 + 1)}, (413, "file_too_large")),
        ("PUT ", {"path": "there", "content": "2", "overwrite": False}, (409, "conflict")),
        ("POST /mkdir", {"path": "p/q"}, (404, "file_not_found")),
        ("POST /mkdir", {"path": "there"}, (409, "conflict")),
        ("POST /move", {"from": "there", "to": "/tmp/x"}, (400, "path_outside_workspace")),
        ("POST /move", {"from": "absent", "to": "b"}, (404, "file_not_found")),
        ("DELETE ?path=/workspace", None, (400, "invalid_request")),
    ],
)
def test_a_bad_path_is_refused_by_name(
    running: Running, base: str, request_line: str, body: object, expected: tuple[int, str]
) -> None:
    """Each with the contract's code."""
    assert write(running, base, "there", "1").status_code == 200
    method, path = request_line.split(" ", 1)
    assert code(running.http.request(method, base + path, json=body)) == expected


def test_a_link_out_of_the_workspace_leads_nowhere(running: Running, base: str) -> None:
    """Made by a command, asked for through the API: reading, writing and listing are refused."""
    sandbox = base.removesuffix("/files")
    made = running.http.post(
        f"{sandbox}/commands", json={"command": "ln -s /etc etc; ln -s /etc/passwd pw; mkfifo pipe"}
    )
    assert made.json()["command"]["exitCode"] == 0
    for path in ("pw", "etc/passwd"):
        assert code(running.http.get(f"{base}/read?path={path}")) == (400, "path_outside_workspace")
    assert code(running.http.get(f"{base}?path=etc")) == (400, "path_outside_workspace")
    assert code(write(running, base, "etc/x", "")) == (400, "path_outside_workspace")
    assert code(running.http.get(f"{base}/read?path=pipe")) == (400, "invalid_request")


def test_files_of_a_destroyed_sandbox_are_gone(running: Running) -> None:
    """410 for a sandbox that was; 404 for one that never was."""
    sandbox_id = running.http.post("/v1/sandboxes", json={"template": "base"}).json()["sandbox"]["id"]
    running.http.delete(f"/v1/sandboxes/{sandbox_id}")
    assert code(running.http.get(f"/v1/sandboxes/{sandbox_id}/files")) == (410, "sandbox_destroyed")
    assert code(running.http.get("/v1/sandboxes/sbx_never/files")) == (404, "not_found")


def test_a_running_runs_own_workspace_can_be_looked_at_and_not_changed(running: Running) -> None:
    """What it has written so far is read while it runs."""
    run_id = running.create("echo so far > new; mv new progress; sleep 60")  # never there and empty
    running.upload(run_id, archive({"a": b""}))
    started = running.http.post(f"/v1/workspace-runs/{run_id}/start").json()["workspaceRun"]
    running.wait_for_status(run_id, "running")
    files = f"/v1/sandboxes/{started['sandboxId']}/files"
    while (found := running.http.get(f"{files}/read?path=progress")).status_code == 404:
        time.sleep(0.02)
    assert found.json()["content"] == "so far\n"
    assert code(write(running, files, "progress", "x")) == (409, "conflict")
    running.http.post(f"/v1/workspace-runs/{run_id}/cancel")
    assert running.finished(run_id)["status"] == "canceled"
