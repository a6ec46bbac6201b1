"""Usage is the same in whatever order the streams are folded, so a rebuild gives what was counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventstore.log import NewEvent, StoredEvent
from eventstore.views import ViewRow
from evidence.canonical import decode, encode
from evidence.record import format_time, parse_time
from projections.projector import Projections
from projections.usage import OPEN
from tests.unit.test_projections import CREATED, ORG, REQUEST, STEPS, TEMPLATE, Tables, status

BORDER_MS = parse_time("2026-02-01T00:00:00.000Z")
TIMES = st.integers(BORDER_MS - 5000, BORDER_MS + 5000)
RUNS = ("wsr_a", "wsr_b", "wsr_c")
PROJECTS = ("prj_a", "prj_b")


@dataclass(frozen=True)
class Stream:
    """The events of one stream with their times, which never go back."""

    name: str
    events: Sequence[tuple[int, NewEvent]]


def _artifact(run_id: str, size_bytes: int) -> NewEvent:
    collected = next(step for step in STEPS if step.type == "artifact_collected")
    fields = {**collected.fields, "artifactId": f"art_{run_id[4:]}", "sizeBytes": size_bytes}
    return NewEvent("artifact_collected", fields)


@st.composite
def _run_stream(draw: st.DrawFn, run_id: str) -> Stream:
    request = {**REQUEST, "projectId": draw(st.sampled_from(PROJECTS))}
    if draw(st.booleans()):
        request["sandboxId"] = "sbx_warm"
    events = [
        NewEvent("status", {**CREATED.fields, "runId": run_id, "request": request}),
        *STEPS[1:5],
        status("collecting", durationMs=draw(st.integers(0, 10_000)), exitCode=0),
        _artifact(run_id, draw(st.integers(0, 100))),
    ]
    times = sorted(draw(st.lists(TIMES, min_size=len(events), max_size=len(events))))
    length = draw(st.just(len(events)) | st.integers(1, len(events)))
    return Stream(run_id, list(zip(times, events, strict=True))[:length])


def _sandbox(project: str) -> list[NewEvent]:
    made = {"sandboxId": "sbx_w", "projectId": project, "template": TEMPLATE, "metadata": {}, "ttlMs": 1000,
            "expiresAt": format_time(BORDER_MS)}  # fmt: skip
    return [NewEvent("sandbox_created", made)]


def _file(project: str, size_bytes: int) -> list[NewEvent]:
    written = {"sandboxId": "sbx_w", "projectId": project, "sizeBytes": size_bytes}
    return [NewEvent("file_written", written)]


def _command(project: str, number: int, durations_ms: list[int]) -> list[NewEvent]:
    """Its start and its ends: a crash may record a second one, which counts nothing."""
    place = {"commandId": f"cmd_{number}", "sandboxId": "sbx_w", "projectId": project}
    started = {**place, "command": "true", "cwd": "/workspace", "envKeys": [], "timeoutMs": 1}
    ends = [
        NewEvent("command_finished", {**place, "status": "exited", "durationMs": duration_ms})
        for duration_ms in durations_ms
    ]
    return [NewEvent("command_started", started), *ends]


def _preview(project: str, number: int, expires_ms: int, ends: list[str]) -> list[NewEvent]:
    name = {"previewId": f"prv_{number}"}
    made = {**name, "sandboxId": "sbx_w", "projectId": project, "port": 80, "authMode": "token",
            "slug": f"slug{number}", "expiresAt": format_time(expires_ms)}  # fmt: skip
    return [NewEvent("preview_created", made), *(NewEvent(kind, name) for kind in ends)]


def _removal(kind: str, artifact_id: str) -> list[NewEvent]:
    return [NewEvent(kind, {"artifactId": artifact_id})]


PROJECT = st.sampled_from(PROJECTS)
NUMBER = st.integers(0, 10**6)
ENDS = st.lists(st.sampled_from(["preview_revoked", "preview_expired"]), max_size=2)
REMOVALS = st.sampled_from(["artifact_deleted", "artifact_expired"])
LIFE = st.one_of(
    st.builds(_sandbox, PROJECT),
    st.builds(_file, PROJECT, st.integers(0, 500)),
    st.builds(_command, PROJECT, NUMBER, st.lists(st.integers(0, 5000), max_size=2)),
    st.builds(_preview, PROJECT, NUMBER, TIMES, ENDS),
    st.builds(_removal, REMOVALS, st.sampled_from([f"art_{run_id[4:]}" for run_id in RUNS])),
)
"""What happens to one thing, in order."""


@st.composite
def _organization_stream(draw: st.DrawFn) -> Stream:
    lives = draw(st.lists(LIFE, max_size=8, unique_by=_name))
    turns = draw(st.permutations([index for index, life in enumerate(lives) for _ in life]))
    left = [list(life) for life in lives]
    events = [left[index].pop(0) for index in turns]
    times = sorted(draw(st.lists(TIMES, min_size=len(events), max_size=len(events))))
    return Stream(ORG, list(zip(times, events, strict=True)))


def _name(life: list[NewEvent]) -> str:
    """Ids are never reused; everything else may happen again."""
    fields = life[0].fields
    return str(fields.get("commandId") or fields.get("previewId") or id(life))


WORLDS = st.tuples(_organization_stream(), *(_run_stream(run_id) for run_id in RUNS))


def _fold(streams: Sequence[Stream], turns: Sequence[str]) -> dict[tuple[str, str], ViewRow]:
    """The usage rows after each stream's events in order, the streams taking turns as told."""
    tables, projections = Tables(), Projections()
    waiting = {stream.name: list(stream.events) for stream in streams}
    for name in turns:
        at_ms, event = waiting[name].pop(0)
        stored = tables.stored.setdefault(name, [])
        seq = len(stored) + 1
        fields = {**event.fields, "type": event.type, "seq": seq, "createdAt": format_time(at_ms)}
        payload = encode(fields)
        stored.append(payload)
        kept = StoredEvent(seq, event.type, at_ms, payload, bytes(16), len(payload))
        projections.apply(tables, name, [(event, kept)])
    return {key: row for key, row in tables.rows.items() if key[0] == "usage"}


