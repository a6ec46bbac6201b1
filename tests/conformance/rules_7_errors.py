"""CONTRACT §7: the status of each error code, and limits."""

from __future__ import annotations

from collections.abc import Callable

from tests.conformance import mutants, samples
from tests.conformance.registry import add, rule
from tests.conformance.target import Target, announced, archive, expect, foreign, fresh, must, refused
from tests.conformance.wire import Answer

RUNS = "/v1/workspace-runs"
Provoke = Callable[[Target], Answer]


def code(status: int, name: str, provoke: Provoke, *, needs: str = "", row: str = "") -> None:
    """A code of §7.1 as a rule: what provokes it answers this status and this code."""

    def check(server: Target) -> None:
        error = refused(provoke(server), status, name)
        must("<" not in error["message"] and len(error["message"]) > 8, "the message helps nobody")

    broken = {
        "another status": mutants.status("* **", 422 if status != 422 else 400, mutants.is_error),
        "another code": mutants.setting("* **", "error.code", "error", mutants.is_error),
        "no message": mutants.setting("* **", "error.message", "", mutants.is_error),
    }
    add(f"rule_7_1_{row or name}", "7.1", f"`{name}` is {status}", check=check, broken_by=broken, needs=needs)


def _create(**fields: object) -> Provoke:
    return lambda server: server.post(RUNS, {"command": "true", **fields})


def _reused(server: Target) -> Answer:
    key = fresh()
    expect(server.base.post(RUNS, {"command": "true"}, idempotency_key=key), 201)
    return server.post(RUNS, {"command": "false"}, idempotency_key=key)


def _conflict(server: Target) -> Answer:
    return server.upload(samples.finished(server)["id"], archive({"other": b"o"}))


def _incomplete(server: Target) -> Answer:
    return server.post(f"{RUNS}/{samples.waiting(server)['id']}/start")


def _no_upload(server: Target) -> Answer:
    path = f"{RUNS}/{samples.waiting(server)['id']}/archive/finalize"
    return server.post(path, {"uploadId": foreign("upl"), **announced(archive())})


def _checksum(server: Target) -> Answer:
    return server.upload(samples.waiting(server)["id"], archive(), x_crownest_archive_sha256="0" * 64)


def _size(server: Target) -> Answer:
    return server.upload(samples.waiting(server)["id"], archive(), x_crownest_archive_size="1")


def _revoked(server: Target) -> Answer:
    made = expect(server.base.post("/v1/api-keys", {"name": fresh(), "scopes": ["usage:read"]}), 201)
    server.base.delete(f"/v1/api-keys/{made['apiKey']['id']}")
    return server.get("/v1/projects", authorization=f"Bearer {made['secret']}")


def _destroyed(server: Target) -> Answer:
    made = expect(server.base.post("/v1/sandboxes", {}), 201)["sandbox"]
    server.base.delete(f"/v1/sandboxes/{made['id']}")
    return server.post(f"/v1/sandboxes/{made['id']}/commands/run", {"command": "true"})


def _sandbox_path(path: str) -> Callable[[Target], str]:
    return lambda server: f"/v1/sandboxes/{samples.sandbox(server)['id']}/{path}"


