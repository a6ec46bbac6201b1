"""The tree: append state, proofs, covers (PROOF P3)."""

from hashlib import sha256

import pytest

from evidence.merkle import (
    EMPTY_ROOT,
    CompactRange,
    consistency_proof,
    cover,
    inclusion_proof,
    node_hash,
    range_cover,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [sha256(b"\x00%d" % number).digest() for number in range(70)]
SIZES = [*range(1, 20), 31, 32, 33, 63, 64, 65, 70]


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 6962's recursive definition, to compare with."""
    if len(leaves) == 1:
        return leaves[0]
    middle = 1 << ((len(leaves) - 1).bit_length() - 1)
    return node_hash(root_of(leaves[:middle]), root_of(leaves[middle:]))


def subtree(level: int, index: int) -> bytes:
    """Root of a full subtree over LEAVES."""
    return root_of(LEAVES[index << level : (index + 1) << level])


def test_the_compact_range_gives_the_recursive_root_at_every_size() -> None:
    """Appending and RFC 6962's definition agree; a stored state continues as if it were never stored."""
    tree = CompactRange()
    assert tree.root() == EMPTY_ROOT == sha256(b"").digest()
    for size, leaf in enumerate(LEAVES, 1):
        tree = CompactRange.from_bytes(tree.size, tree.to_bytes())
        tree.append(leaf)
        assert (tree.size, tree.root()) == (size, root_of(LEAVES[:size]))


def test_every_256th_leaf_completes_a_subtree_that_is_kept() -> None:
    """`append` answers the root of the 256 leaves that it completed, once for each 256 (P2.2)."""
    tree, leaves = CompactRange(), [sha256(b"%d" % number).digest() for number in range(1024)]
    kept = {index: root for index, leaf in enumerate(leaves) if (root := tree.append(leaf)) is not None}
    assert kept == {last: root_of(leaves[last - 255 : last + 1]) for last in (255, 511, 767, 1023)}


def test_a_copy_goes_its_own_way() -> None:
    """Appending to a copy leaves the original where it was."""
    tree = CompactRange()
    tree.append(LEAVES[0])
    other = tree.copy()
    other.append(LEAVES[1])
    assert (tree.size, tree.root()) == (1, LEAVES[0])


@pytest.mark.parametrize(("size", "length"), [(0, 32), (1, 0), (3, 32), (4, 64), (1, 31), (-1, 32)])
def test_a_state_of_another_size_is_refused(size: int, length: int) -> None:
    """The stack has one hash for each bit of the size."""
    with pytest.raises(ValueError, match="compact range"):
        CompactRange.from_bytes(size, bytes(length))


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_is_proved_to_be_included_and_only_where_it_is(size: int) -> None:
    """Each inclusion proof holds for its own leaf, index, size and root, and for no neighbour."""
    root = root_of(LEAVES[:size])
    for index in range(size):
        proof = inclusion_proof(index, size, subtree)
        assert verify_inclusion(index, size, LEAVES[index], proof, root)
        assert not verify_inclusion((index + 1) % size, size, LEAVES[index], proof, root) or size == 1
        assert not verify_inclusion(index, size, LEAVES[index], [*proof, root], root)
        assert not verify_inclusion(index, size, LEAVES[index], proof[:-1], root) or not proof
        assert not verify_inclusion(index, size, node_hash(root, root), proof, root)


@pytest.mark.parametrize("size", SIZES)
def test_every_older_tree_is_proved_to_be_a_prefix(size: int) -> None:
    """Each consistency proof holds between its own two trees and no others."""
    new = root_of(LEAVES[:size])
    for older in range(1, size + 1):
        old = root_of(LEAVES[:older])
        proof = consistency_proof(older, size, subtree)
        assert verify_consistency(older, size, old, new, proof)
        assert not verify_consistency(older, size, node_hash(old, old), new, proof)
        assert not verify_consistency(older, size, old, node_hash(new, new), proof)
        assert not verify_consistency(older, size, old, new, [*proof, new])
        if proof:
            assert not verify_consistency(older, size, old, new, proof[:-1])
            assert not verify_consistency(older, size, old, new, [])


def test_a_proof_from_nothing_proves_nothing() -> None:
    """Size 0, sizes in the wrong order, indexes outside and hashes of other lengths are refused (P3.2)."""
    assert not verify_consistency(0, 4, EMPTY_ROOT, root_of(LEAVES[:4]), [])
    assert not verify_consistency(4, 2, root_of(LEAVES[:4]), root_of(LEAVES[:2]), [])
    assert not verify_consistency(2, 2, b"", b"", [])
    assert not verify_inclusion(1, 1, LEAVES[0], [], LEAVES[0])
    assert not verify_inclusion(-1, 1, LEAVES[0], [], LEAVES[0])
    assert not verify_inclusion(0, 1, b"", [], b"")
    assert not verify_inclusion(0, 2, LEAVES[0], [b"short"], root_of(LEAVES[:2]))
    assert not verify_inclusion(0, 2, LEAVES[0], [], LEAVES[0])
    assert not verify_consistency(2, 4, root_of(LEAVES[:2]), root_of(LEAVES[:2]), [])
    short_cut = consistency_proof(3, 4, subtree)
    assert not verify_consistency(3, 8, root_of(LEAVES[:3]), root_of(LEAVES[:4]), short_cut)
    for sizes in ((0, 4), (5, 4)):
        with pytest.raises(ValueError, match="no proof leads"):
            consistency_proof(*sizes, subtree)
    with pytest.raises(ValueError, match="not in a tree"):
        inclusion_proof(4, 4, subtree)


def test_a_cover_is_the_fewest_subtrees_in_order() -> None:
    """[0, a) needs one subtree for each bit of a; the cover of [b, n) climbs and descends (P3.3)."""
    assert cover(0, 13) == [(3, 0), (2, 2), (0, 12)]
    assert cover(5, 13) == [(0, 5), (1, 3), (2, 2), (0, 12)]
    assert cover(7, 7) == []
    for end in range(40):
        assert len(cover(0, end)) == end.bit_count()
        for start in range(end):
            at = start
            for level, index in cover(start, end):
                assert index << level == at
                at += 1 << level
            assert at == end


@pytest.mark.parametrize("size", SIZES)
def test_a_window_and_its_covers_give_the_root(size: int) -> None:
    """Left roots, the window's leaves and right roots make the whole tree (P3.3)."""
    for start in range(0, size + 1, 3):
        for end in range(start, size + 1, 5):
            left, right = range_cover(start, end, size)
            tree = CompactRange(start, [subtree(level, index) for level, index in left])
            for leaf in LEAVES[start:end]:
                tree.append(leaf)
            for level, index in right:
                tree.push_subtree(level, subtree(level, index))
            assert (tree.size, tree.root()) == (size, root_of(LEAVES[:size]))


def test_a_subtree_stands_only_where_it_is_aligned() -> None:
    """Two leaves at once cannot be added after one; windows outside the tree have no cover."""
    with pytest.raises(ValueError, match="does not start"):
        CompactRange(1, [LEAVES[0]]).push_subtree(1, LEAVES[1])
    for window in ((3, 2, 4), (0, 5, 4), (-1, 1, 4)):
        with pytest.raises(ValueError, match="no window"):
            range_cover(*window)
