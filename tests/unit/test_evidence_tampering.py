"""Every tampering of PROOF P10 that this verifier can meet, each caught by its own code at its own event."""

from collections.abc import Callable

import pytest

from evidence.bundle import EntryChain
from evidence.canonical import canonical, encode
from evidence.note import sign_note
from evidence.record import encode_base64, genesis
from evidence.verdict import COMPLETE
from tests.evidence_samples import (
    EXAMPLE_EVIDENCE,
    HONEST,
    LOG_KEY,
    ORIGIN,
    OTHER_RUN,
    RUN,
    Entries,
    Recorded,
    assert_caught,
    checkpoint_of,
    edit_line,
    edited_payload,
    event_of,
    example,
    example_rows,
    flipped,
    judge,
    members,
    rechain,
    repack,
    row,
    sealed_again,
    signed_by_the_server,
    signer,
    tamper,
    tamper_entries,
    with_event,
)


def test_the_honest_bundle_is_complete() -> None:
    """What follows fails because of the tampering alone."""
    verdict = judge(HONEST)
    assert (verdict.verdict, verdict.code, verdict.exit_code) == (COMPLETE, None, 0)
    assert (verdict.stream, verdict.size) == (RUN, 16)
    assert verdict.root == "o1/jxi1+E+KjNtDSPEw4MA37TwJcsGhnXw0gM6dfuWU="
    assert judge(repack(members(HONEST))) == verdict


@pytest.mark.parametrize("seq", range(1, 17))
def test_a_flipped_payload_byte_names_the_event(seq: int) -> None:
    """Any bit of any payload: E_PAYLOAD_MISMATCH at that event."""
    for at in (30, 60, -1):
        assert_caught(edit_line(seq, 9, lambda line, at=at: flipped(line, at)), "E_PAYLOAD_MISMATCH", seq)


def test_a_flipped_byte_in_the_raw_file_names_the_event() -> None:
    """The zip's own checksum does not hide which event was touched."""
    at = HONEST.index(b"ok 1")
    assert_caught(flipped(HONEST, at), "E_PAYLOAD_MISMATCH", 7)


def test_a_changed_salt_names_the_event() -> None:
    """The salt is part of the commitment."""
    other = b"+ " + encode_base64(b"x" * 16).encode()
    assert_caught(edit_line(9, 9, lambda line: other + line[26:]), "E_PAYLOAD_MISMATCH", 9)


def test_a_deleted_event_leaves_a_gap() -> None:
    """E_SEQ_GAP at the missing event; also when the last two are all that follows."""
    assert_caught(tamper_entries(HONEST, lambda e: e.pop(6)), "E_SEQ_GAP", 7)
    assert_caught(tamper_entries(HONEST, lambda e: e.pop(0)), "E_SEQ_GAP", 1)
    assert_caught(tamper_entries(HONEST, lambda e: e.pop(14)), "E_SEQ_GAP", 15)
    assert_caught(tamper_entries(HONEST, lambda e: e.__delitem__(slice(3, 9))), "E_SEQ_GAP", 4)

    def delete_and_repeat(entries: Entries) -> None:
        entries[6:8] = [entries[7], entries[5]]

    assert_caught(tamper_entries(HONEST, delete_and_repeat), "E_SEQ_GAP", 7)


def test_swapped_events_are_out_of_order() -> None:
    """E_SEQ_ORDER: the expected event follows right after (P9.6)."""

    def swap(entries: Entries) -> None:
        entries[6], entries[7] = entries[7], entries[6]

    assert_caught(tamper_entries(HONEST, swap), "E_SEQ_ORDER", 7)


def test_an_event_moved_back_is_out_of_order() -> None:
    """An event older than the last one cannot come next."""
    assert_caught(tamper_entries(HONEST, lambda e: e.insert(9, e[2])), "E_SEQ_ORDER", 10)


