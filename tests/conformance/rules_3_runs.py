"""CONTRACT §3.1 to §3.3: the body that creates a run, the object, and its states."""

from __future__ import annotations

from typing import Any

from tests.conformance import mutants, samples
from tests.conformance.proxy import Mutation
from tests.conformance.registry import rule
from tests.conformance.target import (
    Target,
    announced,
    archive,
    expect,
    foreign,
    fresh,
    must,
    refused,
    stream_events,
)

RUNS = "/v1/workspace-runs"
RUN = f"{RUNS}/*"
ALWAYS = (
    "id",
    "orgId",
    "projectId",
    "status",
    "command",
    "keepSandbox",
    "metadata",
    "templateId",
    "templateSlug",
    "templateVersion",
    "templateVersionId",
    "createdAt",
)
AT_THE_END = (
    "archive",
    "artifactErrors",
    "artifactIds",
    "cleanupStatus",
    "commandId",
    "durationMs",
    "envKeys",
    "evidenceAvailable",
    "exitCode",
    "finishedAt",
    "orchestrationSucceeded",
    "sandboxId",
    "sourceMetadata",
    "startedAt",
    "timeoutMs",
    "uploadedAt",
)
STATES = ["awaiting_archive", "archive_uploaded", "starting", "extracting", "running", "collecting"]


def _accepts_everything(route: str = f"POST {RUNS}") -> dict[str, Mutation]:
    return {"everything is accepted": mutants.instead(route, 201, {"workspaceRun": {}})}


@rule("3.1", broken_by=_accepts_everything())
def rule_3_1_command_is_required(server: Target) -> None:
    """`command` is a non-empty string of at most 32 KiB."""
    for bad in (
        {},
        {"command": ""},
        {"command": "  "},
        {"command": None},
        {"command": ["ls"]},
        {"command": "x" * 32769},
    ):
        refused(server.post(RUNS, bad), 400, "invalid_request")
    expect(server.post(RUNS, {"command": "x" * 32768}), 201)


@rule("3.1", broken_by={"the line is split": mutants.setting(f"POST {RUNS}", "workspaceRun.command", "sh")})
def rule_3_1_command_is_one_shell_line(server: Target) -> None:
    """The command is kept as it was sent, and a shell reads it."""
    line = "sh -c 'echo \"$0\" | tr a-z A-Z; exit 4' quoted"
    must(expect(server.post(RUNS, {"command": line}), 201)["workspaceRun"]["command"] == line, "another line")
    run = server.base.run(line)
    printed = "".join(event.get("data", "") for event in server.base.events(run["id"]))
    must((run["exitCode"], printed) == (4, "QUOTED\n"), f"it ended with {run['exitCode']} and {printed!r}")


@rule(
    "3.1",
    broken_by={
        "another default": mutants.setting(f"POST {RUNS}", "workspaceRun.templateSlug", "base"),
        "ids are not templates": mutants.instead(f"POST {RUNS}", 400, {"error": {}}),
    },
)
def rule_3_1_templates(server: Target) -> None:
    """`python-node` unless another is named by slug or by `templateVersionId`; unknown ones are 400."""
    run = expect(server.post(RUNS, {"command": "true"}), 201)["workspaceRun"]
    must(run["templateSlug"] == "python-node", f"the default is {run['templateSlug']}")
    for slug in ("python", "node", "python-node", "base"):
        run = expect(server.post(RUNS, {"command": "true", "template": slug}), 201)["workspaceRun"]
        must(run["templateSlug"] == slug, f"{run['templateSlug']} instead of {slug}")
        body = {"command": "true", "templateVersionId": run["templateVersionId"]}
        again = expect(server.post(RUNS, body), 201)["workspaceRun"]
        must(again["templateSlug"] == slug, "templateVersionId leads to another template")
    refused(server.post(RUNS, {"command": "true", "template": "windows"}), 400, "invalid_request")


@rule(
    "3.1",
    broken_by={"another project": mutants.setting(f"POST {RUNS}", "workspaceRun.projectId", foreign("prj"))},
)
def rule_3_1_project_defaults(server: Target) -> None:
    """`projectId` may be absent: then it is the key's default project."""
    projects = {project["id"] for project in expect(server.base.get("/v1/projects"), 200)["data"]}
    run = expect(server.post(RUNS, {"command": "true"}), 201)["workspaceRun"]
    must(run["projectId"] in projects, "the default project is not one of the key's")
    named = expect(server.post(RUNS, {"command": "true", "projectId": run["projectId"]}), 201)["workspaceRun"]
    must(named["projectId"] == run["projectId"], "the project that was named is not taken")


