"""Warm and kept sandboxes: made, listed, given time, reused by runs, and ended."""

import concurrent.futures
import time
from pathlib import Path

import httpx2
import pytest

from runner.limits import RunnerLimits
from tests.serving import Running, archive, serving

HOUR_MS = 60 * 60 * 1000
REQUIRED = {
    "id", "orgId", "projectId", "status", "templateId", "templateSlug", "templateVersion",
    "templateVersionId", "ttlMs", "expiresAt", "metadata",
}  # fmt: skip


def make(running: Running, **fields: object) -> dict[str, object]:
    """A warm sandbox."""
    answer = running.http.post("/v1/sandboxes", json=fields)
    assert answer.status_code == 201, answer.text
    sandbox: dict[str, object] = answer.json()["sandbox"]
    return sandbox


def code(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


def test_a_warm_sandbox_is_ready_listed_found_by_label_and_killed_once(running: Running) -> None:
    """Its record stays readable, with why and when it was destroyed."""
    sandbox = make(running, template="base", metadata={"agent.id": "7"}, ttlMs=120_000)
    assert set(sandbox) >= REQUIRED
    assert (sandbox["status"], sandbox["ttlMs"], sandbox["templateSlug"]) == ("ready", 120_000, "base")
    found = running.http.get("/v1/sandboxes?metadata.agent.id=7").json()["data"]
    assert [one["id"] for one in found] == [sandbox["id"]]
    path = f"/v1/sandboxes/{sandbox['id']}"
    killed = [running.http.delete(path).json()["sandbox"] for _ in range(2)]
    assert killed[0] == killed[1]
    assert (killed[0]["status"], killed[0]["destroyedReason"]) == ("destroyed", "user_killed")
    assert running.http.get("/v1/sandboxes?metadata.agent.id=7").json()["data"] == []
    historical = running.http.get("/v1/sandboxes?include=historical&metadata.agent.id=7").json()["data"]
    assert historical == [killed[0]]
    assert running.http.get(path).json()["sandbox"] == killed[0]


def test_a_sandbox_of_no_wishes_has_the_defaults(running: Running) -> None:
    """An empty body and `{}` are the same."""
    for content in (b"", b"{}"):
        answer = running.http.post("/v1/sandboxes", content=content)
        assert answer.status_code == 201, answer.text
        sandbox = answer.json()["sandbox"]
        assert (sandbox["templateSlug"], sandbox["ttlMs"], sandbox["metadata"]) == (
            "python-node",
            HOUR_MS,
            {},
        )
        running.http.delete(f"/v1/sandboxes/{sandbox['id']}")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"template": "windows"}, (400, "invalid_request")),
        ({"templateVersionId": "tplv_nothing"}, (400, "invalid_request")),
        ({"ttlMs": 0}, (400, "invalid_request")),
        ({"ttlMs": HOUR_MS + 1}, (400, "sandbox_ttl_exceeded")),
        ({"ttlMs": 1.5}, (400, "invalid_request")),
        ({"metadata": {"": "x"}}, (400, "invalid_metadata_key")),
        ({"projectId": "prj_nothing"}, (403, "forbidden")),
        ({"restoreFrom": "bkp_a"}, (403, "feature_not_enabled")),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_bad_wish_is_refused_by_name(running: Running, body: object, expected: tuple[int, str]) -> None:
    """And no sandbox is started for it."""
    before = running.server.runner.statistics().sandboxes_kept
    assert code(running.http.post("/v1/sandboxes", json=body)) == expected
    assert running.server.runner.statistics().sandboxes_kept == before


def test_racing_creations_with_one_key_make_one_sandbox(running: Running) -> None:
    """All get the same answer."""
    headers = {"idempotency-key": "one warm sandbox"}

    def create(_: int) -> bytes:
        return running.http.post("/v1/sandboxes", json={"template": "base"}, headers=headers).content

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(create, range(16)))
    assert len(answers) == 1
    sandbox = httpx2.Response(200, content=answers.pop()).json()["sandbox"]
    running.http.delete(f"/v1/sandboxes/{sandbox['id']}")


