"""CONTRACT §6.1 and §6.2: the union of events, the JSON page and NDJSON."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.conformance import mutants, samples
from tests.conformance.proxy import Mutation
from tests.conformance.registry import rule
from tests.conformance.target import Target, expect, must, refused, stream_events

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


def _of_type(kind: str, field: str) -> Mutation:
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
    """A seq is an integer, 1 for the first event, and strictly increasing."""
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
        must(
            expect(server.get(f"{path}?afterSeq={after}"), 200)["data"][0]["seq"] == first, f"behind {after}"
        )
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


@rule(
    "6.2", broken_by={"everything is accepted": mutants.instead(EVENTS, 200, {"data": [], "hasMore": False})}
)
def rule_6_2_limits_of_the_query(server: Target) -> None:
    """`limit` outside of 1..500 and a negative or malformed `afterSeq` are 400."""
    for bad in (
        "limit=0",
        "limit=501",
        "limit=x",
        "afterSeq=-1",
        "afterSeq=1.5",
        "afterSeq=x",
        "stream=maybe",
    ):
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


@rule(
    "6.2",
    broken_by={
        "NDJSON stops at 100": Mutation(
            request=lambda r: (
                replace(r, path=f"{r.path}?limit=100")
                if r.header("accept") == NDJSON and "?" not in r.path
                else None
            )
        )
    },
)
def rule_6_2_ndjson_has_no_page_limit(server: Target) -> None:
    """NDJSON holds all public events through `terminal`, and fewer only if `limit` is given (§11)."""
    path = f"/v1/workspace-runs/{samples.talkative(server)['id']}/events"
    lines = server.get(path, accept=NDJSON).body.splitlines()
    must(len(lines) > 100 and json.loads(lines[-1])["type"] == "terminal", f"{len(lines)} lines")
    must(len(server.get(f"{path}?limit=7", accept=NDJSON).body.splitlines()) == 7, "limit is not taken")


@rule(
    "6.2",
    broken_by={
        "stream=true does not follow": mutants.query(
            EVENTS, lambda path: path.replace("stream=true", "stream=false")
        )
    },
)
def rule_6_2_ndjson_follows(server: Target) -> None:
    """NDJSON with `stream=true` follows the run to its end (§11)."""
    run_id = server.base.started("sleep 0.3")
    answer = server.get(f"/v1/workspace-runs/{run_id}/events?stream=true", accept=NDJSON)
    must(json.loads(answer.body.splitlines()[-1])["type"] == "terminal", "it does not follow")
