"""CONTRACT §6.6 and §6.7: the additive fields of a run's events, and the organisation's stream."""

from __future__ import annotations

import base64
import hashlib

from tests.conformance import mutants, samples
from tests.conformance.proxy import Mutation
from tests.conformance.registry import add, rule
from tests.conformance.target import Json, Target, expect, fresh, must, refused

EVENTS = "GET /v1/workspace-runs/*/events"
ORG_EVENTS = "GET /v1/orgs/*/events"
REQUEST = {
    "command",
    "projectId",
    "template",
    "timeoutMs",
    "keepSandbox",
    "metadata",
    "sourceMetadata",
    "artifacts",
}
LIMITS = ("memoryBytes", "processes", "workspaceBytes", "outputBytes")
ROWS: dict[str, tuple[str, ...]] = {
    "awaiting_archive": ("runId", "orgId", "actor", "envKeys", "schema", "request", "template"),
    "archive_uploaded": ("archive", "actor"),
    "starting": ("sandboxId", "actor"),
    "extracting": ("provider", "isolation", "limits", "template", "runner"),
    "running": ("commandId", "entries", "bytes"),
    "collecting": ("durationMs", "exitCode"),
    "artifact_collected": ("name", "sha256", "sizeBytes", "contentType"),
    "cleanup": ("cleanupStatus", "reason"),
    "outcome": ("status", "orchestrationSucceeded"),
}


def _named(event: Json) -> str:
    name: str = event["status"] if event["type"] == "status" else event["type"]
    return name


def _fields_of(name: str, fields: tuple[str, ...]) -> None:
    def check(server: Target) -> None:
        events = server.events(samples.finished(server)["id"])
        event = next(event for event in events if _named(event) == name)
        must(not (missing := [field for field in fields if field not in event]), f"{name} has no {missing}")

    def without(field: str) -> Mutation:
        def drop(event: Json) -> Json:
            mine = _named(event) == name
            return {key: value for key, value in event.items() if not mine or key != field}

        return mutants.altered(EVENTS, drop)

    broken = {f"no {field}": without(field) for field in fields if field != "status"}
    add(f"rule_6_6_{name}", "6.6", f"`{name}` also has {', '.join(fields)}", check=check, broken_by=broken)


for _name, _fields in ROWS.items():
    _fields_of(_name, _fields)


@rule(
    "6.6",
    broken_by={
        "no schema": mutants.setting(EVENTS, "data.schema", "events/v0"),
        "defaults are left out": mutants.without(EVENTS, "data.request.timeoutMs"),
        "nothing empty": mutants.without(EVENTS, "data.request.sourceMetadata"),
        "null for what was not asked": mutants.setting(EVENTS, "data.request.sandboxId", None),
    },
)
def rule_6_6_the_request_is_resolved(server: Target) -> None:
    """Seq 1 holds the request with every default resolved, empty ones kept, unasked ids absent."""
    first = server.events(samples.waiting(server)["id"])[0]
    must((first["seq"], first["schema"], first["envKeys"]) == (1, "events/v1", []), f"{first}")
    must(first["request"].keys() == REQUEST, f"the request has {sorted(first['request'])}")
    must(first["template"].keys() == {"id", "slug", "version", "versionId"}, f"{first['template']}")


@rule(
    "6.6",
    broken_by={
        "bare numbers": mutants.setting(EVENTS, "data.limits.memoryBytes", 1),
        "a limit is missing": mutants.without(EVENTS, "data.limits.outputBytes"),
        "another isolation": mutants.setting(EVENTS, "data.isolation", "docker"),
    },
)
def rule_6_6_limits_say_whether_they_are_enforced(server: Target) -> None:
    """`limits` has four entries of `{value, enforced}`; `isolation` is `namespaces` or `none`."""
    events = server.events(samples.finished(server)["id"])
    event = next(event for event in events if event.get("status") == "extracting")
    for name in LIMITS:
        limit = event["limits"][name]
        must(isinstance(limit["value"], int) and isinstance(limit["enforced"], bool), f"{name} is {limit}")
    must(event["isolation"] in {"namespaces", "none"}, f"isolation {event['isolation']}")


def _only(kind: str, change: Json) -> Mutation:
    return mutants.altered(EVENTS, lambda e: {**e, **change} if _named(e) == kind else e)


@rule(
    "6.6",
    broken_by={
        "another reason": _only("cleanup", {"reason": "done"}),
        "a kept one without its end": mutants.without(EVENTS, "data.expiresAt"),
        "pending": _only("cleanup", {"cleanupStatus": "pending"}),
    },
)
def rule_6_6_cleanup_says_why(server: Target) -> None:
    """Exactly one `cleanup` each: finished, never_started, or kept with `expiresAt`."""
    for run, status, reason in (
        (samples.finished(server), "succeeded", "finished"),
        (samples.never_started(server), "not_requested", "never_started"),
        (samples.kept(server), "not_requested", "kept"),
    ):
        (event,) = (event for event in server.events(run["id"]) if event["type"] == "cleanup")
        must((event["cleanupStatus"], event["reason"]) == (status, reason), f"{event} instead of {reason}")
        must(("expiresAt" in event) == (reason == "kept"), f"{reason} and expiresAt: {event}")