@pytest.mark.parametrize("name", ["ttl", "extend"])
def test_the_time_to_live_is_counted_from_now_and_may_shrink(running: Running, name: str) -> None:
    """Both names of the route; the plan has the maximum."""
    sandbox = make(running, template="base")
    path = f"/v1/sandboxes/{sandbox['id']}"
    for ttl_ms in (5 * HOUR_MS, 60_000):
        extended = running.http.post(f"{path}/{name}", json={"ttlMs": ttl_ms}).json()["sandbox"]
        assert extended["ttlMs"] == ttl_ms
    assert extended["expiresAt"] < str(sandbox["expiresAt"])
    kept = running.server.runner.kept_sandboxes()
    assert kept[str(sandbox["id"])] < time.time() * 1000 + 60_000 + 1000
    too_long = running.http.post(f"{path}/{name}", json={"ttlMs": 168 * HOUR_MS + 1})
    assert code(too_long) == (400, "sandbox_ttl_exceeded")
    assert code(running.http.post(f"{path}/{name}", json={})) == (400, "invalid_request")
    running.http.delete(path)
    assert code(running.http.post(f"{path}/{name}", json={"ttlMs": 1000})) == (410, "sandbox_destroyed")


def test_a_sandbox_whose_time_is_over_is_gone_and_says_so(running: Running) -> None:
    """Recorded when it happens, not with the next round of the reaper."""
    sandbox = make(running, template="base", ttlMs=300)
    path = f"/v1/sandboxes/{sandbox['id']}"
    while (found := running.http.get(path).json()["sandbox"])["status"] != "destroyed":
        time.sleep(0.05)
    assert found["destroyedReason"] == "ttl_expired"


def test_a_run_uses_a_warm_sandbox_and_keeping_it_never_shortens_its_time(running: Running) -> None:
    """Files of the first run are there for the second; without `keepSandbox` it is destroyed after it."""
    sandbox = make(running, template="base")
    path = f"/v1/sandboxes/{sandbox['id']}"
    running.http.post(f"{path}/ttl", json={"ttlMs": 10 * HOUR_MS})
    first = running.run("echo left > note", sandboxId=sandbox["id"], keepSandbox=True)
    assert (first["status"], first["sandboxId"]) == ("succeeded", sandbox["id"])
    found = running.http.get(path).json()["sandbox"]
    assert found["status"] == "ready"
    assert found["expiresAt"] > str(sandbox["expiresAt"])
    second = running.run("cat note", sandboxId=sandbox["id"])
    assert any(event.get("data") == "left\n" for event in running.events(second["id"]))
    assert running.http.get(path).json()["sandbox"]["status"] == "destroyed"
    third = running.run("true", sandboxId=sandbox["id"])
    assert (third["status"], third["failureReason"]) == ("failed", "sandbox_conflict")


def test_a_busy_sandbox_refuses_a_second_run_and_changes(running: Running) -> None:
    """The second run fails with `sandbox_conflict`; the first is not disturbed; files can be looked at."""
    sandbox = make(running, template="base")
    path = f"/v1/sandboxes/{sandbox['id']}"
    slow = running.create("sleep 60", sandboxId=sandbox["id"], keepSandbox=True)
    running.upload(slow, archive({"a": b""}))
    running.http.post(f"/v1/workspace-runs/{slow}/start")
    running.wait_for_status(slow, "running")
    assert running.run("true", sandboxId=sandbox["id"])["failureReason"] == "sandbox_conflict"
    for refused in (
        running.http.put(f"{path}/files", json={"path": "b", "content": ""}),
        running.http.post(f"{path}/commands", json={"command": "true"}),
    ):
        assert code(refused) == (409, "conflict")
    assert [one["name"] for one in running.http.get(f"{path}/files").json()["data"]] == ["a"]
    running.http.post(f"/v1/workspace-runs/{slow}/cancel")
    assert running.finished(slow)["status"] == "canceled"
    running.http.delete(path)


def test_a_restart_ends_warm_sandboxes_and_their_commands(tmp_path: Path) -> None:
    """Both records say so, and the views are what the log gives."""
    with serving(tmp_path, runner=RunnerLimits()) as running:
        sandbox = make(running, template="base")
        started = running.http.post(
            f"/v1/sandboxes/{sandbox['id']}/commands", json={"command": "sleep 60", "background": True}
        ).json()["command"]
        key = running.key
    with serving(tmp_path, key) as running:
        found = running.http.get(f"/v1/sandboxes/{sandbox['id']}").json()["sandbox"]
        assert (found["status"], found["destroyedReason"]) == ("destroyed", "platform_cleanup")
        command = running.http.get(f"/v1/commands/{started['id']}").json()["command"]
        assert (command["status"], command["killedReason"]) == ("killed", "sandbox_destroyed")
