"""The client follows event streams across everything that networks and servers do to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.api import CrownestClient
from client.errors import ApiError, BadAnswer, ClientError, ConnectionFailed, StreamInterrupted
from client.follow import RECONNECT_DELAYS_MS, follow
from client.shapes import Event
from client.transport import BodyLimits, Timeouts
from tests.cli.recording_server import (
    DROP,
    RUN_ID,
    RecordingServer,
    Reply,
    event,
    frame,
    refusal,
    sse,
    terminal,
    with_run_routes,
)

EVENTS = f"/v1/workspace-runs/{RUN_ID}/events"


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    """A server with the routes of one run."""
    with with_run_routes(RecordingServer()).serving() as running:
        yield running


@pytest.fixture
def client(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[CrownestClient]:
    """A client that does not really wait between reconnects."""
    monkeypatch.setattr("client.follow.RECONNECT_DELAYS_MS", (0, 0, 0, 0, 0))
    with CrownestClient(server.url, "cn_test") as connected:
        yield connected


def seqs(events: Iterator[Event]) -> list[int]:
    """The seqs in the order of arrival."""
    return [e["seq"] for e in events]


def test_a_stream_is_asked_for_as_the_contract_says_and_ends_at_terminal(
    server: RecordingServer, client: CrownestClient
) -> None:
    """No afterSeq at the start, no gzip, and nothing is read past `terminal` (CONTRACT §6.3)."""
    server.streams(sse(event(1, "stdout", data="a"), terminal(2), event(3, "stdout", data="never")))
    assert seqs(client.stream_events(RUN_ID)) == [1, 2]
    request = server.last("GET", EVENTS)
    assert request.query == {"stream": "true"}
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["accept-encoding"] == "identity"


def test_comments_ids_retries_and_empty_frames_carry_nothing(
    server: RecordingServer, client: CrownestClient
) -> None:
    """Keepalives are comments (CONTRACT rule 3)."""
    noise = b": ka\n\nretry: 1\n\nid: 99\n\n: ka\n\n"
    server.streams(sse(noise, event(1, "stdout", data="a"), noise, terminal(2)))
    assert seqs(client.stream_events(RUN_ID)) == [1, 2]


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 400), text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_frames_may_be_cut_anywhere(cut: int, text: str) -> None:
    """Chunk borders fall inside characters, lines and frames; U+2028 does not end a line."""
    data = event(1, "stdout", data=text)
    raw = f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode() + frame(terminal(2))
    server = with_run_routes(RecordingServer())
    server.streams(sse(raw[:cut] or b":\n", raw[cut:] or b":\n"))
    with server.serving(), CrownestClient(server.url, "k") as client:
        first, last = client.stream_events(RUN_ID)
    assert (first["data"], last["type"]) == (text, "terminal")


def test_after_a_drop_it_resumes_behind_the_last_event_and_repeats_nothing(
    server: RecordingServer, client: CrownestClient
) -> None:
    """Half a frame does not count; a server that sends too much again is filtered (CONTRACT §6.4)."""
    server.streams(
        sse(event(1, "stdout", data="a"), event(2, "stdout", data="b"), frame(event(3, "stdout"))[:-9], DROP),
        sse(event(2, "stdout", data="b"), event(3, "stdout", data="c"), terminal(4)),
    )
    assert seqs(client.stream_events(RUN_ID)) == [1, 2, 3, 4]
    assert [r.query.get("afterSeq") for r in server.requests] == [None, "2"]


def test_a_heartbeat_never_moves_the_resume_point(server: RecordingServer, client: CrownestClient) -> None:
    """With seq 0 it would make output appear again and again (CONTRACT rule 3)."""
    server.streams(
        sse(event(1, "stdout", data="a"), event(0, "heartbeat"), event(900, "heartbeat"), DROP),
        sse(terminal(2)),
    )
    assert seqs(client.stream_events(RUN_ID)) == [1, 0, 900, 2]
    assert server.requests[1].query["afterSeq"] == "1"


def test_the_budget_is_five_reconnects_and_starts_anew_with_each_new_event(
    server: RecordingServer, client: CrownestClient
) -> None:
    """The ladder of CONTRACT §6.4: only progress earns new attempts."""
    server.streams(sse(DROP), sse(event(1, "stdout"), DROP), sse(DROP))
    with pytest.raises(StreamInterrupted) as caught:
        seqs(client.stream_events(RUN_ID))
    assert caught.value.last_seq == 1
    assert len(server.requests) == 2 + len(RECONNECT_DELAYS_MS)


def test_the_waits_are_those_of_the_ladder() -> None:
    """250, 500, 1000, 2000, 4000 ms, and from the start again after progress."""
    waits: list[float] = []
    scripts = [[], [], [1], [], [], [], [], []]

    @contextmanager
    def open_stream(_: int) -> Iterator[Iterator[Event]]:
        yield iter([{"type": "stdout", "seq": seq} for seq in scripts.pop(0)])  # type: ignore[misc]  # a scripted stand-in for the stream

    with pytest.raises(StreamInterrupted):
        list(follow(open_stream, sleep=waits.append))
    assert waits == [0.25, 0.5, 0.25, 0.5, 1.0, 2.0, 4.0]


def test_a_refusal_is_final_even_when_reconnecting(server: RecordingServer, client: CrownestClient) -> None:
    """A structured error stops at once (CONTRACT §6.4)."""
    server.streams(sse(event(1, "stdout"), DROP), refusal("not_found", "Gone.", 404))
    with pytest.raises(ApiError, match="Gone"):
        seqs(client.stream_events(RUN_ID))
    assert len(server.requests) == 2


def test_a_gateway_error_while_the_server_restarts_is_survived(
    server: RecordingServer, client: CrownestClient
) -> None:
    """A proxy's page is not the server's refusal; but it is one when it comes first."""
    server.streams(sse(event(1, "stdout"), DROP), Reply(502, b"<html>"), sse(terminal(2)))
    assert seqs(client.stream_events(RUN_ID)) == [1, 2]
    server.streams(Reply(502, b"<html>"))
    with pytest.raises(ApiError):
        seqs(client.stream_events(RUN_ID))


def test_an_error_event_ends_the_stream_with_its_code(
    server: RecordingServer, client: CrownestClient
) -> None:
    """CONTRACT §6.1."""
    server.streams(sse(event(1, "stdout"), event(2, "error", code="stream_gap", message="Events are gone.")))
    with pytest.raises(ApiError, match="Events are gone") as caught:
        seqs(client.stream_events(RUN_ID))
    assert (caught.value.code, caught.value.status) == ("stream_gap", None)


def test_without_reconnect_an_early_end_is_told_at_once(
    server: RecordingServer, client: CrownestClient
) -> None:
    """What run-archive builds on (CONTRACT rule 6)."""
    server.streams(sse(event(5, "stdout")))
    with pytest.raises(StreamInterrupted, match="after event 5"):
        seqs(client.stream_events(RUN_ID, reconnect=False))
    assert len(server.requests) == 1


def test_a_finished_run_read_from_its_end_still_ends(server: RecordingServer, client: CrownestClient) -> None:
    """The server sends `terminal` again, with a seq that is not new."""
    server.streams(sse(terminal(9)))
    assert seqs(client.stream_events(RUN_ID, after_seq=9)) == [9]
    assert server.last("GET", EVENTS).query["afterSeq"] == "9"


@pytest.mark.parametrize(
    "raw",
    [
        b"data: {not json}\n\n",
        b"data: [1]\n\n",
        b'data: {"seq":1}\n\n',
        b'data: {"type":"stdout","seq":"1"}\n\n',
        b'data: {"type":"stdout","seq":true}\n\n',
        b'data: {"type":"terminal","seq":1}\n\n',
        b"data: " + b"[" * 50_000 + b"\n\n",
    ],
)
def test_a_frame_that_is_no_event_is_a_bad_answer(
    server: RecordingServer, client: CrownestClient, raw: bytes
) -> None:
    """Never skipped silently, never a bare exception, never a reconnect loop."""
    server.streams(sse(raw))
    with pytest.raises(BadAnswer):
        seqs(client.stream_events(RUN_ID))
    assert len(server.requests) == 1


@pytest.mark.parametrize("raw", [b"data: " + b"x" * 5_000, b"data: x\n" * 1_000, b":" + b"x" * 5_000])
def test_an_endless_line_or_frame_is_refused(server: RecordingServer, raw: bytes) -> None:
    """Memory is bounded whatever the server sends."""
    server.streams(sse(raw, b"\n\n", terminal(1)))
    with (
        CrownestClient(server.url, "k", limits=BodyLimits(event_bytes_max=2_000)) as client,
        pytest.raises(BadAnswer, match="2000 byte limit"),
    ):
        seqs(client.stream_events(RUN_ID))


def test_an_answer_that_is_no_event_stream_is_refused(
    server: RecordingServer, client: CrownestClient
) -> None:
    """A login page with status 200 is not a run without output."""
    server.streams(Reply(200, b"<html>", {"content-type": "text/html"}))
    with pytest.raises(BadAnswer, match="text/event-stream"):
        seqs(client.stream_events(RUN_ID))


def test_silence_is_a_drop_and_the_first_connection_is_not_retried(server: RecordingServer) -> None:
    """Servers send something every 10 to 15 s (CONTRACT rule 6); a dead one is noticed."""
    server._http.shutdown()
    server._http.server_close()
    with (
        CrownestClient(server.url, "k", timeouts=Timeouts(stream_read_s=0.2)) as client,
        pytest.raises(ConnectionFailed),
    ):
        seqs(client.stream_events(RUN_ID))


def test_a_resumed_stream_waits_for_a_server_that_is_away() -> None:
    """It stood before, so nothing answering is a drop like any other."""
    waits: list[float] = []
    answers: list[Exception | None] = [ConnectionFailed("refused", "http://x", "gone")] * 3 + [None]

    @contextmanager
    def open_stream(_: int) -> Iterator[Iterator[Event]]:
        if (failure := answers.pop(0)) is not None:
            raise failure
        yield iter([{"type": "terminal", "seq": 9}])  # type: ignore[misc]  # a scripted stand-in for the stream

    assert seqs(follow(open_stream, 8, resuming=True, sleep=waits.append)) == [9]
    assert waits == [0.25, 0.5, 1.0]


def test_every_way_of_failing_is_a_client_error() -> None:
    """Callers catch one class."""
    for error in (ApiError, BadAnswer, ConnectionFailed, StreamInterrupted):
        assert issubclass(error, ClientError)
