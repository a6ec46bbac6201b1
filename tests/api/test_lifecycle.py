"""A run through every state of CONTRACT §3.3, over real HTTP."""

import json
import re

import pytest

from tests.serving import Running, archive, archive_headers

ID = re.compile(r"[a-z]+_[a-z2-7]{26}")


def test_a_run_goes_from_archive_to_evidence(running: Running) -> None:
    """Exit code, output, artifact, evidence and the order of the last events are as the contract says."""
    run = running.run(
        "cat a.txt; echo oops >&2; echo kept > out.txt; exit 3",
        {"a.txt": b"hello\n"},
        artifacts=[{"path": "out.txt"}, {"path": "missing.txt", "name": "m"}],
        metadata={"repo": "acme/app", "agent.id": "7"},
    )
    assert (run["status"], run["exitCode"], run["failureReason"]) == ("failed", 3, "command_exit")
    events = running.events(run["id"])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    kinds = [
        event.get("status", event["type"]) for event in events if event["type"] not in {"stdout", "stderr"}
    ]
    assert kinds == [
        "awaiting_archive", "archive_uploaded", "starting", "extracting", "running", "collecting",
        "artifact_collected", "artifact_error", "cleanup", "failed", "terminal",
    ]  # fmt: skip
    assert "".join(event["data"] for event in events if event["type"] == "stdout") == "hello\n"
    assert "".join(event["data"] for event in events if event["type"] == "stderr") == "oops\n"
    assert events[-1]["workspaceRun"] == run
    evidence = running.http.get(f"/v1/workspace-runs/{run['id']}/evidence").json()["evidence"]
    assert evidence["artifactIds"] == run["artifactIds"]
    assert evidence["artifactErrors"][0]["code"] == "file_not_found"
    assert evidence["proof"]["sealSeq"] == events[-1]["seq"] + 1
    artifact = evidence["artifactIds"][0]
    assert running.http.get(f"/v1/artifacts/{artifact}/download").content == b"kept\n"


def test_the_run_object_is_the_terminal_event_byte_for_byte(running: Running) -> None:
    """`GET run` and the terminal event hold the same bytes (EXAMPLE.md, "On the wire")."""
    run_id = running.run("true")["id"]
    answer = running.http.get(f"/v1/workspace-runs/{run_id}").content
    terminal = running.http.get(
        f"/v1/workspace-runs/{run_id}/events", headers={"accept": "application/x-ndjson"}
    ).content.splitlines()[-1]
    inner = answer.removeprefix(b'{"workspaceRun":').removesuffix(b"}")
    assert b'"workspaceRun":' + inner + b"}" in terminal


def test_a_new_run_has_every_required_field(running: Running) -> None:
    """CONTRACT §3.2's always-present list, and ids in the documented shape."""
    run = running.get(running.create("echo hi"))
    for field in (
        "id", "orgId", "projectId", "status", "command", "keepSandbox", "metadata", "templateId",
        "templateSlug", "templateVersion", "templateVersionId", "createdAt",
    ):  # fmt: skip
        assert field in run
    assert ID.fullmatch(run["id"])
    assert run["status"] == "awaiting_archive"
    assert "exitCode" not in run


def test_the_staged_path_leads_to_the_same_place(running: Running) -> None:
    """Transfer, PUT (204), finalize, start: the order the command line uses."""
    data = archive({"a.txt": b"a"})
    headers = archive_headers(data)
    run_id = running.create("cat a.txt")
    wanted = {"sha256": headers["x-crownest-archive-sha256"], "sizeBytes": len(data)}
    transfer = running.http.post(f"/v1/workspace-runs/{run_id}/archive-transfer", json=wanted)
    assert transfer.status_code == 201
    upload = transfer.json()["transfer"]
    assert upload["uploadUrl"].startswith("/")
    assert running.http.put(upload["uploadUrl"], content=data).status_code == 204
    done = running.http.post(
        f"/v1/workspace-runs/{run_id}/archive/finalize", json={"uploadId": upload["id"], **wanted}
    )
    assert done.status_code == 200
    assert done.json()["archive"]["sha256"] == wanted["sha256"]
    started = running.http.post(f"/v1/workspace-runs/{run_id}/start").json()["workspaceRun"]
    assert started["sandboxId"].startswith("sbx_")
    assert running.finished(run_id)["status"] == "succeeded"


@pytest.mark.parametrize("uploaded", [False, True])
def test_cancelling_before_the_start_seals_the_run_at_once(running: Running, uploaded: bool) -> None:  # noqa: FBT001 # a test parameter
    """No sandbox, no exit code, evidence there (EXAMPLE.md, other endings)."""
    run_id = running.create()
    if uploaded:
        running.upload(run_id, archive({"a": b""}))
    canceled = running.http.post(f"/v1/workspace-runs/{run_id}/cancel").json()["workspaceRun"]
    assert (canceled["status"], canceled["failureClass"], canceled["cleanupStatus"]) == (
        "canceled", "canceled", "not_requested",
    )  # fmt: skip
    assert [event["type"] for event in running.events(run_id)][-4:] == [
        "cancel_requested", "cleanup", "outcome", "terminal",
    ]  # fmt: skip
    assert running.http.get(f"/v1/workspace-runs/{run_id}/evidence").status_code == 200


