"""Verifying with several processes: the same verdicts, few blocks at a time, and nobody left behind."""

from __future__ import annotations

import errno
import functools
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from evidence.feed import Each, here
from evidence.spans import Span, find_spans
from evidence.verify import verify_bundle
from tests.evidence_samples import (
    HONEST,
    POLICY,
    RUN,
    event_of,
    example,
    example_rows,
    members,
    numbered,
    tamper,
)
from verifier.pool import BLOCKS_PER_JOB, looking

WAIT_S = 30.0
LOG = members(HONEST)["events.log"]

ENDLESS = """
import itertools, sys
from functools import partial
from pathlib import Path
from evidence.spans import find_spans
from verifier.pool import looking

if __name__ == "__main__":
    log = Path(sys.argv[1]).read_bytes()
    try:
        with looking(2) as each:
            for number, _ in enumerate(each(partial(find_spans, sys.argv[2]), itertools.repeat(log))):
                if number == 20:
                    print("going", flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.fixture(scope="module")
def two() -> Iterator[Each]:
    """Two processes for all tests here."""
    with looking(2) as each:
        yield each


def long_run() -> bytes:
    """An open run of some thousand events: several blocks."""
    out = event_of(example_rows()[6]) | {"data": "x" * 600}
    rows = [*example_rows()[:6], *(numbered(out, seq) for seq in range(7, 4_007))]
    return example().bundle(rows=rows, open_prefix=True)


def test_processes_come_to_the_same_verdict(two: Each) -> None:
    """Honest, tampered with in the midst, and cut."""
    whole = long_run()
    log = members(whole)["events.log"]
    place = log.index(b"\n3000\n")
    for change in (
        lambda data: data[:place] + data[place:].replace(b"xxx", b"xyx", 1),
        lambda data: data[:place] + data[place:].replace(b"\nstdout\n", b"\nstderr\n", 1),
        lambda data: data[: -len(data) // 3],
        lambda data: data + data[-1500:],
    ):
        bundle = tamper(whole, "events.log", change)
        expected = verify_bundle(io.BytesIO(bundle), POLICY, allow_open=True, allow_unlogged=True)
        assert expected.exit_code == 1
        assert (
            verify_bundle(io.BytesIO(bundle), POLICY, allow_open=True, allow_unlogged=True, each=two)
            == expected
        )
    for bundle in (whole, HONEST):
        verdict = verify_bundle(io.BytesIO(bundle), POLICY, allow_open=True, allow_unlogged=True, each=two)
        assert verdict.ok
        assert verdict == verify_bundle(io.BytesIO(bundle), POLICY, allow_open=True, allow_unlogged=True)


def test_blocks_are_answered_in_order_and_few_are_taken_ahead(two: Each) -> None:
    """Memory holds a few blocks for each process, however long the log is."""
    taken = answered = 0

    def blocks() -> Iterator[bytes]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield LOG + b"%d" % number

    look = functools.partial(find_spans, RUN)
    for block, spans in two(look, blocks()):
        assert block == LOG + b"%d" % answered
        assert spans == look(block)
        answered += 1
        assert taken - answered < 2 * BLOCKS_PER_JOB
    assert (taken, answered) == (100, 100)


def _die_elsewhere(home: int, block: bytes) -> list[Span]:
    """A look during which every process but one ends."""
    if os.getpid() != home:
        os._exit(9)
    return find_spans(RUN, block)


def test_where_processes_are_killed_this_one_does_the_work() -> None:
    """By an out-of-memory killer, say: the verification goes on."""
    look = functools.partial(_die_elsewhere, os.getpid())
    with looking(2) as each:
        found = list(each(look, [LOG] * 20))
    assert found == list(here(look, [LOG] * 20))
    assert found[0][1]


def test_where_no_process_can_be_started_this_one_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of processes: slower, but no other verdict."""

    def refuse(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(SpawnProcess, "start", refuse)
    with looking(2) as each:
        assert verify_bundle(io.BytesIO(HONEST), POLICY, allow_unlogged=True, each=each).ok


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process group that looks at blocks for ever, with two processes under it."""
    (tmp_path / "log").write_bytes(LOG)
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    with subprocess.Popen(
        [sys.executable, script, tmp_path / "log", RUN],
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"going\n"
        yield process
        process.kill()


def workers_of(pid: int) -> list[int]:
    """The processes of the pool, and whatever else was started for it."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_the_end_of(pids: list[int]) -> None:
    """Until none of them runs (a zombie does not)."""
    deadline = time.monotonic() + WAIT_S
    while running := [pid for pid in pids if _runs(pid)]:
        assert time.monotonic() < deadline, f"{running} outlived the verification"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_ctrl_c_ends_all_processes_quietly(endless: subprocess.Popen[bytes]) -> None:
    """The terminal sends it to the whole group: only the first process tells of it."""
    workers = workers_of(endless.pid)
    assert len(workers) >= 2
    os.killpg(endless.pid, signal.SIGINT)
    _, said = endless.communicate(timeout=WAIT_S)
    assert (endless.returncode, said) == (130, b"")
    wait_for_the_end_of(workers)


def test_processes_end_with_the_one_that_started_them(endless: subprocess.Popen[bytes]) -> None:
    """Even when that one is killed and can tell nobody."""
    workers = workers_of(endless.pid)
    assert len(workers) >= 2
    endless.kill()
    endless.wait(WAIT_S)
    wait_for_the_end_of(workers)
