"""Go's tlog package accepts our proofs, refuses altered ones, and reads our tile directory."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from evidence.merkle import consistency_proof, inclusion_proof
from evidence.record import encode_base64, leaf_hash
from tests.interop.conftest import GoProgram
from tests.witness_kit import GrowingLog
from witness.mirror import Mirror

LOG = GrowingLog().grow(700)
SIZES = (1, 2, 3, 255, 256, 257, 700)


def lines(path: Sequence[bytes]) -> bytes:
    """A path as the program reads it."""
    return "".join(f"{encode_base64(node)}\n" for node in path).encode()


def root(size: int) -> str:
    """The root at a size."""
    return encode_base64(LOG.checkpoint(size).root)


def altered(path: list[bytes]) -> list[list[bytes]]:
    """A hash flipped, dropped, added, and two swapped."""
    changed = [[*path, bytes(32)]]
    if path:
        changed += [[bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:]], path[1:], path[:-1]]
    if len(path) > 1:
        changed.append([path[1], path[0], *path[2:]])
    return changed


@pytest.mark.parametrize("size", SIZES)
def test_go_checks_our_inclusion_proofs(tlogcheck: GoProgram, size: int) -> None:
    """For the first, a middle and the last entry; not for its neighbour, another leaf or another path."""
    for index in {0, size // 2, size - 1}:
        leaf = encode_base64(leaf_hash(LOG.entries[index]))
        path = inclusion_proof(index, size, LOG.subtree)
        assert tlogcheck("inclusion", size, root(size), index, leaf, stdin=lines(path)) == (True, "")
        for wrong in altered(path):
            assert not tlogcheck("inclusion", size, root(size), index, leaf, stdin=lines(wrong))[0]
        stranger = encode_base64(leaf_hash(b"stranger"))
        assert not tlogcheck("inclusion", size, root(size), index, stranger, stdin=lines(path))[0]
        if size > 1:
            beside = index - 1 if index else 1
            assert not tlogcheck("inclusion", size, root(size), beside, leaf, stdin=lines(path))[0]


@pytest.mark.parametrize("size", SIZES)
def test_go_checks_our_consistency_proofs(tlogcheck: GoProgram, size: int) -> None:
    """From several earlier sizes; not from another root, nor by another path."""
    for old in {1, max(1, size // 3), max(1, size - 1)}:
        path = consistency_proof(old, size, LOG.subtree)
        sizes = ("consistency", old, root(old), size, root(size))
        assert tlogcheck(*sizes, stdin=lines(path)) == (True, "")
        for wrong in altered(path):
            assert not tlogcheck(*sizes, stdin=lines(wrong))[0]
        other = encode_base64(bytes(32))
        assert not tlogcheck("consistency", old, other, size, root(size), stdin=lines(path))[0]
        assert not tlogcheck("consistency", old, root(old), size, other, stdin=lines(path))[0]


def mirror(folder: Path, size: int) -> Path:
    """The tile directory of the log at a size."""
    made = Mirror(folder)
    for entry in LOG.entries[:size]:
        made.add(entry)
    made.publish(LOG.note(size))
    return folder


@pytest.mark.parametrize("size", SIZES)
def test_go_reads_our_tile_directory(tlogcheck: GoProgram, tmp_path: Path, size: int) -> None:
    """The same root, the same leaf hashes in the tiles, and the same hashes of the entries."""
    found, *leaves = tlogcheck.lines("tiles", mirror(tmp_path, size), size)
    assert found == root(size)
    expected = [encode_base64(leaf_hash(entry)) for entry in LOG.entries[:size]]
    assert leaves == [f"{leaf} {leaf}" for leaf in expected]


@pytest.mark.parametrize("name", ["tile/0/000", "tile/0/002.p/188", "tile/1/000.p/2"])
def test_go_refuses_a_tile_that_was_altered(tlogcheck: GoProgram, tmp_path: Path, name: str) -> None:
    """Either the tiles contradict each other, or they give another root than the one that was signed."""
    tile = mirror(tmp_path, 700) / name
    data = tile.read_bytes()
    tile.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    accepts, printed = tlogcheck("tiles", tmp_path, 700)
    assert not accepts or printed.splitlines()[0] != root(700)
    tile.unlink()
    assert not tlogcheck("tiles", tmp_path, 700)[0]
