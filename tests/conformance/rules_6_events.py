"""CONTRACT §6.1 to §6.5: the union of events, the JSON page, SSE, NDJSON and resuming."""

from __future__ import annotations

import json

from tests.conformance import mutants, samples
from tests.conformance.registry import rule
from tests.conformance.target import Json, Target, expect, foreign, frames, must, refused, stream_events

EVENTS = "GET **/events"
NDJSON = "application/x-ndjson"
CHUNK_BYTES_MAX = 64 * 1024
UNION = {
    "status": ("status",),
    "archive_progress": ("receivedBytes",),
    "stdout": ("data",),
    "stderr": ("data",),
    "artifact_collected": ("artifactId", "path"),
    "artifact_error": ("error",),
    "terminal": ("workspaceRun",),
}


def _path(server: Target) -> str:
    return f"/v1/workspace-runs/{samples.finished(server)['id']}/events"


def _last(server: Target) -> int:
    seq: int = samples.events(server)[-1]["seq"]
    return seq


def _of_type(kind: str, field: str) -> mutants.Mutation:
    """Events of one type lose a field."""
    return mutants.setting(
        EVENTS,
        "data",
        lambda events: [
            {name: value for name, value in event.items() if event["type"] != kind or name != field}
            for event in events
        ],
    )


@rule(
    "6.1",
    broken_by={
        "no createdAt": mutants.without(EVENTS, "data.createdAt"),
        "no type": mutants.without(EVENTS, "data.type"),
        **{
            f"{kind} without {field}": _of_type(kind, field)
            for kind, fields in UNION.items()
            for field in fields
            if kind != "archive_progress"
        },
    },
)
def rule_6_1_the_union(server: Target) -> None:
    """Every event has `type`, `seq`, `createdAt`, and its type's own fields."""
    events = expect(server.get(f"{_path(server)}?limit=500"), 200)["data"]
    for event in events:
        needed = ("type", "seq", "createdAt", *UNION.get(event["type"], ()))
        must(not (missing := [name for name in needed if name not in event]), f"{event} has no {missing}")
    kinds = {event["type"] for event in events}
    must(kinds >= UNION.keys() - {"archive_progress"}, f"the run had only {sorted(kinds)}")


@rule(
    "6.1",
    broken_by={
        "from 0": mutants.setting(EVENTS, "data.seq", lambda seq: seq - 1),
        "strings": mutants.setting(EVENTS, "data.seq", str),
        "a gap": mutants.setting(EVENTS, "data", lambda events: events[:3] + events[4:]),
    },
)
def rule_6_1_seqs_count_from_1(server: Target) -> None:
    """seq is an integer, 1 for the first event, and strictly increasing."""
    seqs = [event["seq"] for event in server.events(samples.finished(server)["id"])]
    must(seqs == list(range(1, len(seqs) + 1)), f"the seqs are {seqs}")


@rule(
    "6.1",
    broken_by={
        "inclusive": mutants.query(EVENTS, lambda path: path.replace("afterSeq=5", "afterSeq=4")),
        "not read": mutants.query(EVENTS, lambda path: path.replace("afterSeq=5", "a=b")),
        "0 is none": mutants.query(EVENTS, lambda path: path.replace("afterSeq=0", "afterSeq=1")),
    },
)
def rule_6_1_after_seq_is_exclusive(server: Target) -> None:
    """`afterSeq` is exclusive in pages and streams, and 0 is from the start."""
    path = _path(server)
    for after, first in ((0, 1), (5, 6)):
        must(expect(server.get(f"{path}?afterSeq={after}"), 200)["data"][0]["seq"] == first, f"behind {after}")
        run_id = samples.finished(server)["id"]
        streamed = stream_events(server.stream(run_id, f"stream=true&afterSeq={after}"))
        must(streamed[0]["seq"] == first, f"the stream behind {after} begins with {streamed[0]['seq']}")


@rule("6.1", broken_by={"no error": mutants.without(EVENTS, "data.error.code")})
def rule_6_1_artifact_errors_are_events(server: Target) -> None:
    """`artifact_error` has `error{code,message,path}`."""
    (event,) = (e for e in server.events(samples.finished(server)["id"]) if e["type"] == "artifact_error")
    must(event["error"].keys() >= {"code", "message", "path"}, f"{event['error']}")


@rule("6.1", broken_by={"no sizeBytes": mutants.setting(EVENTS, "data", lambda d: d[:1] + d[-1:])})
def rule_6_1_archive_progress(server: Target) -> None:
    """One `archive_progress` for each full MiB that arrived."""
    run_id = server.base.create()["id"]
    expect(server.base.upload(run_id, bytes(3 * 1024 * 1024 + 5)), 200)
    told = [event for event in server.events(run_id) if event["type"] == "archive_progress"]
    must([event["receivedBytes"] for event in told] == [2**20, 2 * 2**20, 3 * 2**20], f"{told}")


