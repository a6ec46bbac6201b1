"""Owns a copy of a log as plain files: tiles that are made from verified entries (C2SP tlog-tiles, P5.2).

Any web server can serve the folder, and others can follow it there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from evidence.merkle import node_hash
from evidence.record import leaf_hash
from evidence.tiles import TILE_WIDTH, Tile, pack_entries
from witness.durable import PUBLIC_FILE

_CHECKPOINT = "checkpoint"


class Mirror:
    """Takes every entry in order from the first; full tiles are written as they fill, others by `publish`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: list[bytes] = []
        self._levels: list[list[bytes]] = [[]]
        """Per level of tiles, the hashes of the tile that is not full yet."""
        self._full: list[int] = [0]
        """Per level, how many tiles are full."""

    def add(self, entry: bytes) -> None:
        """Take the next entry."""
        self._entries.append(entry)
        self._push(0, leaf_hash(entry))

    def publish(self, note: bytes) -> None:
        """Write what is not full yet, and last the checkpoint, so that whoever reads it finds its tiles."""
        if self._entries:
            self._write(Tile(None, self._full[0], len(self._entries)), pack_entries(self._entries))
        for level, hashes in enumerate(self._levels):
            if hashes:
                self._write(Tile(level, self._full[level], len(hashes)), b"".join(hashes))
        _write_file(self._folder / _CHECKPOINT, note)

    def _push(self, level: int, node: bytes) -> None:
        if level == len(self._levels):
            self._levels.append([])
            self._full.append(0)
        hashes = self._levels[level]
        hashes.append(node)
        if len(hashes) < TILE_WIDTH:
            return
        if level == 0:
            self._write(Tile(None, self._full[0]), pack_entries(self._entries))
            self._entries = []
        self._write(Tile(level, self._full[level]), b"".join(hashes))
        self._full[level] += 1
        self._levels[level] = []
        self._push(level + 1, _root(hashes))

    def _write(self, tile: Tile, data: bytes) -> None:
        path = self._folder / tile.path()
        _write_file(path, data)
        if tile.width == TILE_WIDTH:
            shutil.rmtree(path.with_name(f"{path.name}.p"), ignore_errors=True)


def _root(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes = [node_hash(*hashes[at : at + 2]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def _write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, unless it is there as it should be.

    Not synced: after a power cut the next start finds what is missing or torn, and writes it again.
    """
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    part.chmod(PUBLIC_FILE)
    part.replace(path)
