"""GET /v1/usage against what really ran, and quotas that hold when many ask at once (CONTRACT §7.2, §8)."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from cli import wiring
from cli.main import root
from cli.wiring import log_path
from eventstore.log import Append, NewEvent
from evidence.record import parse_time
from runs.access import SCOPES
from runs.ids import new_id
from runs.refusal import Refusal
from tests.serving import FINISH_S_MAX, Running, archive, serving

BORDER_MS = parse_time("2036-02-01T00:00:00.000Z")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Running]:
    """A server that nothing was done on yet."""
    with serving(tmp_path) as running:
        yield running


def usage(running: Running) -> dict[str, Any]:
    """The answer's object."""
    answer = running.http.get("/v1/usage")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def organization_of(running: Running) -> tuple[str, str]:
    """The ids of the first organisation and its project."""
    project = running.http.get("/v1/projects").json()["data"][-1]
    return project["orgId"], project["id"]


def tell(running: Running, kind: str, **fields: object) -> None:
    """Append an event to the organisation's stream, as its routes do."""
    event = NewEvent(kind, {"actor": "system", **fields})
    request = Append(organization_of(running)[0], None, [event])
    done = running.server.services.store.append(request)
    asyncio.run_coroutine_threadsafe(done, running.loop).result(FINISH_S_MAX)


def limit(running: Running, **limits: int) -> None:
    """Set limits of the default project, as an owner does."""
    answer = running.http.patch(f"/v1/projects/{organization_of(running)[1]}", json={"limits": limits})
    assert answer.status_code == 200, answer.text


def uploaded(running: Running, command: str = "true", **fields: object) -> str:
    """A run that only has to be started."""
    run_id = running.create(command, **fields)
    assert running.upload(run_id, archive({"a.txt": b"a"})).status_code == 200
    return run_id


def start(running: Running, run_id: str, **headers: str) -> httpx2.Response:
    """Ask for the start."""
    return running.http.post(f"/v1/workspace-runs/{run_id}/start", headers=headers)


def refused(answer: httpx2.Response) -> Mapping[str, Any]:
    """The details of a quota's refusal, which no wait alone gets past."""
    assert answer.status_code == 429, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["retryable"], "retry-after" in answer.headers) == (
        "quota_exceeded",
        False,
        False,
    )
    details: Mapping[str, Any] = error["details"]
    return details


def test_a_new_server_has_used_nothing_and_answers_the_contracts_shape(fresh: Running) -> None:
    """The bare object of CONTRACT §8; `credits.remaining` is absent, which clients print as unlimited."""
    found = usage(fresh)
    assert set(found["period"]) == {"start", "end", "resetAt"}
    assert found["period"]["start"].endswith("-01T00:00:00.000Z")
    assert (found["pricingVersion"], found["computeUnitSecondsPerCredit"], found["currencyPerCredit"]) == (
        "self-hosted/1",
        3600,
        0,
    )
    assert (found["computeUnitSeconds"], found["credits"]) == ({"used": 0}, {"used": 0})
    assert found["quotas"] == {
        "active_sandboxes": {"limit": 250, "current": 0, "remaining": 250},
        "previews": {"limit": 10, "current": 0, "remaining": 10},
    }
    assert set(found["metrics"].values()) == {0}
    assert len(found["metrics"]) == 7


def test_every_number_is_that_of_the_runs_that_ran(fresh: Running) -> None:
    """Sandboxes made and reused, commands, their time, artifacts that are still stored."""
    kept = fresh.run(
        "echo hello > r.txt; sleep 0.1", keepSandbox=True, artifacts=[{"path": "r.txt"}, {"path": "a.txt"}]
    )
    again = fresh.run("sleep 0.1", sandboxId=kept["sandboxId"], keepSandbox=True)
    failed = fresh.run("exit 3")
    never = fresh.create()
    fresh.http.post(f"/v1/workspace-runs/{never}/cancel")
    fresh.http.delete(f"/v1/artifacts/{kept['artifactIds'][0]}")
    fresh.http.delete(f"/v1/artifacts/{kept['artifactIds'][0]}")
    found = usage(fresh)
    seconds = sum(run["durationMs"] for run in (kept, again, failed)) / 1000
    expected = {
        "artifact_bytes_stored": len(b"a"),
        "code_run_invocations": 0,
        "command_invocations": 3,
        "compute_unit_seconds": seconds,
        "file_bytes_written": 0,
        "preview_minutes": 0,
        "sandbox_creates": 2,
    }
    assert found["metrics"] == expected
    assert found["projects"] == [{"projectId": kept["projectId"], "metrics": expected}]
    assert found["computeUnitSeconds"] == {"used": seconds}
    assert found["credits"] == {"used": seconds / 3600}
    assert found["quotas"]["active_sandboxes"] == {"limit": 250, "current": 1, "remaining": 249}


