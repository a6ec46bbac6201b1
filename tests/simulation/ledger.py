"""What the client knows to be true, every answer and event that it was given, and what was found off."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import dataclass, field

FINDINGS_KEPT_MAX = 1000
"""Findings that are kept with their text; beyond that they are only counted."""

KINDS = ("lost", "changed", "duplicated", "reordered", "unfinished", "unproven", "left_running", "refused")
"""What can be off. `refused`: the server answered an error where the contract promises success."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is off: a kind of `KINDS` and a sentence for people."""

    kind: str
    text: str


class Findings:
    """Everything found off, counted by kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.kept: list[Finding] = []

    def __repr__(self) -> str:
        return f"Findings({dict(self.counts)})"

    def add(self, kind: str, text: str, count: int = 1) -> None:
        """Count a finding (that may stand for many), and keep its text while there is room."""
        assert kind in KINDS, kind
        self.counts[kind] += count
        if len(self.kept) < FINDINGS_KEPT_MAX:
            self.kept.append(Finding(kind, text))

    @property
    def total(self) -> int:
        """How many there are; 0 is what everybody hopes for."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer, read to its last byte."""

    status: int
    body: bytes


@dataclass(slots=True)
class Call:
    """One request with an effect, over all its retries and all crashes."""

    name: str
    answer: Answer | None = None
    """Set once acknowledged: from then on its effect must be there, and a retry must answer this."""
    crossed: bool = False
    """It was in flight at a crash: it may or may not have had its effect, but never two."""
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is asked to do; decided from the seed, before anything is sent."""

    op: str
    lines: int
    burst: int
    pause_s: str
    exit_code: int
    staged: bool = False
    keep: bool = False
    artifact: bool = False
    start: bool = True
    leaves_process: bool = False
    padding_bytes: int = 0
    cancel_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What the final pass compares with: digests of the run's log and of its first answer, and its root."""

    log: bytes
    created: bytes
    root: str


@dataclass(slots=True)
class Run:
    """A run as the client knows it."""

    plan: Plan
    run_id: str = ""
    calls: dict[str, Call] = field(default_factory=dict)
    delivered: dict[int, bytes] = field(default_factory=dict)
    """seq to the payload bytes that some reader was given."""
    known: list[bytes] = field(default_factory=list)
    """The longest log that was read after a crash: later reads must begin with it."""
    terminal_seen: bool = False
    settled: Settled | None = None
    """Set once it is ended, checked and verified: only the final pass looks at it again."""
    kept_sandbox: str = ""
    """A sandbox that outlives the run, until the next crash."""
    readers: int = 0
    streaming: bool = False

    def acknowledged(self, name: str) -> Answer | None:
        """The answer of a call, if it was ever given."""
        call = self.calls.get(name)
        return call.answer if call else None


@dataclass(frozen=True, slots=True)
class Crash:
    """A moment at which a server was certainly dead and the next one not begun: unix milliseconds."""

    kind: str
    at_ms: int


class Ledger:
    """All runs, all crashes, all counts. One event loop owns it, so a crash divides it into before and after.

    After `cut()` the power is off: what is read from then on is counted apart and promises nothing, since
    it may have been on its way to the client before the cut or answered out of a cache after it.
    """

    def __init__(self) -> None:
        self.findings = Findings()
        self.counts: Counter[str] = Counter()
        self.runs: list[Run] = []
        self.open_runs: dict[str, Run] = {}
        """By op, those that are not settled yet; the others cost nothing any more."""
        self.with_kept_sandbox: list[Run] = []
        """Settled runs whose sandbox lives until the next crash."""
        self.crashes: list[Crash] = []
        self.power_is_off = False

    def __repr__(self) -> str:
        return f"Ledger(runs={len(self.runs)}, crashes={len(self.crashes)}, findings={self.findings!r})"

    def begin(self, run: Run) -> None:
        """A new run, nothing of it sent yet."""
        self.runs.append(run)
        self.open_runs[run.plan.op] = run

    def settle(self, run: Run, log: list[bytes], root: str) -> None:
        """The run is ended and proven: keep what the final pass needs, forget the rest."""
        created = run.acknowledged("create")
        assert created is not None, "a run that ended was created"
        run.settled = Settled(digest_of(log), digest_of([created.body]), root)
        run.known, run.delivered, run.calls = [], {}, {}
        del self.open_runs[run.plan.op]

    def acknowledge(self, call: Call, answer: Answer) -> None:
        """An effect is promised from now on."""
        if self.power_is_off:
            self.counts["answers read after the cut"] += 1
            return
        if call.answer is None:
            call.answer = answer
            self.counts["acknowledged effects"] += 1

    def deliver(self, run: Run, seq: int, payload: bytes) -> None:
        """An event was shown to a reader: it must stay what it is, where it is."""
        if self.power_is_off:
            self.counts["events read after the cut"] += 1
            return
        before = run.delivered.setdefault(seq, payload)
        self.counts["deliveries"] += 1
        if before is payload:
            self.counts["delivered events"] += 1
        elif before != payload:
            self.findings.add("changed", f"{run.run_id} seq {seq} was {before!r} and is now {payload!r}")

    def count_strike(self) -> None:
        """Note what is going on right now, since now the server is hit."""
        for run in self.open_runs.values():
            self.counts["runs streaming at the crash"] += run.streaming
            self.counts["readers attached at the crash"] += run.readers
            for call in run.calls.values():
                if call.in_flight:
                    self.counts["requests in flight at the crash"] += 1
                    self.counts[f"{call.name} in flight"] += 1

    def died(self, kind: str) -> None:
        """The server is dead: whatever its log says was said before now."""
        self.crashes.append(Crash(kind, time.time_ns() // 1_000_000))

    @property
    def streaming(self) -> int:
        """Runs whose output is being read right now."""
        return sum(run.streaming for run in self.open_runs.values())


def digest_of(lines: list[bytes]) -> bytes:
    """One digest of a whole log."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line + b"\n")
    return digest.digest()