@rule(
    "6.2",
    broken_by={
        "nextSeq null": mutants.edited(EVENTS, lambda page: {"nextSeq": None, **page}),
        "nextSeq of afterSeq": mutants.edited(EVENTS, lambda page: {"nextSeq": 1, **page}),
        "hasMore true": mutants.setting(EVENTS, "hasMore", True),
    },
)
def rule_6_2_an_empty_page(server: Target) -> None:
    """Behind the end the page is `{"data":[],"hasMore":false}` and nothing else."""
    page = expect(server.get(f"{_path(server)}?afterSeq={_last(server)}"), 200)
    must(page == {"data": [], "hasMore": False}, f"{page}")


@rule(
    "6.2",
    broken_by={
        "hasMore at terminal": mutants.setting(EVENTS, "hasMore", True),
        "never more": mutants.setting(EVENTS, "hasMore", False),
        "no nextSeq": mutants.without(EVENTS, "nextSeq"),
    },
)
def rule_6_2_has_more_concerns_public_events(server: Target) -> None:
    """`hasMore` is false at `terminal`, whatever is stored behind it; a page with events has `nextSeq`."""
    path, last = _path(server), _last(server)
    page = expect(server.get(f"{path}?afterSeq={last - 1}&limit=1"), 200)
    must(page["hasMore"] is False and page["nextSeq"] == last, f"at terminal {page['hasMore']}")
    must(page["data"][0]["type"] == "terminal", "terminal is not the last event")
    must(expect(server.get(f"{path}?limit={last}"), 200)["hasMore"] is False, "more behind the last")
    must(expect(server.get(f"{path}?limit={last - 1}"), 200)["hasMore"] is True, "no more before the last")


@rule("6.2", broken_by={"50 by default": mutants.query(EVENTS, lambda p: p if "?" in p else f"{p}?limit=50")})
def rule_6_2_a_hundred_by_default(server: Target) -> None:
    """A page holds 100 events unless `limit` says otherwise."""
    path = f"/v1/workspace-runs/{samples.talkative(server)['id']}/events"
    page = expect(server.get(path), 200)
    must((len(page["data"]), page["hasMore"]) == (100, True), f"{len(page['data'])} events")
    must(len(expect(server.get(f"{path}?limit=110"), 200)["data"]) == 110, "limit 110 is not taken")


@rule("6.2", broken_by={"everything is accepted": mutants.instead(EVENTS, 200, {"data": [], "hasMore": False})})
def rule_6_2_limits_of_the_query(server: Target) -> None:
    """`limit` outside of 1..500 and a negative or malformed `afterSeq` are 400."""
    for bad in ("limit=0", "limit=501", "limit=x", "afterSeq=-1", "afterSeq=1.5", "afterSeq=x", "stream=maybe"):
        refused(server.get(f"{_path(server)}?{bad}"), 400, "invalid_request")


@rule(
    "6.2",
    broken_by={
        "the seal is shown": mutants.setting(EVENTS, "data", lambda d: [*d, {"type": "seal", "seq": 99}]),
    },
)
def rule_6_2_internal_events_stay_inside(server: Target) -> None:
    """Page, stream and NDJSON end with `terminal`: what is behind it shows in `proof/*` only."""
    run_id = samples.finished(server)["id"]
    kinds = [server.events(run_id)[-1]["type"], stream_events(server.stream(run_id))[-1]["type"]]
    kinds.append(json.loads(server.get(_path(server), accept=NDJSON).body.splitlines()[-1])["type"])
    must(kinds == ["terminal"] * 3, f"they end in {kinds}")


def _without_line(name: bytes) -> mutants.Mutation:
    return mutants.framed(
        lambda frame: b"\n".join(line for line in frame.split(b"\n") if not line.startswith(name))
    )


@rule(
    "6.3",
    broken_by={
        "no id": _without_line(b"id:"),
        "no event": _without_line(b"event:"),
        "another id": mutants.framed(lambda frame: frame.replace(b"id: ", b"id: 1")),
        "another event": mutants.framed(lambda frame: frame.replace(b"event: status", b"event: message")),
        "data first": mutants.framed(lambda f: b"\n".join(reversed(f[:-2].split(b"\n"))) + b"\n\n"),
        "another content type": mutants.header(EVENTS, "content-type", "text/plain"),
    },
)
def rule_6_3_frames_are_id_event_data(server: Target) -> None:
    """`text/event-stream`; a frame is `id`, `event`, `data`, which agree with the event."""
    with server.streaming(f"{_path(server)}?stream=true") as (head, pieces, _):
        kind = (head.header("content-type") or "").partition(";")[0]
        must((head.status, kind) == (200, "text/event-stream"), f"{head.status} {kind}")
        data = b"".join(pieces)
    for frame in frames(data):
        names, values = zip(*(line.split(b": ", 1) for line in frame.split(b"\n")), strict=True)
        must(names == (b"id", b"event", b"data"), f"a frame of {names}")
        event = json.loads(values[2])
        agree = (int(values[0]), values[1].decode()) == (event["seq"], event["type"])
        must(agree, f"{values[0]!r} {values[1]!r} of event {event['seq']} {event['type']}")


