"""The raw log: the bytes that the command wrote, as a file."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.recording_kit import append, batch, finish, out, raw, recorded
from tests.serving import FINISH_S_MAX, Running

HOSTILE = b"<script>alert(1)</script>\xff\xfe\x1b[2J\r\n"


@pytest.fixture
def browser(running: Running) -> Iterator[httpx2.Client]:
    """A browser that is signed in."""
    with httpx2.Client(base_url=running.url, timeout=FINISH_S_MAX) as one:
        one.post("/sign-in", data={"key": running.key}, headers={"sec-fetch-site": "same-origin"})
        yield one


def test_the_raw_log_is_what_was_written_in_order_of_arrival(
    running: Running, browser: httpx2.Client
) -> None:
    """Bytes that are no text included, both streams or one."""
    run_id = recorded(running, batch(1, out("one\n"), raw(HOSTILE, "stderr"), out("two\u2028\n")))
    both = browser.get(f"/workspace-runs/{run_id}/log")
    assert both.content == b"one\n" + HOSTILE + "two\u2028\n".encode()
    assert browser.get(f"/workspace-runs/{run_id}/log?stream=stderr").content == HOSTILE
    assert browser.get(f"/workspace-runs/{run_id}/log?stream=stdout").content == "one\ntwo\u2028\n".encode()
    assert browser.get(f"/workspace-runs/{run_id}/log?stream=other").status_code == 400


def test_the_raw_log_is_never_a_page_of_ours(running: Running, browser: httpx2.Client) -> None:
    """An attachment, of no type that a browser shows, under a policy that allows nothing."""
    run_id = recorded(running, batch(1, raw(HOSTILE)))
    headers = browser.get(f"/workspace-runs/{run_id}/log").headers
    assert headers["content-disposition"] == f'attachment; filename="{run_id}.log"'
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["x-content-type-options"] == "nosniff"


def test_removed_text_is_not_in_the_raw_log(running: Running, browser: httpx2.Client) -> None:
    """The other events are."""
    run_id = recorded(running, batch(1, out("secret\n")), batch(2, out("kept\n")))
    assert finish(running, run_id).status_code == 200
    running.finished(run_id)
    seq = next(event["seq"] for event in running.events(run_id) if event.get("data") == "secret\n")
    body = {"targets": [seq], "reason": "leaked"}
    assert running.http.post(f"/v1/workspace-runs/{run_id}/redactions", json=body).status_code == 201
    assert browser.get(f"/workspace-runs/{run_id}/log").content == b"kept\n"


def test_the_raw_log_of_somebody_elses_run_is_not_there(running: Running, browser: httpx2.Client) -> None:
    """Nor is one for who is signed out."""
    assert browser.get(f"/workspace-runs/wsr_{'a' * 26}/log").status_code == 404
    run_id = recorded(running, batch(1))
    assert append(running, run_id, batch(2, out("x"))).status_code == 200
    with httpx2.Client(base_url=running.url) as stranger:
        path = f"/workspace-runs/{run_id}/log"
        assert stranger.get(path).status_code == 401
        assert stranger.get(path, headers={"accept": "text/html"}).status_code == 303
