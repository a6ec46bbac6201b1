"""CONTRACT §11: what we decided where the sources are silent or disagree."""

from __future__ import annotations

import time

from tests.conformance import mutants, samples
from tests.conformance.proxy import Mutation
from tests.conformance.registry import rule
from tests.conformance.target import Target, archive, expect, foreign, must, refused, stream_events
from tests.conformance.wire import Connection, chunked, request_bytes

RUNS = "/v1/workspace-runs"
LARGE_BYTES = 6 * 1024 * 1024
JSON = "application/json"


def _keeps(route: str = f"POST {RUNS}") -> dict[str, Mutation]:
    return {"everything is accepted": mutants.instead(route, 201, {"workspaceRun": {}})}


@rule(
    "11",
    broken_by={
        **_keeps(),
        "500": mutants.status(f"POST {RUNS}", 500, mutants.is_error),
        "no field": mutants.without(f"POST {RUNS}", "error.details", when=mutants.is_error),
    },
)
def rule_s11_bodies_are_strict(server: Target) -> None:
    """NaN, lone surrogates, duplicate keys, floats for integers and other types are 400 naming the field."""
    for body, field in (
        (b'{"command":"true","timeoutMs":1000.0}', "timeoutMs"),
        (b'{"command":"true","timeoutMs":"1000"}', "timeoutMs"),
        (b'{"command":"true","command":"false"}', "command"),
        (b'{"command":"true","keepSandbox":"yes"}', "keepSandbox"),
        (b'{"command":"true","keepSandbox":1}', "keepSandbox"),
        (b'{"command":["true"]}', "command"),
        (b'{"command":"true","artifacts":[{"path":7}]}', "artifacts"),
    ):
        error = refused(server.post(RUNS, body, content_type=JSON), 400, "invalid_request")
        must(str(error["details"]["field"]).startswith(field), f"{body!r} names {error['details']}")
    for body in (
        b'{"command":"true","timeoutMs":NaN}',
        b'{"command":"\\ud800"}',
        b'{"command":"\xff"}',
        b"",
        b"[]",
        b'"text"',
        b"[" * 100_000,
        b'{"command":"true"}x',
        b'\xef\xbb\xbf{"command":"true"}',
    ):
        refused(server.post(RUNS, body, content_type=JSON), 400, "invalid_request")


@rule(
    "11",
    broken_by={
        "refused unread": mutants.early(
            f"PUT {RUNS}/*/archive", 401, {"error": {"code": "x", "message": "x"}}
        )
    },
)
def rule_s11_bodies_are_drained_before_refusals(server: Target) -> None:
    """401, 404, 409 and 413 are answered behind the body, with its length and in chunks."""
    data = bytes(LARGE_BYTES)
    waiting, finished = samples.waiting(server)["id"], samples.finished(server)["id"]
    refused(server.upload(waiting, data, authorization=""), 401)
    refused(server.upload(foreign("wsr"), data), 404)
    refused(server.upload(finished, data), 409, "upload_conflict")
    refused(server.upload(waiting, data, x_crownest_archive_size=str(2**40)), 413)
    headers = {
        **server.headers(content_type="application/gzip", authorization=""),
        "transfer-encoding": "chunked",
    }
    with server.connect() as connection:
        connection.send(request_bytes("PUT", f"{RUNS}/{waiting}/archive", headers, chunked(data, 65536)))
        refused(connection.answer(), 401)


@rule(
    "11",
    broken_by={
        "404": mutants.status(f"POST {RUNS}", 404, mutants.is_error),
        "unlike in lists": mutants.status(f"GET {RUNS}", 404, mutants.is_error),
    },
)
def rule_s11_unknown_projects_are_403(server: Target) -> None:
    """A foreign or unknown `projectId` in body or query is 403 `forbidden`."""
    refused(server.post(RUNS, {"command": "true", "projectId": foreign("prj")}), 403, "forbidden")
    refused(server.post(RUNS, {"command": "true", "projectId": "x"}), 403, "forbidden")
    refused(server.get(f"{RUNS}?projectId={foreign('prj')}"), 403, "forbidden")


@rule(
    "11",
    broken_by={
        "a heartbeat event": mutants.framed(
            lambda frame: (
                b'event: heartbeat\ndata: {"type":"heartbeat","seq":5}\n\n'
                if frame.startswith(b":")
                else frame
            )
        )
    },
)
def rule_s11_keepalives_are_comments(server: Target) -> None:
    """Keepalives are SSE comments: there is never a heartbeat event."""
    run_id = server.base.started("sleep 60")
    server.base.finished(run_id, "running")
    try:
        with server.streaming(f"{RUNS}/{run_id}/events?stream=true") as (_, pieces, _connection):
            data = b""
            for piece in pieces:
                data += piece
                must(b"heartbeat" not in data, "a heartbeat event")
                if b"\n\n:" in data:
                    break
    finally:
        server.base.post(f"{RUNS}/{run_id}/cancel")
    must(b"\n\n:" in data, "no comment came")