def test_cancelling_a_running_command_ends_it(running: Running) -> None:
    """The command is stopped, no artifact is collected, and the log says who asked."""
    run_id = running.create("echo started; sleep 100", artifacts=[{"path": "a.txt"}])
    running.upload(run_id, archive({"a.txt": b"a"}))
    running.http.post(f"/v1/workspace-runs/{run_id}/start")
    running.wait_for_status(run_id, "running")
    assert running.http.post(f"/v1/workspace-runs/{run_id}/cancel").status_code == 200
    run = running.finished(run_id)
    assert (run["status"], run["artifactIds"], "exitCode" in run) == ("canceled", [], False)
    events = [event for event in running.events(run_id) if event["type"] != "stdout"]
    kinds = [event.get("status", event["type"]) for event in events]
    assert kinds[-5:] == ["cancel_requested", "collecting", "cleanup", "canceled", "terminal"]
    again = running.http.post(f"/v1/workspace-runs/{run_id}/cancel")
    assert (again.status_code, again.json()["workspaceRun"]) == (200, run)


def test_a_timeout_ends_the_command_and_says_so(running: Running) -> None:
    """Status failed, reason timeout, no exit code, cleaned up (CONTRACT §3.4)."""
    run = running.run("trap '' TERM; sleep 100", timeoutMs=300)
    assert (run["status"], run["failureReason"], run["failureClass"]) == ("failed", "timeout", "user_command")
    assert "exitCode" not in run
    assert run["cleanupStatus"] == "succeeded"
    assert run["orchestrationSucceeded"] is True


def test_a_kept_sandbox_is_used_again_and_killed(running: Running) -> None:
    """`keepSandbox`, then `sandboxId`: the second run sees the first one's files."""
    first = running.run("echo one > made.txt", keepSandbox=True)
    sandbox_id = first["sandboxId"]
    assert first["cleanupStatus"] == "not_requested"
    live = running.http.get("/v1/sandboxes").json()["data"]
    assert sandbox_id in [sandbox["id"] for sandbox in live]
    second = running.run("cat made.txt", {"b.txt": b"b"}, sandboxId=sandbox_id, keepSandbox=True)
    assert second["sandboxId"] == sandbox_id
    assert second["output"]["stdoutBytes"] == len("one\n")
    killed = running.http.delete(f"/v1/sandboxes/{sandbox_id}").json()["sandbox"]
    assert (killed["status"], killed["destroyedReason"]) == ("destroyed", "user_killed")
    assert running.http.get(f"/v1/sandboxes/{sandbox_id}").json()["sandbox"] == killed
    third = running.run("true", sandboxId=sandbox_id)
    assert (third["status"], third["failureReason"]) == ("failed", "sandbox_conflict")


def test_artifacts_are_listed_and_deleted_with_their_record_kept(running: Running) -> None:
    """The list works after the sandbox is gone; a deleted artifact answers its record, not its bytes."""
    run = running.run("printf x > r.bin", artifacts=[{"path": "r.bin", "name": "report"}])
    artifact_id = run["artifactIds"][0]
    listed = running.http.get(f"/v1/sandboxes/{run['sandboxId']}/artifacts").json()["data"]
    assert [(one["id"], one["name"], one["sizeBytes"]) for one in listed] == [(artifact_id, "report", 1)]
    download = running.http.get(f"/v1/artifacts/{artifact_id}/download")
    assert download.headers["etag"] == f'"{run["artifacts"][0]["sha256"]}"'
    deleted = running.http.delete(f"/v1/artifacts/{artifact_id}").json()["artifact"]
    assert "deletedAt" in deleted
    assert running.http.get(f"/v1/artifacts/{artifact_id}").json()["artifact"] == deleted
    assert running.http.get(f"/v1/artifacts/{artifact_id}/download").status_code == 404
    assert running.http.delete(f"/v1/artifacts/{artifact_id}").json()["artifact"] == deleted
    verdict = running.http.post(f"/v1/workspace-runs/{run['id']}/verify").json()["verdict"]
    assert verdict["verdict"] == "COMPLETE"


def test_runs_are_listed_newest_first_page_by_page(running: Running) -> None:
    """Filters and cursors: no run twice, none missing (CONTRACT rule 13)."""
    made = [running.create(metadata={"crabbox.slug": "page", "n": str(n)}) for n in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        query = {"metadata.crabbox.slug": "page", "limit": "2", **({"cursor": cursor} if cursor else {})}
        page = running.http.get("/v1/workspace-runs", params=query).json()
        seen += [run["id"] for run in page["data"]]
        if not page["hasMore"]:
            assert "nextCursor" not in page
            break
        cursor = page["nextCursor"]
    assert sorted(seen) == sorted(made)
    times = [running.get(run_id)["createdAt"] for run_id in seen]
    assert times == sorted(times, reverse=True)
    waiting = running.http.get("/v1/workspace-runs", params={"status": "running"}).json()
    assert all(run["status"] == "running" for run in waiting["data"])


def test_hostile_output_arrives_as_it_was_written(running: Running) -> None:
    """Bytes that are not UTF-8, separators that split lines elsewhere, and control characters."""
    raw = b"\xff\xfe raw \xe2\x80\xa8 line \xc2\x85 \x1b[31m red\x00\n"
    run = running.run("cat hostile.bin", {"hostile.bin": raw})
    import base64

    got = b"".join(
        base64.b64decode(event["dataBase64"]) if "dataBase64" in event else event["data"].encode()
        for event in running.events(run["id"])
        if event["type"] == "stdout"
    )
    assert got == raw
    page = running.http.get(f"/v1/workspace-runs/{run['id']}/events").content
    assert b"\xe2\x80\xa8" not in page
    assert json.loads(page)["hasMore"] is False