@rule(
    "6.6",
    broken_by={
        "cleanup behind outcome": mutants.setting(EVENTS, "data", lambda d: [*d[:-3], d[-2], d[-3], d[-1]]),
        "another time": _only("outcome", {"createdAt": "2026-01-01T00:00:00.000Z"}),
        "an event between": mutants.setting(EVENTS, "data", lambda d: [*d[:-1], d[0], d[-1]]),
    },
)
def rule_6_6_how_a_run_ends(server: Target) -> None:
    """Artifacts, cleanup, outcome, terminal; `outcome.createdAt` is `finishedAt`."""
    run = samples.finished(server)
    events = server.events(run["id"])
    kinds = [_named(event) for event in events]
    end = ["collecting", "artifact_collected", "artifact_error", "cleanup", "outcome", "terminal"]
    must(kinds[-6:] == end, f"the run ends in {kinds[-6:]}")
    must(events[-2]["createdAt"] == run["finishedAt"], "outcome and finishedAt differ")
    must(events[-2]["status"] == run["status"], "outcome and status differ")


@rule(
    "6.6",
    broken_by={
        "another startedAt": mutants.setting(
            "GET /v1/workspace-runs/*",
            "workspaceRun.startedAt",
            lambda t: t[:-4] + "000Z" if t[-4:-1] != "000" else t[:-4] + "001Z",
        ),
        "another uploadedAt": mutants.without("GET /v1/workspace-runs/*", "workspaceRun.uploadedAt"),
    },
)
def rule_6_6_times_are_those_of_events(server: Target) -> None:
    """createdAt, uploadedAt and startedAt are those of seq 1, `archive_uploaded` and `running`."""
    run = expect(server.get(f"/v1/workspace-runs/{samples.finished(server)['id']}"), 200)["workspaceRun"]
    at = {_named(event): event["createdAt"] for event in samples.events(server)}
    found = (run["createdAt"], run["uploadedAt"], run["startedAt"])
    must(found == (at["awaiting_archive"], at["archive_uploaded"], at["running"]), f"{found}")


@rule(
    "6.6",
    broken_by={
        "no ETag": mutants.header("GET **/download", "etag", None),
        "no Repr-Digest": mutants.header("GET **/download", "repr-digest", None),
        "another digest": mutants.setting("GET /v1/artifacts/*", "artifact.sha256", "0" * 64),
        "other bytes": mutants.body("GET **/download", b"other", mutants.is_ok),
    },
)
def rule_6_6_downloads_carry_their_digest(server: Target) -> None:
    """The artifact has `sha256`; its download has `ETag` and `Repr-Digest`, and those bytes."""
    named = samples.finished(server)["artifactIds"][0]
    artifact = expect(server.get(f"/v1/artifacts/{named}"), 200)["artifact"]
    answer = server.get(f"/v1/artifacts/{named}/download", accept="application/octet-stream")
    digest = hashlib.sha256(answer.body)
    must(artifact["sha256"] == digest.hexdigest(), "the bytes have another digest")
    must(artifact["sha256"] in (answer.header("etag") or ""), f"ETag {answer.header('etag')}")
    wanted = f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    must(answer.header("repr-digest") == wanted, f"Repr-Digest {answer.header('repr-digest')}")


@rule(
    "6.7",
    broken_by={
        "no actor": mutants.without(ORG_EVENTS, "data.actor"),
        "no schema": mutants.without(ORG_EVENTS, "data.schema"),
        "seq from 0": mutants.setting(ORG_EVENTS, "data.seq", lambda seq: seq - 1),
    },
)
def rule_6_7_the_organisation_begins(server: Target) -> None:
    """Every event has type, seq, createdAt and actor; seq 1 is `organization_created` with its plan."""
    events = _organisation(server)
    for event in events:
        must(event.keys() >= {"type", "seq", "createdAt", "actor"}, f"{event}")
    must([event["seq"] for event in events[:3]] == [1, 2, 3], "the seqs do not count from 1")
    must(events[0]["type"] == "organization_created", f"seq 1 is {events[0]['type']}")
    must(events[0].keys() >= {"orgId", "name", "plan", "schema"}, f"{events[0]}")


def _organisation(server: Target, query: str = "limit=500") -> list[Json]:
    path = f"/v1/orgs/{samples.waiting(server)['orgId']}/events?{query}"
    events: list[Json] = expect(server.get(path), 200)["data"]
    return events


def _size(server: Target) -> int:
    path = f"/v1/orgs/{samples.waiting(server)['orgId']}/proof/checkpoint"
    return int(server.base.get(path).body.split(b"\n")[1])


def _recorded(server: Target, before: int, kind: str) -> Json:
    found = [
        event for event in _organisation(server, f"afterSeq={before}&limit=500") if event["type"] == kind
    ]
    must(len(found) == 1, f"{len(found)} events {kind}")
    return found[0]


def _lost(kind: str) -> Mutation:
    return mutants.kept(ORG_EVENTS, lambda event: event["type"] != kind)


