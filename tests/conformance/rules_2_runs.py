"""CONTRACT §2, routes of runs and what they leave behind: status and envelope of every row."""

from __future__ import annotations

from tests.conformance import mutants, samples
from tests.conformance.registry import rule
from tests.conformance.rows import PAGE, raw, row
from tests.conformance.target import Target, announced, archive, expect, foreign, must, refused
from tests.conformance.wire import Answer

RUNS = "/v1/workspace-runs"
RUN = f"{RUNS}/*"


def _transfer(server: Target) -> Answer:
    return server.post(f"{RUNS}/{server.base.create()['id']}/archive-transfer", announced(archive()))


def _finalize(server: Target) -> Answer:
    transfer = expect(_transfer(server.base), 201)["transfer"]
    server.base.put(transfer["uploadUrl"], archive())
    path = f"{RUNS}/{transfer['workspaceRunId']}/archive/finalize"
    return server.post(path, {"uploadId": transfer["id"], **announced(archive())})


def _direct(server: Target) -> Answer:
    return server.upload(server.base.create()["id"], archive())


def _start(server: Target) -> Answer:
    return server.post(f"{RUNS}/{server.base.uploaded()}/start")


def _cancel(server: Target) -> Answer:
    return server.post(f"{RUNS}/{server.base.uploaded()}/cancel")


def _of(run: str, path: str = "") -> str:
    return f"{RUNS}/{run}{path}"


def _finished(server: Target, path: str = "") -> Answer:
    return server.get(_of(samples.finished(server)["id"], path))


def _artifact(server: Target) -> str:
    artifact_id: str = samples.finished(server)["artifactIds"][0]
    return artifact_id


def _deleted(server: Target) -> Answer:
    run = server.base.run("echo x > x", artifacts=[{"path": "x"}])
    return server.delete(f"/v1/artifacts/{run['artifactIds'][0]}")


def _killed(server: Target) -> Answer:
    return server.delete(f"/v1/sandboxes/{samples.finished(server)['sandboxId']}")


row(
    "2",
    f"POST {RUNS}",
    lambda s: s.post(RUNS, {"command": "true"}),
    201,
    ("workspaceRun",),
    name="create_run",
)
row("2", f"GET {RUNS}", lambda s: s.get(f"{RUNS}?limit=2"), 200, PAGE, name="list_runs")
row("2", f"GET {RUN}", _finished, 200, ("workspaceRun",), name="get_run")
row("2", f"PUT {RUN}/archive", _direct, 200, ("archive", "workspaceRun"), name="put_archive")
row("2", f"POST {RUN}/archive-transfer", _transfer, 201, ("transfer",), name="create_transfer")
row("2", f"POST {RUN}/archive/finalize", _finalize, 200, ("archive", "workspaceRun"), name="finalize")
row("2", f"POST {RUN}/start", _start, 200, ("workspaceRun",), name="start")
row("2", f"POST {RUN}/cancel", _cancel, 200, ("workspaceRun",), name="cancel")
row("2", f"GET {RUN}/events", lambda s: _finished(s, "/events"), 200, PAGE, name="events")
row("2", f"GET {RUN}/evidence", lambda s: _finished(s, "/evidence"), 200, ("evidence",), name="evidence")
row(
    "2",
    "GET /v1/sandboxes/*/artifacts",
    lambda s: s.get(f"/v1/sandboxes/{samples.finished(s)['sandboxId']}/artifacts"),
    200,
    PAGE,
    name="list_artifacts",
)
row(
    "2",
    "GET /v1/artifacts/*",
    lambda s: s.get(f"/v1/artifacts/{_artifact(s)}"),
    200,
    ("artifact",),
    name="get_artifact",
)
raw(
    "2",
    "GET /v1/artifacts/*/download",
    lambda s: s.get(f"/v1/artifacts/{_artifact(s)}/download"),
    "application/octet-stream",
    b"kept\n",
    name="download_artifact",
)
row(
    "2",
    "POST /v1/artifacts/*/download-url",
    lambda s: s.post(f"/v1/artifacts/{_artifact(s)}/download-url"),
    200,
    ("authMode", "headers", "method", "url"),
    name="artifact_download_url",
)
row("2", "DELETE /v1/artifacts/*", _deleted, 200, ("artifact",), name="delete_artifact")
row("2", "GET /v1/sandboxes", lambda s: s.get("/v1/sandboxes?limit=1"), 200, PAGE, name="list_sandboxes")
row(
    "2",
    "GET /v1/sandboxes/*",
    lambda s: s.get(f"/v1/sandboxes/{samples.finished(s)['sandboxId']}"),
    200,
    ("sandbox",),
    name="get_sandbox",
)
row("2", "DELETE /v1/sandboxes/*", _killed, 200, ("sandbox",), name="delete_sandbox")
row("2", "GET /v1/projects", lambda s: s.get("/v1/projects"), 200, PAGE, name="list_projects")


@rule(
    "2",
    broken_by={
        "200 with a body": mutants.instead(f"PUT {RUN}/archive-transfer/*", 200, {}),
        "201": mutants.instead(f"PUT {RUN}/archive-transfer/*", 201),
    },
)
def rule_2_staged_put(server: Target) -> None:
    """PUT …/archive-transfer/{uploadId} answers 204 without a body, with or without an Idempotency-Key."""
    transfer = expect(_transfer(server.base), 201)["transfer"]
    for headers in ({}, {"idempotency_key": "k"}):
        answer = server.put(transfer["uploadUrl"], archive(), **headers)
        must(answer.status == 204 and not answer.body, f"{answer.status} {answer.body[:80]!r}")


