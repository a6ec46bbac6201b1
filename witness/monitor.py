"""Follows a log round by round, and says what an honest log would not show (PROOF P5.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint
from evidence.merkle import CompactRange
from evidence.note import NoteError
from evidence.policy import Policy
from evidence.record import encode_base64, leaf_hash
from evidence.tlog import LogCheckpoint, open_log_checkpoint
from evidence.verdict import EXIT_ACCEPTED, EXIT_REFUSED, EXIT_UNREADABLE, VerificationError
from evidence.wording import counted
from witness.asking import Asker
from witness.fetching import Unreadable
from witness.following import Following
from witness.history import Finding, History
from witness.mirror import Mirror
from witness.tilelog import TileLog

SEAL_S_MAX = 48 * 3600
"""An open run older than this should have ended: a day for its archive, a queue, an hour at most to run."""
PROGRESS_ENTRIES = 4096

Progress = Callable[[str, int, int], None]
"""Called with what is done, how much of it is done, and how much there is."""


@dataclass(slots=True)
class Report:
    """What one round found.

    `notices` are worth reading, but no fault of the log; `unreadable` says what could not be looked at.
    """

    origin: str = ""
    size: int = 0
    root: str = ""
    new_entries: int = 0
    runs: int = 0
    open_runs: int = 0
    other_streams: int = 0
    cosigned: list[str] = field(default_factory=list[str])
    quorum_met: bool = True
    """Whether enough witnesses of the policy cosigned the newest checkpoint; some may only be late."""
    findings: list[Finding] = field(default_factory=list[Finding])
    notices: list[str] = field(default_factory=list[str])
    unreadable: list[str] = field(default_factory=list[str])

    @property
    def exit_code(self) -> int:
        """1 when something was found, else 2 when something could not be read, else 0."""
        if self.findings:
            return EXIT_REFUSED
        return EXIT_UNREADABLE if self.unreadable else EXIT_ACCEPTED

    def to_dict(self) -> dict[str, Any]:
        """For programs; every key always present."""
        return {
            "origin": self.origin,
            "size": self.size,
            "root": self.root,
            "newEntries": self.new_entries,
            "runs": self.runs,
            "openRuns": self.open_runs,
            "otherStreams": self.other_streams,
            "cosigned": self.cosigned,
            "quorumMet": self.quorum_met,
            "findings": [finding.to_dict() for finding in self.findings],
            "notices": self.notices,
            "unreadable": self.unreadable,
        }


class Contradiction(Exception):
    """What the log shows now does not go with what it showed before, or with itself."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.finding = Finding(code, detail)


