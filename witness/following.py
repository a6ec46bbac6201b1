"""Owns the folder of a monitor: the entries that it verified, and the checkpoint that signs them.

| file | what |
|---|---|
| `checkpoint` | the newest checkpoint that was verified |
| `entries` | every entry that it covers, each behind its length in two bytes |
| `rounds.json` | which runs were asked for, which were missing, since when others are open |
| `report.name`, `report.pem` | in whose name and by which key its reports are signed, if it writes any |
| `forks/` | checkpoints that contradict: proof against the log's operator, never deleted by us |
| `lock` | held by the one monitor that uses the folder |
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from evidence.canonical import FormatError, canonical, parse
from evidence.checkpoint import Checkpoint, parse_checkpoint
from evidence.merkle import CompactRange
from evidence.note import split_note
from evidence.record import leaf_hash
from evidence.tiles import pack_entries
from witness.durable import fsync_folder, locked, make_folder, replace_file
from witness.state import StateError

_CHECKPOINT, _ENTRIES, _ROUNDS, _FORKS, _LOCK = "checkpoint", "entries", "rounds.json", "forks", "lock"
_LENGTH_BYTES = 2


@dataclass(slots=True)
class Rounds:
    """What does not follow from the entries. Runs are counted in the order of their creation.

    The first `asked` runs were asked for at least once, `again` is the next of them to be asked again;
    `missing` were not there the last time; `seen_s` is the unix second at which an open run was first seen.
    """

    asked: int = 0
    again: int = 0
    missing: list[str] = field(default_factory=list[str])
    seen_s: dict[str, int] = field(default_factory=dict[str, int])

    def to_bytes(self) -> bytes:
        """The pair of `parse_rounds`."""
        seen = cast("dict[str, object]", self.seen_s)
        return canonical(
            {"asked": self.asked, "again": self.again, "missing": self.missing, "seenSeconds": seen}
        )


def parse_rounds(data: bytes) -> Rounds:
    """Read what `Rounds.to_bytes` wrote. Raises `FormatError`."""
    value = parse(data)
    try:
        fields = cast("dict[str, Any]", value)
        return Rounds(fields["asked"], fields["again"], fields["missing"], fields["seenSeconds"])
    except (KeyError, TypeError) as error:
        raise FormatError("a round has asked, again, missing and seenSeconds") from error


class Following:
    """The verified log so far; made by `open_following`."""

    def __init__(self, folder: Path, file: BinaryIO) -> None:
        self._folder, self._file = folder, file
        self._end = 0
        self.tree = CompactRange()
        self.note: bytes | None = None
        self.checkpoint: Checkpoint | None = None
        self.rounds = Rounds()

    def __repr__(self) -> str:
        return f"Following({str(self._folder)!r}, {self.checkpoint})"

    def load(self) -> None:
        """Read the folder anew, and check that the entries are those that were signed.

        Raises `StateError`.
        """
        try:
            self.note = (self._folder / _CHECKPOINT).read_bytes()
            self.checkpoint = parse_checkpoint(split_note(self.note)[0])
            self.rounds = parse_rounds((self._folder / _ROUNDS).read_bytes())
        except FileNotFoundError:
            pass  # before the first checkpoint, or before the first round ended
        except FormatError as error:
            raise StateError(f"{self._folder}: {error}; {_RESTORE}") from error
        if self.checkpoint is not None:
            for entry in islice(self._read(0), self.checkpoint.size):
                self.tree.append(leaf_hash(entry))
                self._end += _LENGTH_BYTES + len(entry)
            if (self.tree.size, self.tree.root()) != (self.checkpoint.size, self.checkpoint.root):
                raise StateError(f"{self._folder}: the entries are not those of the checkpoint; {_RESTORE}")
        self._file.truncate(self._end)  # what a round left that did not end

    def entries(self, size: int | None = None) -> Iterator[bytes]:
        """The first verified entries in order, all of them without `size`."""
        return islice(self._read(0), self.tree.size if size is None else size)

    def stage(self, entries: Iterable[bytes]) -> CompactRange:
        """Write further entries behind the verified ones, unverified; answers the tree with them."""
        tree = self.tree.copy()
        self._file.seek(self._end)
        self._file.truncate()
        for entry in entries:
            tree.append(leaf_hash(entry))
            self._file.write(pack_entries([entry]))
        return tree

    def commit(self, note: bytes, tree: CompactRange) -> Iterator[bytes]:
        """The staged entries give the signed root: they are the log now. Answers them.

        Durable when it returns.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        # Crash window: entries without a checkpoint; `load` cuts them off, and they are fetched again.
        replace_file(self._folder / _CHECKPOINT, note)
        start, new = self._end, tree.size - self.tree.size
        self._end = self._file.seek(0, os.SEEK_END)
        self.note, self.checkpoint, self.tree = note, parse_checkpoint(split_note(note)[0]), tree
        return islice(self._read(start), new)

    def keep_rounds(self) -> None:
        """Make `rounds` durable. Lost with a crash it costs questions asked twice, nothing else."""
        replace_file(self._folder / _ROUNDS, self.rounds.to_bytes())

    def keep_fork(self, note: bytes) -> Path:
        """Keep a checkpoint that contradicts, beside the one that it contradicts."""
        make_folder(self._folder / _FORKS)
        name = sha256(split_note(note)[0].encode()).hexdigest()[:16]
        path = self._folder / _FORKS / f"{name}.theirs"
        if not path.exists():
            replace_file(path.with_suffix(".ours"), self.note or b"")
            replace_file(path, note)
        return path

    def forks(self) -> list[Path]:
        """The contradicting checkpoints that were kept."""
        return sorted((self._folder / _FORKS).glob("*.theirs"))

    def _read(self, start: int) -> Iterator[bytes]:
        """Entries from a place in the file to its end; a cut one ends it."""
        with (self._folder / _ENTRIES).open("rb") as source:
            source.seek(start)
            while len(head := source.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
                entry = source.read(int.from_bytes(head, "big"))
                if len(entry) != int.from_bytes(head, "big"):
                    return
                yield entry


_RESTORE = (
    "bring it back from a backup. A new folder works too, but knows nothing of what the log showed before"
)


@contextmanager
def open_following(folder: Path) -> Generator[Following]:
    """Use the folder alone, until the block ends. Raises `StateError`, and `Locked` when it is in use."""
    make_folder(folder)
    with locked(folder / _LOCK, wait_s_max=0.0):
        path = folder / _ENTRIES
        if not path.exists():
            path.touch(mode=0o600)
            fsync_folder(folder)
        with path.open("r+b") as file:
            following = Following(folder, file)
            following.load()
            yield following