def test_numbers_begin_at_one() -> None:
    """An event 0 stands where event 1 should; it repeats nothing."""
    assert_caught(edit_line(1, 3, lambda _: b"0"), "E_SEQ_ORDER", 1)


def test_a_duplicated_event_is_named() -> None:
    """E_SEQ_DUP, in the middle and at the end."""
    assert_caught(tamper_entries(HONEST, lambda e: e.insert(7, e[6])), "E_SEQ_DUP", 7)
    assert_caught(tamper_entries(HONEST, lambda e: e.append(e[15])), "E_SEQ_DUP", 16)


def test_a_dropped_tail_is_missing() -> None:
    """E_TRUNCATED at the first missing event, even if nothing is left."""
    assert_caught(tamper_entries(HONEST, lambda e: e.pop()), "E_TRUNCATED", 16)
    assert_caught(tamper_entries(HONEST, lambda e: e.__delitem__(slice(5, None))), "E_TRUNCATED", 6)
    assert_caught(tamper_entries(HONEST, lambda e: e.clear()), "E_TRUNCATED", 1)


def test_a_forged_event_at_the_end_was_not_signed() -> None:
    """A chained, well-formed event after the signed ones: E_EXTRA_EVENTS."""

    def append(entries: Entries) -> None:
        entries.append(list(entries[6]))
        entries[-1][2] = b"17"
        entries[-1][4] = entries[15][4]
        rechain(entries, 17)

    assert_caught(tamper_entries(HONEST, append), "E_EXTRA_EVENTS", 17)


def test_an_event_of_another_run_does_not_belong() -> None:
    """E_RUN_MISMATCH where it was spliced in."""
    other = Recorded(example_rows(), EXAMPLE_EVIDENCE, stream=OTHER_RUN).bundle()
    foreign = members(other)["events.log"].split(b"\n")[6 * 9 : 7 * 9]
    assert_caught(tamper_entries(HONEST, lambda e: e.__setitem__(6, foreign)), "E_RUN_MISMATCH", 7)
    assert_caught(repack(members(HONEST) | {"events.log": members(other)["events.log"]}), "E_RUN_MISMATCH", 1)


def other_run() -> bytes:
    """A whole, valid proof of another run."""
    first = event_of(example_rows()[0])
    rows = [row(encode(first | {"runId": OTHER_RUN})), *example_rows()[1:]]
    return Recorded(rows, EXAMPLE_EVIDENCE, stream=OTHER_RUN).bundle(open_prefix=True, rows=rows[:14])


def test_a_valid_proof_of_another_run_is_not_the_one_expected() -> None:
    """E_ORIGIN_MISMATCH for who expects a run; an open prefix for who does not."""
    verdict = assert_caught(other_run(), "E_ORIGIN_MISMATCH")
    assert verdict.stream == OTHER_RUN
    assert judge(other_run(), expected_run=None, allow_open=True).ok


def test_a_checkpoint_of_another_server_is_not_ours() -> None:
    """The origin line names the key's own origin, or the proof is of somewhere else."""
    text = checkpoint_of(example_rows(), origin="example.org/elsewhere")
    assert_caught(example().bundle(note=sign_note(text, LOG_KEY)), "E_ORIGIN_MISMATCH")


def test_a_checkpoint_of_the_log_itself_is_not_one_of_a_run() -> None:
    """A log's own checkpoint, rightly signed, proves no run."""
    text = checkpoint_of(example_rows()).replace(f"/run/{RUN}", "")
    assert_caught(example().bundle(note=sign_note(text, LOG_KEY)), "E_ORIGIN_MISMATCH")


def test_a_record_edited_with_its_commitment_breaks_the_chain() -> None:
    """E_CHAIN_BROKEN at the event whose predecessor is not the one it was made after."""

    def edit(entries: Entries) -> None:
        payload = entries[6][8].split(b" ", 2)[2].replace(b"ok 1", b"ok 2")
        edited_payload(entries[6], payload)

    assert_caught(tamper_entries(HONEST, edit), "E_CHAIN_BROKEN", 8)


