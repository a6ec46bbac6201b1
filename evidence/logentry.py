"""Owns the entries of the global log: checkpoints of streams, and changes of the signing key (PROOF P5.1)."""

from __future__ import annotations

from dataclasses import dataclass

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint, parse_checkpoint, split_origin
from evidence.note import ED25519, Verifier, is_key_name
from evidence.record import parse_decimal

KEY_HEADER = "crownest/key/v1"


@dataclass(frozen=True, slots=True)
class KeyChange:
    """From a log of `from_size` entries on, `key` signs for `origin`."""

    origin: str
    key: Verifier
    from_size: int

    def __str__(self) -> str:
        """The entry's text: four lines; the pair of `parse_entry`."""
        return f"{KEY_HEADER}\n{self.origin}\n{self.key}\nfrom {self.from_size}\n"


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """A stream stood at this checkpoint: a run at its creation, its seal or a redaction; an organisation."""

    origin: str
    stream: str
    checkpoint: Checkpoint

    @property
    def is_run(self) -> bool:
        """Whether the stream is a run: P4.2 and E_DOUBLE_SEAL apply to those alone."""
        return self.stream.startswith("wsr_")

    def __str__(self) -> str:
        """The entry's text: the three lines of the checkpoint; the pair of `parse_entry`."""
        return str(self.checkpoint)


Entry = KeyChange | StreamEntry


def parse_entry(data: bytes) -> Entry:
    """Read one entry of the log in its one spelling. Raises `FormatError`."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"an entry is UTF-8; byte {error.start} is not") from error
    if text.startswith(f"{KEY_HEADER}\n"):
        return _parse_key_change(text)
    checkpoint = parse_checkpoint(text)
    return StreamEntry(*split_origin(checkpoint.origin_line), checkpoint)


def _parse_key_change(text: str) -> KeyChange:
    lines = text.split("\n")
    if len(lines) != 5 or lines[4] or not lines[3].startswith("from ") or not is_key_name(lines[1]):
        raise FormatError(f"a key change is {KEY_HEADER}, an origin, a verifier key and 'from <log size>'")
    key = Verifier.parse(lines[2])
    if key.type != ED25519 or key.name != lines[1]:
        raise FormatError("a key change names a plain Ed25519 key of the same origin")
    return KeyChange(lines[1], key, parse_decimal(lines[3].removeprefix("from ")))
