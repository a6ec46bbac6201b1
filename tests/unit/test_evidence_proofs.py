"""Range and consistency proofs of a stream, as text (PROOF P3)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from evidence.bundle import EntryChain
from evidence.canonical import FormatError
from evidence.checkpoint import parse_checkpoint
from evidence.merkle import node_hash
from evidence.proofs import (
    HASHES_MAX,
    RangeProof,
    consistency_proof,
    parse_consistency_proof,
    parse_range_proof,
    range_proof,
)
from evidence.record import encode_base64, genesis
from evidence.verdict import VerificationError
from tests.evidence_samples import RUN, checkpoint_of, example_rows

NOTE = b"a note\n"


def leaves_of_the_example() -> list[bytes]:
    """The sixteen leaf hashes."""
    chain, leaves = EntryChain(RUN, genesis(RUN, b"")), []
    for item in example_rows():
        chain.add(item)
        leaves.append(chain.prev)
    return leaves


LEAVES = leaves_of_the_example()
SIGNED = [parse_checkpoint(checkpoint_of(example_rows()[:size])) for size in range(17)]


def subtree(level: int, index: int) -> bytes:
    """Root of a full subtree of the example."""
    if level == 0:
        return LEAVES[index]
    return node_hash(subtree(level - 1, 2 * index), subtree(level - 1, 2 * index + 1))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 15, 16])
def test_every_window_leads_to_the_signed_root(size: int) -> None:
    """Any window of any size, written and read back."""
    for start in range(size + 1):
        for end in range(start, size + 1):
            proof = range_proof(start, end, size, subtree, NOTE)
            assert parse_range_proof(proof.to_bytes()) == proof
            proof.check(LEAVES[start:end], SIGNED[size])


def test_a_window_is_written_as_the_page_says() -> None:
    """Header, range, left, right, empty line, note (P3.3)."""
    lines = range_proof(5, 7, 8, subtree, NOTE).to_bytes().decode().split("\n")
    assert [line for line in lines if len(line) != 44] == [
        "crownest/range-proof@v1",
        "range 5 7",
        "left 2",
        "right 1",
        "",
        "a note",
        "",
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: replace(p, left=p.left[::-1]),
        lambda p: replace(p, left=p.left[:-1]),
        lambda p: replace(p, left=(*p.left, bytes(32))),
        lambda p: replace(p, right=(bytes(32), *p.right[1:])),
        lambda p: replace(p, right=p.right[:-1]),
        lambda p: replace(p, right=(*p.right, bytes(32))),
        lambda p: replace(p, start=4),
        lambda p: replace(p, end=8),
        lambda p: replace(p, end=99),
        lambda p: replace(p, start=9),
    ],
)
def test_a_window_with_a_wrong_left_or_right_is_refused(change: Callable[[RangeProof], RangeProof]) -> None:
    """E_RANGE_PROOF for every part that does not fit."""
    proof = range_proof(5, 7, 16, subtree, NOTE)
    with pytest.raises(VerificationError, match="E_RANGE_PROOF"):
        change(proof).check(LEAVES[5:7], SIGNED[16])


@pytest.mark.parametrize("leaves", [[], LEAVES[5:6], LEAVES[5:8], LEAVES[4:6], LEAVES[6:4:-1]])
def test_other_events_than_the_window_holds_are_refused(leaves: list[bytes]) -> None:
    """Fewer, more, others, or in another order."""
    with pytest.raises(VerificationError, match="E_RANGE_PROOF"):
        range_proof(5, 7, 16, subtree, NOTE).check(leaves, SIGNED[16])


def test_a_consistency_proof_leads_from_old_to_new() -> None:
    """Every pair of sizes, written and read back; a rewritten history is E_FORK."""
    for size1 in range(1, 17):
        for size2 in range(size1, 17):
            proof = consistency_proof(size1, size2, subtree, NOTE)
            assert parse_consistency_proof(proof.to_bytes()) == proof
            proof.check(SIGNED[size1], SIGNED[size2])
            with pytest.raises(VerificationError, match="E_FORK"):
                proof.check(replace(SIGNED[size1], root=bytes(32)), SIGNED[size2])
            with pytest.raises(VerificationError, match="E_FORK"):
                proof.check(SIGNED[size1], replace(SIGNED[size2], size=size2 + 1))


RANGE = range_proof(5, 7, 8, subtree, NOTE).to_bytes()
CONSISTENCY = consistency_proof(3, 7, subtree, NOTE).to_bytes()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"@v1", b"@v2"),
        (b"range 5 7", b"range 05 7"),
        (b"range 5 7", b"range 5"),
        (b"range 5 7", b"range  5 7"),
        (b"left 2", b"left 3"),
        (b"left 2", b"left 1"),
        (b"left 2", b"left 999"),
        (b"right 1", b"right 0"),
        (b"right 1", b"rite 1"),
        (b"\n\n", b"\nextra\n\n"),
        (b"\n\n", b"\n"),
        (b"range", "r\u00e4nge".encode()),
        (b"left", b"left 0\n" * (HASHES_MAX + 3) + b"left"),
    ],
)
def test_a_range_proof_has_one_spelling(old: bytes, new: bytes) -> None:
    """Counts, numbers and lines are exactly those that the header announces."""
    assert old in RANGE
    with pytest.raises(FormatError):
        parse_range_proof(RANGE.replace(old, new, 1))


def test_a_proof_has_a_bounded_number_of_hashes() -> None:
    """The announced and the listed hashes alike; and a proof without its checkpoint is none."""
    line = encode_base64(bytes(32)).encode() + b"\n"
    for many in (b"left 999\n", b"left 0\n" + line * (HASHES_MAX + 3)):
        with pytest.raises(FormatError, match=f"at most {HASHES_MAX} hashes"):
            parse_range_proof(RANGE.replace(b"left 2\n", many))
    longest = replace(parse_consistency_proof(CONSISTENCY), path=(bytes(32),) * HASHES_MAX)
    assert parse_consistency_proof(longest.to_bytes()) == longest
    for data in (RANGE, CONSISTENCY):
        with pytest.raises(FormatError, match="empty line"):
            parse_range_proof(data.split(b"\n\n")[0])


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"@v1", b"@v2"), (b"sizes 3 7", b"sizes 3"), (b"sizes 3 7", b"sizes 3 +7"), (b"=\n", b"\n")],
)
def test_a_consistency_proof_has_one_spelling(old: bytes, new: bytes) -> None:
    """The same for the other proof."""
    assert old in CONSISTENCY
    with pytest.raises(FormatError):
        parse_consistency_proof(CONSISTENCY.replace(old, new, 1))