@rule(
    "6.7",
    needs="api_keys",
    broken_by={
        "a creation is not told": _lost("api_key_created"),
        "a revocation is not told": _lost("api_key_revoked"),
        "the secret is told": mutants.setting(ORG_EVENTS, "data.apiKey.secret", "x"),
    },
)
def rule_6_7_keys_are_events(server: Target) -> None:
    """A key's creation and revocation are events, without secret and hash."""
    before = _size(server)
    body = {"name": fresh(), "scopes": ["usage:read"]}
    made = expect(server.base.post("/v1/api-keys", body), 201)["apiKey"]
    server.base.delete(f"/v1/api-keys/{made['id']}")
    key = _recorded(server, before, "api_key_created")["apiKey"]
    must((key["id"], key["scopes"]) == (made["id"], ["usage:read"]), f"{key}")
    must(not key.keys() & {"secret", "hash", "lastUsedAt"}, f"the event shows {sorted(key)}")
    must(_recorded(server, before, "api_key_revoked")["apiKeyId"] == made["id"], "another key was revoked")


@rule(
    "6.7",
    needs="project_write",
    broken_by={
        "a creation is not told": _lost("project_created"),
        "an update is not told": _lost("project_updated"),
    },
)
def rule_6_7_projects_are_events(server: Target) -> None:
    """A project's creation and its new name are events."""
    before, name = _size(server), fresh()
    made = expect(server.base.post("/v1/projects", {"name": name}), 201)["project"]
    server.base.call("PATCH", f"/v1/projects/{made['id']}", {"name": f"{name}-2"})
    event = _recorded(server, before, "project_created")
    must((event["projectId"], event["name"]) == (made["id"], name), f"{event}")
    must(_recorded(server, before, "project_updated")["name"] == f"{name}-2", "another name")


@rule(
    "6.7",
    broken_by={
        "a kill is not told": _lost("sandbox_destroyed"),
        "a deletion is not told": _lost("artifact_deleted"),
    },
)
def rule_6_7_what_outlives_a_run(server: Target) -> None:
    """The end of a kept sandbox and the deletion of an artifact are events."""
    run = server.base.run("echo x > x", artifacts=[{"path": "x"}], keepSandbox=True)
    before = _size(server)
    expect(server.base.delete(f"/v1/sandboxes/{run['sandboxId']}"), 200)
    expect(server.base.delete(f"/v1/artifacts/{run['artifactIds'][0]}"), 200)
    event = _recorded(server, before, "sandbox_destroyed")
    must((event["sandboxId"], event["destroyedReason"]) == (run["sandboxId"], "user_killed"), f"{event}")
    must(
        _recorded(server, before, "artifact_deleted")["artifactId"] == run["artifactIds"][0],
        "another artifact",
    )


@rule(
    "6.7",
    needs="sandboxes",
    broken_by={
        "a creation is not told": _lost("sandbox_created"),
        "an extension is not told": _lost("sandbox_extended"),
    },
)
def rule_6_7_warm_sandboxes_are_events(server: Target) -> None:
    """A warm sandbox's creation and its extension are events."""
    before = _size(server)
    made = expect(server.base.post("/v1/sandboxes", {}), 201)["sandbox"]
    expect(server.base.post(f"/v1/sandboxes/{made['id']}/extend", {"ttlMs": 120_000}), 200)
    event = _recorded(server, before, "sandbox_created")
    needed = (
        "sandboxId",
        "projectId",
        "template",
        "ttlMs",
        "expiresAt",
        "metadata",
        "provider",
        "isolation",
        "limits",
    )
    must(not (missing := [name for name in needed if name not in event]), f"no {missing}")
    must(_recorded(server, before, "sandbox_extended")["ttlMs"] == 120_000, "another ttl")
    server.base.delete(f"/v1/sandboxes/{made['id']}")


@rule(
    "6.7",
    needs="commands",
    broken_by={
        "a start is not told": _lost("command_started"),
        "an end is not told": _lost("command_finished"),
    },
)
def rule_6_7_commands_are_events(server: Target) -> None:
    """A command's start and end in a warm sandbox are events."""
    named, before = samples.sandbox(server)["id"], _size(server)
    path = f"/v1/sandboxes/{named}/commands/run"
    command = expect(server.base.post(path, {"command": "exit 4"}), 200)["command"]
    event = _recorded(server, before, "command_started")
    must((event["commandId"], event["command"]) == (command["id"], "exit 4"), f"{event}")
    must(_recorded(server, before, "command_finished")["exitCode"] == 4, "another exit code")


@rule("6.7", broken_by={"the stream is closed to auditors": mutants.instead(ORG_EVENTS, 404, {"error": {}})})
def rule_6_7_limits_hold_here_too(server: Target) -> None:
    """The organisation's events are paged and refused as a run's are."""
    page = expect(server.get(f"/v1/orgs/{samples.waiting(server)['orgId']}/events?limit=2"), 200)
    must((len(page["data"]), page["hasMore"], page["nextSeq"]) == (2, True, 2), f"{page}")
    refused(server.get(f"/v1/orgs/{samples.waiting(server)['orgId']}/events?limit=0"), 400)
