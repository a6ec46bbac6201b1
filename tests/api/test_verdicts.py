"""Verdicts that the server keeps of the runs that it verified by itself, and what it keeps of failures."""

import asyncio
import errno
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from api import bundles
from api.checking import Checker
from api.limits import ApiLimits
from cli.wiring import log_path
from runs.verdicts import KeptVerdict
from tests.serving import FINISH_S_MAX, Running, serving

T = TypeVar("T")


@pytest.fixture
def checking(tmp_path: Path) -> Iterator[Running]:
    """A server that verifies what is sealed at once."""
    with serving(tmp_path, api=ApiLimits(check_rest=0)) as running:
        yield running


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Running]:
    """A server that verifies nothing unless it is asked."""
    with serving(tmp_path, api=ApiLimits(check_events_max=0)) as running:
        yield running


def done(running: Running, work: Coroutine[Any, Any, T]) -> T:
    """Do this in the server's loop."""
    return asyncio.run_coroutine_threadsafe(work, running.loop).result(FINISH_S_MAX)


def kept(running: Running, run_id: str) -> KeptVerdict | None:
    """The verdict that the server keeps."""
    return done(running, running.server.services.verdicts.of([run_id])).get(run_id)


def failed(running: Running, run: dict[str, Any]) -> list[str]:
    """The organisation's runs whose newest verdict is a failure."""
    return done(running, running.server.services.verdicts.failed_runs(run["orgId"]))


def wait_for(condition: Callable[[], T | None]) -> T:
    """What it answers once that is not None."""
    deadline = time.monotonic() + FINISH_S_MAX
    while (found := condition()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def forge_output(running: Running, run_id: str) -> None:
    """Change the run's output in the database, as an intruder would."""
    with closing(sqlite3.connect(log_path(running.data_dir))) as database:
        ((number,),) = database.execute("SELECT stream_no FROM streams WHERE stream = ?", (run_id,))
        low, high = number << 32, (number + 1) << 32
        ((position, payload),) = database.execute(
            "SELECT position, payload FROM events WHERE type = 'stdout' AND position BETWEEN ? AND ?",
            (low, high),
        ).fetchall()
        forged = bytes(payload).replace(b"honest", b"forged")
        database.execute("UPDATE events SET payload = ? WHERE position = ?", (forged, position))
        database.commit()


def test_a_sealed_run_is_verified_without_being_asked(checking: Running) -> None:
    """The verdict is of all its events; an open run has none."""
    waiting = checking.create()
    run = checking.run("echo honest")
    verdict = wait_for(lambda: kept(checking, run["id"]))
    assert verdict.verdict == "COMPLETE"
    assert verdict.size == done(checking, checking.server.services.store.size(run["id"]))
    assert not verdict.failed
    assert kept(checking, waiting) is None
    assert failed(checking, run) == []


def test_a_disk_that_was_full_leaves_no_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict needs room for a bundle: the run is looked at again once there is some, and not passed over.

    Who asks for the bundle meanwhile is told about the disk, not about a mistake of the program.
    """
    asked = []

    async def refuse(*parts: object) -> bool:
        asked.append(parts)
        raise OSError(errno.ENOSPC, "No space left on device")

    with serving(tmp_path, api=ApiLimits(check_rest=0, check_retry_s=0.05)) as running:
        with monkeypatch.context() as patched:
            patched.setattr(bundles, "_write", refuse)
            refused = running.run("echo a")["id"]
            answer = running.http.get(f"/v1/workspace-runs/{refused}/proof/bundle")
            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
            assert "its disk may be full" in answer.json()["error"]["message"]
            assert wait_for(lambda: len(asked) > 1 or None), "the server has looked as well"
            assert kept(running, refused) is None
        later = running.run("echo b")["id"]
        assert wait_for(lambda: kept(running, later))
        assert kept(running, refused) is not None


def test_a_redaction_is_verified_anew(checking: Running) -> None:
    """The verdict before it was of fewer events."""
    run = checking.run("echo secret")
    before = wait_for(lambda: kept(checking, run["id"]))
    (seq,) = (event["seq"] for event in checking.events(run["id"]) if event["type"] == "stdout")
    body = {"targets": [seq], "reason": "a secret"}
    assert checking.http.post(f"/v1/workspace-runs/{run['id']}/redactions", json=body).status_code == 201
    after = wait_for(
        lambda: found if (found := kept(checking, run["id"])) and found.size > before.size else None
    )
    assert after.verdict == "REDACTED"


def test_a_changed_event_is_found_kept_and_listed_until_it_is_restored(idle: Running) -> None:
    """Whoever asks for a verification has its result kept."""
    run = idle.run("echo honest")
    assert kept(idle, run["id"]) is None
    forge_output(idle, run["id"])
    answer = idle.http.post(f"/v1/workspace-runs/{run['id']}/verify").json()["verdict"]
    verdict = kept(idle, run["id"])
    assert verdict is not None
    assert (verdict.verdict, verdict.seq, verdict.code) == ("FAILED", answer["seq"], answer["code"])
    assert verdict.failed
    assert failed(idle, run) == [run["id"]]
    with closing(sqlite3.connect(log_path(idle.data_dir))) as database:
        database.execute(
            "UPDATE events SET payload = CAST(replace(payload, 'forged', 'honest') AS BLOB) "
            "WHERE type = 'stdout'"
        )
        database.commit()
    idle.http.post(f"/v1/workspace-runs/{run['id']}/verify")
    assert failed(idle, run) == []


def test_a_witness_that_is_late_is_no_changed_record(idle: Running) -> None:
    """A quorum that is not there yet is kept with its reason, and not among the failures."""
    run = idle.run("true")
    late = {"verdict": "FAILED", "code": "E_WITNESS_QUORUM", "seq": None}
    done(idle, idle.server.services.verdicts.keep(run["orgId"], run["id"], 9, late))
    verdict = kept(idle, run["id"])
    assert verdict is not None
    assert not verdict.failed
    assert failed(idle, run) == []


def test_checking_goes_on_where_it_was_and_passes_over_what_is_too_much(idle: Running) -> None:
    """Its place is kept; of a long backlog only the newest entries are looked at."""
    first, second = idle.run("echo 1"), idle.run("echo 2")
    services = idle.server.services
    wait_for(lambda: services.sequencer.published.size >= 5 or None)
    object.__setattr__(services, "limits", ApiLimits(check_backlog_max=2))
    checker = Checker(services)
    while done(idle, checker.check_next()):
        pass
    assert kept(idle, first["id"]) is None
    assert kept(idle, second["id"]) is not None
    assert done(idle, Checker(services).check_next()) is False