def test_a_rechained_log_has_another_root() -> None:
    """E_ROOT_MISMATCH: every record is consistent, the signature is of other ones."""

    def edit(entries: Entries) -> None:
        payload = entries[6][8].split(b" ", 2)[2].replace(b"ok 1", b"ok 2")
        edited_payload(entries[6], payload)
        rechain(entries, 8)

    assert_caught(tamper_entries(HONEST, edit), "E_ROOT_MISMATCH")


def test_the_last_record_edited_has_another_root() -> None:
    """Nothing follows it to break the chain, but the root tells."""
    bundle = edit_line(16, 5, lambda line: line[:-3] + b"11Z")
    assert_caught(bundle, "E_ROOT_MISMATCH")


def test_an_edited_checkpoint_has_no_signature() -> None:
    """E_SIG_INVALID for its size and for its root."""
    for old, new in ((b"\n16\n", b"\n15\n"), (b"o1/jxi", b"o2/jxi")):
        bundle = tamper(HONEST, "run.checkpoint", lambda note, old=old, new=new: note.replace(old, new))
        assert_caught(bundle, "E_SIG_INVALID")


def test_a_checkpoint_by_another_key_is_not_trusted() -> None:
    """E_SIG_UNKNOWN_KEY: a key inside a bundle is never used, whatever name it has."""
    assert_caught(example().bundle(key=signer(ORIGIN, "thief")), "E_SIG_UNKNOWN_KEY")
    assert_caught(example().bundle(key=signer("example.org/x", "thief")), "E_SIG_UNKNOWN_KEY")


def test_an_unknown_signature_beside_the_trusted_one_is_refused() -> None:
    """Inside a bundle every signature line must be known (P9.3)."""
    note = sign_note(checkpoint_of(example_rows()), LOG_KEY, signer("example.org/x", "thief"))
    assert_caught(example().bundle(note=note), "E_SIG_UNKNOWN_KEY")


def test_an_exit_code_edited_in_the_evidence_drifts() -> None:
    """E_EVIDENCE_DRIFT, and the message names the field."""
    bundle = tamper(HONEST, "evidence.json", lambda data: data.replace(b'"exitCode":1', b'"exitCode":0'))
    assert "exitCode" in assert_caught(bundle, "E_EVIDENCE_DRIFT", 16).message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.replace(b'"exitCode":1', b'"exitCode":true'), "exitCode"),
        (lambda data: data.replace(b'"exitCode":1,', b""), "exitCode"),
        (lambda data: data[:-1] + b',"verified":true}', "verified"),
        (lambda data: data + b"\n", "not canonical"),
        (lambda data: b"[]", "not an object"),
        (lambda data: b"{", "not JSON"),
        (lambda data: b'{"\x1b[2J":1}', "not JSON"),
        (lambda data: b'{"\\u001b[2J":1}', "x1b[2J"),
        (lambda data: canonical({f"field{n}": n for n in range(12)}), "more"),
    ],
)
def test_evidence_is_exactly_what_the_events_say(change: Callable[[bytes], bytes], reason: str) -> None:
    """No field more, none less, none of another type, no other spelling."""
    assert reason in assert_caught(tamper(HONEST, "evidence.json", change), "E_EVIDENCE_DRIFT", 16).message


# ---- genesis, time, spelling ------------------------------------------------------------------


ANCHOR = sign_note(f"{ORIGIN}\n3\n{encode_base64(bytes(32))}\n", LOG_KEY)


