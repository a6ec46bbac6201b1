"""Owns what is known of payloads that are not there: redacted ones and withheld ones (PROOF P7)."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any, cast

from evidence.canonical import FormatError
from evidence.chain import Header
from evidence.fold import OUTPUT_EVENT_BYTES_MAX, OUTPUT_TYPES
from evidence.record import HASH_BYTES
from evidence.verdict import VerificationError

ABSENT_MAX = 4_000_000
"""Absent payloads that a stream may have: 41 bytes of memory each."""

_HEX_HASH = re.compile("[0-9a-f]{64}", re.ASCII)
_IS_OUTPUT, _IS_RECORDED = 1, 2


class AbsentPayloads:
    """The events without payload so far, and which of them a redaction names."""

    def __init__(self) -> None:
        self.types: set[str] = set()
        self.output_bytes_max = dict.fromkeys(OUTPUT_TYPES, 0)
        """By type, how many raw bytes of output the absent payloads can have held together."""
        self._seqs = array("Q")
        self._commitments = bytearray()
        self._flags = bytearray()

    def __len__(self) -> int:
        return len(self._seqs)

    def add(self, header: Header) -> None:
        """Note an event whose payload is not there. Raises `VerificationError` past `ABSENT_MAX`."""
        if len(self._seqs) >= ABSENT_MAX:
            raise VerificationError("E_FORMAT", f"More than {ABSENT_MAX} payloads are absent.", header.seq)
        self.types.add(header.type)
        self._seqs.append(header.seq)
        self._commitments += header.commitment
        self._flags.append(_IS_OUTPUT if header.type in OUTPUT_TYPES else 0)
        if header.type in OUTPUT_TYPES:  # a payload is never shorter than the output in it
            self.output_bytes_max[header.type] += min(header.payload_size, OUTPUT_EVENT_BYTES_MAX)

    def record(self, event: Mapping[str, Any]) -> None:
        """Match a `redaction` event with the payloads that it names.

        Raises `FormatError` when it cannot be read and `VerificationError` when it does not fit.
        """
        for target, bound in targets_of(event):
            at = bisect_left(self._seqs, target)
            if at == len(self._seqs) or self._seqs[at] != target:
                raise VerificationError(
                    "E_REDACTION_MISMATCH", f"Event {target} is named, but its payload is there.", target
                )
            if not self._flags[at] & _IS_OUTPUT:
                raise VerificationError(
                    "E_REDACTION_FORBIDDEN", f"Event {target} is neither stdout nor stderr.", target
                )
            if bytes(self._commitments[at * HASH_BYTES : (at + 1) * HASH_BYTES]) != bound:
                raise VerificationError(
                    "E_REDACTION_MISMATCH",
                    f"The redaction names another commitment of event {target}.",
                    target,
                )
            self._flags[at] |= _IS_RECORDED

    def redacted(self) -> list[int]:
        """Seqs of the events that a redaction names."""
        return list(self._having(_IS_OUTPUT | _IS_RECORDED))

    def unrecorded(self) -> list[int]:
        """Seqs of output events that no redaction names: withheld, or dropped."""
        return list(self._having(_IS_OUTPUT))

    def first_irreplaceable(self) -> int | None:
        """The first absent event that is not output: nothing can excuse it."""
        return next(self._having(0), None)

    def _having(self, flags: int) -> Iterator[int]:
        return (seq for seq, found in zip(self._seqs, self._flags, strict=True) if found == flags)


def targets_of(event: Mapping[str, Any]) -> Iterator[tuple[int, bytes]]:
    """Seq and commitment of each event that a `redaction` names (P7). Raises `FormatError`."""
    targets: object = event.get("targets")
    if not isinstance(targets, list) or not targets:
        raise FormatError("a redaction has a list of targets")
    for target in cast("list[object]", targets):
        match target:
            case {"seq": int(seq), "commitment": str(bound)} if (
                type(seq) is int and seq > 0 and _HEX_HASH.fullmatch(bound)
            ):  # to Python, `true` is an int
                yield seq, bytes.fromhex(bound)
            case _:
                raise FormatError("a target of a redaction has a seq and the hex commitment of that event")
