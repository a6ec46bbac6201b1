"""Owns the checkpoint of a stream: the three lines that are signed (PROOF P4.3, C2SP tlog-checkpoint)."""

from __future__ import annotations

from dataclasses import dataclass

from evidence.canonical import FormatError
from evidence.note import is_key_name
from evidence.record import STREAM_ID, encode_base64, parse_decimal, parse_hash

_KINDS = {"wsr": "run", "org": "org"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A parsed checkpoint; `origin_line` is `<origin>/run/<id>`, `<origin>/org/<id>` or a log's origin."""

    origin_line: str
    size: int
    root: bytes

    def __str__(self) -> str:
        """The pair of `parse_checkpoint`."""
        return f"{self.origin_line}\n{self.size}\n{encode_base64(self.root)}\n"


def run_origin(origin: str, stream: str) -> str:
    """The first line of a stream's checkpoint: `<origin>/run/<id>`, or `/org/` for an organisation (P2.3a).

    Raises ValueError when the origin cannot be a key name or the stream is neither.
    """
    if not is_key_name(origin) or not STREAM_ID.fullmatch(stream):
        raise ValueError(f"{origin!a} and {stream!a} do not make an origin line")
    return f"{origin}/{_KINDS[stream[:3]]}/{stream}"


def split_origin(origin_line: str) -> tuple[str, str]:
    """The pair of `run_origin`: origin and stream. Raises `FormatError`."""
    origin, _, rest = origin_line.rpartition("/")
    origin, _, kind = origin.rpartition("/")
    if not STREAM_ID.fullmatch(rest) or kind != _KINDS[rest[:3]] or not is_key_name(origin):
        raise FormatError("the first line of a run checkpoint is <origin>/run/<id> or <origin>/org/<id>")
    return origin, rest


def format_checkpoint(origin: str, stream: str, size: int, root: bytes) -> str:
    """The text that is signed: origin line, number of leaves, base64 root, each ended by LF (P4.3)."""
    return str(Checkpoint(run_origin(origin, stream), size, root))


def parse_checkpoint(text: str) -> Checkpoint:
    """Read exactly three lines, each value in its one spelling. Raises `FormatError`."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise FormatError("a checkpoint is three lines, each ended by LF")
    if not is_key_name(lines[0]):
        raise FormatError("the first line of a checkpoint is an origin: no spaces, no '+'")
    return Checkpoint(lines[0], parse_decimal(lines[1]), parse_hash(lines[2]))
