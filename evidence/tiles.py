"""Owns the tiles of the global log: their paths, their bytes, and hashes read from them (PROOF P5.2).

Formats: C2SP tlog-tiles. A tile of level L holds up to 256 roots of full subtrees of 256^L entries; an
entry bundle holds up to 256 entries. A tile that is not full has its width in its path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evidence.canonical import FormatError
from evidence.merkle import HASH_BYTES, node_hash

TILE_LEVEL = 8
"""Levels of the tree in one tile."""
TILE_WIDTH = 1 << TILE_LEVEL
TILE_LEVELS_MAX = 63
ENTRIES = "entries"
ENTRY_BYTES_MAX = 0xFFFF
INDEX_MAX = (1 << 53) - 1

_PATH = re.compile(
    rf"tile/(?P<level>0|[1-9]\d?|{ENTRIES})/(?P<index>(?:x\d{{3}}/)*\d{{3}})(?:\.p/(?P<width>[1-9]\d{{0,2}}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Tile:
    """Which tile: `level` None is an entry bundle; `width` is how many hashes or entries it holds."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def path(self) -> str:
        """The path below the log's prefix; the pair of `parse_tile_path`."""
        digits = f"{self.index:03d}"
        digits = "0" * (-len(digits) % 3) + digits
        *first, last = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        folder = "".join(f"x{part}/" for part in first)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{ENTRIES if self.level is None else self.level}/{folder}{last}{partial}"

    def fits(self, size: int) -> bool:
        """Whether a log of `size` entries has all that the tile holds."""
        return (self.index * TILE_WIDTH + self.width) << (TILE_LEVEL * (self.level or 0)) <= size


def parse_tile_path(path: str) -> Tile:
    """Read a path in its one spelling. Raises `FormatError`."""
    match = _PATH.fullmatch(path)
    if not match:
        raise FormatError(
            "a tile's path is tile/<level or entries>/<index>, with .p/<width> if it is partial"
        )
    level = None if match["level"] == ENTRIES else int(match["level"])
    width = int(match["width"] or TILE_WIDTH)
    tile = Tile(level, int(match["index"].replace("x", "").replace("/", "")), width)
    if tile.path() != path or (level or 0) > TILE_LEVELS_MAX or tile.index > INDEX_MAX:
        raise FormatError("a tile's path has one spelling, and the log no such tile")
    return tile


def tile_at(level: int | None, index: int, size: int) -> Tile:
    """The tile as a log of `size` entries has it. Raises ValueError when it has no entry of it."""
    width = min((size >> (TILE_LEVEL * (level or 0))) - index * TILE_WIDTH, TILE_WIDTH)
    if width < 1:
        raise ValueError(f"a log of {size} entries has no tile {level}/{index}")
    return Tile(level, index, width)


def bundles(start: int, size: int) -> Iterator[Tile]:
    """The entry bundles of a log of `size` entries that hold the entries from `start` on."""
    for index in range(start // TILE_WIDTH, -(-size // TILE_WIDTH)):
        yield tile_at(None, index, size)


def hash_tiles(size: int) -> Iterator[Tile]:
    """Every hash tile of a log of `size` entries, level by level."""
    level = 0
    while count := size >> (TILE_LEVEL * level):
        for index in range(-(-count // TILE_WIDTH)):
            yield tile_at(level, index, size)
        level += 1


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """An entry bundle: each entry behind its length in two bytes. Raises ValueError for a longer one."""
    if any(len(entry) > ENTRY_BYTES_MAX for entry in entries):
        raise ValueError(f"an entry of the log has at most {ENTRY_BYTES_MAX} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unpack_entries(data: bytes, width: int) -> list[bytes]:
    """The pair of `pack_entries`, for exactly `width` entries. Raises `FormatError`."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data) or at + 2 > len(data):
            raise FormatError("an entry bundle is cut")
        entries.append(data[at + 2 : end])
        at = end
    if len(entries) != width:
        raise FormatError(f"an entry bundle of width {width} holds {len(entries)} entries")
    return entries


def split_hashes(data: bytes, width: int) -> list[bytes]:
    """The hashes of a tile. Raises `FormatError` unless it has exactly `width` of them."""
    if len(data) != width * HASH_BYTES:
        raise FormatError(f"a tile of width {width} has {width * HASH_BYTES} bytes, not {len(data)}")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


class TileTree:
    """The tree of a log of `size` entries as `evidence.merkle` reads it, from tiles.

    `fetch` answers a tile's bytes. What comes from a stranger proves nothing by itself: compare the
    root, or the proof made of it, with what was signed.
    """

    def __init__(self, size: int, fetch: Callable[[Tile], bytes]) -> None:
        self.size, self._fetch = size, fetch
        self._tiles: dict[Tile, list[bytes]] = {}

    def subtree(self, level: int, index: int) -> bytes:
        """The root over entries [index << level, (index + 1) << level). Raises `FormatError`."""
        tile_level, above = divmod(level, TILE_LEVEL)
        first = index << above
        hashes = self._hashes(tile_at(tile_level, first // TILE_WIDTH, self.size))
        roots = hashes[first % TILE_WIDTH :][: 1 << above]
        while len(roots) > 1:
            roots = [node_hash(*roots[at : at + 2]) for at in range(0, len(roots), 2)]
        return roots[0]

    def _hashes(self, tile: Tile) -> list[bytes]:
        if tile not in self._tiles:
            self._tiles[tile] = split_hashes(self._fetch(tile), tile.width)
        return self._tiles[tile]
