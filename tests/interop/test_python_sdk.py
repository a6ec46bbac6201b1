"""The public Python SDK `crownest`, as its users install it, against our server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.awaited import AWAITED
from tests.serving import Running, serving

sdk = pytest.importorskip("crownest", reason="needs crownest: the public Python SDK is not installed")
COMMAND_S_MAX = 30


def awaits(feature: str) -> pytest.MarkDecorator:
    """Expected to fail until the feature is there, and then the mark must go."""
    return pytest.mark.xfail(feature in AWAITED, strict=True, reason=f"awaits {feature}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for this module."""
    with serving(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[Any]:
    """The SDK's client with the first key."""
    with sdk.CrowNest(api_key=running.key, base_url=f"{running.url}/") as crownest:
        yield crownest


@pytest.fixture(scope="module")
def run(running: Running) -> dict[str, Any]:
    """A run with an artifact, in a sandbox that it kept."""
    return running.run(
        "echo hello > out.txt",
        artifacts=[{"path": "out.txt", "name": "out"}],
        keepSandbox=True,
        metadata={"agent.id": "sdk"},
    )


@pytest.fixture(scope="module")
def sandbox(client: Any) -> Iterator[Any]:
    """A warm sandbox that the SDK made."""
    handle = client.sandboxes.create(metadata={"agent.id": "warm"}, ttl_ms=600_000)
    yield handle
    handle.kill()


def test_projects_are_listed(client: Any, run: dict[str, Any]) -> None:
    """`projects.list()` has the project in which runs are."""
    assert run["projectId"] in [project["id"] for project in client.projects.list()]


@awaits("project_write")
def test_projects_are_created(client: Any) -> None:
    """`projects.create()` answers the project, which the list then has."""
    made = client.projects.create(name="from the sdk")
    assert made["name"] == "from the sdk"
    assert made["id"] in [project["id"] for project in client.projects.list()]


def test_sandboxes_are_listed_and_read(client: Any, run: dict[str, Any]) -> None:
    """`sandboxes.list(metadata=…)` takes keys with dots; `get` gives a handle."""
    listed = client.sandboxes.list(metadata={"agent.id": "sdk"})
    assert [found["id"] for found in listed] == [run["sandboxId"]]
    handle = client.sandboxes.get(run["sandboxId"])
    assert (handle.id, handle.status) == (run["sandboxId"], "ready")


def test_artifacts_are_listed_read_and_downloaded(client: Any, run: dict[str, Any]) -> None:
    """Metadata, bytes and the download URL of an artifact."""
    (artifact,) = client.artifacts.list(run["sandboxId"])
    assert client.artifacts.get(artifact["id"]) == artifact
    assert client.artifacts.download(artifact["id"]) == b"hello\n"
    link = client.artifacts.download_url(artifact["id"])
    assert (link["authMode"], link["method"]) == ("api_key", "GET")


def test_artifacts_are_deleted(running: Running, client: Any) -> None:
    """`delete` answers the tombstone; the bytes are gone."""
    made = running.run("echo x > x", artifacts=[{"path": "x"}])
    gone = client.artifacts.delete(made["artifactIds"][0])
    assert gone["deletedAt"]
    with pytest.raises(sdk.CrowNestApiError):
        client.artifacts.download(gone["id"])


def test_errors_are_told_in_the_sdk_s_words(running: Running, client: Any) -> None:
    """Status, code and message arrive, and never `invalid_error_response`."""
    with pytest.raises(sdk.CrowNestApiError) as unknown:
        client.artifacts.get("art_" + "a" * 26)
    assert (unknown.value.status, unknown.value.code) == (404, "not_found")
    with (
        sdk.CrowNest(api_key="cn_live_wrong", base_url=running.url) as stranger,
        pytest.raises(sdk.CrowNestApiError) as refused,
    ):
        stranger.projects.list()
    assert (refused.value.status, refused.value.code) == (401, "unauthorized")


def test_a_killed_sandbox_is_destroyed(running: Running, client: Any) -> None:
    """`kill` answers the destroyed sandbox, and `get` still finds it."""
    sandbox_id = running.run("true", keepSandbox=True)["sandboxId"]
    gone = client.sandboxes.kill(sandbox_id)
    assert (gone["status"], gone["destroyedReason"]) == ("destroyed", "user_killed")
    assert client.sandboxes.get(sandbox_id).status == "destroyed"


@awaits("api_keys")
def test_api_keys_are_listed_read_and_revoked(running: Running, client: Any) -> None:
    """`api_keys` shows no secret, and a revoked key opens nothing."""
    body = {"name": "for the sdk", "scopes": ["usage:read"]}
    made = running.http.post("/v1/api-keys", json=body).json()
    named = made["apiKey"]["id"]
    assert named in [key["id"] for key in client.api_keys.list()]
    assert "secret" not in client.api_keys.get(named)
    assert client.api_keys.revoke(named)["revokedAt"]
    with (
        sdk.CrowNest(api_key=made["secret"], base_url=running.url) as revoked,
        pytest.raises(sdk.CrowNestApiError),
    ):
        revoked.projects.list()


@awaits("usage")
def test_usage_is_told(client: Any) -> None:
    """`usage()` answers the bare object."""
    usage = client.usage()
    assert usage["computeUnitSeconds"]["used"] >= 0
    assert usage["period"]["start"] < usage["period"]["end"]


@awaits("sandboxes")
def test_sandboxes_are_created_and_extended(client: Any) -> None:
    """`create` gives a handle that extends and kills its sandbox."""
    handle = client.sandboxes.create(template="python", metadata={"kind": "sdk"}, ttl_ms=300_000)
    assert handle.metadata == {"kind": "sdk"}
    assert handle.extend(ttl_ms=600_000).ttlMs == 600_000
    assert handle.kill().status == "destroyed"


@awaits("commands")
def test_commands_run(client: Any, sandbox: Any) -> None:
    """`commands.run` answers the finished command with its output."""
    command = client.commands.run(sandbox.id, "echo out; echo err >&2; exit 3", env={"A": "b"})
    assert (command["status"], command["exitCode"]) == ("exited", 3)
    assert (command["stdout"], command["stderr"]) == ("out\n", "err\n")
    assert client.commands.get(command["id"])["id"] == command["id"]
    assert "".join(chunk["data"] for chunk in client.commands.logs(command["id"])) == "out\nerr\n"


@awaits("commands")
def test_commands_stream(client: Any, sandbox: Any) -> None:
    """`start` and `stream_logs` lead from the first line to `terminal`, whatever splits lines in between."""
    separators = "a\u2028b\u2029c\u0085d"
    octal = "".join(f"\\{byte:03o}" for byte in separators.encode())
    command = client.commands.start(sandbox.id, f"printf '{octal}\\n'; sleep 0.2; echo end")
    events = [event for event in client.commands.stream_logs(command["id"]) if event["type"] != "heartbeat"]
    assert events[-1]["type"] == "terminal"
    assert "".join(event["data"] for event in events[:-1]) == f"{separators}\nend\n"


@awaits("commands")
def test_commands_call_back(client: Any, sandbox: Any) -> None:
    """`run` with callbacks hands the output on as it comes."""
    out: list[str] = []
    errors: list[BaseException] = []
    command = client.commands.run(
        sandbox.id, "echo one; echo two", on_stdout=out.append, on_stream_error=errors.append
    )
    assert (command["status"], "".join(out), errors) == ("exited", "one\ntwo\n", [])


@awaits("commands")
def test_commands_are_canceled(client: Any, sandbox: Any) -> None:
    """`cancel` ends a command long before it would have."""
    command = client.commands.start(sandbox.id, "sleep 600")
    client.commands.cancel(command["id"], mode="force")
    deadline = time.monotonic() + COMMAND_S_MAX
    while (status := client.commands.get(command["id"])["status"]) in {"queued", "starting", "running"}:
        assert time.monotonic() < deadline, f"the command is still {status}"
        time.sleep(0.05)
    assert status in {"canceled", "killed"}


@awaits("files")
def test_files_are_written_read_moved_and_deleted(client: Any, sandbox: Any) -> None:
    """Every method of `files`, over text and bytes."""
    files, raw = client.files, bytes(range(256))
    assert files.write(sandbox.id, "notes/a.txt", "Grüße\n", create_parents=True)["sizeBytes"] == 8
    files.write_bytes(sandbox.id, "notes/b.bin", raw)
    assert files.read(sandbox.id, "notes/a.txt") == "Grüße\n"
    assert files.read_bytes(sandbox.id, "notes/b.bin") == raw
    assert {entry["name"] for entry in files.list(sandbox.id, "notes")} == {"a.txt", "b.bin"}
    files.mkdir(sandbox.id, "deep/er", parents=True)
    files.move(sandbox.id, "notes/b.bin", "deep/er/b.bin")
    assert files.stat(sandbox.id, "deep/er/b.bin")["type"] == "file"
    assert files.download_url(sandbox.id, "notes/a.txt")["method"] == "GET"
    files.delete(sandbox.id, "notes/a.txt")
    with pytest.raises(sdk.CrowNestApiError) as gone:
        files.read(sandbox.id, "notes/a.txt")
    assert gone.value.code == "file_not_found"


@awaits("files")
def test_files_become_artifacts(client: Any, sandbox: Any) -> None:
    """`artifacts.create` keeps a file of the sandbox."""
    client.files.write(sandbox.id, "report.txt", "all well\n")
    artifact = client.artifacts.create(sandbox.id, path="report.txt", name="report")
    assert client.artifacts.download(artifact["id"]) == b"all well\n"


@awaits("previews")
def test_previews_are_made_and_revoked(client: Any, sandbox: Any) -> None:
    """`previews` from creation to revocation."""
    made = client.previews.create(sandbox.id, port=8080)
    preview = made.get("preview", made)
    assert preview["id"] in [found["id"] for found in client.previews.list(sandbox.id)]
    assert client.previews.get(preview["id"])["port"] == 8080
    assert client.previews.revoke(preview["id"])["revokedAt"]


async def test_the_asynchronous_client(running: Running, run: dict[str, Any]) -> None:
    """The same from the asynchronous client."""
    client = sdk.AsyncCrowNest(api_key=running.key, base_url=running.url)
    try:
        assert run["projectId"] in [project["id"] for project in await client.projects.list()]
        assert (await client.sandboxes.get(run["sandboxId"])).id == run["sandboxId"]
        assert await client.artifacts.download(run["artifactIds"][0]) == b"hello\n"
    finally:
        await client.aclose()


def test_our_package_does_not_hide_the_sdk() -> None:
    """`crownest` is the SDK's import name, and none of ours (DESIGN §1)."""
    assert Path(sdk.__file__).parent.name == "crownest"
    assert hasattr(sdk, "CrowNest")