def _in_order(streams: Sequence[Stream]) -> list[str]:
    return [stream.name for stream in streams for _ in stream.events]


@given(WORLDS, st.data())
def test_every_interleaving_of_the_streams_gives_the_same_rows(
    streams: tuple[Stream, ...], data: st.DataObject
) -> None:
    """Also with deletions that are folded before the artifact that they delete."""
    turns = data.draw(st.permutations(_in_order(streams)))
    assert _fold(streams, turns) == _fold(streams, _in_order(streams))


@given(WORLDS)
def test_the_rows_are_what_a_plain_count_of_the_events_gives(streams: tuple[Stream, ...]) -> None:
    """Against sums made without the projection: commands, compute, artifacts that are there; also by day."""
    amounts: dict[tuple[str, str], int] = {}
    by_day: dict[tuple[str, str], int] = {}
    for row in _fold(streams, _in_order(streams)).values():
        doc = decode(row.doc)
        is_day = len(row.parent) == len("2026-01-31")
        # On a day on which more was taken away than was added, less is stored behind it than before.
        assert row.parent == OPEN or doc["amount"] > 0 or (is_day and doc["amount"] < 0)
        sums, key = by_day if is_day else amounts, (doc["projectId"], doc["metric"])
        sums[key] = sums.get(key, 0) + doc.get("amount", 0)
    removed = {event.fields["artifactId"] for _, event in streams[0].events if "artifact_" in event.type}
    for project in PROJECTS:
        own = [
            event for stream in streams for _, event in stream.events if _project_of(stream, event) == project
        ]
        commands = sum(
            event.type == "command_started" or event.fields.get("status") == "running" for event in own
        )
        ends = [event for event in own if "durationMs" in event.fields]
        first_ends = {str(event.fields.get("commandId", id(event))): event for event in reversed(ends)}
        compute_ms = sum(_int(event, "durationMs") for event in first_ends.values())
        stored = sum(
            _int(event, "sizeBytes")
            for event in own
            if event.type == "artifact_collected" and event.fields["artifactId"] not in removed
        )
        assert amounts.get((project, "command_invocations"), 0) == commands
        assert amounts.get((project, "compute_unit_milliseconds"), 0) == compute_ms
        assert by_day.get((project, "compute_unit_milliseconds"), 0) == compute_ms
        assert amounts.get((project, "artifact_bytes_stored"), 0) == stored
        assert by_day.get((project, "artifact_bytes_stored"), 0) == stored


def _int(event: NewEvent, key: str) -> int:
    value = event.fields.get(key, 0)
    assert isinstance(value, int)
    return value


def _project_of(stream: Stream, event: NewEvent) -> object:
    if stream.name == ORG:
        return event.fields.get("projectId")
    request: Any = stream.events[0][1].fields["request"]
    return request["projectId"]


def test_a_preview_over_a_months_border_counts_in_both_and_never_past_its_expiry() -> None:
    """Revoked late and revoked again: its time ends where it expired, and counts once."""
    life = _preview("prj_a", 1, BORDER_MS + 2000, ["preview_expired", "preview_revoked"])
    events = list(zip([BORDER_MS - 3000, BORDER_MS + 9000, BORDER_MS + 9500], life, strict=True))
    rows = _fold([Stream(ORG, events)], [ORG] * len(events))
    found = {row.parent: decode(row.doc)["amount"] for row in rows.values()}
    assert found == {"2026-01": 3000, "2026-02": 2000}