def warm(running: Running) -> str:
    """The path of a warm sandbox."""
    answer = running.http.post("/v1/sandboxes", json={"template": "base"})
    assert answer.status_code == 201, answer.text
    return f"/v1/sandboxes/{answer.json()['sandbox']['id']}"


def test_what_happens_in_a_warm_sandbox_is_counted(fresh: Running) -> None:
    """Itself, its commands and their time, the bytes written, the artifacts kept on demand."""
    base = warm(fresh)
    command = {"command": "sleep 0.1; echo hello > kept", "collect": [{"path": "kept"}]}
    ended = fresh.http.post(f"{base}/commands", json=command).json()["command"]
    for content in ("x" * 70, "y" * 7):
        body = {"path": "/workspace/f", "content": content, "overwrite": True}
        assert fresh.http.put(f"{base}/files", json=body).status_code == 200
    assert fresh.http.post(f"{base}/artifacts", json={"path": "f"}).status_code == 201
    metrics = usage(fresh)["metrics"]
    assert metrics == {
        "artifact_bytes_stored": len(b"hello\n") + 7,
        "code_run_invocations": 0,
        "command_invocations": 1,
        "compute_unit_seconds": ended["durationMs"] / 1000,
        "file_bytes_written": 77,
        "preview_minutes": 0,
        "sandbox_creates": 1,
    }
    fresh.http.delete(base)
    assert usage(fresh)["metrics"] == metrics


def test_a_preview_that_is_open_counts_up_to_now(fresh: Running) -> None:
    """And no longer once it is revoked."""
    project = organization_of(fresh)[1]
    later = "2099-01-01T00:00:00.000Z"
    place = {"sandboxId": "sbx_a", "projectId": project, "slug": "abc"}
    tell(fresh, "preview_created", previewId="prv_a", port=80, authMode="token", expiresAt=later, **place)
    live = usage(fresh)
    assert live["quotas"]["previews"] == {"limit": 10, "current": 1, "remaining": 9}
    tell(fresh, "preview_revoked", previewId="prv_a")
    ended = usage(fresh)
    assert ended["quotas"]["previews"]["current"] == 0
    assert ended["metrics"]["preview_minutes"] > 0
    assert ended["metrics"]["preview_minutes"] >= live["metrics"]["preview_minutes"]
    assert usage(fresh) == ended


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Running, Callable[[int], None]]]:
    """A server on a clock of its own, and what sets that."""
    now_ms = [BORDER_MS - 60_000]
    monkeypatch.setattr(wiring, "now_ms", lambda: now_ms[0])

    def move(to_ms: int) -> None:
        now_ms[0] = to_ms

    with serving(tmp_path) as running:
        yield running, move


def test_a_month_begins_anew_at_its_border(moved: tuple[Running, Callable[[int], None]]) -> None:
    """One run before and two behind; what is stored stays, and the old month is not lost."""
    running, move = moved
    running.run("true", artifacts=[{"path": "a.txt"}])
    january = usage(running)
    assert (january["period"]["end"], january["metrics"]["sandbox_creates"]) == (
        "2036-02-01T00:00:00.000Z",
        1,
    )
    move(BORDER_MS)
    empty = usage(running)
    assert empty["period"] == {
        "start": "2036-02-01T00:00:00.000Z",
        "end": "2036-03-01T00:00:00.000Z",
        "resetAt": "2036-03-01T00:00:00.000Z",
    }
    assert (empty["metrics"]["sandbox_creates"], empty["metrics"]["artifact_bytes_stored"]) == (0, 1)
    for _ in range(2):
        running.run("true")
    assert usage(running)["metrics"]["command_invocations"] == 2
    with closing(sqlite3.connect(log_path(running.data_dir))) as database:
        rows = database.execute("SELECT parent FROM usage WHERE status = 'sandbox_creates'").fetchall()
    assert sorted(rows) == [("2036-01",), ("2036-02",)]


