"""A log that grows, forks and is served as tiles, and witnesses to ask, for the tests of both rooms."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evidence.checkpoint import Checkpoint
from evidence.merkle import CompactRange, consistency_proof, node_hash
from evidence.note import Ed25519Signer, Signer, sign_note, split_note
from evidence.policy import format_policy, parse_policy
from evidence.record import leaf_hash
from evidence.witnessing import ADD_CHECKPOINT, AddCheckpoint, sign_cosignature, signature_lines
from tests.evidence_samples import LOG_KEY
from witness.serving import ServingLimits, WitnessServer
from witness.state import State

WITNESS = str(Path(sys.executable).with_name("crownest-witness"))
WITNESS_NAME = "witness.example/w1"
NOW_S = 1_790_000_000
START_S_MAX = 20.0
POLL_S = 0.02
"""How often a test server looks whether it should stop."""


@dataclass
class GrowingLog:
    """A log in memory: what it signs is what its entries give, at any size."""

    key: Ed25519Signer = LOG_KEY
    entries: list[bytes] = field(default_factory=list[bytes])

    def grow(self, count: int, mark: str = "entry") -> GrowingLog:
        """Append some entries; answers the log."""
        start = len(self.entries)
        self.entries += [f"{mark} {start + number}\n".encode() for number in range(count)]
        return self

    def fork(self, size: int) -> GrowingLog:
        """Another log of the same key that shares the first entries."""
        return GrowingLog(self.key, self.entries[:size])

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        """The checkpoint at a size, else the present one."""
        tree = CompactRange()
        for entry in self.entries[:size]:
            tree.append(leaf_hash(entry))
        return Checkpoint(self.key.name, tree.size, tree.root())

    def note(self, size: int | None = None, *signers: Signer) -> bytes:
        """The signed checkpoint."""
        return sign_note(str(self.checkpoint(size)), *(signers or (self.key,)))

    def subtree(self, level: int, index: int) -> bytes:
        """Root of a full subtree."""
        if level == 0:
            return leaf_hash(self.entries[index])
        return node_hash(self.subtree(level - 1, 2 * index), self.subtree(level - 1, 2 * index + 1))

    def proof(self, old: int, new: int) -> list[bytes]:
        """The consistency proof between two sizes; empty from nothing."""
        return consistency_proof(old, new, self.subtree) if 0 < old < new else []

    def request(self, old: int, new: int | None = None, *signers: Signer) -> bytes:
        """The body of add-checkpoint."""
        size = len(self.entries) if new is None else new
        proof = tuple(self.proof(old, size)) if old <= size else ()
        return AddCheckpoint(old, proof, self.note(size, *signers)).to_bytes()

    def policy(self) -> bytes:
        """What an auditor trusts who has no witness."""
        return format_policy(self.key.verifier_key)


def cosigned(note: bytes, *witnesses: Signer, at_s: int = NOW_S) -> bytes:
    """The note with the lines of these witnesses."""
    text, _ = split_note(note)
    return note + signature_lines([sign_cosignature(text, at_s, key) for key in witnesses]).encode()


def make_state(folder: Path, *policies: bytes, name: str = WITNESS_NAME) -> State:
    """A witness that follows the logs of these policies."""
    state = State.make(folder, name)
    for policy in policies:
        state.trust(parse_policy(policy))
    return state


@contextlib.contextmanager
def witness_thread(
    state: State, *, now_s: Callable[[], int] = lambda: NOW_S, limits: ServingLimits | None = None
) -> Iterator[WitnessServer]:
    """The real server, in a thread of this process."""
    with WitnessServer(state, "127.0.0.1", 0, now_s=now_s, limits=limits) as server:
        answering = threading.Thread(target=server.serve_forever, args=(POLL_S,), name="test witness")
        answering.start()
        try:
            yield server
        finally:
            server.shutdown()
            answering.join()


@contextlib.contextmanager
def witness_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The real command, on a port of its choice; ends it by its pid when the block ends."""
    process = subprocess.Popen(
        [WITNESS, "serve", "--state", str(folder), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    try:
        assert process.stderr is not None
        found = re.search(r"http://\S+?(?=/\n)", process.stderr.readline())
        assert found, "the witness did not say where it answers"
        yield process, found.group()
    finally:
        process.kill()
        process.wait(START_S_MAX)
        if process.stderr is not None:
            process.stderr.close()


@dataclass(frozen=True, slots=True)
class Answered:
    """An HTTP answer."""

    status: int
    body: str
    content_type: str


def ask(url: str, body: bytes | None = None) -> Answered:
    """GET, or POST a body."""
    request = urllib.request.Request(url, data=body)
    try:
        with urllib.request.urlopen(request, timeout=START_S_MAX) as answer:
            return Answered(answer.status, answer.read().decode(), answer.headers["content-type"])
    except urllib.error.HTTPError as error:
        with error:
            return Answered(error.code, error.read().decode(), error.headers["content-type"])


def submit(url: str, body: bytes) -> Answered:
    """POST to add-checkpoint."""
    return ask(url + ADD_CHECKPOINT, body)


def at_once(*calls: Callable[[], Answered]) -> list[Answered]:
    """Make the calls in threads that start together."""
    barrier = threading.Barrier(len(calls))
    answers: list[Answered | None] = [None] * len(calls)

    def run(at: int) -> None:
        barrier.wait(START_S_MAX)
        answers[at] = calls[at]()

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(START_S_MAX)
    assert None not in answers
    return [answer for answer in answers if answer is not None]


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Poll until it is so; the limit is for a broken program, no test depends on how long it takes."""
    deadline = time.monotonic() + START_S_MAX
    while not is_so():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def statuses(answers: Sequence[Answered]) -> list[int]:
    """The statuses, sorted."""
    return sorted(answer.status for answer in answers)