code(400, "invalid_request", _create(command=""))
code(400, "invalid_metadata_key", _create(metadata={"": "v"}))
code(400, "invalid_metadata_value", _create(metadata={"k": "v" * 513}))
code(400, "metadata_too_large", _create(metadata={f"k{n}": "v" * 500 for n in range(9)}))
code(400, "metadata_too_many_keys", _create(metadata={f"k{n}": "v" for n in range(17)}))
code(400, "path_outside_workspace", _create(artifacts=[{"path": "../x"}]))
code(400, "upload_checksum_mismatch", _checksum)
code(400, "upload_size_mismatch", _size)
code(401, "unauthorized", lambda server: server.get("/v1/projects", authorization=""))
code(401, "unauthorized", _revoked, needs="api_keys", row="revoked_key")
code(403, "forbidden", _create(projectId=foreign("prj")))
code(404, "not_found", lambda server: server.get(f"{RUNS}/{foreign('wsr')}"))
code(404, "not_found", lambda server: server.get("/nowhere"), row="unknown_route")
code(404, "upload_not_found", _no_upload)
code(409, "idempotency_key_reused", _reused)
code(409, "upload_conflict", _conflict)
code(409, "upload_incomplete", _incomplete)
code(413, "file_too_large", lambda server: server.upload(samples.waiting(server)["id"], bytes(8 * 2**20 + 1)))
code(413, "file_too_large", _create(padding="x" * 2**20), row="large_body")
code(
    400,
    "sandbox_ttl_exceeded",
    lambda server: server.post("/v1/sandboxes", {"ttlMs": 10**12}),
    needs="sandboxes",
)
code(410, "sandbox_destroyed", _destroyed, needs="commands")
code(
    404,
    "file_not_found",
    lambda s: s.get(f"{_sandbox_path('files/read')(s)}?path=nowhere.txt"),
    needs="files",
)
code(
    413,
    "file_too_large",
    lambda s: s.put(_sandbox_path("files")(s), {"path": "large.txt", "content": "x" * (256 * 1024 + 1)}),
    needs="files",
    row="large_file",
)


@rule("7.1", broken_by={"another status": mutants.status("* **", 404, mutants.is_error)})
def rule_7_1_wrong_methods_are_405(server: Target) -> None:
    """A path that does not answer a method is 405 in the envelope."""
    for method, path in (("DELETE", RUNS), ("PUT", f"{RUNS}/{foreign('wsr')}"), ("POST", "/v1/usage/x/y")):
        answer = server.call(method, path)
        must(answer.status in {404, 405}, f"{method} {path} is {answer.status}")
        refused(answer, answer.status)
    refused(server.call("DELETE", RUNS), 405)


@rule(
    "7.1",
    broken_by={"never": mutants.setting("* **", "error.retryable", False, mutants.is_error)},
    on="limited",
    needs="rate_limits",
)
def rule_7_1_retryable_and_status_agree(server: Target) -> None:
    """429 is retryable."""
    answers = [server.get("/v1/projects") for _ in range(12)]
    last = answers[-1]
    must(last.status == 429 and last.json["error"]["retryable"] is True, f"{last.status}")


@rule(
    "7.2",
    broken_by={
        "no plan": mutants.without("GET /v1/orgs/*", "organization.plan"),
        "an old plan": mutants.setting("GET /v1/orgs/*", "organization.plan", "developer"),
    },
)
def rule_7_2_plans(server: Target) -> None:
    """An organisation has one of the four plans; the first one's is `enterprise` (§11)."""
    organisation = expect(server.get(f"/v1/orgs/{samples.waiting(server)['orgId']}"), 200)["organization"]
    must(organisation["plan"] in {"free", "builder", "scale", "enterprise"}, f"plan {organisation['plan']}")


@rule(
    "7.2",
    needs="sandboxes",
    broken_by={"any ttl": mutants.instead("POST /v1/sandboxes", 201, {"sandbox": {}})},
)
def rule_7_2_creation_ttl(server: Target) -> None:
    """A sandbox is created for at most one hour."""
    refused(server.post("/v1/sandboxes", {"ttlMs": 3_600_001}), 400, "sandbox_ttl_exceeded")


@rule(
    "7.2",
    needs="previews",
    broken_by={"any number": mutants.instead("POST /v1/sandboxes/*/previews", 201, {"preview": {}})},
)
def rule_7_2_previews_per_sandbox(server: Target) -> None:
    """A sandbox has at most three previews at once."""
    named = expect(server.base.post("/v1/sandboxes", {}), 201)["sandbox"]["id"]
    try:
        for port in (8001, 8002, 8003):
            expect(server.base.post(f"/v1/sandboxes/{named}/previews", {"port": port}), 201)
        answer = server.post(f"/v1/sandboxes/{named}/previews", {"port": 8004})
        must(answer.status in {403, 429}, f"{answer.status} for a fourth preview")
        refused(answer, answer.status, "quota_exceeded")
    finally:
        server.base.delete(f"/v1/sandboxes/{named}")