def test_a_months_compute_is_refused_when_used_up_and_given_anew(
    moved: tuple[Running, Callable[[int], None]],
) -> None:
    """Looked at when a run or a command begins, in a reused sandbox too; the next month begins at nothing."""
    running, move = moved
    project = organization_of(running)[1]
    limit(running, computeUnitSecondsPerMonth=1)
    base = warm(running)
    running.http.post(f"{base}/commands", json={"command": "sleep 1.1"})
    waiting, reusing = uploaded(running), uploaded(running, sandboxId=base.rpartition("/")[2])
    details = refused(start(running, waiting))
    assert (details["quota"], details["limit"], details["current"]) == ("compute_unit_seconds", 1, 1)
    assert (details["projectId"], details["resetAt"]) == (project, "2036-02-01T00:00:00.000Z")
    assert refused(start(running, reusing)) == details
    assert refused(running.http.post(f"{base}/commands", json={"command": "true"})) == details
    assert refused(running.http.post("/v1/sandboxes", json={})) == details
    quota = usage(running)["quotas"]["compute_unit_seconds"]
    assert (quota["limit"], quota["remaining"], quota["projectId"]) == (1, 0, project)
    move(BORDER_MS)
    assert start(running, waiting).status_code == 200
    assert running.finished(waiting)["status"] == "succeeded"


def test_racing_starts_on_the_free_plan_admit_exactly_two(tmp_path: Path) -> None:
    """64 at once; a repeat of an admitted start is answered, not refused; an end makes room."""
    with serving(tmp_path, plan_default="free") as running:
        runs = [uploaded(running, "sleep 60") for _ in range(64)]
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda run_id: start(running, run_id), runs))
        admitted = [run for run, answer in zip(runs, answers, strict=True) if answer.status_code == 200]
        assert len(admitted) == 2
        details = [refused(answer) for answer in answers if answer.status_code != 200]
        assert details == [{"quota": "active_sandboxes", "limit": 2, "current": 2}] * 62
        assert usage(running)["quotas"]["active_sandboxes"] == {"limit": 2, "current": 2, "remaining": 0}
        assert start(running, admitted[0]).status_code == 200
        running.http.post(f"/v1/workspace-runs/{admitted[0]}/cancel")
        running.finished(admitted[0])
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda run_id: start(running, run_id), set(runs) - set(admitted)))
        assert [answer.status_code for answer in answers].count(200) == 1
        for run_id in runs:
            running.http.post(f"/v1/workspace-runs/{run_id}/cancel")


def test_racing_creations_and_starts_share_the_same_two(tmp_path: Path) -> None:
    """Warm sandboxes and those of runs count together."""
    with serving(tmp_path, plan_default="free") as running:
        runs = [uploaded(running, "sleep 60") for _ in range(8)]
        with ThreadPoolExecutor(16) as pool:
            started = [pool.submit(start, running, run_id) for run_id in runs]
            made = [pool.submit(running.http.post, "/v1/sandboxes", json={}) for _ in range(8)]
            statuses = [one.result().status_code for one in (*started, *made)]
        assert [status for status in statuses if status < 300] in ([200, 200], [200, 201], [201, 201])
        assert statuses.count(429) == 14
        for run_id in runs:
            running.http.post(f"/v1/workspace-runs/{run_id}/cancel")


def test_racing_starts_of_one_run_are_one_start(tmp_path: Path) -> None:
    """With room for one: whoever comes second finds it started, with and without an idempotency key."""
    with serving(tmp_path) as running:
        limit(running, concurrentSandboxes=1)
        run_id = uploaded(running, "sleep 60")
        keys: list[dict[str, str]] = [{}, {"idempotency-key": "one"}] * 16
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda headers: start(running, run_id, **headers), keys))
        assert {answer.status_code for answer in answers} == {200}
        details = refused(start(running, uploaded(running)))
        assert (details["quota"], details["limit"], details["current"]) == ("active_sandboxes", 1, 1)
        assert details["projectId"] == organization_of(running)[1]
        running.http.post(f"/v1/workspace-runs/{run_id}/cancel")