@rule(
    "6.3",
    broken_by={
        "another text": mutants.streamed_event(lambda e: {**e, "data": "x"} if "data" in e else e),
        "an event is left out": mutants.streamed_event(lambda e: None if e["type"] == "stderr" else e),
        "a field more": mutants.streamed_event(lambda e: {**e, "streamed": True}),
    },
)
def rule_6_3_all_framings_show_the_same(server: Target) -> None:
    """Page, stream and NDJSON hold the same events."""
    page = samples.events(server)
    must(stream_events(server.stream(samples.finished(server)["id"])) == page, "the stream differs")
    answer = server.get(_path(server), accept=NDJSON)
    must((answer.header("content-type") or "").startswith(NDJSON), "NDJSON is not told")
    must([json.loads(line) for line in answer.body.split(b"\n") if line] == page, "NDJSON differs")


@rule("6.3", broken_by={"Accept is not read": mutants.without_header(EVENTS, "accept")})
def rule_6_3_accept_alone_asks_for_a_stream(server: Target) -> None:
    """`Accept: text/event-stream` streams without `stream=true` as well: browsers can send no more."""
    with server.streaming(_path(server)) as (head, pieces, _):
        must((head.header("content-type") or "").startswith("text/event-stream"), "no event stream")
        must(stream_events(b"".join(pieces))[-1]["type"] == "terminal", "no terminal")


@rule("6.3", broken_by={"limit cuts the stream": mutants.ends_early(b"id: 2\n")})
def rule_6_3_limit_does_not_cut_a_stream(server: Target) -> None:
    """`limit` on a stream is ignored."""
    events = stream_events(server.stream(samples.finished(server)["id"], "stream=true&limit=2"))
    must(events[-1]["type"] == "terminal", f"the stream ends after {len(events)} events")


@rule(
    "6.3",
    broken_by={
        "Last-Event-ID is not read": mutants.without_header(EVENTS, "last-event-id"),
        "afterSeq wins": mutants.asking(
            EVENTS,
            lambda r: mutants.replace(
                r, headers=tuple(h for h in r.headers if h[0] != "last-event-id" or "afterSeq" not in r.path)
            ),
        ),
        "a browser goes on for ever": mutants.asking(
            EVENTS,
            lambda r: mutants.replace(
                r, headers=tuple((n, "1" if n == "last-event-id" and v != "6" else v) for n, v in r.headers)
            ),
        ),
    },
)
def rule_6_3_last_event_id(server: Target) -> None:
    """`Last-Event-ID` resumes, the larger of it and `afterSeq` wins, and at `terminal` it is 204 (§11)."""
    run_id, last = samples.finished(server)["id"], _last(server)
    for query, header, first in (("", 6, 7), ("&afterSeq=3", 6, 7), ("&afterSeq=8", 6, 9)):
        events = stream_events(server.stream(run_id, f"stream=true{query}", last_event_id=str(header)))
        must(events[0]["seq"] == first, f"{query} and {header} begin with {events[0]['seq']}")
    for header in (last, last + 5):
        path = f"{_path(server)}?stream=true"
        with server.streaming(path, last_event_id=str(header)) as (head, _, _connection):
            must(head.status == 204, f"Last-Event-ID {header} is answered {head.status}")


@rule(
    "6.3",
    broken_by={
        "raw bytes": mutants.framed(lambda frame: frame.replace("\ufffd".encode(), b"\xff")),
        "no dataBase64": mutants.streamed_event(
            lambda e: {name: value for name, value in e.items() if name != "dataBase64"}
        ),
        "always dataBase64": mutants.streamed_event(lambda e: {"dataBase64": "", **e}),
    },
)
def rule_6_3_output_is_text(server: Target) -> None:
    """Invalid UTF-8 is replaced in `data`, and stands in `dataBase64` exactly then."""
    events = stream_events(server.stream(samples.finished(server)["id"]))
    for event in events:
        if "data" in event:
            must(("dataBase64" in event) == ("\ufffd" in event["data"]), f"{event}")
    must(any("dataBase64" in event for event in events), "the bytes that are no UTF-8 are lost")