@rule(
    "3.1",
    broken_by={
        "always kept": mutants.setting(f"POST {RUNS}", "workspaceRun.keepSandbox", True),
        "no default timeout": mutants.without(f"POST {RUNS}", "workspaceRun.timeoutMs"),
        "the timeout is not taken": mutants.setting(f"POST {RUNS}", "workspaceRun.timeoutMs", 600_000),
    },
)
def rule_3_1_keep_sandbox_and_timeout(server: Target) -> None:
    """`keepSandbox` is false by default; `timeoutMs` is a positive integer, over the maximum is 400."""
    run = expect(server.post(RUNS, {"command": "true"}), 201)["workspaceRun"]
    must(run["keepSandbox"] is False and run["timeoutMs"] > 0, f"{run['keepSandbox']}, {run['timeoutMs']}")
    body = {"command": "true", "keepSandbox": True, "timeoutMs": 1234}
    run = expect(server.post(RUNS, body), 201)["workspaceRun"]
    must(run["keepSandbox"] is True and run["timeoutMs"] == 1234, f"{run['keepSandbox']}, {run['timeoutMs']}")
    for bad in (0, -1, 1.5, "1000", 2**40, True):
        refused(server.post(RUNS, {"command": "true", "timeoutMs": bad}), 400, "invalid_request")


@rule(
    "3.1",
    broken_by={
        "no limits": mutants.instead(f"POST {RUNS}", 201, {"workspaceRun": {"metadata": {}}}),
        "one code for all": mutants.setting(
            f"POST {RUNS}", "error.code", "invalid_request", mutants.is_error
        ),
    },
)
def rule_3_1_metadata_limits(server: Target) -> None:
    """16 keys of 64 characters, values of 512, 4 KB together; each limit has its code, 400."""
    for metadata, code in (
        ({f"k{number}": "v" for number in range(17)}, "metadata_too_many_keys"),
        ({"k" * 65: "v"}, "invalid_metadata_key"),
        ({"": "v"}, "invalid_metadata_key"),
        ({"ünicode": "v"}, "invalid_metadata_key"),
        ({"k": "v" * 513}, "invalid_metadata_value"),
        ({f"k{number}": "v" * 500 for number in range(9)}, "metadata_too_large"),
    ):
        for field in ("metadata", "sourceMetadata"):
            refused(server.post(RUNS, {"command": "true", field: metadata}), 400, code)
    largest = {f"{number:x}" * 64: "v" * 190 for number in range(16)}
    run = expect(server.post(RUNS, {"command": "true", "metadata": largest}), 201)["workspaceRun"]
    must(run["metadata"] == largest, "metadata of the limits' size changed")


@rule("3.1", broken_by=_accepts_everything())
def rule_3_1_metadata_maps_strings_to_strings(server: Target) -> None:
    """`metadata` and `sourceMetadata` map strings to strings."""
    for bad in ({"k": 1}, {"k": None}, {"k": {}}, ["k"], "k"):
        for field in ("metadata", "sourceMetadata"):
            refused(server.post(RUNS, {"command": "true", field: bad}), 400, "invalid_request")


@rule(
    "3.1",
    broken_by={
        "metadata is lost": mutants.setting(f"GET {RUN}", "workspaceRun.metadata", {}),
        "sourceMetadata is lost": mutants.without(f"GET {RUN}", "workspaceRun.sourceMetadata"),
    },
)
def rule_3_1_metadata_comes_back(server: Target) -> None:
    """What was sent as metadata and sourceMetadata is shown by the run."""
    fields = {"metadata": {"crabbox.slug": fresh()}, "sourceMetadata": {"dirty": "false", "branch": "main"}}
    run_id = expect(server.post(RUNS, {"command": "true", **fields}), 201)["workspaceRun"]["id"]
    run = expect(server.get(f"{RUNS}/{run_id}"), 200)["workspaceRun"]
    must({name: run[name] for name in fields} == fields, "the metadata changed")