def test_a_warm_sandbox_is_not_counted_twice(tmp_path: Path) -> None:
    """A run in a sandbox that lives makes none, so a full quota does not stop it."""
    with serving(tmp_path, plan_default="free") as running:
        first = running.run("true", keepSandbox=True)
        running.run("true", keepSandbox=True)
        refused(start(running, uploaded(running)))
        refused(running.http.post("/v1/sandboxes", json={}))
        assert running.run("true", sandboxId=first["sandboxId"])["status"] == "succeeded"


def test_an_artifact_beyond_the_projects_room_is_an_artifact_error(fresh: Running) -> None:
    """The run succeeds; what fits is kept, and a deletion makes room again."""
    limit(fresh, artifactBytes=100)
    made = "head -c 60 /dev/zero > a; head -c 60 /dev/zero | tr '\\0' b > b; head -c 40 /dev/zero > c"
    wanted = [{"path": "a"}, {"path": "b"}, {"path": "c"}]
    run = fresh.run(made, artifacts=wanted)
    assert (run["status"], [one["path"] for one in run["artifacts"]]) == ("succeeded", ["a", "c"])
    (error,) = run["artifactErrors"]
    assert (error["code"], error["path"]) == ("artifact_collect_failed", "b")
    assert "quota" in error["message"]
    assert "60 of 100 artifact bytes" in error["message"]
    quota = usage(fresh)["quotas"]["artifact_bytes"]
    assert (quota["current"], quota["remaining"]) == (100, 0)
    fresh.http.delete(f"/v1/artifacts/{run['artifactIds'][0]}")
    assert [one["path"] for one in fresh.run(made, artifacts=wanted)["artifacts"]] == ["a"]


def test_on_demand_and_behind_a_command_the_same_room_counts(fresh: Running) -> None:
    """429 where it was asked for, a collect error where a command brought it; the command has its end."""
    limit(fresh, artifactBytes=100)
    base = warm(fresh)
    made = {"command": "head -c 60 /dev/zero > a; cp a b", "collect": [{"path": "a"}, {"path": "b"}]}
    command = fresh.http.post(f"{base}/commands", json=made).json()["command"]
    assert (command["status"], command["collectStatus"]) == ("exited", "partial")
    (error,) = command["collectErrors"]
    assert (error["code"], error["path"]) == ("artifact_collect_failed", "b")
    details = refused(fresh.http.post(f"{base}/artifacts", json={"path": "b"}))
    assert (details["quota"], details["limit"], details["current"]) == ("artifact_bytes", 100, 60)
    assert usage(fresh)["quotas"]["artifact_bytes"]["remaining"] == 40
    assert repr(fresh.server.quotas) == "QuotaService(arriving={}, reserved={})"


def test_racing_collections_never_share_the_same_room(fresh: Running) -> None:
    """What was admitted counts before the log holds it, and no longer once it never will."""
    org_id, project = organization_of(fresh)
    limit(fresh, artifactBytes=100)
    quotas = fresh.server.quotas

    async def race() -> list[object]:
        async def collect() -> None:
            async with quotas.admit_artifact(org_id, project, 40):
                await asyncio.sleep(0.2)

        return await asyncio.gather(*(collect() for _ in range(8)), return_exceptions=True)

    for _ in range(2):
        results = asyncio.run_coroutine_threadsafe(race(), fresh.loop).result(FINISH_S_MAX)
        assert [isinstance(one, Refusal) for one in results].count(False) == 2
    assert repr(quotas) == "QuotaService(arriving={}, reserved={})"


def _other_key(running: Running, scopes: tuple[str, ...], *projects: str) -> httpx2.Client:
    """A client with a key that sees some projects only."""
    body = {"name": "k", "scopes": list(scopes), **({"projectIds": list(projects)} if projects else {})}
    answer = running.http.post("/v1/api-keys", json=body)
    assert answer.status_code == 201, answer.text
    headers = {"authorization": f"Bearer {answer.json()['secret']}"}
    return httpx2.Client(base_url=running.url, headers=headers, timeout=FINISH_S_MAX)


