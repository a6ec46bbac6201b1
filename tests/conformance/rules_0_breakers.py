"""CONTRACT §0: the fifteen rules that break real clients when missed."""

from __future__ import annotations

import time
from dataclasses import replace
from urllib.parse import urlencode

from tests.conformance import mutants, samples
from tests.conformance.proxy import Mutation
from tests.conformance.registry import rule
from tests.conformance.target import (
    Target,
    announced,
    archive,
    expect,
    foreign,
    frames,
    fresh,
    must,
    refused,
    stream_events,
)
from tests.conformance.wire import request_bytes

RUN = "/v1/workspace-runs/*"
LARGE = bytes(4 * 1024 * 1024)
RAW = tuple(character.encode() for character in "\u0085\u2028\u2029")


def _stored_stream(server: Target) -> bytes:
    return server.stream(samples.finished(server)["id"])


@rule("0.1", broken_by={"CRLF": mutants.framed(lambda frame: frame.replace(b"\n", b"\r\n"))})
def rule_01_sse_lines_end_in_bare_lf(server: Target) -> None:
    """SSE lines end in a bare LF and frames in LF LF; CR never occurs."""
    data = _stored_stream(server)
    must(b"\r" not in data, "the stream holds CR")
    must(data.endswith(b"\n\n"), "the last frame does not end in LF LF")


@rule(
    "0.2",
    broken_by={
        "raw U+2028": mutants.framed(lambda frame: frame.replace(rb"\u2028", "\u2028".encode())),
        "raw U+0085": mutants.framed(lambda frame: frame.replace(rb"\u0085", "\u0085".encode())),
        "JSON over several data lines": mutants.framed(
            lambda frame: frame.replace(b'","', b'",\ndata: "') if b'"stdout"' in frame else frame
        ),
        "two events in a frame": mutants.framed(
            lambda frame: frame[:-1] + b"data: {}\n\n" if b"event: stdout" in frame else frame
        ),
    },
)
def rule_02_one_data_line_of_one_json_object(server: Target) -> None:
    """A frame has one `data:` line with one JSON object; U+0085, U+2028 and U+2029 are escaped."""
    data = _stored_stream(server)
    for raw in RAW:
        must(raw not in data, f"{raw.decode()!r} stands unescaped in the stream")
    for frame in frames(data):
        lines = [line for line in frame.decode().splitlines() if line.startswith("data:")]
        must(len(lines) == 1, f"{len(lines)} data lines in one frame: {frame[:200]!r}")
    printed = "".join(event.get("data", "") for event in stream_events(data) if event["type"] == "stdout")
    must(samples.SEPARATORS in printed, "the output lost what is escaped")


def _heartbeat(fields: str) -> Mutation:
    seen = b"0"

    def change(frame: bytes) -> bytes:
        nonlocal seen
        if frame.startswith(b"id: "):
            seen = frame.split(b"\n")[0][4:]
        if not frame.startswith(b":"):
            return frame
        return b'data: {"type":"heartbeat"%b,"createdAt":"x"}\n\n' % fields.encode().replace(b"LAST", seen)

    return mutants.framed(change)


@rule(
    "0.3",
    broken_by={"heartbeat with seq 0": _heartbeat(',"seq":0'), "heartbeat without seq": _heartbeat("")},
)
def rule_03_heartbeats_never_move_the_resume_point(server: Target) -> None:
    """A heartbeat event carries the last seq that was sent; a comment carries none."""
    last = 0
    for frame in _live_frames(server):
        for event in [] if frame.startswith(b":") else stream_events(frame + b"\n\n"):
            must(isinstance(event.get("seq"), int), f"{event['type']} without seq")
            must(event["type"] != "heartbeat" or event["seq"] == last, f"a heartbeat with seq {event['seq']}")
            last = event["seq"]


def _live_frames(server: Target) -> list[bytes]:
    """The frames of a silent run's stream up to two signs of life that are no durable event."""
    run_id = server.base.started("sleep 60")
    server.base.finished(run_id, "running")
    signs, data, found = 0, b"", list[bytes]()
    try:
        with server.streaming(f"/v1/workspace-runs/{run_id}/events?stream=true") as (_, pieces, _connection):
            for piece in pieces:
                *whole, data = (data + piece).split(b"\n\n")
                found += whole
                signs += sum(frame.startswith(b":") or b'"heartbeat"' in frame for frame in whole)
                if signs >= 2:
                    return found
    finally:
        server.base.post(f"/v1/workspace-runs/{run_id}/cancel")
    raise ValueError("the stream of a running run ended")


