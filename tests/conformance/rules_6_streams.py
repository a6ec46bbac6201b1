"""CONTRACT §6.3 to §6.5: event streams, and how they are resumed."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.conformance import mutants, samples
from tests.conformance.proxy import Mutation
from tests.conformance.registry import rule
from tests.conformance.target import Json, Target, expect, foreign, frames, must, refused, stream_events

EVENTS = "GET **/events"
NDJSON = "application/x-ndjson"
CHUNK_BYTES_MAX = 64 * 1024


def _path(server: Target) -> str:
    return f"/v1/workspace-runs/{samples.finished(server)['id']}/events"


def _last(server: Target) -> int:
    seq: int = samples.events(server)[-1]["seq"]
    return seq


def _without_line(name: bytes) -> Mutation:
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
            lambda r: replace(
                r, headers=tuple(h for h in r.headers if h[0] != "last-event-id" or "afterSeq" not in r.path)
            ),
        ),
        "a browser goes on for ever": mutants.asking(
            EVENTS,
            lambda r: replace(
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


@rule(
    "6.4",
    broken_by={
        "a stream that tells the error": mutants.instead(EVENTS, 200, content_type="text/event-stream")
    },
)
def rule_6_4_errors_come_before_the_stream(server: Target) -> None:
    """A stream that cannot be is a structured error, and no stream."""
    path = f"/v1/workspace-runs/{foreign('wsr')}/events?stream=true"
    refused(server.get(path, accept="text/event-stream"), 404, "not_found")


@rule(
    "6.4",
    broken_by={
        "events are lost between": mutants.framed(lambda frame: b"" if b"id: 5\n" in frame else frame)
    },
)
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
