"""Owns the pin: a checkpoint that the auditor kept, which later proofs must continue (PROOF P9.1)."""

from __future__ import annotations

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint, parse_checkpoint, split_origin
from evidence.note import NOTE_BYTES_MAX, open_note
from evidence.policy import Policy


class PinError(FormatError):
    """The file cannot be a pin under this policy; the message says why."""


def read_pin(data: bytes, policy: Policy) -> Checkpoint:
    """The checkpoint that a pin file holds: a signed note, or its three lines alone.

    A file that the auditor kept is trusted as it is; but where it carries signatures, one must be by a key
    of the policy, and none of such a key may be wrong. Raises `PinError`.
    """
    if len(data) > NOTE_BYTES_MAX:
        raise PinError(f"a pin has at most {NOTE_BYTES_MAX} bytes")
    try:
        text = open_note(data, policy.logs).text if b"\n\n" in data else data.decode("ascii")
        checkpoint = parse_checkpoint(text)
        split_origin(checkpoint.origin_line)
    except (FormatError, UnicodeDecodeError) as error:
        raise PinError(f"not a kept run checkpoint: {error}") from error
    return checkpoint
