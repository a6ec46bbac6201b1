"""CONTRACT §8: the other objects, and the warm sandboxes, commands, files and previews around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.conformance import mutants, samples
from tests.conformance.registry import add, rule
from tests.conformance.rows import PAGE, raw, row
from tests.conformance.target import Target, expect, foreign, fresh, must, refused
from tests.conformance.wire import Answer

SANDBOX = ("id", "orgId", "projectId", "status", "templateId", "templateSlug", "templateVersion",
           "templateVersionId", "ttlMs", "expiresAt", "metadata")  # fmt: skip
ARTIFACT = ("id", "orgId", "projectId", "sandboxId", "name", "objectKey", "sizeBytes", "createdAt")
PREVIEW = ("id", "slug", "orgId", "projectId", "sandboxId", "port", "authMode", "url", "createdAt")
PROJECT = ("id", "orgId", "name", "createdAt")
API_KEY = ("id", "orgId", "name", "prefix", "last4", "scopes", "createdByUserId", "createdAt")
USAGE = ("period", "pricingVersion", "computeUnitSecondsPerCredit", "computeUnitSeconds", "credits", "quotas")
COMMAND = ("id", "sandboxId", "command", "status")
ENDED = {"exited", "failed", "canceled", "timed_out", "killed"}


def shape(
    name: str, route: str, path: Callable[[Target], str], key: str, fields: tuple[str, ...], *, needs: str = ""
) -> None:
    """An object of §8 as a rule: each required field has a mutant. `key` leads to the object."""

    def check(server: Target) -> None:
        value: Any = expect(server.get(path(server)), 200)
        for part in filter(None, key.split(".")):
            value = value[part]
        for found in value if isinstance(value, list) else [value]:
            must(not (missing := [field for field in fields if field not in found]), f"no {missing} in {found}")
            must(None not in found.values(), f"a null in {found}")
        must(value, "there is none")

    broken = {f"no {field}": mutants.without(route, f"{key}.{field}".strip(".")) for field in fields}
    add(f"rule_8_{name}", "8", f"{name} has {', '.join(fields)}", check, broken, needs)


def _warm(path: str = "") -> Callable[[Target], str]:
    return lambda server: f"/v1/sandboxes/{samples.sandbox(server)['id']}{path}"


def _finished_sandbox(server: Target) -> str:
    return f"/v1/sandboxes/{samples.finished(server)['sandboxId']}"


def _first_key(server: Target) -> str:
    return f"/v1/api-keys/{expect(server.base.get('/v1/api-keys'), 200)['data'][0]['id']}"


shape("sandbox", "GET /v1/sandboxes/*", _finished_sandbox, "sandbox", SANDBOX)
shape("artifact", "GET /v1/artifacts/*", lambda s: f"/v1/artifacts/{samples.finished(s)['artifactIds'][0]}",
      "artifact", ARTIFACT)  # fmt: skip
shape("project", "GET /v1/projects", lambda _: "/v1/projects", "data", PROJECT)
shape("api_key", "GET /v1/api-keys/*", _first_key, "apiKey", API_KEY, needs="api_keys")
shape("usage", "GET /v1/usage", lambda _: "/v1/usage", "", USAGE, needs="usage")
shape("usage_period", "GET /v1/usage", lambda _: "/v1/usage", "period", ("start", "end", "resetAt"), needs="usage")
shape("preview", "GET /v1/sandboxes/*/previews", lambda s: _previewed(s), "data", PREVIEW, needs="previews")
shape("command", "GET /v1/commands/*", lambda s: f"/v1/commands/{_command(s)['id']}", "command", COMMAND,
      needs="commands")  # fmt: skip


@samples.sample
def _command(server: Target) -> Any:
    return expect(server.post(_warm("/commands/run")(server), {"command": "echo out; echo err >&2; exit 4"}), 200)["command"]


@samples.sample
def _preview(server: Target) -> Any:
    return expect(server.post(_warm("/previews")(server), {"port": 8080}), 201)["preview"]


def _previewed(server: Target) -> str:
    _preview(server)
    return _warm("/previews")(server)


def _made(server: Target) -> Answer:
    answer = server.post("/v1/sandboxes", {})
    if answer.status == 201 and "sandbox" in answer.json:
        server.base.delete(f"/v1/sandboxes/{answer.json['sandbox']['id']}")
    return answer


def _write(server: Target, name: str = "") -> Answer:
    return server.put(_warm("/files")(server), {"path": name or f"{fresh()}.txt", "content": "hello\n"})


def _written(server: Target) -> str:
    name = f"{fresh()}.txt"
    expect(_write(server.base, name), 200)
    return name


row("2", "POST /v1/sandboxes", _made, 201, ("sandbox",), name="create_sandbox", needs="sandboxes")
for _route in ("extend", "ttl"):
    row("2", f"POST /v1/sandboxes/*/{_route}", lambda s, r=_route: s.post(_warm(f"/{r}")(s), {"ttlMs": 600_000}),
        200, ("sandbox",), name=f"sandbox_{_route}", needs="sandboxes")  # fmt: skip
row("2", "POST /v1/sandboxes/*/artifacts",
    lambda s: s.post(_warm("/artifacts")(s), {"path": _written(s), "name": "n"}), 201, ("artifact",),
    name="create_artifact", needs="files")  # fmt: skip
row("2", "POST /v1/sandboxes/*/previews",
    lambda s: s.post(f"/v1/sandboxes/{samples.kept(s)['sandboxId']}/previews", {"port": 8080}), 201, ("preview",),
    name="create_preview", needs="previews")  # fmt: skip
row("2", "GET /v1/sandboxes/*/previews", lambda s: s.get(_previewed(s)), 200, PAGE, name="list_previews",
    needs="previews")  # fmt: skip
row("2", "GET /v1/previews/*", lambda s: s.get(f"/v1/previews/{_preview(s)['id']}"), 200, ("preview",),
    name="get_preview", needs="previews")  # fmt: skip
row("2", "DELETE /v1/previews/*",
    lambda s: s.delete(f"/v1/previews/{expect(s.base.post(_warm('/previews')(s), {'port': 9}), 201)['preview']['id']}"),
    200, ("preview",), name="delete_preview", needs="previews")  # fmt: skip
row("2", "POST /v1/projects", lambda s: s.post("/v1/projects", {"name": fresh()}), 201, ("project",),
    name="create_project", needs="project_write")  # fmt: skip
row("2", "GET /v1/usage", lambda s: s.get("/v1/usage"), 200, ("period", "credits", "quotas"), name="usage",
    needs="usage")  # fmt: skip
row("2", "GET /v1/api-keys", lambda s: s.get("/v1/api-keys"), 200, PAGE, name="list_api_keys", needs="api_keys")
row("2", "GET /v1/api-keys/*", lambda s: s.get(_first_key(s)), 200, ("apiKey",), name="get_api_key",
    needs="api_keys")  # fmt: skip
row("2", "DELETE /v1/api-keys/*", lambda s: s.delete(f"/v1/api-keys/{_fresh_key(s)}"), 200, ("apiKey",),
    name="delete_api_key", needs="api_keys")  # fmt: skip
row("2", "POST /v1/sandboxes/*/commands/run", lambda s: s.post(_warm("/commands/run")(s), {"command": "true"}),
    200, ("command",), name="run_command", needs="commands")  # fmt: skip
row("2", "POST /v1/sandboxes/*/commands/start", lambda s: s.post(_warm("/commands/start")(s), {"command": "true"}),
    202, ("command",), name="start_command", needs="commands")  # fmt: skip
row("2", "POST /v1/sandboxes/*/commands", lambda s: s.post(_warm("/commands")(s), {"command": "true"}),
    200, ("command",), name="command_in_the_foreground", needs="commands")  # fmt: skip
row("2", "POST /v1/sandboxes/*/commands",
    lambda s: s.post(_warm("/commands")(s), {"command": "true", "background": True}), 202, ("command",),
    name="command_in_the_background", needs="commands")  # fmt: skip
row("2", "GET /v1/commands/*", lambda s: s.get(f"/v1/commands/{_command(s)['id']}"), 200, ("command",),
    name="get_command", needs="commands")  # fmt: skip
row("2", "POST /v1/commands/*/cancel", lambda s: s.post(f"/v1/commands/{_command(s)['id']}/cancel", {}), 200,
    ("command",), name="cancel_command", needs="commands")  # fmt: skip
row("2", "GET /v1/commands/*/logs", lambda s: s.get(f"/v1/commands/{_command(s)['id']}/logs"), 200, PAGE,
    name="command_log_page", needs="commands")  # fmt: skip
row("2", "PUT /v1/sandboxes/*/files", _write, 200, ("file",), name="write_file", needs="files")
row("2", "GET /v1/sandboxes/*/files", lambda s: s.get(f"{_warm('/files')(s)}?path=/workspace"), 200, ("data",),
    name="list_files", needs="files")  # fmt: skip
row("2", "GET /v1/sandboxes/*/files/stat", lambda s: s.get(f"{_warm('/files/stat')(s)}?path={_written(s)}"), 200,
    ("file",), name="stat_file", needs="files")  # fmt: skip
row("2", "GET /v1/sandboxes/*/files/read", lambda s: s.get(f"{_warm('/files/read')(s)}?path={_written(s)}"), 200,
    ("content", "encoding"), name="read_file", needs="files")  # fmt: skip
row("2", "DELETE /v1/sandboxes/*/files", lambda s: s.delete(f"{_warm('/files')(s)}?path={_written(s)}"), 200,
    ("deleted",), name="delete_file", needs="files")  # fmt: skip
row("2", "POST /v1/sandboxes/*/files/mkdir", lambda s: s.post(_warm("/files/mkdir")(s), {"path": fresh()}), 200,
    ("file",), name="mkdir", needs="files")  # fmt: skip
row("2", "POST /v1/sandboxes/*/files/move",
    lambda s: s.post(_warm("/files/move")(s), {"from": _written(s), "to": fresh()}), 200, ("file",),
    name="move_file", needs="files")  # fmt: skip
row("2", "POST /v1/sandboxes/*/files/download-url",
    lambda s: s.post(_warm("/files/download-url")(s), {"path": _written(s)}), 200, ("authMode", "method", "url"),
    name="file_download_url", needs="files")  # fmt: skip
raw("2", "GET /v1/sandboxes/*/files/download", lambda s: s.get(f"{_warm('/files/download')(s)}?path={_written(s)}"),
    "application/octet-stream", b"hello\n", name="download_file", needs="files")  # fmt: skip
raw("2", "GET /openapi.json", lambda s: s.get("/openapi.json", authorization=""),
    "application/vnd.oai.openapi+json", b"{", name="openapi", needs="openapi")  # fmt: skip
raw("2", "GET /llms.txt", lambda s: s.get("/llms.txt", authorization=""), "text/", b"#", name="llms", needs="openapi")
raw("2", "GET /auth.md", lambda s: s.get("/auth.md", authorization=""), "text/markdown", b"#", name="auth",
    needs="openapi")  # fmt: skip
raw("2", "GET /.well-known/api-catalog", lambda s: s.get("/.well-known/api-catalog", authorization=""),
    "application/linkset+json", b"{", name="api_catalog", needs="openapi")  # fmt: skip


def _fresh_key(server: Target) -> str:
    made = expect(server.base.post("/v1/api-keys", {"name": fresh(), "scopes": ["usage:read"]}), 201)
    key_id: str = made["apiKey"]["id"]
    return key_id