@rule("0.4", broken_by={"an earlier event again": mutants.repeats(2)})
def rule_04_no_lower_seq_on_one_connection(server: Target) -> None:
    """No event has a lower seq than one already sent on the connection."""
    seqs = [event["seq"] for event in stream_events(_stored_stream(server))]
    must(seqs == sorted(set(seqs)), f"the seqs of the stream are {seqs}")


@rule("0.5", broken_by={"held open after terminal": mutants.stays_open()})
def rule_05_the_stream_closes_after_terminal(server: Target) -> None:
    """The response ends right behind `terminal`, stored or live."""
    for run_id in (samples.finished(server)["id"], server.base.started("true")):
        must(stream_events(server.stream(run_id))[-1]["type"] == "terminal", "terminal is not the last event")


@rule(
    "0.6",
    broken_by={
        "no sign of life": mutants.framed(lambda frame: b"" if frame.startswith(b":") else frame),
        "ends before terminal": mutants.ends_early(b'"running"'),
    },
)
def rule_06_the_stream_stays_open_and_alive(server: Target) -> None:
    """The stream lives as long as the run, and sends something at least every 15 s."""
    must(len(_live_frames(server)) > 2, "the stream sent nothing")
    events = stream_events(server.stream(server.base.started("sleep 0.3")))
    must(events[-1]["type"] == "terminal", "the stream of a live run ended before terminal")


@rule(
    "0.7",
    broken_by={
        "FastAPI's 404": mutants.body("GET /v1/no-such-route", b'{"detail":"Not Found"}', mutants.is_error),
        "FastAPI's 405": mutants.body("PATCH **", b'{"detail":"Method Not Allowed"}', mutants.is_error),
        "FastAPI's 422": mutants.setting("POST **", "error", [{"loc": ["body"]}], mutants.is_error),
        "an empty 401": mutants.body("GET /v1/projects", b"", mutants.is_error),
        "no code": mutants.without("GET **", "error.code", when=mutants.is_error),
        "no message": mutants.without("POST **", "error.message", when=mutants.is_error),
    },
)
def rule_07_every_error_has_the_envelope(server: Target) -> None:
    """Every non-2xx body is `{"error":{code,message,details?}}`, the framework's own as well."""
    refused(server.get("/v1/no-such-route"), 404, "not_found")
    refused(server.get(f"/v1/workspace-runs/{foreign('wsr')}"), 404, "not_found")
    refused(server.call("PATCH", "/v1/workspace-runs", {}), 405)
    refused(server.post("/v1/workspace-runs", b"{", content_type="application/json"), 400, "invalid_request")
    refused(server.post("/v1/workspace-runs", b" " * 2**21, content_type="application/json"), 413)
    refused(server.post("/v1/workspace-runs", {"command": 1}), 400, "invalid_request")
    refused(server.get("/v1/projects", authorization=""), 401)
    with server.connect() as connection:
        connection.send(b"NO HTTP\r\n\r\n")
        refused(connection.answer(), 400, "invalid_request")


@rule(
    "0.8",
    broken_by={
        "204 on DELETE": mutants.empty("DELETE /v1/artifacts/*"),
        "204 on DELETE of a sandbox": mutants.empty("DELETE /v1/sandboxes/*"),
        "204 on cancel": mutants.empty("POST **/cancel"),
        "an empty 200 on start": mutants.empty("POST **/start", 200),
    },
)
def rule_08_every_2xx_has_a_json_body(server: Target) -> None:
    """No 2xx of a JSON route is empty, DELETE and cancel included."""
    run = server.base.run("echo x > x", artifacts=[{"path": "x"}])
    run_id = server.base.uploaded()
    for answer in (
        server.post(f"/v1/workspace-runs/{run_id}/start"),
        server.post(f"/v1/workspace-runs/{run_id}/cancel"),
        server.post(f"/v1/artifacts/{run['artifactIds'][0]}/download-url"),
        server.delete(f"/v1/artifacts/{run['artifactIds'][0]}"),
        server.delete(f"/v1/sandboxes/{run['sandboxId']}"),
    ):
        must(isinstance(expect(answer, 200), dict), "the body is no object")


