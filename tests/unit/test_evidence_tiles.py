"""Tiles and entries of the global log: one spelling each, and hashes that give the tree's own root."""

from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint, run_origin
from evidence.logentry import KeyChange, StreamEntry, parse_entry
from evidence.merkle import (
    CompactRange,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from evidence.note import Verifier
from evidence.record import leaf_hash
from evidence.tiles import (
    Tile,
    TileTree,
    bundles,
    hash_tiles,
    pack_entries,
    parse_tile_path,
    split_hashes,
    tile_at,
    unpack_entries,
)
from tests.evidence_samples import LOG_KEY, ORIGIN, RUN


def _leaves(size: int) -> list[bytes]:
    return [leaf_hash(b"entry %d" % number) for number in range(size)]


def _fetch(leaves: list[bytes]) -> Callable[[Tile], bytes]:
    def fetch(tile: Tile) -> bytes:
        span = 256 ** (tile.level or 0)
        roots = []
        for at in range(tile.index * 256, tile.index * 256 + tile.width):
            tree = CompactRange()
            for leaf in leaves[at * span : (at + 1) * span]:
                tree.append(leaf)
            roots.append(tree.root())
        return b"".join(roots)

    return fetch


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(1, 1000, 17), "tile/1/x001/000.p/17"),
        (Tile(None, 5, 255), "tile/entries/005.p/255"),
    ],
)
def test_a_path_has_one_spelling(tile: Tile, path: str) -> None:
    """Paths are those of C2SP tlog-tiles, and read back to the same tile."""
    assert tile.path() == path
    assert parse_tile_path(path) == tile


@given(level=st.none() | st.integers(0, 63), index=st.integers(0, 2**50), width=st.integers(1, 256))
def test_every_path_reads_back(level: int | None, index: int, width: int) -> None:
    """Printer and parser are a pair."""
    tile = Tile(level, index, width)
    assert parse_tile_path(tile.path()) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0", "tile/00/000", "tile/0/x000/001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01",
        "tile/64/000", "tile/-1/000", "tile/0/000/", "tile/0/../000", "tile/data/000", "checkpoint", "",
        "tile/0/" + "x999/" * 9 + "999",
    ],
)  # fmt: skip
def test_another_spelling_is_refused(path: str) -> None:
    """Leading zeros, empty and full partial tiles, other levels and ways out of the folder are none."""
    with pytest.raises(FormatError):
        parse_tile_path(path)


def test_tiles_of_a_size_are_those_that_the_standard_counts() -> None:
    """70,000 entries: 273 full and one partial tile, one full and one partial, one partial above."""
    tiles = list(hash_tiles(70_000))
    assert len(tiles) == 274 + 2 + 1
    assert Tile(0, 273, 112) in tiles
    assert Tile(1, 1, 17) in tiles
    assert tiles[-1] == Tile(2, 0, 1)
    assert [tile.path() for tile in hash_tiles(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert [tile.width for tile in bundles(300, 600)] == [256, 88]
    assert Tile(1, 0, 2).fits(512)
    assert not Tile(1, 0, 2).fits(511)
    with pytest.raises(ValueError, match="no tile"):
        tile_at(0, 3, 700)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700, 66_000])
def test_proofs_made_from_tiles_hold(size: int) -> None:
    """Root, inclusion and consistency from tiles are those of the tree itself."""
    leaves = _leaves(size)
    tree = CompactRange()
    for leaf in leaves:
        tree.append(leaf)
    tiles = TileTree(size, _fetch(leaves))
    for index in {0, size // 2, size - 1}:
        path = inclusion_proof(index, size, tiles.subtree)
        assert verify_inclusion(index, size, leaves[index], path, tree.root())
    earlier = max(1, size // 3)
    old = CompactRange()
    for leaf in leaves[:earlier]:
        old.append(leaf)
    proof = consistency_proof(earlier, size, tiles.subtree)
    assert verify_consistency(earlier, size, old.root(), tree.root(), proof)


def test_a_tile_of_another_size_is_refused() -> None:
    """A tile that is cut or too long is named, not used."""
    with pytest.raises(FormatError, match="width 2 has 64 bytes"):
        split_hashes(b"x" * 63, 2)


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_entries_read_back(entries: list[bytes]) -> None:
    """Packing and unpacking are a pair."""
    assert unpack_entries(pack_entries(entries), len(entries)) == entries


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x05abc", b"\x00\x01a\x00"])
def test_a_cut_bundle_is_refused(data: bytes) -> None:
    """An entry bundle that ends in the middle of an entry is none."""
    with pytest.raises(FormatError):
        unpack_entries(data, 1)
    with pytest.raises(FormatError, match="holds 0"):
        unpack_entries(b"", 1)
    with pytest.raises(ValueError, match="at most"):
        pack_entries([b"x" * 65_536])


def test_entries_have_one_spelling() -> None:
    """A checkpoint of a stream and a change of key read back; anything else is refused."""
    checkpoint = Checkpoint(run_origin(ORIGIN, RUN), 3, sha256(b"").digest())
    entry = parse_entry(str(checkpoint).encode())
    assert entry == StreamEntry(ORIGIN, RUN, checkpoint)
    assert entry.is_run
    assert str(entry) == str(checkpoint)
    change = KeyChange(ORIGIN, Verifier.parse(LOG_KEY.verifier_key), 7)
    assert parse_entry(str(change).encode()) == change


@pytest.mark.parametrize(
    "data",
    [
        b"\xff", b"", b"crownest/key/v1\n", str(Checkpoint(ORIGIN, 1, bytes(32))).encode(),
        f"crownest/key/v1\n{ORIGIN}\n{LOG_KEY.verifier_key}\nfrom 07\n".encode(),
        f"crownest/key/v1\nother\n{LOG_KEY.verifier_key}\nfrom 7\n".encode(),
        f"crownest/key/v1\n{ORIGIN}\n{LOG_KEY.verifier_key}\nfrom 7\nmore\n".encode(),
    ],
)  # fmt: skip
def test_what_is_no_entry_is_refused(data: bytes) -> None:
    """Every other text is a format error."""
    with pytest.raises(FormatError):
        parse_entry(data)
