"""CONTRACT §2 and §8: what warm sandboxes, commands, files, previews and keys do, beyond their shapes."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

from tests.conformance import mutants, samples
from tests.conformance.proxy import Mutation
from tests.conformance.registry import rule
from tests.conformance.target import Target, expect, fresh, must, refused, stream_events

RUN_COMMAND = "POST /v1/sandboxes/*/commands/run"
STREAM = "GET /v1/commands/*/stream"


def _path(server: Target, path: str = "") -> str:
    return f"/v1/sandboxes/{samples.sandbox(server)['id']}{path}"


def _run(server: Target, command: str, **fields: object) -> Any:
    return expect(server.post(_path(server, "/commands/run"), {"command": command, **fields}), 200)["command"]


@rule(
    "8",
    needs="sandboxes",
    broken_by={
        "idle": mutants.setting("GET /v1/sandboxes/*", "sandbox.status", "idle"),
        "metadata is lost": mutants.setting("GET /v1/sandboxes/*", "sandbox.metadata", {}),
        "not listed": mutants.setting("GET /v1/sandboxes", "data", []),
    },
)
def rule_8_warm_sandboxes_are_ready(server: Target) -> None:
    """A warm sandbox becomes `ready` (never `idle`), is listed live, and filtered by dotted metadata."""
    made = samples.sandbox(server)
    found = expect(server.get(_path(server)), 200)["sandbox"]
    must(found["status"] == "ready" and found["metadata"] == made["metadata"], f"{found}")
    query = f"metadata.warm.kind={made['metadata']['warm.kind']}"
    page = expect(server.get(f"/v1/sandboxes?{query}"), 200)["data"]
    must([sandbox["id"] for sandbox in page] == [made["id"]], f"{len(page)} sandboxes for {query}")


@rule(
    "2",
    needs="sandboxes",
    broken_by={
        "ttl is added": mutants.setting("POST /v1/sandboxes/*/*", "sandbox.expiresAt", lambda t: f"3{t[1:]}"),
        "ttlMs is the old one": mutants.setting("POST /v1/sandboxes/*/*", "sandbox.ttlMs", 1),
    },
)
def rule_2_extensions_count_from_now(server: Target) -> None:
    """/extend and /ttl set the same: `ttlMs` from now on."""
    first = expect(server.post(_path(server, "/extend"), {"ttlMs": 1_200_000}), 200)["sandbox"]
    second = expect(server.post(_path(server, "/ttl"), {"ttlMs": 600_000}), 200)["sandbox"]
    must((first["ttlMs"], second["ttlMs"]) == (1_200_000, 600_000), f"{first['ttlMs']}, {second['ttlMs']}")
    must(second["expiresAt"] < first["expiresAt"] < "3", "the later ttl ends no earlier")


@rule(
    "8",
    needs="commands",
    broken_by={
        "another exit code": mutants.setting(RUN_COMMAND, "command.exitCode", 0),
        "no stdout": mutants.without(RUN_COMMAND, "command.stdout"),
        "still running": mutants.setting(RUN_COMMAND, "command.status", "running"),
    },
)
def rule_8_commands_run_to_their_end(server: Target) -> None:
    """`commands/run` answers at the end, with status, exitCode, stdout, stderr and times."""
    command = _run(server, "echo out; echo err >&2; exit 4")
    must(command["status"] == "exited" and command["exitCode"] == 4, f"{command}")
    must((command["stdout"], command["stderr"]) == ("out\n", "err\n"), f"{command}")
    must(
        command.keys() >= {"id", "sandboxId", "command", "startedAt", "finishedAt", "durationMs"},
        f"{command}",
    )


@rule("8", needs="commands", broken_by={"cwd is lost": mutants.setting(RUN_COMMAND, "command.stdout", "/\n")})
def rule_8_commands_have_cwd_and_env(server: Target) -> None:
    """`cwd` and `env` are those that were asked for; one workspace serves all commands."""
    _run(server, "mkdir -p sub && echo kept > sub/kept.txt")
    command = _run(server, 'cat kept.txt; printf %s "$WORD"', cwd="/workspace/sub", env={"WORD": "hello"})
    must(command["stdout"] == "kept\nhello", f"{command['stdout']!r}")


@rule("8", needs="commands", broken_by={"no limit": mutants.setting(RUN_COMMAND, "command.status", "exited")})
def rule_8_commands_time_out(server: Target) -> None:
    """A command over its `timeoutMs` ends as `timed_out`, without an exit code."""
    command = _run(server, "sleep 30", timeoutMs=300)
    must(command["status"] == "timed_out" and "exitCode" not in command, f"{command}")


def _start(server: Target, command: str) -> str:
    answer = server.base.post(_path(server, "/commands/start"), {"command": command})
    command_id: str = expect(answer, 202)["command"]["id"]
    return command_id


@rule(
    "8",
    needs="commands",
    broken_by={"cancel is not done": mutants.instead("POST /v1/commands/*/cancel", 200, {"command": {}})},
)
def rule_8_commands_are_canceled(server: Target) -> None:
    """`cancel` with either mode ends the command."""
    for mode in ("graceful", "force"):
        command_id = _start(server, "sleep 2.5")
        expect(server.post(f"/v1/commands/{command_id}/cancel", {"mode": mode}), 200)
        with server.base.streaming(f"/v1/commands/{command_id}/stream") as (_, pieces, _connection):
            b"".join(pieces)
        command = expect(server.get(f"/v1/commands/{command_id}"), 200)["command"]
        must(command["status"] in {"canceled", "killed"}, f"{mode}: {command['status']}")


@rule(
    "2",
    needs="commands",
    broken_by={
        "CRLF": mutants.framed(lambda frame: frame.replace(b"\n", b"\r\n")),
        "held open": mutants.stays_open(),
        "no terminal": mutants.streamed_event(lambda e: None if e["type"] == "terminal" else e),
        "terminal without the command": mutants.streamed_event(
            lambda e: {"type": "terminal"} if e["type"] == "terminal" else e
        ),
        "raw U+2028": mutants.framed(lambda frame: frame.replace(rb"\u2028", "\u2028".encode())),
    },
)
def rule_2_command_streams(server: Target) -> None:
    """/stream is SSE of `log` events with seq and stream, then `terminal` with the command, then the end."""
    command_id = _start(server, samples.CHATTY)
    with server.streaming(f"/v1/commands/{command_id}/stream") as (head, pieces, _):
        must(head.status == 200, f"{head.status}")
        data = b"".join(pieces)
    must(b"\r" not in data and "\u2028".encode() not in data, "the stream holds what splits lines")
    *logs, terminal = [event for event in stream_events(data) if event["type"] != "heartbeat"]
    must({event["type"] for event in logs} == {"log"}, f"{logs}")
    must([event["seq"] for event in logs] == list(range(1, len(logs) + 1)), "seqs")
    out = "".join(event["data"] for event in logs if event["stream"] == "stdout")
    must(samples.SEPARATORS in out, f"{out!r}")
    must(terminal["type"] == "terminal" and terminal["command"]["status"] == "exited", f"{terminal}")


@rule(
    "2",
    needs="commands",
    broken_by={
        "inclusive": mutants.query(
            "GET /v1/commands/*/logs", lambda path: path.replace("afterSeq=1", "afterSeq=0")
        ),
        "no commandId": mutants.without("GET /v1/commands/*/logs", "data.commandId"),
    },
)
def rule_2_command_logs(server: Target) -> None:
    """/logs pages `{commandId,seq,stream,data,createdAt}`; afterSeq is exclusive; nextSeq is the last."""
    command = _run(server.base, "echo one; sleep 0.15; echo two >&2")
    path = f"/v1/commands/{command['id']}/logs"
    page = expect(server.get(path), 200)
    for chunk in page["data"]:
        must(chunk.keys() >= {"commandId", "seq", "stream", "data", "createdAt"}, f"{chunk}")
    must(
        [(c["stream"], c["data"]) for c in page["data"]] == [("stdout", "one\n"), ("stderr", "two\n")],
        f"{page}",
    )
    must(page["hasMore"] is False and page.get("nextSeq", 2) == 2, f"{page}")
    must([c["seq"] for c in expect(server.get(f"{path}?afterSeq=1"), 200)["data"]] == [2], "afterSeq")


@rule(
    "2",
    needs="commands",
    broken_by={"a second command": mutants.without_header("POST **", "idempotency-key")},
)
def rule_2_commands_are_idempotent(server: Target) -> None:
    """A command under the same Idempotency-Key runs once."""
    key, name = fresh(), fresh()
    body = {"command": f"echo x >> {name}"}
    first = expect(server.post(_path(server, "/commands/run"), body, idempotency_key=key), 200)
    again = expect(server.post(_path(server, "/commands/run"), body, idempotency_key=key), 200)
    must(first == again, "another command")
    must(_run(server.base, f"cat {name}")["stdout"] == "x\n", "it ran twice")


@rule(
    "3.1",
    needs="commands",
    broken_by={
        "a fresh one": mutants.setting("GET /v1/workspace-runs/*", "workspaceRun.sandboxId", "sbx_other")
    },
)
def rule_3_1_runs_reuse_a_warm_sandbox(server: Target) -> None:
    """A run with `sandboxId` and `keepSandbox` runs in that sandbox, which stays."""
    warm = expect(server.base.post("/v1/sandboxes", {}), 201)["sandbox"]["id"]
    run_id = server.base.run("cat a.txt", sandboxId=warm, keepSandbox=True)["id"]
    run = expect(server.get(f"/v1/workspace-runs/{run_id}"), 200)["workspaceRun"]
    must((run["sandboxId"], run["status"]) == (warm, "succeeded"), f"{run['sandboxId']} {run['status']}")
    sandbox = expect(server.base.get(f"/v1/sandboxes/{warm}"), 200)["sandbox"]
    must(sandbox["status"] == "ready", f"the sandbox is {sandbox['status']}")
    server.base.delete(f"/v1/sandboxes/{warm}")


@rule(
    "2",
    needs="files",
    broken_by={
        "another content": mutants.setting("GET /v1/sandboxes/*/files/read", "content", "x"),
        "another size": mutants.setting("* /v1/sandboxes/*/files**", "file.sizeBytes", 1),
        "an entry is lost": mutants.setting("GET /v1/sandboxes/*/files", "data", []),
    },
)
def rule_2_files_round_trip(server: Target) -> None:
    """What is written is read, as text and as base64, listed, and shown by stat."""
    folder, raw = fresh(), bytes(range(256))
    files = _path(server, "/files")
    for name, content, encoding in (
        ("t.txt", "Grüße\n", "utf8"),
        ("b.bin", base64.b64encode(raw).decode(), "base64"),
    ):
        body = {"path": f"{folder}/{name}", "content": content, "encoding": encoding, "createParents": True}
        expect(server.put(files, body), 200)
        query = f"path={folder}/{name}&encoding={encoding}"
        read = expect(server.get(f"{files}/read?{query}"), 200)
        must((read["content"], read["encoding"]) == (content, encoding), f"{read}")
    stat = expect(server.get(f"{files}/stat?path={folder}/b.bin"), 200)["file"]
    must((stat["sizeBytes"], stat["type"]) == (256, "file"), f"{stat}")
    listed = {entry["name"] for entry in expect(server.get(f"{files}?path={folder}"), 200)["data"]}
    must(listed == {"t.txt", "b.bin"}, f"{listed}")
    must(_run(server.base, f"cat {folder}/t.txt")["stdout"] == "Grüße\n", "the command sees another file")


@rule(
    "2",
    needs="files",
    broken_by={
        "everything is accepted": Mutation(
            request=lambda r: mutants.made(200, {"file": {}}, {}) if "/files" in r.path else None
        )
    },
)
def rule_2_files_stay_in_the_workspace(server: Target) -> None:
    """Paths outside of the workspace, and what is not there, are refused."""
    files = _path(server, "/files")
    for outside in ("/etc/passwd", "../x", "/workspace/../etc/passwd"):
        answer = server.put(files, {"path": outside, "content": "x"})
        refused(answer, 400, "path_outside_workspace")
        refused(server.get(f"{files}/read?path={outside}"), 400, "path_outside_workspace")
    refused(server.get(f"{files}/stat?path={fresh()}"), 404, "file_not_found")
    refused(server.delete(f"{files}?path={fresh()}"), 404, "file_not_found")


@rule(
    "2", needs="files", broken_by={"overwritten": mutants.status("POST **/files/move", 200, mutants.is_error)}
)
def rule_2_files_are_not_overwritten_unasked(server: Target) -> None:
    """`move` onto a file without `overwrite` is a conflict; with it the file moves."""
    one, two, files = fresh(), fresh(), _path(server, "/files")
    for name in (one, two):
        expect(server.base.put(files, {"path": name, "content": name}), 200)
    refused(server.post(f"{files}/move", {"from": one, "to": two}), 409)
    expect(server.post(f"{files}/move", {"from": one, "to": two, "overwrite": True}), 200)
    must(expect(server.base.get(f"{files}/read?path={two}"), 200)["content"] == one, "it did not move")


@rule(
    "2",
    needs="previews",
    broken_by={
        "the token again": mutants.edited("GET /v1/previews/*", lambda a: {**a, "previewToken": "x"}),
        "not revoked": mutants.without("DELETE /v1/previews/*", "preview.revokedAt"),
    },
)
def rule_2_preview_tokens_are_shown_once(server: Target) -> None:
    """A token preview shows its token at creation and never again; DELETE answers `revokedAt`."""
    answer = server.base.post(_path(server, "/previews"), {"port": 3000, "authMode": "token"})
    made = expect(answer, 201)
    must(made["previewToken"], "no token")
    path = f"/v1/previews/{made['preview']['id']}"
    try:
        shown = expect(server.get(path), 200)
        again = "previewToken" in shown or made["previewToken"] in json.dumps(shown)
        must(not again, "the token is shown again")
        must(expect(server.delete(path), 200)["preview"]["revokedAt"], "no revokedAt")
    finally:
        server.base.delete(path)


@rule(
    "2",
    needs="previews",
    broken_by={"any port": mutants.instead("POST /v1/sandboxes/*/previews", 201, {"preview": {}})},
)
def rule_2_preview_ports(server: Target) -> None:
    """A preview is of a port 1..65535, `authenticated` or `token`."""
    for bad in ({"port": 0}, {"port": 65536}, {"port": "80"}, {}, {"port": 80, "authMode": "public"}):
        refused(server.post(_path(server, "/previews"), bad), 400, "invalid_request")


def _secret_free(route: str) -> dict[str, Mutation]:
    return {"the secret again": mutants.edited(route, lambda value: {**value, "secret": "cn_live_x"})}


@rule(
    "8",
    needs="api_keys",
    broken_by={
        **_secret_free("GET /v1/api-keys/*"),
        "not revoked": mutants.without("DELETE /v1/api-keys/*", "apiKey.revokedAt"),
        "last4 of another": mutants.setting("POST /v1/api-keys", "apiKey.last4", "0000"),
        "it still opens": mutants.asking("GET /v1/projects", lambda r: replace(r, path="/healthz")),
    },
)
def rule_8_keys_are_shown_once_and_revoked_for_good(server: Target) -> None:
    """The secret is shown at creation only; DELETE answers `revokedAt`, and the key opens nothing more."""
    body = {"name": fresh(), "scopes": ["workspace_run:read"]}
    made = expect(server.post("/v1/api-keys", body), 201)
    key, secret = made["apiKey"], made["secret"]
    must(
        secret.startswith(key["prefix"]) and secret.endswith(key["last4"]), "prefix and last4 are of another"
    )
    shown = expect(server.get(f"/v1/api-keys/{key['id']}"), 200)
    must("secret" not in shown and secret not in json.dumps(shown), "the secret is shown again")
    must(expect(server.delete(f"/v1/api-keys/{key['id']}"), 200)["apiKey"]["revokedAt"], "no revokedAt")
    refused(server.get("/v1/projects", authorization=f"Bearer {secret}"), 401)


@rule(
    "8",
    needs="usage",
    broken_by={
        "an envelope": mutants.edited("GET /v1/usage", lambda usage: {"usage": usage}),
        "credits without used": mutants.without("GET /v1/usage", "credits.used"),
    },
)
def rule_8_usage_is_a_bare_object(server: Target) -> None:
    """GET /v1/usage has no envelope; `computeUnitSeconds.used` and `credits.used` are numbers."""
    usage = expect(server.get("/v1/usage"), 200)
    must(isinstance(usage["computeUnitSeconds"]["used"], int | float), f"{usage}")
    must(isinstance(usage["credits"]["used"], int | float), f"{usage['credits']}")
    must(all("limit" in quota for quota in usage["quotas"].values()), f"{usage['quotas']}")


ALIASES = "POST /v1/sandboxes/*/**"


@rule(
    "1",
    needs="openapi",
    broken_by={
        "nothing is said": mutants.header(ALIASES, "deprecation", None),
        "a date": mutants.header(ALIASES, "deprecation", "Sun, 11 Nov 2018 23:59:59 GMT"),
        "no successor": mutants.header(ALIASES, "link", None),
    },
)
def rule_1_old_names_are_deprecated(server: Target) -> None:
    """`/extend`, `/commands/run` and `/commands/start` carry `Deprecation: @<unix>` and `Link`."""
    body = {"command": "true", "ttlMs": 600_000}
    for old in ("/extend", "/commands/run", "/commands/start"):
        answer = server.post(_path(server, old), body)
        must((answer.header("deprecation") or "").startswith("@"), f"{old}: {answer.header('deprecation')}")
        must("successor-version" in (answer.header("link") or ""), f"{old}: {answer.header('link')}")
    for new in ("/ttl", "/commands"):
        must(server.post(_path(server, new), body).header("deprecation") is None, f"{new} is deprecated")