def test_a_key_of_one_project_sees_that_projects_sums(fresh: Running) -> None:
    """The other project's numbers and limits are not in it."""
    other = new_id("prj")
    tell(fresh, "project_created", projectId=other, name="other", limits={"artifactBytes": 50})
    fresh.run("true")
    fresh.run("true", projectId=other, artifacts=[{"path": "a.txt"}])
    assert usage(fresh)["metrics"]["command_invocations"] == 2
    with _other_key(fresh, SCOPES, other) as narrow:
        found = narrow.get("/v1/usage").json()
    assert [one["projectId"] for one in found["projects"]] == [other]
    assert found["metrics"]["command_invocations"] == 1
    assert found["quotas"]["artifact_bytes"]["remaining"] == 49
    with _other_key(fresh, SCOPES, organization_of(fresh)[1]) as narrow:
        found = narrow.get("/v1/usage").json()
    assert found["metrics"]["artifact_bytes_stored"] == 0
    assert "artifact_bytes" not in found["quotas"]


def test_an_unknown_limit_is_refused_and_a_lifted_one_is_none(fresh: Running) -> None:
    """By name (400); null lifts what was set."""
    path = f"/v1/projects/{organization_of(fresh)[1]}"
    limit(fresh, concurrentSandboxes=0)
    run_id = uploaded(fresh)
    assert refused(start(fresh, run_id))["limit"] == 0
    unknown = fresh.http.patch(path, json={"limits": {"sandboxes": 3}})
    assert (unknown.status_code, unknown.json()["error"]["details"]) == (400, {"field": "limits.sandboxes"})
    assert fresh.http.patch(path, json={"limits": {"concurrentSandboxes": None}}).status_code == 200
    assert start(fresh, run_id).status_code == 200


def test_usage_needs_its_scope(fresh: Running) -> None:
    """`usage:read`, and nothing else."""
    with _other_key(fresh, ("usage:read",)) as reader, _other_key(fresh, ("audit:read",)) as auditor:
        assert reader.get("/v1/usage").status_code == 200
        assert auditor.get("/v1/usage").json()["error"]["details"] == {"requiredScope": "usage:read"}


def days(running: Running, first: str, last: str) -> Any:
    """What was used by day, as the first key sees it."""
    services = running.server.services

    async def read() -> Any:
        who = await services.authenticate(running.key)
        assert who is not None
        return await services.usage.by_day(who, first, last)

    return asyncio.run_coroutine_threadsafe(read(), running.loop).result(FINISH_S_MAX)


def test_use_is_counted_by_the_day_of_each_event(moved: tuple[Running, Callable[[int], None]]) -> None:
    """Runs by how they ended, compute, what artifacts added and took away; rebuilt as it was counted."""
    running, move = moved
    kept = running.run("true", artifacts=[{"path": "a.txt"}])
    move(BORDER_MS + 1000)
    failed = running.run("exit 3", artifacts=[{"path": "a.txt"}])
    canceled = running.create()
    running.http.post(f"/v1/workspace-runs/{canceled}/cancel")
    move(BORDER_MS + 24 * 60 * 60 * 1000)
    running.http.delete(f"/v1/artifacts/{kept['artifactIds'][0]}")
    found = days(running, "2036-01-31", "2036-02-01")
    assert {day: +amounts for day, amounts in found.days.items()} == {
        "2036-01-31": {
            "runs_succeeded": 1,
            "compute_unit_milliseconds": kept["durationMs"],
            "artifact_bytes_stored": 1,
        },
        "2036-02-01": {
            "runs_failed": 1,
            "runs_canceled": 1,
            "compute_unit_milliseconds": failed["durationMs"],
            "artifact_bytes_stored": 1,
        },
    }
    assert found.projects[kept["projectId"]]["runs_failed"] == 1
    assert (found.stored_bytes, found.stored_later, found.whole) == (1, -1, True)
    assert days(running, "2036-02-02", "2036-02-02").days["2036-02-02"] == {"artifact_bytes_stored": -1}
    check = CliRunner().invoke(root, ["rebuild", "--check", "--json", "--data", str(running.data_dir)])
    assert check.exit_code == 0, check.output