@rule(
    "3.1",
    broken_by={
        **_accepts_everything(),
        "one code for all": mutants.setting(
            f"POST {RUNS}", "error.code", "invalid_request", mutants.is_error
        ),
    },
)
def rule_3_1_artifact_paths(server: Target) -> None:
    """Artifact paths are literal and inside the workspace: no globs, none absolute, none with `..` (§11)."""
    for glob in ("*.xml", "out?.txt", "[ab].txt"):
        error = refused(
            server.post(RUNS, {"command": "true", "artifacts": [{"path": glob}]}), 400, "invalid_request"
        )
        must("*" in error["message"], "the message does not name the rule")
    for outside in ("/etc/passwd", "../x", "a/../../x"):
        body = {"command": "true", "artifacts": [{"path": outside}]}
        refused(server.post(RUNS, body), 400, "path_outside_workspace")
    for bad in ([{}], [{"path": ""}], [{"path": 1}], "x", [{"path": "x"}] * 33):
        refused(server.post(RUNS, {"command": "true", "artifacts": bad}), 400, "invalid_request")


@rule(
    "3.2",
    broken_by={
        **{f"no {name}": mutants.without(f"* {RUN}", f"workspaceRun.{name}") for name in ALWAYS},
        "no commandId at the end": mutants.without(f"GET {RUN}", "workspaceRun.commandId"),
    },
)
def rule_3_2_what_is_always_present(server: Target) -> None:
    """The twelve fields that every run has, and those that a run has at its end."""
    for run_id in (
        samples.waiting(server)["id"],
        samples.canceled(server)["id"],
        samples.finished(server)["id"],
    ):
        run = expect(server.get(f"{RUNS}/{run_id}"), 200)["workspaceRun"]
        must(not (missing := [name for name in ALWAYS if name not in run]), f"no {missing}")
    must(not (missing := [name for name in AT_THE_END if name not in run]), f"no {missing} at the end")
    must(run["archive"].keys() >= {"sha256", "sizeBytes"}, "the archive has no digest and size")


def _no_null(value: Any, path: str) -> None:
    must(value is not None, f"{path} is null")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        _no_null(item, f"{path}.{name}")


@rule(
    "3.2",
    broken_by={
        "exitCode null": mutants.edited(
            f"GET {RUN}", lambda a: {"workspaceRun": {"exitCode": None, **a["workspaceRun"]}}
        ),
        "sandboxId null in lists": mutants.setting(f"GET {RUNS}", "data.sandboxId", lambda i: i),
        "null in events": mutants.setting("GET **/events", "data.workspaceRun", lambda w: w),
        "null in evidence": mutants.setting("GET **/evidence", "evidence.failureReason", None),
    },
)
def rule_3_2_absent_facts_are_absent_keys(server: Target) -> None:
    """Nothing is ever null: not in runs, lists, events or evidence."""
    for run in (samples.waiting(server), samples.never_started(server), samples.finished(server)):
        path = f"{RUNS}/{run['id']}"
        for asked in (path, f"{path}/events"):
            _no_null(expect(server.get(asked), 200), asked)
    _no_null(expect(server.get(f"{path}/evidence"), 200), "evidence")
    _no_null(expect(server.get(f"{RUNS}?limit=500"), 200), "list")
    waiting = expect(server.get(f"{RUNS}/{samples.waiting(server)['id']}"), 200)["workspaceRun"]
    early = [
        name for name in ("exitCode", "startedAt", "finishedAt", "archive", "sandboxId") if name in waiting
    ]
    must(not early, f"a run that waits for its archive has {early}")


@rule(
    "3.2",
    broken_by={
        "terminal is abridged": mutants.streamed_event(
            lambda e: {**e, "workspaceRun": {"id": e["workspaceRun"]["id"]}} if e["type"] == "terminal" else e
        ),
        "terminal is not final": mutants.streamed_event(
            lambda e: (
                {**e, "workspaceRun": {**e["workspaceRun"], "status": "running"}}
                if e["type"] == "terminal"
                else e
            )
        ),
    },
)
def rule_3_2_terminal_embeds_the_whole_object(server: Target) -> None:
    """`terminal.workspaceRun` is the run as GET shows it."""
    for run in (samples.finished(server), samples.canceled(server), samples.bad_archive(server)):
        terminal = stream_events(server.stream(run["id"]))[-1]
        must(terminal["workspaceRun"] == server.base.show(run["id"]), "terminal and GET differ")


