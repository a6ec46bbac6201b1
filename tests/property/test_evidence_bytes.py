"""Bytes that have one spelling: every code point, every pair of parser and printer."""

import string
from dataclasses import astuple

from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.bundle import event_entry, split_entry
from evidence.canonical import INTEGER_LIMIT, FormatError, canonical, decode, encode, parse
from evidence.checkpoint import Checkpoint, format_checkpoint, parse_checkpoint, split_origin
from evidence.dsse import Envelope, parse_envelope, sign_envelope
from evidence.fold import raw_bytes, raw_size
from evidence.merkle import (
    CompactRange,
    consistency_proof,
    cover,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from evidence.note import Verifier, open_note, sign_note
from evidence.proofs import parse_range_proof, range_proof
from evidence.record import (
    Record,
    commitment,
    decode_base64,
    encode_base64,
    format_time,
    leaf_hash,
    parse_decimal,
    parse_record,
    parse_time,
    record_bytes,
)
from tests.evidence_samples import LOG_KEY, StoredRow, signer

QUICK = settings(max_examples=150, deadline=None)
TEXT = st.text(max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
PROFILE_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = st.text(st.characters(max_codepoint=127), max_size=8)
PROFILE = st.recursive(
    st.none() | st.booleans() | st.integers(1 - INTEGER_LIMIT, INTEGER_LIMIT - 1) | PROFILE_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
HASHES = st.binary(min_size=32, max_size=32)
NAMES = st.text(string.ascii_letters + string.digits + "./-_", min_size=1, max_size=20)
IDS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=30)
STREAMS = IDS.map("wsr_{}".format) | IDS.map("org_{}".format)
TYPES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=32)
SEQS = st.integers(0, 10**15 - 1)
TIMES = st.integers(0, 253_402_300_799_999)


def outcome(function: object, value: object) -> object:
    """The result, or the kind of refusal."""
    try:
        return function(value)  # type: ignore[operator]  # a callable of one argument
    except FormatError as error:
        return type(error)


def test_every_code_point_has_the_same_bytes_on_both_paths() -> None:
    """All of Unicode: the fast path writes what the definition writes, and reading gives the text back."""
    for start in range(0, 0x110000, 1024):
        points = [point for point in range(start, start + 1024) if not 0xD800 <= point < 0xE000]
        event = {"data": "".join(map(chr, points)), "each": [chr(point) for point in points]}
        data = canonical(event)
        assert encode(event) == data
        assert decode(data) == event
        assert not {"\u0085", "\u2028", "\u2029"} & set(data.decode())
    for point in range(0xD800, 0xE000):
        assert outcome(canonical, chr(point)) == outcome(encode, chr(point)) != b""


@QUICK
@given(ANYTHING)
def test_both_paths_agree_on_any_value_and_on_any_refusal(value: object) -> None:
    """Inside the profile the same bytes, outside it the same refusal."""
    assert outcome(canonical, value) == outcome(encode, value)


@QUICK
@given(PROFILE)
def test_a_value_is_read_back_from_its_bytes(value: object) -> None:
    """Parser and printer are a pair over the whole profile."""
    assert parse(canonical(value)) == value


@QUICK
@given(st.dictionaries(KEYS, PROFILE, max_size=4), st.integers(0, 300), st.binary(max_size=3))
def test_only_one_spelling_of_a_payload_is_accepted(value: dict[str, object], at: int, noise: bytes) -> None:
    """Whatever bytes `decode` accepts, they are the canonical bytes of what it answers."""
    payload = canonical(value)
    assert decode(payload) == value
    for other in (payload[:at] + noise + payload[at:], payload[:at] + noise + payload[at + len(noise) :]):
        result = outcome(decode, other)
        if not isinstance(result, type):
            assert canonical(result) == other


@QUICK
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No input raises anything but `FormatError`."""
    for function in (parse, decode):
        outcome(function, data)


@QUICK
@given(st.binary(max_size=200))
def test_output_bytes_survive_their_event(raw: bytes) -> None:
    """Whatever a command writes, text or not, the event gives the same bytes and count back (P1.3)."""
    event: dict[str, object] = {"type": "stdout", "seq": 1, "data": raw.decode("utf-8", "replace")}
    try:
        raw.decode()
    except UnicodeDecodeError:
        event["dataBase64"] = encode_base64(raw)
    assert raw_bytes(event) == raw
    assert raw_size(event) == len(raw)


@QUICK
@given(st.builds(Record, STREAMS, SEQS, TYPES, TIMES.map(format_time), SEQS, HASHES, HASHES))
def test_a_record_is_read_back_from_its_lines(record: Record) -> None:
    """Parser and printer are a pair."""
    assert parse_record(record_bytes(*astuple(record))) == record


@QUICK
@given(st.text(max_size=30), st.text("0123456789", max_size=20), st.text("AQgw+/=\n ", max_size=9))
def test_text_that_is_accepted_is_its_own_spelling(text: str, digits: str, encoded: str) -> None:
    """Times, numbers and base64: what is read prints as what was read (P9.3)."""
    for candidate in (text, digits, encoded):
        number = outcome(parse_decimal, candidate)
        assert isinstance(number, type) or str(number) == candidate
        data = outcome(decode_base64, candidate)
        assert not isinstance(data, bytes) or encode_base64(data) == candidate
        time = outcome(parse_time, candidate)
        assert not isinstance(time, int) or format_time(time) == candidate


@QUICK
@given(NAMES, STREAMS, SEQS, HASHES)
def test_a_checkpoint_is_read_back_from_its_note(origin: str, stream: str, size: int, root: bytes) -> None:
    """Checkpoint and note: what was signed is what is opened."""
    text = format_checkpoint(origin, stream, size, root)
    opened = open_note(sign_note(text, LOG_KEY), [Verifier.parse(LOG_KEY.verifier_key)])
    assert opened.text == text
    checkpoint = parse_checkpoint(opened.text)
    assert checkpoint == Checkpoint(checkpoint.origin_line, size, root)
    assert split_origin(checkpoint.origin_line) == (origin, stream)


@QUICK
@given(NAMES, st.integers(0, 3))
def test_a_verifier_key_is_read_back(name: str, secret: int) -> None:
    """Parser and printer are a pair."""
    text = signer(name, str(secret)).verifier_key
    assert str(Verifier.parse(text)) == text


@QUICK
@given(st.dictionaries(KEYS, PROFILE, max_size=3), st.binary(min_size=16, max_size=16), HASHES)
def test_an_entry_is_split_into_what_it_was_made_of(
    event: dict[str, object], salt: bytes, prev: bytes
) -> None:
    """A payload never holds an LF of its own, so nine lines are nine lines."""
    payload = canonical(event)
    item = StoredRow(3, "stdout", 0, payload, salt, len(payload))
    whole = b"+ " + encode_base64(salt).encode() + b" " + payload + b"\n"
    for stored, expected in ((item, whole), (item.redacted(), b"-\n")):
        lines, last = split_entry(event_entry("wsr_a", stored, prev))
        assert parse_record(b"".join(lines)).commitment == commitment(salt, payload)
        assert last == expected


LEAVES = [leaf_hash(b"%d" % number) for number in range(300)]


def subtree(level: int, index: int) -> bytes:
    """Root of a full subtree over LEAVES."""
    tree = CompactRange()
    for leaf in LEAVES[index << level : (index + 1) << level]:
        tree.append(leaf)
    return tree.root()


def root_at(size: int) -> bytes:
    """Root over the first leaves."""
    tree = CompactRange()
    for leaf in LEAVES[:size]:
        tree.append(leaf)
    return tree.root()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_proof_of_any_tree_holds_and_no_other_does(data: st.DataObject) -> None:
    """Inclusion, consistency and windows at any size, and any single changed hash in them."""
    size = data.draw(st.integers(1, len(LEAVES)))
    old = data.draw(st.integers(1, size))
    root, leaf = root_at(size), LEAVES[old - 1]
    inclusion = inclusion_proof(old - 1, size, subtree)
    consistency = consistency_proof(old, size, subtree)
    assert verify_inclusion(old - 1, size, leaf, inclusion, root)
    assert verify_consistency(old, size, root_at(old), root, consistency)
    for proof, check in (
        (inclusion, lambda path: verify_inclusion(old - 1, size, leaf, path, root)),
        (consistency, lambda path: verify_consistency(old, size, root_at(old), root, path)),
    ):
        for at in range(len(proof)):
            assert not check([*proof[:at], bytes(32), *proof[at + 1 :]])
            assert not check(proof[:at] + proof[at + 1 :])
    window = range_proof(old - 1, size, size, subtree, b"note")
    assert parse_range_proof(window.to_bytes()) == window
    assert sum(1 << level for level, _ in cover(old, size)) == size - old


@QUICK
@given(st.binary(max_size=200), NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=64, max_size=64))
def test_an_envelope_is_read_back(payload: bytes, name: str, key_id: bytes, signature: bytes) -> None:
    """Parser and printer are a pair (P11)."""
    envelope = Envelope(payload, f"{name}+{key_id.hex()}", signature)
    assert parse_envelope(envelope.to_bytes()) == envelope


@QUICK
@given(st.binary(max_size=60), st.data())
def test_another_byte_is_another_envelope_or_none(payload: bytes, data: st.DataObject) -> None:
    """No two spellings of one envelope (P9.3): what can be read is printed as it was."""
    printed = sign_envelope(payload, LOG_KEY).to_bytes()
    at, byte = data.draw(st.integers(0, len(printed) - 1)), data.draw(st.binary(max_size=2))
    changed = printed[:at] + byte + printed[at + 1 :]
    try:
        envelope = parse_envelope(changed)
    except FormatError:
        return
    assert envelope.to_bytes() == changed
    signer_found = envelope.signer_among([Verifier.parse(LOG_KEY.verifier_key)])
    assert (signer_found is not None) is (changed == printed)
