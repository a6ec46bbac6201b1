"""Replay by seq: pages, Server-Sent Events and NDJSON serve the same stored bytes (CONTRACT §6)."""

import json
import threading

import pytest

from tests.serving import Running, archive

NDJSON = {"accept": "application/x-ndjson"}


@pytest.fixture(scope="module")
def run_id(running: Running) -> str:
    """A finished run with some output."""
    identifier: str = running.run("for i in 1 2 3; do echo line $i; sleep 0.06; done")["id"]
    return identifier


def _frames(body: str) -> list[tuple[int, str, str]]:
    frames = []
    for frame in body.split("\n\n"):
        if not frame or frame.startswith(":"):
            continue
        lines = frame.split("\n")
        assert [line.split(": ", 1)[0] for line in lines] == ["id", "event", "data"]
        number, kind, data = (line.split(": ", 1)[1] for line in lines)
        frames.append((int(number), kind, data))
    return frames


def test_all_framings_carry_the_same_bytes(running: Running, run_id: str) -> None:
    """One payload, made once (PROOF P1.1)."""
    url = f"/v1/workspace-runs/{run_id}/events"
    lines = running.http.get(url, headers=NDJSON).text.splitlines()
    frames = _frames(running.http.get(url, params={"stream": "true"}).text)
    page = running.http.get(url, params={"limit": "500"}).text
    assert [data for _, _, data in frames] == lines
    assert page.startswith('{"data":[' + ",".join(lines) + "]")
    assert [number for number, _, _ in frames] == list(range(1, len(lines) + 1))
    assert frames[-1][1] == "terminal"
    assert "\r" not in page


@pytest.mark.parametrize("name", ["afterSeq", "after_seq"])
def test_paging_by_next_seq_gives_every_event_once(running: Running, run_id: str, name: str) -> None:
    """`nextSeq` is the last event of the page and can be passed back (rule 14)."""
    url = f"/v1/workspace-runs/{run_id}/events"
    after, seen = 0, []
    while True:
        page = running.http.get(url, params={name: str(after), "limit": "2"}).json()
        if not page["data"]:
            assert page == {"data": [], "hasMore": False}
            break
        seen += [event["seq"] for event in page["data"]]
        assert page["nextSeq"] == seen[-1]
        assert page["hasMore"] == (seen[-1] < running.events(run_id)[-1]["seq"])
        after = page["nextSeq"]
    assert seen == list(range(1, len(seen) + 1))


def test_a_stream_from_behind_the_end_sends_terminal_again(running: Running, run_id: str) -> None:
    """Clients take an empty stream for a broken one (§6.4)."""
    last = running.events(run_id)[-1]["seq"]
    for after in (last, last + 1000):
        url = f"/v1/workspace-runs/{run_id}/events"
        frames = _frames(running.http.get(url, params={"stream": "true", "afterSeq": str(after)}).text)
        assert [(number, kind) for number, kind, _ in frames] == [(last, "terminal")]


def test_a_browser_that_has_the_end_is_told_to_stop(running: Running, run_id: str) -> None:
    """`Last-Event-ID` at terminal answers 204; before it, the larger of both wins."""
    url = f"/v1/workspace-runs/{run_id}/events"
    last = running.events(run_id)[-1]["seq"]
    assert (
        running.http.get(url, params={"stream": "true"}, headers={"last-event-id": str(last)}).status_code
        == 204
    )
    body = running.http.get(
        url, params={"stream": "true", "afterSeq": "1"}, headers={"last-event-id": "3"}
    ).text
    assert _frames(body)[0][0] == 4


def test_a_follower_misses_nothing_between_catch_up_and_live(running: Running) -> None:
    """Followers that join at any moment get every event once, in order, and then the end."""
    run_id = running.create("for i in $(seq 40); do echo $i; sleep 0.02; done")
    running.upload(run_id, archive({"a": b""}))
    bodies: dict[int, str] = {}

    def follow(number: int) -> None:
        url = f"/v1/workspace-runs/{run_id}/events"
        bodies[number] = running.http.get(url, params={"stream": "true"}).text

    threads = [threading.Thread(target=follow, args=(number,)) for number in range(6)]
    for thread in threads[:3]:
        thread.start()
    running.http.post(f"/v1/workspace-runs/{run_id}/start")
    running.wait_for_status(run_id, "running")
    for thread in threads[3:]:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [event["seq"] for event in running.events(run_id)]
    for body in bodies.values():
        assert [number for number, _, _ in _frames(body)] == expected


def test_a_reader_that_leaves_mid_stream_disturbs_nobody(running: Running) -> None:
    """The run goes on and ends well."""
    run_id = running.create("for i in $(seq 20); do echo $i; sleep 0.02; done")
    running.upload(run_id, archive({"a": b""}))
    running.http.post(f"/v1/workspace-runs/{run_id}/start")
    url = f"/v1/workspace-runs/{run_id}/events"
    with running.http.stream("GET", url, params={"stream": "true"}) as answer:
        next(answer.iter_raw())
    assert running.finished(run_id)["status"] == "succeeded"


def test_a_silent_stream_is_kept_alive_by_comments(running: Running) -> None:
    """Comments only, never a heartbeat event (rule 3)."""
    run_id = running.create("sleep 1.5")
    running.upload(run_id, archive({"a": b""}))
    running.http.post(f"/v1/workspace-runs/{run_id}/start")
    body = running.http.get(f"/v1/workspace-runs/{run_id}/events", params={"stream": "true"}).text
    assert "\n: ka\n\n" in body
    assert "heartbeat" not in body


def test_ndjson_respects_a_limit_and_follows_when_asked(running: Running, run_id: str) -> None:
    """The whole log without a limit; exactly the limit with one; live with `stream=true`."""
    url = f"/v1/workspace-runs/{run_id}/events"
    whole = running.http.get(url, headers=NDJSON).text.splitlines()
    assert running.http.get(url, headers=NDJSON, params={"limit": "3"}).text.splitlines() == whole[:3]
    assert running.http.get(url, headers=NDJSON, params={"afterSeq": "2"}).text.splitlines() == whole[2:]
    followed = running.http.get(url, headers=NDJSON, params={"stream": "true"})
    assert followed.text.splitlines() == whole
    assert followed.headers["content-type"].startswith("application/x-ndjson")
    assert json.loads(whole[-1])["type"] == "terminal"
