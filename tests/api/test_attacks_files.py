"""Downloads under attack: a bad `Range` gets no other shape of error, and no file stays behind."""

import time

import pytest

from tests.serving import FINISH_S_MAX, Running


@pytest.mark.parametrize("value", ["bytes=abc", "foo", "bytes=0-0,5-6", "items=0-1"])
def test_a_bad_range_is_ignored_whatever_it_says(running: Running, value: str) -> None:
    """The framework would answer a malformed one with plain text (rule 7)."""
    run = running.run("true", artifacts=[{"path": "a.txt"}])
    for path in (
        f"/v1/artifacts/{run['artifactIds'][0]}/download",
        f"/v1/workspace-runs/{run['id']}/proof/bundle",
    ):
        whole, part = running.http.get(path), running.http.get(path, headers={"range": value})
        assert (whole.status_code, part.status_code) == (200, 200)
        assert part.content == whole.content


@pytest.mark.parametrize("value", ["bytes=0-0", "bytes=99999999-"])
def test_a_bundle_has_no_parts(running: Running, value: str) -> None:
    """It was made for one answer: another request's part would be of another file."""
    path = f"/v1/workspace-runs/{running.run('true')['id']}/proof/bundle"
    whole, part = running.http.get(path), running.http.get(path, headers={"range": value})
    assert (part.status_code, part.content) == (200, whole.content)
    assert part.headers["accept-ranges"] == "none"


def test_a_bundle_leaves_no_file_behind(running: Running) -> None:
    """Each one is written for one answer, also for one that asks for an impossible part."""
    run = running.run("true")
    for headers in ({}, {"range": "bytes=abc"}, {"range": "bytes=99999999-"}):
        running.http.get(f"/v1/workspace-runs/{run['id']}/proof/bundle", headers=headers)
    deadline = time.monotonic() + FINISH_S_MAX  # removed behind the last byte, so a moment after we have it
    while left := list(running.server.services.temporary_dir.iterdir()):
        assert time.monotonic() < deadline, f"{left} stay"
        time.sleep(0.02)