@rule(
    "2",
    broken_by={
        "status is ignored": mutants.query(f"GET {RUNS}", lambda path: path.replace("status=", "state=")),
        "projectId is ignored": mutants.query(
            f"GET {RUNS}", lambda path: path.replace("projectId", "project")
        ),
    },
)
def rule_2_run_filters(server: Target) -> None:
    """GET /v1/workspace-runs filters by `projectId`, `status` and `metadata.*`."""
    run, failed = samples.finished(server), samples.failed(server)
    page = expect(server.get(f"{RUNS}?status=failed&projectId={failed['projectId']}&limit=500"), 200)["data"]
    must({found["status"] for found in page} == {"failed"}, "another status in the list")
    query = f"metadata.sample={run['metadata']['sample']}&status=succeeded&projectId={run['projectId']}"
    must([found["id"] for found in expect(server.get(f"{RUNS}?{query}"), 200)["data"]] == [run["id"]], query)
    refused(server.get(f"{RUNS}?projectId={foreign('prj')}"), 403, "forbidden")


@rule("2", broken_by={"live ones vanish": mutants.setting("GET /v1/sandboxes/*/artifacts", "data", [])})
def rule_2_artifacts_outlive_their_sandbox(server: Target) -> None:
    """A sandbox's artifacts are listed when it is gone."""
    run = samples.finished(server)
    page = expect(server.get(f"/v1/sandboxes/{run['sandboxId']}/artifacts"), 200)
    must([artifact["id"] for artifact in page["data"]] == run["artifactIds"], "the artifacts are not listed")


@rule(
    "2",
    broken_by={
        "a tombstone vanishes": mutants.instead("GET /v1/artifacts/*", 404, {"error": {}}),
        "no deletedAt": mutants.without("DELETE /v1/artifacts/*", "artifact.deletedAt"),
    },
)
def rule_2_deleted_artifacts_leave_a_tombstone(server: Target) -> None:
    """DELETE answers `deletedAt`; the record stays readable, the bytes do not."""
    gone = expect(_deleted(server), 200)["artifact"]
    must(gone["deletedAt"], "no deletedAt")
    must(expect(server.get(f"/v1/artifacts/{gone['id']}"), 200)["artifact"]["deletedAt"], "no tombstone")
    refused(server.get(f"/v1/artifacts/{gone['id']}/download"), 404, "not_found")


@rule(
    "2",
    broken_by={
        "another mode": mutants.setting("POST **/download-url", "authMode", "token"),
        "another method": mutants.setting("POST **/download-url", "method", "POST"),
        "a dead url": mutants.setting("POST **/download-url", "url", "/v1/nowhere"),
    },
)
def rule_2_download_urls_lead_to_the_bytes(server: Target) -> None:
    """The download URL works with its method, its headers and the API key."""
    link = expect(server.post(f"/v1/artifacts/{_artifact(server)}/download-url"), 200)
    must(link["authMode"] == "api_key" and link["method"] == "GET", f"{link['authMode']} {link['method']}")
    url = link["url"].removeprefix(server.origin)
    must(server.get(url, accept="application/octet-stream").body == b"kept\n", "other bytes behind the URL")


@rule(
    "2",
    broken_by={
        "historical ones in the list": mutants.query(
            "GET /v1/sandboxes", lambda path: f"{path}&include=historical"
        ),
        "live only, always": mutants.query(
            "GET /v1/sandboxes", lambda path: path.replace("include=historical", "a=b")
        ),
    },
)
def rule_2_sandbox_lists_are_live_only_by_default(server: Target) -> None:
    """GET /v1/sandboxes shows live ones; `include=historical` destroyed ones too; `metadata.*` filters."""
    run, kept = samples.finished(server), samples.kept(server)
    query = f"metadata.sample={run['metadata']['sample']}"
    must(expect(server.get(f"/v1/sandboxes?{query}"), 200)["data"] == [], "a destroyed sandbox is listed")
    page = expect(server.get(f"/v1/sandboxes?{query}&include=historical"), 200)
    must([found["id"] for found in page["data"]] == [run["sandboxId"]], "a destroyed sandbox is not shown")
    page = expect(server.get(f"/v1/sandboxes?metadata.kept={kept['metadata']['kept']}"), 200)
    must([found["id"] for found in page["data"]] == [kept["sandboxId"]], "a live sandbox is not listed")


@rule(
    "2",
    broken_by={
        "another reason": mutants.setting("DELETE /v1/sandboxes/*", "sandbox.destroyedReason", "ttl_expired"),
        "no destroyedAt": mutants.without("DELETE /v1/sandboxes/*", "sandbox.destroyedAt"),
        "a second DELETE is 404": mutants.instead("GET /v1/sandboxes/*", 404, {"error": {}}),
    },
)
def rule_2_killed_sandboxes_stay_readable(server: Target) -> None:
    """DELETE answers `destroyed`, `destroyedAt` and `user_killed`; the record stays; unknown ones are 404."""
    sandbox_id = server.base.run("true", keepSandbox=True)["sandboxId"]
    gone = expect(server.delete(f"/v1/sandboxes/{sandbox_id}"), 200)["sandbox"]
    must((gone["status"], gone["destroyedReason"]) == ("destroyed", "user_killed"), f"{gone}")
    must(gone["destroyedAt"], "no destroyedAt")
    must(
        expect(server.get(f"/v1/sandboxes/{sandbox_id}"), 200)["sandbox"]["status"] == "destroyed", "revived"
    )
    refused(server.get(f"/v1/sandboxes/{foreign('sbx')}"), 404, "not_found")
    refused(server.delete(f"/v1/sandboxes/{foreign('sbx')}"), 404, "not_found")
