"""Owns the pin: what an auditor kept of a stream, which later proofs must continue (PROOF P2.4, P9.1)."""

from __future__ import annotations

from dataclasses import dataclass

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint, parse_checkpoint, split_origin
from evidence.note import NOTE_BYTES_MAX, open_note
from evidence.policy import Policy
from evidence.record import encode_base64, parse_decimal, parse_hash

PIN_HEADER = "crownest/pin/v1"
PIN_BYTES_MAX = NOTE_BYTES_MAX + 1024


class PinError(FormatError):
    """The file cannot be a pin under this policy; the message says why."""


@dataclass(frozen=True, slots=True)
class Pin:
    """Where a reading ended: the last leaf that was seen, and the signed checkpoint that proved it."""

    seq: int
    leaf: bytes
    note: bytes

    def to_bytes(self) -> bytes:
        """The pair of `parse_pin`: three lines, an empty one, and the run checkpoint as it was signed."""
        return f"{PIN_HEADER}\nseq {self.seq}\nleaf {encode_base64(self.leaf)}\n\n".encode() + self.note


def parse_pin(data: bytes) -> Pin:
    """Read a pin in its one spelling; the checkpoint in it is judged by who uses it. Raises `FormatError`."""
    head, separator, note = data.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    if not separator or len(lines) != 3 or lines[0] != PIN_HEADER:
        raise FormatError(f"a pin is {PIN_HEADER}, seq, leaf, an empty line and a run checkpoint")
    if not lines[1].startswith("seq ") or not lines[2].startswith("leaf "):
        raise FormatError("a pin names a seq and a leaf")
    return Pin(parse_decimal(lines[1].removeprefix("seq ")), parse_hash(lines[2].removeprefix("leaf ")), note)


def read_pin(data: bytes, policy: Policy) -> Checkpoint:
    """The checkpoint that a pin file holds: a pin of `logs --verify`, a signed note, or its three lines.

    A file that the auditor kept is trusted as it is; but where it carries signatures, one must be by a key
    of the policy, and none of such a key may be wrong. Raises `PinError`.
    """
    if len(data) > PIN_BYTES_MAX:
        raise PinError(f"a pin has at most {PIN_BYTES_MAX} bytes")
    try:
        if data.startswith(f"{PIN_HEADER}\n".encode()):
            data = parse_pin(data).note
        text = open_note(data, policy.logs).text if b"\n\n" in data else data.decode("ascii")
        checkpoint = parse_checkpoint(text)
        split_origin(checkpoint.origin_line)
    except (FormatError, UnicodeDecodeError) as error:
        raise PinError(f"not a kept run checkpoint: {error}") from error
    if checkpoint.size == 0:  # every history continues it, so that it would confirm any root
        raise PinError("a checkpoint of 0 events pins nothing")
    return checkpoint