@rule("0.9", broken_by={"no sandboxId": mutants.without("POST **/start", "workspaceRun.sandboxId")})
def rule_09_start_answers_the_sandbox_id(server: Target) -> None:
    """`workspaceRun.sandboxId` is there when `start` answers."""
    run = expect(server.post(f"/v1/workspace-runs/{server.base.uploaded()}/start"), 200)["workspaceRun"]
    must(run["sandboxId"].startswith("sbx_"), f"sandboxId is {run['sandboxId']!r}")


@rule(
    "0.10",
    broken_by={
        "the transfer takes any size": mutants.asking(
            f"POST {RUN}/archive-transfer",
            lambda request: replace(request, body=b'{"sha256":"%b","sizeBytes":5}' % (b"a" * 64)),
        ),
        "no details": mutants.without(f"POST {RUN}/archive-transfer", "error.details", when=mutants.is_error),
        "the staged PUT judges the bytes": mutants.instead(
            f"PUT {RUN}/archive-transfer/*", 400, {"error": {"code": "upload_checksum_mismatch"}}
        ),
    },
)
def rule_10_bad_archives_are_refused_outside_of_the_put(server: Target) -> None:
    """A bad archive is refused when the transfer is created or finalized, with details."""
    run_id, data = server.base.create()["id"], archive()
    path = f"/v1/workspace-runs/{run_id}"
    too_large = server.post(f"{path}/archive-transfer", {"sha256": "a" * 64, "sizeBytes": 2**40})
    must(refused(too_large, 413, "file_too_large").get("details"), "413 without details")
    transfer = expect(server.post(f"{path}/archive-transfer", announced(data)), 201)["transfer"]
    must(server.put(transfer["uploadUrl"], b"x" * len(data)).status == 204, "the staged PUT judged the bytes")
    answer = server.post(f"{path}/archive/finalize", {"uploadId": transfer["id"], **announced(data)})
    must(refused(answer, 400, "upload_checksum_mismatch").get("details"), "the refusal has no details")


@rule(
    "0.10",
    broken_by={
        "refused before it was read": mutants.early(f"PUT {RUN}/archive-transfer/*", 404, {"error": {}})
    },
)
def rule_10_the_staged_put_drains_its_body(server: Target) -> None:
    """Whatever the staged PUT answers, it has read the body before."""
    transfer = samples.open_transfer(server)
    elsewhere = transfer["uploadUrl"].replace(transfer["id"], foreign("upl"))
    refused(server.put(elsewhere, LARGE), 404, "upload_not_found")
    refused(server.put(transfer["uploadUrl"], LARGE, authorization=""), 401)