class Monitor:
    """One log, its folder, and whom to trust. Making it reads all entries that are in the folder."""

    def __init__(
        self,
        log: TileLog,
        following: Following,
        policy: Policy,
        *,
        asker: Asker | None = None,
        mirror: Mirror | None = None,
        on_progress: Progress | None = None,
        seal_s_max: int = SEAL_S_MAX,
    ) -> None:
        self._log, self._following, self._policy = log, following, policy
        self._asker, self._mirror = asker, mirror
        self._on_progress = on_progress or _no_progress
        self._seal_s_max = seal_s_max
        self._history: History | None = None
        if following.checkpoint is not None:
            self._take(following.checkpoint.origin_line, following.entries(), following.checkpoint.size)

    def round(self, now_s: int) -> Report:
        """Read the newest checkpoint, what it adds, and the runs; `now_s` is the unix second.

        Raises OSError when the folder cannot be written.
        """
        report = Report()
        before = self._following.tree.size
        try:
            opened = self._newest(report)
            report.cosigned = sorted(opened.cosigned)
            report.quorum_met = self._policy.is_quorum(opened.cosigned)
            if not report.quorum_met:
                report.notices.append(_FEW_WITNESSES.format(", ".join(report.cosigned) or "none"))
        except Contradiction as contradiction:
            report.findings.append(contradiction.finding)
        except Unreadable as error:
            report.unreadable.append(str(error))
        report.new_entries = self._following.tree.size - before
        report.findings += [
            Finding("E_LOG_FORK", f"The log signed two histories; {path} and what is beside it show it.")
            for path in self._following.forks()
        ]
        if self._history is not None:
            self._ask(self._history, now_s, report)
            self._judge(self._history, now_s, report)
            self._following.keep_rounds()
        return report

    def _newest(self, report: Report) -> LogCheckpoint:
        """Fetch and verify the newest checkpoint and all entries that it adds. Raises `Contradiction`.

        Where an unknown key signed it, the checkpoint at which a known one handed over is the newest that
        can be followed; the entries below it name the new key (P6).
        """
        note = self._log.checkpoint()
        try:
            opened = self._opened(note)
        except Unreadable as error:
            note = self._handover(error)
            opened = self._opened(note)
            entries = counted(opened.checkpoint.size, "entry", "entries")
            report.unreadable.append(
                f"{error} The log was followed up to {entries}, where a key of your policy handed over."
            )
        new, known = opened.checkpoint, self._following.checkpoint
        if known is None:
            self._extend(note, new, Checkpoint(new.origin_line, 0, b""))
        elif new.origin_line != known.origin_line:
            raise Unreadable(
                f"The folder follows {known.origin_line}, and {self._log.url} is the log {new.origin_line}. "
                "Use a folder for each log."
            )
        elif new.size < known.size:
            raise self._shrunk(note, new, known)
        elif new.size == known.size and new.root != known.root:
            self._following.keep_fork(note)
            raise Contradiction("E_LOG_FORK", f"Its {new.size} entries have two roots.")
        elif note != self._following.note:  # it grew, or more witnesses cosigned it
            self._extend(note, new, known)
        if self._mirror is not None:
            self._mirror.publish(note)
        return opened

    def _handover(self, error: Unreadable) -> bytes:
        """The newest handover that a key of the policy signed. Raises `error` where there is none."""
        for note in self._log.handovers():
            try:
                size = self._opened(note).checkpoint.size
            except Unreadable:
                continue
            if size >= self._following.tree.size:
                return note
        raise error

    def _opened(self, note: bytes) -> LogCheckpoint:
        try:
            opened = open_log_checkpoint(note, self._policy)
        except VerificationError as error:
            raise Contradiction(error.code, error.detail) from error
        except NoteError as error:
            raise Unreadable(
                f"The checkpoint of {self._log.url}: {error}. Is the policy that of this server? After a "
                "change of key, take the new policy (crownest policy) and compare it with what others hold."
            ) from error
        except FormatError as error:
            raise Unreadable(f"The checkpoint of {self._log.url}: {error}.") from error
        size, until = opened.checkpoint.size, self._policy.until
        if all(until.get(key.key_id, size) < size for key in opened.signers):
            raise Contradiction("E_KEY_RETIRED", f"It signed {size} entries.")
        return opened

    def _extend(self, note: bytes, new: Checkpoint, known: Checkpoint) -> None:
        try:
            tree = self._following.stage(self._fetched(known.size, new.size))
        except FormatError as error:
            raise Contradiction("E_LOG_FORK", f"It hands out entries that are none ({error}).") from error
        if tree.root() != new.root:
            raise self._another_history(note, new, known)
        entries = self._following.commit(note, tree)
        self._take(new.origin_line, entries, new.size - known.size)

    def _fetched(self, start: int, size: int) -> Iterator[bytes]:
        for first, entries in self._log.bundles(start, size):
            yield from entries
            self._on_progress("entries fetched", first + len(entries) - start, size - start)

    def _take(self, origin: str, entries: Iterator[bytes], count: int) -> None:
        """Fold verified entries."""
        if self._history is None:
            self._history = History(origin)
        for number, entry in enumerate(entries, 1):
            self._history.add(entry)
            if self._mirror is not None:
                self._mirror.add(entry)
            if number % PROGRESS_ENTRIES == 0:
                self._on_progress("entries read", number, count)

    def _shrunk(self, note: bytes, new: Checkpoint, known: Checkpoint) -> Contradiction:
        """A smaller log: an older state of the same history, or another one."""
        tree = CompactRange()
        for entry in self._following.entries(new.size):
            tree.append(leaf_hash(entry))
        detail = f"It had {counted(known.size, 'entry', 'entries')} and now shows {new.size}"
        if tree.root() == new.root:
            return Contradiction("E_LOG_FORK", f"{detail}: an older state, from a backup or a stale cache.")
        self._following.keep_fork(note)
        return Contradiction("E_LOG_FORK", f"{detail}, of another history.")

    def _another_history(self, note: bytes, new: Checkpoint, known: Checkpoint) -> Contradiction:
        """The new entries do not continue ours: fetch the others too, and look where they part."""
        tree, parted = CompactRange(), None
        ours = self._following.entries()
        try:
            for theirs in self._fetched(0, new.size):
                tree.append(leaf_hash(theirs))
                if parted is None and tree.size <= known.size and next(ours) != theirs:
                    parted = tree.size - 1
        except FormatError:
            parted = None
        if parted is None or tree.root() != new.root:
            return Contradiction(
                "E_LOG_FORK", f"The {new.size} entries that it hands out are not those that it signed."
            )
        self._following.keep_fork(note)
        return Contradiction("E_LOG_FORK", f"Entry {parted} is another one than it was.")

    def _ask(self, history: History, now_s: int, report: Report) -> None:
        rounds = self._following.rounds
        rounds.seen_s = {run: rounds.seen_s.get(run, now_s) for run in sorted(history.unsealed)}
        if self._asker is None:
            report.notices.append("No run was asked for: only the log itself was followed.")
            return
        left = 0
        try:
            left = self._asker.round(
                history.runs, rounds, lambda done, total: self._on_progress("runs asked for", done, total)
            )
        except Unreadable as error:
            report.unreadable.append(str(error))
        if left:
            are = "is" if left == 1 else "are"
            report.notices.append(
                f"{counted(left, 'run')} {are} not asked for yet, since the server wants it slower."
            )

    def _judge(self, history: History, now_s: int, report: Report) -> None:
        """Add what the entries and the runs say."""
        checkpoint = self._following.checkpoint
        assert checkpoint is not None
        report.origin, report.size, report.root = (
            checkpoint.origin_line,
            checkpoint.size,
            encode_base64(checkpoint.root),
        )
        report.runs, report.open_runs = len(history.runs), len(history.unsealed)
        report.other_streams = len(history.streams) - len(history.runs)
        report.findings += history.findings
        report.findings += self._missing(history, now_s)
        if history.findings_left_out:
            report.notices.append(
                f"Further findings in the entries are left out: {history.findings_left_out:,}."
            )
        trusted = {str(key) for key in self._policy.logs}
        report.notices += [
            _NEW_KEY.format(index, change.from_size, change.key)
            for index, change in history.key_changes
            if str(change.key) not in trusted
        ]

    def _missing(self, history: History, now_s: int) -> Sequence[Finding]:
        rounds = self._following.rounds
        gone = [("The server answers that there is none.", run) for run in rounds.missing]
        hours = self._seal_s_max // 3600
        gone += [
            (f"It was created more than {counted(hours, 'hour')} ago and has no seal in the log.", run)
            for run, seen_s in rounds.seen_s.items()
            if now_s - seen_s > self._seal_s_max and run not in rounds.missing
        ]
        return [Finding("E_RUN_MISSING", what, run, history.streams[run].first_entry) for what, run in gone]


_FEW_WITNESSES = "Fewer witnesses cosigned the newest checkpoint than your policy demands: {}."
_NEW_KEY = (
    "Entry {} says that from {} entries on another key signs, which your policy does not name: {}. Compare "
    "it with what others hold before you add it."
)


def _no_progress(what: str, done: int, total: int) -> None:
    del what, done, total
