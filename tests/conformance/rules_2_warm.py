"""CONTRACT §2, the other rows: warm sandboxes, commands, files, previews, keys, usage, documents."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.conformance import samples
from tests.conformance.rows import PAGE, Call, raw, row
from tests.conformance.target import Target, expect, fresh
from tests.conformance.wire import Answer

TRUE = {"command": "true"}
COMMAND = ("command",)
FILE = ("file",)


def _asks(method: str, path: str, body: Any = None) -> Call:
    """Call a route; `path` may hold names of `MADE`, made when asked."""

    def call(server: Target) -> Answer:
        filled = path
        for name, make in MADE.items():
            if f"{{{name}}}" in filled:
                filled = filled.replace(f"{{{name}}}", make(server))
        return server.call(method, filled, body(server) if callable(body) else body)

    return call


def _file(server: Target) -> str:
    name = f"{fresh()}.txt"
    path = f"/v1/sandboxes/{samples.sandbox(server)['id']}/files"
    expect(server.base.put(path, {"path": name, "content": "hello\n"}), 200)
    return name


def _revocable(server: Target) -> str:
    path = f"/v1/sandboxes/{samples.sandbox(server)['id']}/previews"
    preview_id: str = expect(server.base.post(path, {"port": 9}), 201)["preview"]["id"]
    return preview_id


def _key(server: Target) -> str:
    made = expect(server.base.post("/v1/api-keys", {"name": fresh(), "scopes": ["usage:read"]}), 201)
    key_id: str = made["apiKey"]["id"]
    return key_id


MADE: dict[str, Callable[[Target], str]] = {
    "box": lambda server: f"/v1/sandboxes/{samples.sandbox(server)['id']}",
    "command": lambda server: samples.command(server)["id"],
    "preview": lambda server: samples.preview(server)["id"],
    "revocable": _revocable,
    "key": _key,
    "file": _file,
}


def _created(server: Target) -> Answer:
    answer = server.post("/v1/sandboxes", {})
    if answer.status == 201 and "sandbox" in answer.json:
        server.base.delete(f"/v1/sandboxes/{answer.json['sandbox']['id']}")
    return answer


def _previewed(server: Target) -> Answer:
    """Revoked at once: a sandbox has few."""
    path = f"/v1/sandboxes/{samples.sandbox(server)['id']}/previews"
    answer = server.post(path, {"port": 80})
    for preview in expect(server.base.get(path), 200)["data"]:
        if preview["port"] == 80 and "revokedAt" not in preview:
            server.base.delete(f"/v1/previews/{preview['id']}")
    return answer


def _path(server: Target) -> dict[str, str]:
    return {"path": _file(server)}


def _move(server: Target) -> dict[str, str]:
    return {"from": _file(server), "to": fresh()}


def _named(_: Target) -> dict[str, str]:
    return {"name": fresh()}


def _content(_: Target) -> dict[str, str]:
    return {"path": f"{fresh()}.txt", "content": "hello\n"}


def _folder(_: Target) -> dict[str, str]:
    return {"path": fresh()}


row("2", "POST /v1/sandboxes", _created, 201, ("sandbox",), name="create_sandbox", needs="sandboxes")
row(
    "2",
    "POST /v1/sandboxes/*/previews",
    _previewed,
    201,
    ("preview",),
    name="create_preview",
    needs="previews",
)
ROWS: tuple[tuple[str, str, str, Any, int, tuple[str, ...], str], ...] = (
    ("extend_sandbox", "POST", "{box}/extend", {"ttlMs": 600_000}, 200, ("sandbox",), "sandboxes"),
    ("sandbox_ttl", "POST", "{box}/ttl", {"ttlMs": 600_000}, 200, ("sandbox",), "sandboxes"),
    ("create_artifact", "POST", "{box}/artifacts", _path, 201, ("artifact",), "files"),
    ("list_previews", "GET", "{box}/previews", None, 200, PAGE, "previews"),
    ("get_preview", "GET", "/v1/previews/{preview}", None, 200, ("preview",), "previews"),
    ("delete_preview", "DELETE", "/v1/previews/{revocable}", None, 200, ("preview",), "previews"),
    ("create_project", "POST", "/v1/projects", _named, 201, ("project",), "project_write"),
    ("usage", "GET", "/v1/usage", None, 200, ("period", "credits", "quotas"), "usage"),
    ("list_api_keys", "GET", "/v1/api-keys", None, 200, PAGE, "api_keys"),
    ("get_api_key", "GET", "/v1/api-keys/{key}", None, 200, ("apiKey",), "api_keys"),
    ("delete_api_key", "DELETE", "/v1/api-keys/{key}", None, 200, ("apiKey",), "api_keys"),
    ("run_command", "POST", "{box}/commands/run", TRUE, 200, COMMAND, "commands"),
    ("start_command", "POST", "{box}/commands/start", TRUE, 202, COMMAND, "commands"),
    ("command_in_the_foreground", "POST", "{box}/commands", TRUE, 200, COMMAND, "commands"),
    (
        "command_in_the_background",
        "POST",
        "{box}/commands",
        {"command": "true", "background": True},
        202,
        COMMAND,
        "commands",
    ),
    ("get_command", "GET", "/v1/commands/{command}", None, 200, COMMAND, "commands"),
    ("cancel_command", "POST", "/v1/commands/{command}/cancel", {}, 200, COMMAND, "commands"),
    ("command_log_page", "GET", "/v1/commands/{command}/logs", None, 200, PAGE, "commands"),
    ("write_file", "PUT", "{box}/files", _content, 200, FILE, "files"),
    ("list_files", "GET", "{box}/files?path=/workspace", None, 200, ("data",), "files"),
    ("stat_file", "GET", "{box}/files/stat?path={file}", None, 200, FILE, "files"),
    ("read_file", "GET", "{box}/files/read?path={file}", None, 200, ("content", "encoding"), "files"),
    ("delete_file", "DELETE", "{box}/files?path={file}", None, 200, ("deleted",), "files"),
    ("mkdir", "POST", "{box}/files/mkdir", _folder, 200, FILE, "files"),
    ("move_file", "POST", "{box}/files/move", _move, 200, FILE, "files"),
    (
        "file_download_url",
        "POST",
        "{box}/files/download-url",
        _path,
        200,
        ("authMode", "method", "url"),
        "files",
    ),
)
for _name, _method, _route, _body, _status, _keys, _needs in ROWS:
    _pattern = re.sub(r"\{\w+\}", "*", _route.partition("?")[0].replace("{box}", "/v1/sandboxes/*"))
    row("2", f"{_method} {_pattern}", _asks(_method, _route, _body), _status, _keys, name=_name, needs=_needs)

raw(
    "2",
    "GET /v1/sandboxes/*/files/download",
    _asks("GET", "{box}/files/download?path={file}"),
    "application/octet-stream",
    b"hello\n",
    name="download_file",
    needs="files",
)
DOCUMENTS = (
    ("openapi", "/openapi.json", "application/vnd.oai.openapi+json", b"{"),
    ("llms", "/llms.txt", "text/", b"#"),
    ("auth", "/auth.md", "text/markdown", b"#"),
    ("api_catalog", "/.well-known/api-catalog", "application/linkset+json", b"{"),
)
for _name, _route, _type, _begins in DOCUMENTS:
    raw(
        "2",
        f"GET {_route}",
        lambda server, path=_route: server.get(path, authorization=""),
        _type,
        _begins,
        name=_name,
        needs="openapi",
    )
