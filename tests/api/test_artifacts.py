"""Artifacts: kept on demand, read whole and in parts, gone when their time is over, their records stay."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest

from eventstore.blobs import BlobStore
from evidence.record import parse_time
from runs.limits import RunLimits
from runs.retention import Retention
from tests.serving import Running, serving

T = TypeVar("T")
DAY_MS = 24 * 60 * 60 * 1000
CONTENT = bytes(range(256)) * 8


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server on the plan with the shortest retention, whose own reaper stays quiet."""
    quiet = RunLimits(reap_interval_s=3600)
    with serving(tmp_path_factory.mktemp("artifacts"), runs=quiet, plan_default="free") as one:
        yield one


@pytest.fixture(scope="module")
def artifact(running: Running) -> dict[str, Any]:
    """An artifact of a run with known bytes."""
    run = running.run("cp in out.bin", {"in": CONTENT}, artifacts=[{"path": "out.bin"}])
    found: dict[str, Any] = running.http.get(f"/v1/artifacts/{run['artifactIds'][0]}").json()["artifact"]
    return found


def code(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


def later(running: Running, ahead_ms: int, what: Callable[[Retention], Awaitable[T]]) -> T:
    """One pass of a retention whose clock is ahead, inside the server's loop."""
    services = running.server.services
    blobs = BlobStore(running.data_dir / "blobs")
    retention = Retention(
        services.store,
        blobs.delete_unless_newer,
        services.runs.limits,
        lambda: services.runs.now_ms() + ahead_ms,
    )

    async def once() -> T:
        return await what(retention)

    return asyncio.run_coroutine_threadsafe(once(), running.loop).result(30)


def test_a_download_says_what_it_is_and_answers_parts(running: Running, artifact: dict[str, Any]) -> None:
    """One range as RFC 9110 has it; several or a malformed one are ignored; the digest is of the whole."""
    path = f"/v1/artifacts/{artifact['id']}/download"
    whole = running.http.get(path)
    digest = hashlib.sha256(CONTENT)
    assert whole.content == CONTENT
    assert whole.headers["etag"] == f'"{digest.hexdigest()}"'
    assert whole.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert whole.headers["accept-ranges"] == "bytes"
    for given, part in (
        ("bytes=0-9", CONTENT[:10]),
        ("bytes=2000-", CONTENT[2000:]),
        ("bytes=-5", CONTENT[-5:]),
        ("bytes=2000-999999", CONTENT[2000:]),
    ):
        answer = running.http.get(path, headers={"range": given})
        assert (answer.status_code, answer.content) == (206, part), given
        assert answer.headers["content-range"].endswith(f"/{len(CONTENT)}")
    for ignored in ("bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b"):
        answer = running.http.get(path, headers={"range": ignored})
        assert (answer.status_code, answer.content) == (200, CONTENT), ignored
    beyond = running.http.get(path, headers={"range": f"bytes={len(CONTENT)}-"})
    assert code(beyond) == (416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(CONTENT)}"


def test_a_known_download_is_not_sent_again(running: Running, artifact: dict[str, Any]) -> None:
    """`If-None-Match` with its tag answers 304; `If-Range` with another one sends the whole."""
    path = f"/v1/artifacts/{artifact['id']}/download"
    tag = f'"{artifact["sha256"]}"'
    weak = running.http.get(
        path, headers={"if-none-match": f"W/{tag}"}
    )  # as a proxy that compresses sends it
    assert weak.status_code == 304
    unchanged = running.http.get(path, headers={"if-none-match": f'"x", {tag}'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    same = running.http.get(path, headers={"range": "bytes=0-0", "if-range": tag})
    assert (same.status_code, same.content) == (206, CONTENT[:1])
    other = running.http.get(path, headers={"range": "bytes=0-0", "if-range": '"other"'})
    assert (other.status_code, other.content) == (200, CONTENT)


def test_a_file_of_a_live_sandbox_is_kept_on_demand(running: Running) -> None:
    """201 with a record of its own; once per idempotency key; refusals say why."""
    sandbox_id = running.http.post("/v1/sandboxes", json={"template": "base"}).json()["sandbox"]["id"]
    base = f"/v1/sandboxes/{sandbox_id}"
    running.http.put(f"{base}/files", json={"path": "report.txt", "content": "all good"})
    headers = {"idempotency-key": "keep the report"}
    body = {"path": "/workspace/report.txt", "name": "report"}
    answers = [running.http.post(f"{base}/artifacts", json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    made = answers[0].json()["artifact"]
    assert (made["name"], made["sourcePath"], made["sandboxId"]) == ("report", "report.txt", sandbox_id)
    assert running.http.get(f"/v1/artifacts/{made['id']}/download").content == b"all good"
    for bad, expected in (
        ({"path": "absent"}, (404, "file_not_found")),
        ({"path": "../x"}, (400, "path_outside_workspace")),
        ({"path": "*.txt"}, (400, "invalid_request")),
        ({"path": "report.txt", "name": ""}, (400, "invalid_request")),
        ({}, (400, "invalid_request")),
    ):
        assert code(running.http.post(f"{base}/artifacts", json=bad)) == expected
    running.http.delete(base)
    assert code(running.http.post(f"{base}/artifacts", json=body)) == (410, "sandbox_destroyed")
    listed = running.http.get(f"{base}/artifacts").json()["data"]
    assert [one["id"] for one in listed] == [made["id"]]
    assert listed[0] == running.http.get(f"/v1/artifacts/{made['id']}").json()["artifact"]


def test_the_plan_says_when_an_artifact_is_gone_and_then_it_is(tmp_path: Path) -> None:
    """To the millisecond for readers; its content leaves the disk a while later; its record stays."""
    with serving(tmp_path, runs=RunLimits(reap_interval_s=3600), plan_default="free") as running:
        run = running.run("echo kept > out", artifacts=[{"path": "out"}])
        path = f"/v1/artifacts/{run['artifactIds'][0]}"
        artifact = running.http.get(path).json()["artifact"]
        lasts_ms = parse_time(artifact["retentionExpiresAt"]) - parse_time(artifact["createdAt"])
        assert lasts_ms == 7 * DAY_MS
        blob = BlobStore(running.data_dir / "blobs").path(artifact["sha256"])
        age_ms = running.server.services.runs.now_ms() - parse_time(artifact["createdAt"])
        assert later(running, lasts_ms - age_ms - 60_000, Retention.expire_artifacts) == 0
        assert later(running, lasts_ms, Retention.expire_artifacts) == 1
        expired = running.http.get(path).json()["artifact"]
        assert "deletedAt" in expired
        assert code(running.http.get(f"{path}/download")) == (404, "not_found")
        assert blob.exists()
        assert later(running, lasts_ms, Retention.sweep_blobs) == 0
        assert later(running, lasts_ms + DAY_MS, Retention.sweep_blobs) == 1
        assert not blob.exists()
        assert running.http.get(path).json()["artifact"] == expired
        evidence = running.http.get(f"/v1/workspace-runs/{run['id']}/evidence").json()["evidence"]
        assert evidence["artifacts"][0]["sha256"] == artifact["sha256"]
        verdict = running.http.post(f"/v1/workspace-runs/{run['id']}/verify").json()["verdict"]
        assert verdict["verdict"] == "COMPLETE", json.dumps(verdict)


def test_a_bundle_names_the_content_that_was_lost(running: Running) -> None:
    """No disk is said to be full where a blob is missing, and without artifacts the bundle is to be had."""
    run = running.run("echo lost > out", artifacts=[{"path": "out"}])
    artifact_id = run["artifactIds"][0]
    sha256 = running.http.get(f"/v1/artifacts/{artifact_id}").json()["artifact"]["sha256"]
    BlobStore(running.data_dir / "blobs").path(sha256).unlink()
    bundle = f"/v1/workspace-runs/{run['id']}/proof/bundle"
    refused = running.http.get(f"{bundle}?artifacts=true")
    assert code(refused) == (409, "conflict")
    assert artifact_id in refused.json()["error"]["message"]
    assert running.http.get(bundle).status_code == 200


def test_expiry_is_exact_before_anybody_has_swept(running: Running, artifact: dict[str, Any]) -> None:
    """A reader whose clock is past the time gets 404, though no reaper has passed."""
    services = running.server.services
    from runs.artifacts import ArtifactService

    ahead = ArtifactService(
        services.store,
        services.artifacts._host,
        services.sandboxes,
        services.runs.limits,
        lambda: parse_time(artifact["retentionExpiresAt"]),
    )

    async def read() -> str:
        from runs.refusal import Refusal

        who = await services.authenticate(running.key)
        assert who is not None
        try:
            await ahead.content(who, artifact["id"])
        except Refusal as refusal:
            return f"{refusal.code} {(refusal.details or {}).get('reason')}"
        return "read"

    assert asyncio.run_coroutine_threadsafe(read(), running.loop).result(30) == "not_found expired"


def test_the_same_bytes_stay_while_anything_refers_to_them(running: Running) -> None:
    """Another artifact's, and a stranger's archive's: deleting one's own copy takes nothing from others."""
    from tests.serving import archive

    data = archive({"a": b"the archive of somebody"})
    waiting = running.create()
    assert running.upload(waiting, data).status_code == 200
    run = running.run(
        "cp in one; cp in two; echo alone > three",
        {"in": data},
        artifacts=[{"path": "one"}, {"path": "two"}, {"path": "three"}],
    )
    one, two, three = run["artifactIds"]
    blobs = BlobStore(running.data_dir / "blobs")
    shas = [running.http.get(f"/v1/artifacts/{a}").json()["artifact"]["sha256"] for a in (one, three)]
    for artifact_id in (one, three):
        running.http.delete(f"/v1/artifacts/{artifact_id}")
    later(running, DAY_MS, Retention.sweep_blobs)
    assert [blobs.exists(sha) for sha in shas] == [True, False]
    running.http.delete(f"/v1/artifacts/{two}")
    later(running, DAY_MS, Retention.sweep_blobs)
    assert blobs.exists(shas[0]), "it is still the archive of a run"
    assert running.http.post(f"/v1/workspace-runs/{waiting}/start").status_code == 200
    assert running.finished(waiting)["status"] == "succeeded"