@rule("6.3", broken_by={"one large chunk": mutants.setting(EVENTS, "data.data", lambda d: d and d * 3)})
def rule_6_3_chunks_are_small(server: Target) -> None:
    """An output event holds at most 64 KiB, and characters are not cut in two."""
    run = samples.voluminous(server)
    printed = [event for event in server.events(run["id"]) if event["type"] == "stdout"]
    must(max(len(e["data"].encode()) for e in printed) <= CHUNK_BYTES_MAX, "a chunk over 64 KiB")
    must("".join(event["data"] for event in printed) == "ä" * 100_000, "the text changed")


@rule(
    "6.4",
    broken_by={
        "an empty stream": mutants.framed(lambda _: b""),
        "204": mutants.instead(EVENTS, 204),
    },
)
def rule_6_4_terminal_is_sent_again(server: Target) -> None:
    """`afterSeq` at or past `terminal` streams the stored `terminal` once more, with its seq, and closes."""
    last = _last(server)
    for after in (last, last + 7):
        events = stream_events(server.stream(samples.finished(server)["id"], f"stream=true&afterSeq={after}"))
        must([(e["type"], e["seq"]) for e in events] == [("terminal", last)], f"behind {after}: {events}")


@rule("6.4", broken_by={"a stream that tells the error": mutants.instead(EVENTS, 200, content_type="text/event-stream")})
def rule_6_4_errors_come_before_the_stream(server: Target) -> None:
    """A stream that cannot be is a structured error, and no stream."""
    path = f"/v1/workspace-runs/{foreign('wsr')}/events?stream=true"
    refused(server.get(path, accept="text/event-stream"), 404, "not_found")


@rule("6.4", broken_by={"events are lost between": mutants.framed(
    lambda frame: b"" if b"id: 5\n" in frame else frame)})  # fmt: skip
def rule_6_4_a_live_stream_has_no_gap(server: Target) -> None:
    """From catch-up to live, and from connection to connection, no event is missing or doubled."""
    run_id = server.base.started("for i in 1 2 3 4; do echo $i; sleep 0.12; done")
    seen: list[Json] = []
    path = f"/v1/workspace-runs/{run_id}/events?stream=true"
    with server.streaming(path) as (_, pieces, _connection):
        data = b""
        for piece in pieces:
            data += piece
            if b'"stdout"' in data and data.endswith(b"\n\n"):
                break
    seen += stream_events(data)
    seen += stream_events(server.stream(run_id, f"stream=true&afterSeq={seen[-1]['seq']}"))
    seqs = [event["seq"] for event in seen]
    must(seqs == list(range(1, len(seqs) + 1)) and seen[-1]["type"] == "terminal", f"the seqs are {seqs}")


@rule("6.5", broken_by={"evidence comes later": mutants.instead("GET **/evidence", 404, {"error": {}})})
def rule_6_5_evidence_is_there_at_terminal(server: Target) -> None:
    """When `terminal` arrives the evidence can be read, and `evidenceAvailable` is true."""
    run_id = server.base.started("true")
    terminal = stream_events(server.stream(run_id))[-1]
    expect(server.get(f"/v1/workspace-runs/{run_id}/evidence"), 200)
    must(terminal["workspaceRun"]["evidenceAvailable"] is True, "evidenceAvailable is not true")
    must(samples.waiting(server)["evidenceAvailable"] is False, "evidence of a run that goes on")


@rule(
    "6.2",
    broken_by={
        "NDJSON stops at 100": mutants.Mutation(
            request=lambda r: mutants.replace(r, path=f"{r.path}?limit=100")
            if r.header("accept") == NDJSON and "?" not in r.path
            else None
        )
    },
)
def rule_6_2_ndjson_has_no_page_limit(server: Target) -> None:
    """NDJSON holds all public events through `terminal`, and fewer only if `limit` is given (§11)."""
    path = f"/v1/workspace-runs/{samples.talkative(server)['id']}/events"
    lines = server.get(path, accept=NDJSON).body.splitlines()
    must(len(lines) > 100 and json.loads(lines[-1])["type"] == "terminal", f"{len(lines)} lines")
    must(len(server.get(f"{path}?limit=7", accept=NDJSON).body.splitlines()) == 7, "limit is not taken")


@rule("6.2", broken_by={"stream=true does not follow": mutants.query(
    EVENTS, lambda path: path.replace("stream=true", "stream=false"))})  # fmt: skip
def rule_6_2_ndjson_follows(server: Target) -> None:
    """NDJSON with `stream=true` follows the run to its end (§11)."""
    run_id = server.base.started("sleep 0.3")
    answer = server.get(f"/v1/workspace-runs/{run_id}/events?stream=true", accept=NDJSON)
    must(json.loads(answer.body.splitlines()[-1])["type"] == "terminal", "it does not follow")