@rule(
    "0.11",
    broken_by={
        "307 for a trailing slash": mutants.instead("GET /v1/*/", 307, location="/v1/projects"),
        "307 for a missing slash": mutants.instead(
            "GET /v1/workspace-runs", 307, location="/v1/workspace-runs/"
        ),
    },
)
def rule_11_no_redirects(server: Target) -> None:
    """No route answers a redirect, trailing slashes included."""
    for path in ("/v1/projects", "/v1/workspace-runs", "/v1/sandboxes", "/v1", "/"):
        for asked in (path, f"{path.rstrip('/')}/"):
            must(server.get(asked).status // 100 != 3, f"{asked} redirects")
    must(server.post("/v1/workspace-runs/", {"command": "true"}).status // 100 != 3, "POST redirects")


def _cut(path: str) -> str:
    return path.replace("metadata.agent.id", "metadata.agent").replace(
        "metadata.crabbox.repo", "metadata.crabbox"
    )


@rule(
    "0.12",
    broken_by={
        "the key ends at its dot": mutants.query("GET /v1/workspace-runs", _cut),
        "the filter is ignored": mutants.query("GET /v1/workspace-runs", lambda path: path.split("?")[0]),
    },
)
def rule_12_metadata_keys_hold_dots(server: Target) -> None:
    """The key of a filter is everything behind the first `metadata.`."""
    word = fresh()
    run_id = server.base.create(metadata={"agent.id": word, "crabbox.repo": "acme/app"})["id"]
    server.base.create(metadata={"agent.id": "another"})
    query = urlencode({"metadata.agent.id": word, "metadata.crabbox.repo": "acme/app"})
    found = expect(server.get(f"/v1/workspace-runs?{query}"), 200)["data"]
    must([run["id"] for run in found] == [run_id], f"{len(found)} runs for {query}")


@rule(
    "0.13",
    broken_by={
        "oldest first": mutants.setting("GET /v1/workspace-runs", "data", lambda data: data[::-1]),
        "20 on a page": mutants.query("GET /v1/workspace-runs", lambda path: f"{path}&limit=20"),
        "everything at once": mutants.query("GET /v1/workspace-runs", lambda path: f"{path}&limit=500"),
    },
)
def rule_13_lists_are_newest_first(server: Target) -> None:
    """The first page holds the newest 50."""
    many = samples.many(server)
    page = expect(server.get(f"/v1/workspace-runs?metadata.many={many['word']}"), 200)
    must(len(page["data"]) == 50, f"{len(page['data'])} on the default page")
    must([run["id"] for run in page["data"]] == many["ids"][:2:-1], "the newest are not first")
    must(page["hasMore"] is True and page["nextCursor"], "53 runs, and no more behind 50")


@rule(
    "0.14",
    broken_by={"nextSeq is last + 1": mutants.setting("GET **/events", "nextSeq", lambda seq: seq + 1)},
)
def rule_14_next_seq_is_the_last_of_the_page(server: Target) -> None:
    """`nextSeq` is the last seq of the page, so that it can be passed as `afterSeq`."""
    path, after, seen = f"/v1/workspace-runs/{samples.finished(server)['id']}/events", 0, list[int]()
    page = {"hasMore": True}
    deadline = time.monotonic() + server.patience_s * 4
    while page["hasMore"]:
        must(time.monotonic() < deadline, "the pages do not end")
        page = expect(server.get(f"{path}?afterSeq={after}&limit=3"), 200)
        seqs = [event["seq"] for event in page["data"]]
        must(page["nextSeq"] == seqs[-1], f"nextSeq {page['nextSeq']} behind {seqs}")
        after, seen = page["nextSeq"], seen + seqs
    must(seen == list(range(1, len(seen) + 1)), f"the pages hold {seen}")


@rule("0.15", broken_by={"gzip": mutants.zipped()})
def rule_15_event_streams_are_not_compressed(server: Target) -> None:
    """`text/event-stream` comes as it is, whatever the client accepts."""
    path = f"/v1/workspace-runs/{samples.finished(server)['id']}/events?stream=true"
    with server.streaming(path, accept_encoding="gzip, deflate, br, zstd") as (head, pieces, _):
        must(head.header("content-encoding") in {None, "identity"}, "the stream is compressed")
        must(stream_events(b"".join(pieces)), "the stream is empty")


@rule(
    "0.11",
    broken_by={
        "another host's upload": mutants.setting(
            f"POST {RUN}/archive-transfer", "transfer.uploadUrl", "https://elsewhere.invalid/put"
        )
    },
)
def rule_11_upload_urls_stay_on_the_origin(server: Target) -> None:
    """An upload URL is relative or of the API's origin: elsewhere the bearer is not sent (§4.2)."""
    run_id = server.base.create()["id"]
    answer = server.post(f"/v1/workspace-runs/{run_id}/archive-transfer", announced(archive()))
    url = expect(answer, 201)["transfer"]["uploadUrl"]
    must(url.startswith(("/", server.origin)), f"uploadUrl is {url}")


@rule(
    "0.5",
    broken_by={
        "every answer closes": mutants.header("GET /v1/projects", "connection", "close"),
        "a refusal closes": mutants.header("POST **", "connection", "close", mutants.is_error),
    },
)
def rule_05_connections_stay_usable(server: Target) -> None:
    """A connection serves the next request, also behind a refusal whose body was drained."""
    with server.connect() as connection:
        for _ in range(2):
            connection.send(request_bytes("GET", "/v1/projects", server.headers()))
            expect(connection.answer(), 200)
            headers = {**server.headers(content_type="application/json"), "content-length": "1"}
            connection.send(request_bytes("POST", "/v1/workspace-runs", headers, b"{"))
            refused(connection.answer(), 400)
