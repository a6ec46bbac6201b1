"""Whatever is done to a bundle, a verdict answers, and nothing that says other things is accepted."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.bundle import ATTESTATIONS
from evidence.canonical import FormatError
from evidence.checkpoint import parse_checkpoint
from evidence.dsse import parse_envelope
from evidence.note import NoteError, split_note
from evidence.policy import parse_policy
from evidence.proofs import parse_consistency_proof, parse_range_proof
from evidence.tlog import parse_tlog_proof
from tests.evidence_samples import HONEST, POLICY, example, example_rows, judge, members, repack

SIZE = len(HONEST)
MEMBERS = members(HONEST)
ENTRIES = MEMBERS["events.log"]
SOME = settings(max_examples=250, deadline=None)


@SOME
@given(st.integers(0, SIZE - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_found(at: int, change: int) -> None:
    """Dates and permissions included: a bundle has one spelling (P9.3)."""
    assert not judge(HONEST[:at] + bytes([HONEST[at] ^ change]) + HONEST[at + 1 :]).ok


@SOME
@given(st.integers(0, SIZE), st.integers(0, SIZE), st.binary(max_size=80))
def test_a_cut_a_splice_or_noise_is_found(start: int, end: int, noise: bytes) -> None:
    """Bytes taken out, repeated or put in."""
    other = HONEST[:start] + noise + HONEST[end:]
    if judge(other).ok:
        assert other == HONEST


@SOME
@given(st.integers(0, len(ENTRIES)), st.integers(0, 300), st.binary(max_size=8))
def test_no_change_of_the_log_is_accepted(at: int, length: int, noise: bytes) -> None:
    """Packed properly again, so that only the events differ."""
    log = ENTRIES[:at] + noise + ENTRIES[at + length :]
    assert judge(repack(MEMBERS | {"events.log": log})).ok is (log == ENTRIES)


@SOME
@given(st.lists(st.integers(0, 15), max_size=20))
def test_no_other_selection_of_events_is_accepted(order: list[int]) -> None:
    """Events left out, repeated or moved."""
    lines = ENTRIES.split(b"\n")
    picked = b"".join(line + b"\n" for n in order for line in lines[n * 9 : n * 9 + 9])
    assert judge(repack(MEMBERS | {"events.log": picked})).ok is (picked == ENTRIES)


@SOME
@given(
    st.sampled_from(["run.checkpoint", "evidence.json", "anchor.note", "run.tlog-proof", *ATTESTATIONS]),
    st.binary(max_size=60),
)
def test_any_other_member_is_refused(name: str, data: bytes) -> None:
    """Arbitrary bytes where notes and evidence should be."""
    assert judge(repack(MEMBERS | {name: data})).ok is (MEMBERS.get(name) == data)


@SOME
@given(st.integers(1, 16), st.sets(st.integers(1, 16)))
def test_no_other_rows_signed_by_the_server_pass_for_the_run(size: int, erased: set[int]) -> None:
    """A server that signs any prefix with any payloads missing is never told to be complete, unless it is."""
    rows = [item.redacted() if item.seq in erased else item for item in example_rows()[:size]]
    verdict = judge(example().bundle(rows=rows))
    assert verdict.ok is (size == 16 and not erased)


@SOME
@given(st.binary(max_size=120))
def test_every_reader_reads_or_refuses(data: bytes) -> None:
    """Policies, notes, checkpoints and proofs: `FormatError` and nothing else."""
    text = data.decode("latin-1")
    for read in (
        lambda: parse_policy(data),
        lambda: parse_policy(POLICY + data + b"\n"),
        lambda: parse_envelope(data),
        lambda: parse_tlog_proof(data),
        lambda: parse_tlog_proof(b"c2sp.org/tlog-proof@v1\nindex " + data),
        lambda: parse_range_proof(b"crownest/range-proof@v1\nrange " + data),
        lambda: parse_consistency_proof(b"crownest/consistency-proof@v1\nsizes " + data),
        lambda: parse_checkpoint(text),
    ):
        try:
            read()
        except FormatError:
            continue
    with contextlib.suppress(NoteError):
        split_note(data + b"\n\n\xe2\x80\x94 a " + data + b"\n")
