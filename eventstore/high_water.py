"""Owns the signer's high-water mark: the last head of the global log that was signed (PROOF P5.4).

It lies outside the database, so that a database restored from an old backup cannot sign a fork. The file
holds the unsigned checkpoint: origin, size, root.
"""

from __future__ import annotations

from pathlib import Path

from eventstore.durable import replace_file
from eventstore.log import LogError, StorageUnavailable
from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint, parse_checkpoint


class ForkRefused(LogError):
    """Signing this would fork the log: the message says what to restore. Nothing was signed."""


class HighWater:
    """The mark in one file. Every method blocks; one process owns the file."""

    def __init__(self, path: Path, origin: str) -> None:
        self._path, self._origin = path, origin

    def __repr__(self) -> str:
        return f"HighWater({str(self._path)!r})"

    def read(self) -> Checkpoint | None:
        """The last signed head, None before the first. Raises `ForkRefused` for a damaged file."""
        if not self._path.exists():
            return None
        try:
            mark = parse_checkpoint(self._path.read_text(encoding="utf-8"))
        except (FormatError, UnicodeDecodeError) as error:
            raise ForkRefused(f"{self._path} is damaged ({error}): restore it from your backup") from error
        if mark.origin_line != self._origin:
            raise ForkRefused(
                f"{self._path} is of {mark.origin_line}, not of {self._origin}: restore the right one"
            )
        return mark

    def advance(self, size: int, root: bytes) -> None:
        """Permit the signature of this head, durably, before it is made; the same head may be signed again.

        Crash window: advanced and not signed. The head was written down before, so the next start finds
        the same root at this size. Raises `ForkRefused`, and `StorageUnavailable` when the disk is full.
        """
        mark = self.read()
        if mark is not None and (size < mark.size or (size == mark.size and root != mark.root)):
            raise ForkRefused(
                f"a head of {mark.size} entries was signed, and another one of {size} may not be: the "
                "database was exchanged. Restore the newest copy of log.sqlite, then start again"
            )
        if mark is None or size > mark.size:
            try:
                replace_file(self._path, str(Checkpoint(self._origin, size, root)).encode())
            except OSError as error:
                raise StorageUnavailable(
                    f"{self._path} cannot be written ({error}): nothing was signed; make room, or check it"
                ) from error
