"""CONTRACT §3.4 and §3.5: how runs end, and the evidence bundle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.conformance import mutants, samples
from tests.conformance.registry import add, rule
from tests.conformance.target import Target, expect, must

RUN = "/v1/workspace-runs/*"
REQUIRED = (
    "workspaceRunId",
    "orgId",
    "projectId",
    "status",
    "command",
    "createdAt",
    "metadata",
    "envKeys",
    "artifactIds",
    "artifactErrors",
    "cleanupStatus",
    "orchestrationSucceeded",
)
OPTIONAL = (
    "archive",
    "commandId",
    "durationMs",
    "exitCode",
    "finishedAt",
    "sandboxId",
    "sourceMetadata",
    "startedAt",
    "timeoutMs",
)
OURS = (
    "keepSandbox",
    "artifacts",
    "artifactsRequested",
    "output",
    "actor",
    "template",
    "projection",
    "sandbox",
    "proof",
)
PROOF = {"origin", "size", "root", "checkpoint", "evidenceSha256", "sealSeq"}


def ending(
    name: str,
    make: Callable[[Target], Any],
    status: str,
    *,
    reason: str | None = None,
    blame: str | None = None,
    exit_code: int | None = None,
    cleanup: str = "succeeded",
) -> None:
    """A row of §3.4 as a rule: each of its columns has a mutant."""
    wanted = {
        "status": status,
        "failureReason": reason,
        "failureClass": blame,
        "exitCode": exit_code,
        "cleanupStatus": cleanup,
        "orchestrationSucceeded": blame != "platform",
    }

    def check(server: Target) -> None:
        answer = server.get(f"/v1/workspace-runs/{make(server)['id']}")
        run = expect(answer, 200)["workspaceRun"]
        found = {column: run.get(column) for column in wanted}
        must(found == wanted, f"{found} instead of {wanted}")
        absent = [column for column, value in wanted.items() if value is None and column in run]
        must(not absent, f"{absent} must be left out")

    broken = {
        f"another {column}": mutants.setting(
            f"GET {RUN}", f"workspaceRun.{column}", 77 if column == "exitCode" else "x"
        )
        for column in wanted
    }
    told = f"{name.replace('_', ' ')}: {status}, {reason}, {blame}, exit code {exit_code}, {cleanup}"
    add(f"rule_3_4_{name}", "3.4", told, check=check, broken_by=broken)


ending("success", samples.finished, "succeeded", exit_code=0)
ending("command_exit", samples.failed, "failed", reason="command_exit", blame="user_command", exit_code=3)
ending(
    "death_by_signal", samples.killed, "failed", reason="command_exit", blame="user_command", exit_code=137
)
ending("timeout", samples.timed_out, "failed", reason="timeout", blame="user_command")
ending("canceled", samples.canceled, "canceled", blame="canceled")
ending("never_started", samples.never_started, "canceled", blame="canceled", cleanup="not_requested")
ending("archive_invalid", samples.bad_archive, "failed", reason="archive_invalid", blame="user_input")
ending("unsafe_archive", samples.unsafe_archive, "failed", reason="archive_invalid", blame="user_input")
ending(
    "archive_too_large",
    samples.swollen_archive,
    "failed",
    reason="archive_too_large",
    blame="user_input",
)
ending(
    "sandbox_conflict",
    samples.no_such_sandbox,
    "failed",
    reason="sandbox_conflict",
    blame="user_input",
    cleanup="not_requested",
)
ending("kept", samples.kept, "succeeded", exit_code=0, cleanup="not_requested")


def _kinds(server: Target, run_id: str) -> list[str]:
    return [
        event.get("status", event["type"]) if event["type"] == "status" else event["type"]
        for event in server.events(run_id)
    ]


@rule(
    "3.4",
    broken_by={
        "no cleanup": mutants.kept("GET **/events", lambda e: e["type"] != "cleanup"),
        "two cleanups": mutants.setting("GET **/events", "data", lambda d: [*d[:-2], d[-3], *d[-2:]]),
        "nothing was asked": mutants.kept("GET **/events", lambda e: e["type"] != "cancel_requested"),
        "artifacts after a cancel": mutants.setting(
            "GET **/events", "data", lambda d: [*d[:-3], {"type": "artifact_collected", "seq": 0}, *d[-3:]]
        ),
    },
)
def rule_3_4_order_of_a_cancel(server: Target) -> None:
    """Cancel: `cancel_requested`, `collecting` if it ran, no artifacts, one cleanup, outcome, terminal."""
    kinds = _kinds(server, samples.canceled(server)["id"])
    asked = kinds.index("cancel_requested")
    must(kinds[asked:] == ["cancel_requested", "collecting", "cleanup", "outcome", "terminal"], f"{kinds}")
    kinds = _kinds(server, samples.never_started(server)["id"])
    must(kinds == ["awaiting_archive", "cancel_requested", "cleanup", "outcome", "terminal"], f"{kinds}")


@rule(
    "3.4",
    broken_by={
        "collecting is left out": mutants.setting(
            "GET **/events", "data", lambda d: [e for e in d if e.get("status") != "collecting"]
        )
    },
)
def rule_3_4_order_of_a_timeout(server: Target) -> None:
    """Timeout: `collecting` with `timedOut`, cleanup, outcome, terminal."""
    events = server.events(samples.timed_out(server)["id"])
    collecting = next(event for event in events if event.get("status") == "collecting")
    must(collecting["timedOut"] is True and "exitCode" not in collecting, f"{collecting}")
    must([event["type"] for event in events[-3:]] == ["cleanup", "outcome", "terminal"], "another order")


@rule(
    "3.4",
    broken_by={
        "a leftover": mutants.setting("GET /v1/sandboxes/*", "sandbox.status", "ready"),
        "the kept one is gone": mutants.setting("GET /v1/sandboxes/*", "sandbox.status", "destroyed"),
    },
)
def rule_3_4_cleanup_is_what_the_sandbox_shows(server: Target) -> None:
    """After `succeeded` the sandbox is destroyed; after `not_requested` of a kept run it is `ready`."""
    for run, status in ((samples.finished(server), "destroyed"), (samples.kept(server), "ready")):
        sandbox = expect(server.get(f"/v1/sandboxes/{run['sandboxId']}"), 200)["sandbox"]
        must(sandbox["status"] == status, f"the sandbox is {sandbox['status']} and not {status}")


@rule(
    "3.5",
    broken_by={
        **{
            f"no {name}": mutants.without("GET **/evidence", f"evidence.{name}")
            for name in (*REQUIRED, *OPTIONAL)
        },
        "no proof": mutants.without("GET **/evidence", "evidence.proof"),
        "no root": mutants.without("GET **/evidence", "evidence.proof.root"),
        "the bundle without its envelope": mutants.edited("GET **/evidence", lambda a: a["evidence"]),
    },
)
def rule_3_5_fields_of_the_evidence(server: Target) -> None:
    """The required fields, the optional ones that are known at the end, and ours."""
    path = f"/v1/workspace-runs/{samples.finished(server)['id']}/evidence"
    evidence = expect(server.get(path), 200)["evidence"]
    must(
        not (missing := [name for name in (*REQUIRED, *OPTIONAL, *OURS) if name not in evidence]),
        f"no {missing}",
    )
    must(evidence["proof"].keys() == PROOF, f"proof has {sorted(evidence['proof'])}")


@rule(
    "3.5",
    broken_by={
        "another status": mutants.setting("GET **/evidence", "evidence.status", "failed"),
        "another exit code": mutants.setting("GET **/evidence", "evidence.exitCode", 1),
        "another artifact": mutants.setting("GET **/evidence", "evidence.artifactIds", ["art_x"]),
        "another run's": mutants.setting("GET **/evidence", "evidence.workspaceRunId", "wsr_x"),
    },
)
def rule_3_5_evidence_says_what_the_run_says(server: Target) -> None:
    """Evidence and run agree on every field that both have."""
    run = samples.finished(server)
    evidence = expect(server.get(f"/v1/workspace-runs/{run['id']}/evidence"), 200)["evidence"]
    must(evidence["workspaceRunId"] == run["id"], "evidence of another run")
    shared = (evidence.keys() & run.keys()) - {"proof"}
    differing = [name for name in sorted(shared) if evidence[name] != run[name]]
    must(not differing, f"evidence and run differ in {differing}")


@rule(
    "3.5",
    broken_by={
        "an unknown code": mutants.setting(f"GET {RUN}", "workspaceRun.artifactErrors.code", "missing"),
        "no path": mutants.without(f"GET {RUN}", "workspaceRun.artifactErrors.path"),
        "no message": mutants.without(f"GET {RUN}", "workspaceRun.artifactErrors.message"),
        "it fails the run": mutants.setting(f"GET {RUN}", "workspaceRun.status", "failed"),
    },
)
def rule_3_5_artifact_errors(server: Target) -> None:
    """A missing artifact is `{path, code: file_not_found, message}` and does not fail the run."""
    run = expect(server.get(f"/v1/workspace-runs/{samples.finished(server)['id']}"), 200)["workspaceRun"]
    (error,) = run["artifactErrors"]
    must((error["path"], error["code"]) == ("absent.txt", "file_not_found") and error["message"], f"{error}")
    must(run["status"] == "succeeded", "a missing artifact failed the run")


@rule("3.5", broken_by={"a link leads out": mutants.setting(f"GET {RUN}", "workspaceRun.artifactErrors", [])})
def rule_3_5_artifacts_do_not_lead_out(server: Target) -> None:
    """A symbolic link that leads out of the workspace is no artifact but an artifactError."""
    run_id = server.base.run("ln -s /etc/hostname link", artifacts=[{"path": "link"}])["id"]
    run = expect(server.get(f"/v1/workspace-runs/{run_id}"), 200)["workspaceRun"]
    codes = [error["code"] for error in run["artifactErrors"]]
    must(
        run["artifactIds"] == [] and codes in (["path_outside_workspace"], ["artifact_collect_failed"]),
        f"{codes}",
    )