@rule("11", broken_by={"more": mutants.setting(f"POST {RUNS}", "workspaceRun.command", "x"), **_keeps()})
def rule_s11_sizes(server: Target) -> None:
    """JSON bodies up to 1 MiB, 32 artifacts, commands of 32 KiB; over the maximum timeout 400."""
    body = {"command": "true", "padding": "x" * (900 * 1024)}
    must(expect(server.post(RUNS, body), 201)["workspaceRun"]["command"] == "true", "another command")
    refused(server.post(RUNS, {**body, "padding": "x" * 2**20}), 413, "file_too_large")
    artifacts = [{"path": f"{number}.txt"} for number in range(33)]
    expect(server.post(RUNS, {"command": "true", "artifacts": artifacts[:32]}), 201)
    refused(server.post(RUNS, {"command": "true", "artifacts": artifacts}), 400, "invalid_request")
    refused(server.post(RUNS, {"command": "true", "timeoutMs": 10**12}), 400, "invalid_request")


@rule(
    "11",
    broken_by={
        "409 for bad content": mutants.status(f"PUT {RUNS}/*/archive", 409),
        "it passes": mutants.setting(f"GET {RUNS}/*", "workspaceRun.failureReason", "command_exit"),
    },
)
def rule_s11_bad_content_ends_the_run(server: Target) -> None:
    """An archive that is no gzip passes the upload; the run ends `failed` with `archive_invalid`."""
    data, run_id = b"no gzip at all", server.base.create()["id"]
    expect(server.upload(run_id, data), 200)
    expect(server.base.post(f"{RUNS}/{run_id}/start"), 200)
    server.base.finished(run_id)
    run = expect(server.get(f"{RUNS}/{run_id}"), 200)["workspaceRun"]
    must((run["status"], run["failureReason"]) == ("failed", "archive_invalid"), f"{run}")


@rule("11", broken_by={"204 for everybody": mutants.instead("GET **/events", 204)})
def rule_s11_only_browsers_get_204(server: Target) -> None:
    """A plain `afterSeq` behind `terminal` sends `terminal` again and closes."""
    events = stream_events(server.stream(samples.finished(server)["id"], "stream=true&afterSeq=9000"))
    must([event["type"] for event in events] == ["terminal"], f"{events}")


@rule(
    "11",
    broken_by={
        "a head is no answer": Mutation(
            request=lambda r: mutants.made(405, {"error": {}}, {}) if "%" in r.path else None
        )
    },
)
def rule_s11_malformed_requests_are_refused_in_the_envelope(server: Target) -> None:
    """What is no HTTP, and escapes that are no UTF-8, are 4xx in the envelope and never a 500."""
    for raw in (b"GET /v1/projects HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n", b"\0\0\r\n\r\n"):
        with server.connect() as connection:
            connection.send(raw)
            refused(connection.answer(), 400, "invalid_request")
    for path in ("%ff", "%00", "a%2Fb", "%E2%80%A8"):
        answer = server.get(f"{RUNS}/{path}")
        must(400 <= answer.status < 500, f"{path} is {answer.status}")
        refused(answer, answer.status, "not_found", "invalid_request")


@rule("11", broken_by={"the rest is lost": mutants.header("PUT **/archive", "connection", "close")})
def rule_s11_a_refused_upload_leaves_the_connection(server: Target) -> None:
    """Behind a refused and drained upload the same connection answers the next request."""
    data = archive()
    path = f"{RUNS}/{samples.finished(server)['id']}/archive"
    headers = {
        **server.headers(x_crownest_archive_sha256="0" * 64, x_crownest_archive_size="5"),
        "content-length": str(len(data)),
    }
    with server.connect() as connection:
        connection.send(request_bytes("PUT", path, headers, data))
        refused(connection.answer(), 409, "upload_conflict")
        connection.send(request_bytes("GET", "/v1/projects", server.headers()))
        expect(connection.answer(), 200)


@rule("11", broken_by={"nothing is sent at first": mutants.framed(lambda _: b"")})
def rule_s11_streams_begin_at_once(server: Target) -> None:
    """The head and the stored events of a stream come before anything new happens."""
    path = f"{RUNS}/{samples.waiting(server)['id']}/events?stream=true"
    with server.streaming(path) as (_, pieces, connection):
        must(isinstance(connection, Connection), "no connection")
        first, deadline = b"", time.monotonic() + server.patience_s
        while b"\n\n" not in first or first.startswith(b":"):
            must(time.monotonic() < deadline, "no stored event came")
            first += next(pieces)
    must(b"event: status" in first, f"the stream begins with {first[:80]!r}")
