"""Owns the Merkle tree over leaves: hashing, append state, proofs, range covers (PROOF P3).

Hashing is RFC 6962; proofs are those of RFC 9162.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

HASH_BYTES = 32
KEPT_LEVEL = 8
"""Roots of full subtrees of 2^8 leaves are kept by the log, so that a proof reads little (P2.2)."""

EMPTY_ROOT = sha256(b"").digest()

Subtree = Callable[[int, int], bytes]
"""`subtree(level, index)` = root of the full subtree over leaves [index << level, (index + 1) << level)."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (P3.1)."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class CompactRange:
    """The append state of a tree: its size and the roots of its full subtrees, largest first (P3.1)."""

    size: int = 0
    stack: list[bytes] = field(default_factory=list[bytes])

    def append(self, leaf: bytes) -> bytes | None:
        """Add one leaf hash; answer the root of the 256-leaf subtree that it completed, if it did."""
        kept = None
        stack, carry, level = self.stack, self.size, 0
        while carry & 1:
            leaf = sha256(b"\x01" + stack.pop() + leaf).digest()
            carry >>= 1
            level += 1
            if level == KEPT_LEVEL:
                kept = leaf
        stack.append(leaf)
        self.size += 1
        return kept

    def push_subtree(self, level: int, root: bytes) -> None:
        """Add 2^level leaves at once; the present size must be a multiple of that (else ValueError)."""
        if self.size & ((1 << level) - 1):
            raise ValueError(f"a subtree of level {level} does not start at leaf {self.size}")
        carry = self.size >> level
        while carry & 1:
            root = node_hash(self.stack.pop(), root)
            carry >>= 1
        self.stack.append(root)
        self.size += 1 << level

    def root(self) -> bytes:
        """The RFC 6962 root of the tree as it stands."""
        return _fold(self.stack) if self.stack else EMPTY_ROOT

    def copy(self) -> CompactRange:
        """An independent range that stands where this one stands."""
        return CompactRange(self.size, self.stack.copy())

    def to_bytes(self) -> bytes:
        """The stack, 32 bytes a root: one for each bit set in the size."""
        return b"".join(self.stack)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> CompactRange:
        """The pair of `to_bytes`. Raises ValueError when the stack does not belong to this size."""
        if size < 0 or len(data) != HASH_BYTES * size.bit_count():
            raise ValueError(f"{len(data)} bytes cannot be the compact range of {size} leaves")
        return cls(size, [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)])


def cover(start: int, end: int) -> list[tuple[int, int]]:
    """The fewest full, aligned subtrees `(level, index)` that cover leaves [start, end), in order."""
    result: list[tuple[int, int]] = []
    while start < end:
        room = (end - start).bit_length() - 1
        aligned = (start & -start).bit_length() - 1 if start else room
        level = min(room, aligned)
        result.append((level, start >> level))
        start += 1 << level
    return result


def subtree_roots(start: int, leaves: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Level and root of the fewest full subtrees that these leaves, from leaf `start` on, make; in order.

    Pushed into the compact range of `start` leaves they do what appending each leaf does.
    """
    result: list[tuple[int, bytes]] = []
    for level, index in cover(start, start + len(leaves)):
        at = (index << level) - start
        nodes = leaves[at : at + (1 << level)]
        while len(nodes) > 1:
            pairs = iter(nodes)
            nodes = [
                sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)
            ]
        result.append((level, nodes[0]))
    return result


def range_cover(start: int, end: int, size: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """What a window [start, end) of a tree needs beside its own leaves: left and right cover (P3.3)."""
    if not 0 <= start <= end <= size:
        raise ValueError(f"[{start}, {end}) is no window of {size} leaves")
    return cover(0, start), cover(end, size)


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """The audit path of a leaf, leaf to root (RFC 9162 2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_root(middle, end, subtree))
            end = middle
        else:
            path.append(_range_root(start, middle, subtree))
            start = middle
    return path[::-1]


def consistency_proof(size1: int, size2: int, subtree: Subtree) -> list[bytes]:
    """The proof that the first `size1` leaves of a tree of `size2` were never changed (RFC 9162 2.1.4.1)."""
    if not 1 <= size1 <= size2:
        raise ValueError(f"no proof leads from {size1} to {size2} leaves")
    path: list[bytes] = []
    start, end, whole = 0, size2, True
    while size1 != end:
        middle = start + _split(end - start)
        if size1 <= middle:
            path.append(_range_root(middle, end, subtree))
            end = middle
        else:
            path.append(_range_root(start, middle, subtree))
            start, whole = middle, False
    if not whole:
        path.append(_range_root(start, end, subtree))
    return path[::-1]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf stands at `index` of the tree with this root (RFC 9162 2.1.3.2; P3.2)."""
    if not 0 <= index < size or not _all_hashes(leaf, root, *proof):
        return False
    first, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if first & 1 or first == last:
            result = node_hash(sibling, result)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and result == root


def verify_consistency(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of `size2` starts with the tree of `size1` (RFC 9162 2.1.4.2; P3.2)."""
    if not 1 <= size1 <= size2 or not _all_hashes(root1, root2, *proof):
        return False
    if size1 == size2:
        return not proof and root1 == root2
    path = list(proof)
    if size1 & (size1 - 1) == 0:  # the old tree is itself a full subtree of the new one
        path.insert(0, root1)
    if not path:
        return False
    first, last = size1 - 1, size2 - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and old == root1 and new == root2


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_root(start: int, end: int, subtree: Subtree) -> bytes:
    return _fold([subtree(level, index) for level, index in cover(start, end)])


def _fold(roots: Sequence[bytes]) -> bytes:
    result = roots[-1]
    for left in reversed(roots[:-1]):
        result = node_hash(left, result)
    return result


def _all_hashes(*hashes: bytes) -> bool:
    return all(len(item) == HASH_BYTES for item in hashes)
