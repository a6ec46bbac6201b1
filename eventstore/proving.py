"""Owns what proofs and tiles read from a log: few leaves, few block roots, never the whole (PROOF P2.2, P3).

A proof is planned first with stand-ins for the hashes, then what the plan asked for is read, then it is
made for real: the rules of `evidence.merkle` stay pure and are written once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from eventstore.global_log import GlobalLog
from eventstore.log import Block, DamagedLog, EventLog, Head, UnknownStream
from evidence.bundle import EntryChain
from evidence.merkle import HASH_BYTES, KEPT_LEVEL, Subtree, node_hash
from evidence.record import genesis, leaf_hash
from evidence.tiles import TILE_LEVEL, Tile, pack_entries

T = TypeVar("T")
BLOCK = 1 << KEPT_LEVEL
"""Leaves of a block: the full subtree whose root is kept."""


class Leaves(Protocol):
    """A tree that can be read in parts."""

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """Leaf hashes [start, end), all within one block."""
        ...

    async def block_roots(self, start: int, end: int) -> list[bytes]:
        """The roots of the full blocks [start, end)."""
        ...


class StreamLeaves:
    """The tree of a stream: leaves are recomputed from rows, from the last block boundary before them."""

    def __init__(self, log: EventLog, head: Head, blocks: list[Block]) -> None:
        self._log, self._head, self._blocks = log, head, blocks

    @classmethod
    async def of(cls, log: EventLog, stream: str) -> StreamLeaves:
        """The tree as it stands now, or larger later. Raises `UnknownStream`."""
        head = await log.head(stream)
        if head is None:
            raise UnknownStream(f"{stream}: no such stream")
        return cls(log, head, await log.blocks(stream))

    async def chain_at(self, start: int) -> tuple[EntryChain, int]:
        """The chain at the last block boundary up to leaf `start`, and how many leaves that is."""
        block = start // BLOCK
        head = self._head
        prev = self._blocks[block - 1].last_leaf if block else genesis(head.stream, head.anchor_note)
        return EntryChain(head.stream, prev), block * BLOCK

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """Leaf hashes [start, end), all within one block."""
        chain, at = await self.chain_at(start)
        found: list[bytes] = []
        async for event in self._log.entries(self._head.stream, at, end):
            chain.add(event)
            found.append(chain.prev)
        if len(found) != end - at:
            raise DamagedLog(
                f"{self._head.stream} lacks events between {at + 1} and {end}: restore the database"
            )
        return found[start - at :]

    async def block_roots(self, start: int, end: int) -> list[bytes]:
        """The roots of the full blocks [start, end)."""
        return [block.root for block in self._blocks[start:end]]


class LogLeaves:
    """The tree of the global log."""

    def __init__(self, log: GlobalLog) -> None:
        self._log = log

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """Leaf hashes [start, end)."""
        return [leaf_hash(entry) for entry in await self._log.entries(start, end)]

    async def block_roots(self, start: int, end: int) -> list[bytes]:
        """The roots of the full blocks [start, end)."""
        return await self._log.block_roots(start, end)


async def prove(tree: Leaves, make: Callable[[Subtree], T]) -> T:
    """What `make` makes of the tree's hashes. It is called twice, and must ask for the same both times."""
    wanted: set[tuple[int, int]] = set()

    def plan(level: int, index: int) -> bytes:
        wanted.add((level, index))
        return bytes(HASH_BYTES)

    make(plan)
    known = await _read(tree, wanted)
    return make(lambda level, index: known[level, index])


async def tile_bytes(log: GlobalLog, tile: Tile) -> bytes:
    """A tile of the global log, which must hold all of it (C2SP tlog-tiles)."""
    start, end = tile.index * BLOCK, tile.index * BLOCK + tile.width
    if tile.level is None:
        return pack_entries(await log.entries(start, end))
    if tile.level == 0:
        return b"".join(await LogLeaves(log).leaves(start, end))
    span = 1 << TILE_LEVEL * (tile.level - 1)  # blocks in one hash of this level
    roots = await log.block_roots(start * span, end * span)
    return b"".join(_fold(roots[at : at + span]) for at in range(0, len(roots), span))


async def _read(tree: Leaves, wanted: Iterable[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """The roots of these full subtrees; what lies in one block is read together."""
    known: dict[tuple[int, int], bytes] = {}
    within: dict[int, list[tuple[int, int]]] = {}
    for level, index in wanted:
        if level < KEPT_LEVEL:
            within.setdefault(index << level >> KEPT_LEVEL, []).append((level, index))
        else:
            above = level - KEPT_LEVEL
            known[level, index] = _fold(await tree.block_roots(index << above, (index + 1) << above))
    for parts in within.values():
        start = min(index << level for level, index in parts)
        leaves = await tree.leaves(start, max((index + 1) << level for level, index in parts))
        for level, index in parts:
            at = (index << level) - start
            known[level, index] = _fold(leaves[at : at + (1 << level)])
    return known


def _fold(roots: list[bytes]) -> bytes:
    """The root above 2^n roots."""
    assert len(roots) & -len(roots) == len(roots) > 0, "the log holds all that a proof within its size needs"
    while len(roots) > 1:
        roots = [node_hash(*roots[at : at + 2]) for at in range(0, len(roots), 2)]
    return roots[0]
