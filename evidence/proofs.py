"""Owns the text of range and consistency proofs of a stream, and what they prove (PROOF P3.2 to P3.4).

Both end with the signed run checkpoint that they lead to; its signature is judged elsewhere, here its
size and root are taken as given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint
from evidence.merkle import CompactRange, Subtree, cover, range_cover, verify_consistency
from evidence.merkle import consistency_proof as consistency_path
from evidence.record import encode_base64, parse_decimal, parse_hash
from evidence.verdict import VerificationError
from evidence.wording import counted

RANGE_HEADER = "crownest/range-proof@v1"
CONSISTENCY_HEADER = "crownest/consistency-proof@v1"
HASHES_MAX = 128
"""Hashes of one proof; trees below 2^53 leaves need fewer."""


@dataclass(frozen=True, slots=True)
class RangeProof:
    """What a window [start, end) needs beside its own leaves to give the root (P3.3)."""

    start: int
    end: int
    left: tuple[bytes, ...]
    right: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """The pair of `parse_range_proof`."""
        head = f"{RANGE_HEADER}\nrange {self.start} {self.end}\n"
        left = f"left {len(self.left)}\n{_hash_lines(self.left)}"
        right = f"right {len(self.right)}\n{_hash_lines(self.right)}"
        return f"{head}{left}{right}\n".encode() + self.note

    def check(self, leaves: Iterable[bytes], signed: Checkpoint) -> None:
        """Whether these leaves stand at [start, end) of the signed tree.

        Raises `VerificationError` (E_RANGE_PROOF).
        """
        if not self.start <= self.end <= signed.size:
            raise VerificationError(
                "E_RANGE_PROOF", f"[{self.start}, {self.end}) is no part of {signed.size}."
            )
        rest = cover(self.end, signed.size)
        if len(self.left) != self.start.bit_count() or len(self.right) != len(rest):
            raise VerificationError("E_RANGE_PROOF", "It has more or fewer hashes than its window needs.")
        tree = CompactRange(self.start, list(self.left))
        for leaf in leaves:
            tree.append(leaf)
        if tree.size != self.end:
            raise VerificationError(
                "E_RANGE_PROOF", f"The window has {counted(tree.size - self.start, 'event')}."
            )
        for (level, _), root in zip(rest, self.right, strict=True):
            tree.push_subtree(level, root)
        if tree.root() != signed.root:
            raise VerificationError("E_RANGE_PROOF", f"It leads to {encode_base64(tree.root())}.")


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That a tree of `size2` leaves starts with the tree of `size1` (CONTRACT §2.1 `proof/consistency`)."""

    size1: int
    size2: int
    path: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """The pair of `parse_consistency_proof`."""
        head = f"{CONSISTENCY_HEADER}\nsizes {self.size1} {self.size2}\n{_hash_lines(self.path)}\n"
        return head.encode() + self.note

    def check(self, old: Checkpoint, new: Checkpoint) -> None:
        """Whether it leads from the old checkpoint to the new one. Raises `VerificationError` (E_FORK)."""
        if (old.size, new.size) != (self.size1, self.size2) or not verify_consistency(
            old.size, new.size, old.root, new.root, self.path
        ):
            raise VerificationError(
                "E_FORK", f"The proof does not lead from {old.size} to {counted(new.size, 'event')}."
            )


def range_proof(start: int, end: int, size: int, subtree: Subtree, note: bytes) -> RangeProof:
    """Make the proof of a window; `subtree` answers roots of full subtrees. Raises ValueError."""
    left, right = range_cover(start, end, size)
    roots = [tuple(subtree(level, index) for level, index in part) for part in (left, right)]
    return RangeProof(start, end, roots[0], roots[1], note)


def consistency_proof(size1: int, size2: int, subtree: Subtree, note: bytes) -> ConsistencyProof:
    """Make the proof that `size1` leaves were kept; `note` signs `size2` leaves. Raises ValueError."""
    return ConsistencyProof(size1, size2, tuple(consistency_path(size1, size2, subtree)), note)


def parse_range_proof(data: bytes) -> RangeProof:
    """Read a range proof in its one spelling. Raises `FormatError`."""
    lines, note = _split(data, RANGE_HEADER)
    start, end = _numbers(lines, "range", 2)
    left = _hashes(lines, _numbers(lines, "left", 1)[0])
    right = _hashes(lines, _numbers(lines, "right", 1)[0])
    if next(lines, None) is not None:
        raise FormatError("a range proof has no further lines after right")
    return RangeProof(start, end, left, right, note)


def parse_consistency_proof(data: bytes) -> ConsistencyProof:
    """Read a consistency proof in its one spelling. Raises `FormatError`."""
    lines, note = _split(data, CONSISTENCY_HEADER)
    size1, size2 = _numbers(lines, "sizes", 2)
    return ConsistencyProof(size1, size2, tuple(map(parse_hash, lines)), note)


def _split(data: bytes, header: str) -> tuple[Iterator[str], bytes]:
    """The lines after the header, and the note after the empty line."""
    head, separator, note = data.partition(b"\n\n")
    if not separator or not head.isascii():
        raise FormatError("a proof is lines of ASCII, an empty line and a checkpoint")
    first, *lines = head.decode("ascii").split("\n")
    if first != header or len(lines) > HASHES_MAX + 3:
        raise FormatError(f"a proof starts with {header} and has at most {HASHES_MAX} hashes")
    return iter(lines), note


def _numbers(lines: Iterator[str], word: str, count: int) -> list[int]:
    first, *rest = next(lines, "").split(" ")
    if first != word or len(rest) != count:
        raise FormatError(f"here stands a line '{word}' with {count} numbers")
    return [parse_decimal(number) for number in rest]


def _hashes(lines: Iterator[str], count: int) -> tuple[bytes, ...]:
    if count > HASHES_MAX:
        raise FormatError(f"a proof has at most {HASHES_MAX} hashes")
    return tuple(parse_hash(next(lines, "")) for _ in range(count))


def _hash_lines(hashes: Iterable[bytes]) -> str:
    return "".join(f"{encode_base64(item)}\n" for item in hashes)