def test_a_swapped_anchor_does_not_fit_the_first_event() -> None:
    """E_GENESIS, whether the anchor is exchanged, added or removed."""
    anchored = example().bundle(anchor=ANCHOR)
    assert judge(anchored).ok
    other = ANCHOR.replace(b"\n3\n", b"\n4\n")
    assert_caught(tamper(anchored, "anchor.note", lambda _: other), "E_GENESIS", 1)
    assert_caught(tamper(anchored, "anchor.note", lambda _: b""), "E_GENESIS", 1)
    assert_caught(tamper(HONEST, "anchor.note", lambda _: ANCHOR), "E_GENESIS", 1)
    assert_caught(tamper(anchored, "anchor.note", lambda _: b"x"), "E_FORMAT")


def test_a_genesis_of_another_run_is_caught() -> None:
    """The records carry this run's id, but the chain started from another."""
    wrong = EntryChain(RUN, genesis(OTHER_RUN, b""))
    log = b"".join(wrong.add(item) for item in example_rows())
    assert_caught(repack(members(HONEST) | {"events.log": log}), "E_GENESIS", 1)


def test_time_never_decreases() -> None:
    """E_TIME_ORDER at the event that claims to be earlier; equal times are fine."""
    rows = with_event(10, createdAt="2026-11-22T14:03:01.099Z")
    assert_caught(signed_by_the_server(rows), "E_TIME_ORDER", 10)
    assert judge(sealed_again(with_event(10, createdAt="2026-11-22T14:03:01.100Z"))).ok


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (1, lambda line: b"crownest/event/v2"),
        (2, lambda line: b"wsr_"),
        (3, lambda line: b"0" + line),
        (3, lambda line: line + b" "),
        (4, lambda line: line.upper()),
        (5, lambda line: line[:-1]),
        (5, lambda line: line[:-4] + "\u0661\u0662\u0663Z".encode()),
        (6, lambda line: b"0" + line),
        (7, lambda line: line[:-2] + bytes([line[-2] + 1]) + b"="),
        (7, lambda line: line[:-1]),
        (8, lambda line: line[:-2] + bytes([line[-2] + 1]) + b"="),
        (8, lambda line: b"A" * 130),
        (9, lambda line: b"*" + line[1:]),
        (9, lambda line: line.replace(b" ", b"  ", 1)),
        (9, lambda line: line[:4]),
        (9, lambda line: b"+ AAAA " + line),
        (9, lambda line: b"+ " + line[2:23] + b"\xff" + line[24:]),
        (9, lambda line: line[:23] + bytes([line[23] + 1]) + line[24:]),
        (9, lambda line: b"- "),
        (9, lambda line: b""),
        (9, lambda line: line + b" " * 1024 * 1024),
    ],
)
def test_a_second_spelling_in_a_record_is_refused(line: int, change: Callable[[bytes], bytes]) -> None:
    """Leading zeros, stray base64 bits, spaces, foreign lines: E_FORMAT at that event (P9.3)."""
    assert_caught(edit_line(7, line, change), "E_FORMAT", 7)


def test_a_log_that_is_cut_in_the_middle_of_an_event_cannot_be_read() -> None:
    """E_FORMAT at the cut event, wherever the cut is."""
    log = members(HONEST)["events.log"]
    last = log.rindex(b"crownest/event/v1")
    for cut in (last + 5, last + 60, len(log) - 100, len(log) - 1):
        assert_caught(tamper(HONEST, "events.log", lambda data, cut=cut: data[:cut]), "E_FORMAT", 16)


def test_the_first_bad_record_is_blamed_before_anything_else() -> None:
    """Records come before payloads, whatever stands first in the file (P9.1)."""

    def edit(entries: Entries) -> None:
        entries[2][8] = flipped(entries[2][8], 60)
        entries.pop(11)

    assert_caught(tamper_entries(HONEST, edit), "E_SEQ_GAP", 12)
    two = tamper_entries(HONEST, lambda e: [e[n].__setitem__(8, flipped(e[n][8], 60)) for n in (9, 3)])
    assert_caught(two, "E_PAYLOAD_MISMATCH", 4)
