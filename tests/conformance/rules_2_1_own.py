"""CONTRACT §2.1: our own routes, status and shape of every row."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.conformance import mutants, samples
from tests.conformance.registry import rule
from tests.conformance.rows import PAGE, Call, raw, row
from tests.conformance.target import Target, expect, foreign, fresh, must, refused
from tests.conformance.wire import Answer

RUN = "/v1/workspace-runs/*"
SECRET_NAME = "CONFORMANCE_SECRET"


def _get(path: str) -> Call:
    return lambda server: server.get(f"/v1/workspace-runs/{samples.finished(server)['id']}{path}")


def _org(path: str) -> Call:
    return lambda server: server.get(f"/v1/orgs/{samples.finished(server)['orgId']}{path}")


def _consistency(stream: str) -> Call:
    """From 1 to the present size, which is certainly a signed one."""

    def call(server: Target) -> Answer:
        run = samples.finished(server)
        of = f"/v1/workspace-runs/{run['id']}" if stream == "run" else f"/v1/orgs/{run['orgId']}"
        size = server.base.get(f"{of}/proof/checkpoint").body.split(b"\n")[1].decode()
        return server.get(f"{of}/proof/consistency?from=1&to={size}")

    return call


def _project(server: Target) -> str:
    project_id: str = samples.finished(server)["projectId"]
    return project_id


def _redact(server: Target) -> Answer:
    run = server.base.run("echo secret")
    seq = next(event["seq"] for event in server.base.events(run["id"]) if event["type"] == "stdout")
    return server.post(f"/v1/workspace-runs/{run['id']}/redactions", {"targets": [seq], "reason": "test"})


def _rotation_is_not_tried(server: Target) -> Answer:
    return server.get("/v1/signing-keys")


def _bearer_key(server: Target) -> Answer:
    return server.post("/v1/api-keys", {"name": fresh(), "scopes": ["workspace_run:read"]})


def _secrets(server: Target) -> str:
    return f"/v1/projects/{_project(server)}/secrets"


raw("2.1", f"GET {RUN}/proof/checkpoint", _get("/proof/checkpoint"), "text/plain", b"", name="checkpoint")
raw("2.1", f"GET {RUN}/proof/bundle", _get("/proof/bundle"), "application/zip", b"PK", name="bundle")
raw(
    "2.1",
    f"GET {RUN}/proof/events",
    _get("/proof/events?afterSeq=0&limit=3"),
    "text/plain",
    b"crownest/event/v1\n",
    name="proof_events",
)
raw(
    "2.1",
    f"GET {RUN}/proof/consistency",
    _consistency("run"),
    "text/plain",
    b"crownest/consistency-proof@v1\nsizes 1 ",
    name="consistency",
)
row(
    "2.1",
    f"POST {RUN}/verify",
    lambda s: s.post(f"/v1/workspace-runs/{samples.finished(s)['id']}/verify"),
    200,
    ("verdict",),
    name="verify",
)
row("2.1", f"GET {RUN}/attestations", _get("/attestations"), 200, PAGE, name="attestations")
row("2.1", f"POST {RUN}/redactions", _redact, 201, ("redaction",), name="redactions")
row("2.1", "GET /v1/orgs/*", _org(""), 200, ("organization",), name="organization")
row("2.1", "GET /v1/orgs/*/events", _org("/events"), 200, PAGE, name="organization_events")
raw(
    "2.1",
    "GET /v1/orgs/*/proof/checkpoint",
    _org("/proof/checkpoint"),
    "text/plain",
    b"",
    name="organization_checkpoint",
)
raw(
    "2.1",
    "GET /v1/orgs/*/proof/bundle",
    _org("/proof/bundle"),
    "application/zip",
    b"PK",
    name="organization_bundle",
)
raw(
    "2.1",
    "GET /v1/orgs/*/proof/events",
    _org("/proof/events?limit=2"),
    "text/plain",
    b"crownest/event/v1\n",
    name="organization_proof_events",
)
raw(
    "2.1",
    "GET /v1/orgs/*/proof/consistency",
    _consistency("org"),
    "text/plain",
    b"crownest/consistency-proof@v1\nsizes 1 ",
    name="organization_consistency",
)
row("2.1", "GET /v1/signing-keys", _rotation_is_not_tried, 200, PAGE, name="signing_keys")
raw(
    "2.1",
    "GET /v1/proof/policy",
    lambda s: s.get("/v1/proof/policy", authorization=""),
    "text/plain",
    b"",
    name="policy_without_a_key",
)
row(
    "2.1",
    "POST /v1/api-keys",
    _bearer_key,
    201,
    ("apiKey", "secret"),
    name="create_api_key",
    needs="api_keys",
)
row(
    "2.1",
    "PATCH /v1/projects/*",
    lambda s: s.call("PATCH", f"/v1/projects/{_project(s)}", {"name": fresh()}),
    200,
    ("project",),
    name="update_project",
    needs="project_write",
)
row(
    "2.1",
    "PUT /v1/projects/*/secrets/*",
    lambda s: s.put(f"{_secrets(s)}/{SECRET_NAME}", {"value": fresh()}),
    200,
    ("secret",),
    name="put_secret",
    needs="secrets",
)
row(
    "2.1",
    "GET /v1/projects/*/secrets",
    lambda s: s.get(_secrets(s)),
    200,
    PAGE,
    name="list_secrets",
    needs="secrets",
)


@rule(
    "2.1",
    needs="secrets",
    broken_by={
        "the value is shown": mutants.edited(
            "GET /v1/projects/*/secrets",
            lambda page: {**page, "data": [{**s, "value": "x"} for s in page["data"]]},
        )
    },
)
def rule_2_1_secrets_show_names_only(server: Target) -> None:
    """A listing of secrets has their names and never their values."""
    value = fresh()
    must(server.put(f"{_secrets(server)}/{SECRET_NAME}", {"value": value}).status == 200, "PUT failed")
    page = server.get(_secrets(server))
    must(value.encode() not in page.body, "the value is in the answer")
    names = [secret["name"] for secret in expect(page, 200)["data"]]
    must(SECRET_NAME in names and not any("value" in secret for secret in page.json["data"]), f"{names}")
    expect(server.delete(f"{_secrets(server)}/{SECRET_NAME}"), 200)


@rule(
    "2.1",
    broken_by={"out of range is 200": mutants.instead(f"GET {RUN}/proof/consistency", 200, {})},
)
def rule_2_1_consistency_refuses_sizes(server: Target) -> None:
    """Sizes out of order or out of range are 400."""
    path = f"/v1/workspace-runs/{samples.finished(server)['id']}/proof/consistency"
    for sizes in ("from=3&to=1", "from=1&to=100000", "from=x&to=2", "from=-1&to=2"):
        refused(server.get(f"{path}?{sizes}"), 400, "invalid_request")


@rule(
    "2.1",
    broken_by={
        "the wrong size": mutants.answers(
            f"GET {RUN}/proof/checkpoint",
            lambda a: replace(a, body=re.sub(rb"\n\d+\n", b"\n3\n", a.body, count=1)),
            mutants.is_ok,
        )
    },
)
def rule_2_1_checkpoints_are_of_the_present_size(server: Target) -> None:
    """The checkpoint is a signed note at the present size: the public events and the seal."""
    run_id, events = samples.finished(server)["id"], samples.events(server)
    note = server.get(f"/v1/workspace-runs/{run_id}/proof/checkpoint").body.decode()
    name, size, root, *rest = note.split("\n")
    must(name.endswith(f"/run/{run_id}") and root, f"the note begins with {name!r}")
    must(int(size) > len(events), f"size {size} of {len(events)} public events")
    must(rest[0] == "" and rest[1].startswith("\N{EM DASH} "), "the note is not signed")


@rule("2.1", broken_by={"foreign organisations are shown": mutants.instead("GET /v1/orgs/*", 200, {})})
def rule_2_1_foreign_organisations_are_404(server: Target) -> None:
    """Another organisation is 404."""
    refused(server.get(f"/v1/orgs/{foreign('org')}"), 404, "not_found")


@rule(
    "2.1",
    broken_by={
        "members are not left out": mutants.query("GET **/proof/bundle", lambda path: path.split("?")[0])
    },
)
def rule_2_1_bundles_without_output(server: Target) -> None:
    """`without=stdout,stderr` makes a bundle that does not hold the output."""
    run = samples.finished(server)
    path = f"/v1/workspace-runs/{run['id']}/proof/bundle"
    whole, part = server.get(path), server.get(f"{path}?without=stdout,stderr")
    must(part.status == 200 and whole.status == 200, f"{whole.status} and {part.status}")
    must(part.body != whole.body, "the bundle is the same with and without output")


@rule("2.1", broken_by={"the log needs a key": mutants.instead("GET /log/checkpoint", 401, {"error": {}})})
def rule_2_1_the_log_is_public(server: Target) -> None:
    """/log/checkpoint and the tiles answer without a key."""
    samples.finished(server)
    answer = server.get("/log/checkpoint", authorization="")
    must(
        answer.status == 200 and (answer.header("content-type") or "").startswith("text/plain"),
        "no checkpoint",
    )
    size = int(answer.body.split(b"\n")[1])
    must(size >= 1, "the log is empty")
    width = f".p/{size}" if size < 256 else ""
    must(server.get(f"/log/tile/0/000{width}", authorization="").status == 200, "no first tile")


@rule(
    "2.1",
    needs="api_keys",
    broken_by={
        "more than the creator's": mutants.instead("POST /v1/api-keys", 201, {"apiKey": {}, "secret": "x"})
    },
)
def rule_2_1_keys_get_no_more_than_their_creator_has(server: Target) -> None:
    """A key made with a bearer has at most the creator's scopes; else 403."""
    made = expect(server.base.post("/v1/api-keys", {"name": fresh(), "scopes": ["api_key:create"]}), 201)
    body = {"name": fresh(), "scopes": ["workspace_run:read"]}
    answer = server.post("/v1/api-keys", body, authorization=f"Bearer {made['secret']}")
    refused(answer, 403, "forbidden")
