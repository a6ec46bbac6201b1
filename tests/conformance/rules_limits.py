"""Rules of several clauses that take a server with shorter limits, or on another plan, to be seen."""

from __future__ import annotations

from datetime import date

from tests.conformance import mutants
from tests.conformance.registry import rule
from tests.conformance.rows import row
from tests.conformance.samples import sample
from tests.conformance.target import Target, announced, archive, expect, must, refused

RUNS = "/v1/workspace-runs"
RUN = f"{RUNS}/*"
EVENTS = f"GET {RUN}/events"


@rule(
    "4.2",
    on="hasty",
    broken_by={
        "404": mutants.status("* **", 404, mutants.is_error),
        "another code": mutants.setting("* **", "error.code", "upload_not_found", mutants.is_error),
    },
)
def rule_4_2_transfers_expire(server: Target) -> None:
    """An expired transfer is 410 `upload_expired`, for its bytes and for finalize."""
    data, run_id = archive(), server.base.create()["id"]
    path = f"{RUNS}/{run_id}"
    transfer = expect(server.base.post(f"{path}/archive-transfer", announced(data)), 201)["transfer"]
    refused(server.put(transfer["uploadUrl"], data), 410, "upload_expired")
    body = {"uploadId": transfer["id"], **announced(data)}
    refused(server.post(f"{path}/archive/finalize", body), 410, "upload_expired")


@sample
def _expired(server: Target) -> dict[str, str]:
    """Two runs that expired: one without an archive, one that was never started."""
    run_ids = {"empty": server.create()["id"], "uploaded": server.uploaded()}
    for run_id in run_ids.values():
        server.finished(run_id)
    return run_ids


@rule(
    "3.4",
    on="hasty",
    broken_by={
        "canceled": mutants.setting(f"GET {RUN}", "workspaceRun.status", "canceled"),
        "another reason": mutants.setting(f"GET {RUN}", "workspaceRun.failureReason", "timeout"),
        "no evidence": mutants.instead(f"GET {RUN}/evidence", 404, {"error": {}}),
    },
)
def rule_3_4_runs_without_an_archive_expire(server: Target) -> None:
    """A run that never gets an archive is `failed`, `upload_missing`, and sealed (§11)."""
    run_id = _expired(server)["empty"]
    run = expect(server.get(f"{RUNS}/{run_id}"), 200)["workspaceRun"]
    found = (run["status"], run["failureReason"], run["failureClass"], run["cleanupStatus"])
    must(found == ("failed", "upload_missing", "user_input", "not_requested"), f"{found}")
    expect(server.get(f"{RUNS}/{run_id}/evidence"), 200)


@rule(
    "11", on="hasty", broken_by={"no message": mutants.without(f"GET {RUN}", "workspaceRun.failureMessage")}
)
def rule_s11_runs_that_are_never_started_expire(server: Target) -> None:
    """Uploaded and never started ends `canceled`, and `failureMessage` says why."""
    run_id = _expired(server)["uploaded"]
    run = expect(server.get(f"{RUNS}/{run_id}"), 200)["workspaceRun"]
    must(run["status"] == "canceled" and run["failureMessage"], f"{run['status']}")


@rule(
    "6.6",
    on="hasty",
    broken_by={
        "not told": mutants.kept(EVENTS, lambda event: event["type"] != "output_truncated"),
        "no keptBytes": mutants.without(EVENTS, "data.keptBytes"),
        "nothing was dropped": mutants.without(EVENTS, "data.droppedBytes"),
    },
)
def rule_6_6_output_truncated(server: Target) -> None:
    """At the cap of both streams together `output_truncated` is told, and the command runs on to its end."""
    run = server.base.run("head -c 20000 /dev/zero | tr '\\0' x; exit 5")
    must(run["exitCode"] == 5 and run["output"]["truncated"] is True, f"{run}")
    events = server.events(run["id"])
    (told,) = (event for event in events if event["type"] == "output_truncated")
    must(told["stream"] == "stdout" and told["keptBytes"] >= 0, f"{told}")
    collecting = next(event for event in events if event.get("status") == "collecting")
    printed = sum(len(event["data"]) for event in events if event["type"] == "stdout")
    must(printed + collecting["droppedBytes"]["stdout"] == 20000, f"{printed} and {collecting}")


row(
    "2.1",
    "POST /v1/signing-keys/rotate",
    lambda server: server.post("/v1/signing-keys/rotate"),
    200,
    ("signingKey",),
    name="rotate_signing_key",
    on="hasty",
)


@rule(
    "7.2",
    on="free",
    needs="usage",
    broken_by={
        "no quota": mutants.instead("POST /v1/sandboxes", 201, {"sandbox": {}}),
        "another code": mutants.setting("POST /v1/sandboxes", "error.code", "rate_limited", mutants.is_error),
    },
)
def rule_7_2_sandboxes_at_once(server: Target) -> None:
    """On the plan `free` two sandboxes live at once; a third is refused with `quota_exceeded`."""
    made = [expect(server.base.post("/v1/sandboxes", {}), 201)["sandbox"]["id"] for _ in range(2)]
    try:
        answer = server.post("/v1/sandboxes", {})
        must(answer.status in {403, 429}, f"{answer.status} for a third sandbox")
        refused(answer, answer.status, "quota_exceeded")
    finally:
        for sandbox_id in made:
            server.base.delete(f"/v1/sandboxes/{sandbox_id}")


@rule(
    "7.2",
    on="free",
    broken_by={"any ttl": mutants.instead("POST /v1/sandboxes/*/extend", 200, {"sandbox": {}})},
)
def rule_7_2_extension_ttl(server: Target) -> None:
    """On the plan `free` a sandbox is extended by at most one hour."""
    made = expect(server.base.post("/v1/sandboxes", {}), 201)["sandbox"]["id"]
    try:
        expect(server.base.post(f"/v1/sandboxes/{made}/extend", {"ttlMs": 3_600_000}), 200)
        answer = server.post(f"/v1/sandboxes/{made}/extend", {"ttlMs": 3_600_001})
        refused(answer, 400, "sandbox_ttl_exceeded")
    finally:
        server.base.delete(f"/v1/sandboxes/{made}")


@rule(
    "7.2",
    on="free",
    broken_by={
        "kept for ever": mutants.without("GET /v1/artifacts/*", "artifact.retentionExpiresAt"),
        "a month": mutants.setting(
            "GET /v1/artifacts/*", "artifact.retentionExpiresAt", lambda time: f"2999{time[4:]}"
        ),
    },
)
def rule_7_2_artifact_retention(server: Target) -> None:
    """On the plan `free` artifacts are kept for seven days."""
    named = server.base.run("echo x > x", artifacts=[{"path": "x"}])["artifactIds"][0]
    artifact = expect(server.get(f"/v1/artifacts/{named}"), 200)["artifact"]
    kept = _days(artifact["retentionExpiresAt"]) - _days(artifact["createdAt"])
    must(kept == 7, f"{kept} days")


def _days(time: str) -> int:
    return date.fromisoformat(time[:10]).toordinal()