@rule(
    "3.3",
    broken_by={
        "a state is left out": mutants.kept("GET **/events", lambda e: e.get("status") != "extracting"),
        "states change places": mutants.setting("GET **/events", "data", lambda d: d[::-1]),
    },
)
def rule_3_3_the_states_in_their_order(server: Target) -> None:
    """A run goes through its states in the contract's order, and ends in a terminal one."""
    events = server.events(samples.finished(server)["id"])
    states = [event["status"] for event in events if event["type"] == "status"]
    must(states == STATES, f"the states were {states}")
    must(events[-1]["workspaceRun"]["status"] == "succeeded", "it did not succeed")


@rule(
    "3.3",
    broken_by={
        "uploads are always welcome": mutants.instead(
            "PUT **/archive", 200, {"archive": {}, "workspaceRun": {}}
        ),
        "another code": mutants.setting("PUT **/archive", "error.code", "conflict", mutants.is_error),
        "the same again is a conflict": mutants.status("PUT **/archive", 409),
    },
)
def rule_3_3_uploads_after_the_upload(server: Target) -> None:
    """Another archive is 409 `upload_conflict`; the same one again is the same answer."""
    run_id, other = server.base.uploaded(), archive({"b.txt": b"b"})
    path = f"{RUNS}/{run_id}"
    same = expect(server.upload(run_id, archive()), 200)
    must(same["workspaceRun"]["status"] == "archive_uploaded", "the state changed")
    refused(server.upload(run_id, other), 409, "upload_conflict")
    refused(server.post(f"{path}/archive-transfer", announced(other)), 409, "upload_conflict")
    refused(server.upload(samples.finished(server)["id"], other), 409, "upload_conflict")


@rule(
    "3.3",
    broken_by={
        "the run is lost": mutants.instead("POST **/start", 200, {"workspaceRun": {}}),
        "400": mutants.status("POST **/start", 400, mutants.is_error),
    },
)
def rule_3_3_start_without_an_archive(server: Target) -> None:
    """`start` in `awaiting_archive` is 409 `upload_incomplete`, and the run goes on waiting."""
    run_id = server.base.create()["id"]
    refused(server.post(f"{RUNS}/{run_id}/start"), 409, "upload_incomplete", "conflict")
    must(server.base.show(run_id)["status"] == "awaiting_archive", "the run was lost")


@rule("3.3", broken_by={"409 at the second start": mutants.status("POST **/start", 409)})
def rule_3_3_start_again(server: Target) -> None:
    """`start` once more answers the same run, 200."""
    run = samples.finished(server)
    must(
        expect(server.post(f"{RUNS}/{run['id']}/start"), 200)["workspaceRun"]["id"] == run["id"],
        "another run",
    )
    must(server.base.show(run["id"]) == run, "the second start changed the run")


@rule(
    "3.3",
    broken_by={
        "409 on a terminal run": mutants.status("POST **/cancel", 409),
        "canceled after its end": mutants.setting("POST **/cancel", "workspaceRun.status", "canceled"),
    },
)
def rule_3_3_cancel_after_the_end(server: Target) -> None:
    """`cancel` on a terminal run is 200 with its state, and changes nothing."""
    run = samples.finished(server)
    must(expect(server.post(f"{RUNS}/{run['id']}/cancel"), 200)["workspaceRun"] == run, "another state")
    must(server.base.events(run["id"])[-1]["type"] == "terminal", "an event behind terminal")


@rule("3.3", broken_by={"cancel is not done": mutants.instead("POST **/cancel", 200, {"workspaceRun": {}})})
def rule_3_3_cancel_while_active(server: Target) -> None:
    """`cancel` of an active run ends it as `canceled`, seen in its events."""
    run_id = server.base.started("sleep 2")
    server.base.finished(run_id, "running")
    expect(server.post(f"{RUNS}/{run_id}/cancel"), 200)
    must(server.base.finished(run_id)["status"] == "canceled", "the run was not canceled")
    must("cancel_requested" in {event["type"] for event in server.base.events(run_id)}, "no cancel_requested")


@rule(
    "3.3",
    broken_by={
        "409 before the end": mutants.status("GET **/evidence", 409, mutants.is_error),
        "no reason": mutants.without("GET **/evidence", "error.details", when=mutants.is_error),
    },
)
def rule_3_3_evidence_before_the_end(server: Target) -> None:
    """Evidence of a run that goes on is 404 with `details.reason` `evidence_not_available` (§11)."""
    error = refused(server.get(f"{RUNS}/{samples.waiting(server)['id']}/evidence"), 404, "not_found")
    must(error["details"]["reason"] == "evidence_not_available", f"{error}")
