"""Records: eight lines, one spelling for each value, one hash for chain and tree (PROOF P2)."""

from datetime import datetime
from typing import Self

import pytest

from evidence.canonical import FormatError, canonical, decode, encode
from evidence.checkpoint import format_checkpoint
from evidence.merkle import CompactRange
from evidence.record import (
    Record,
    commitment,
    decode_base64,
    encode_base64,
    format_time,
    genesis,
    leaf_hash,
    parse_decimal,
    parse_hash,
    parse_record,
    parse_time,
    record_bytes,
)
from tests.evidence_samples import EXAMPLE_PAYLOADS, ORIGIN, RUN, example_rows

RECORD_8 = (
    b"crownest/event/v1\n"
    b"wsr_01k9x4m2c7d8e9f0g1h2j3k4m5\n"
    b"8\n"
    b"stdout\n"
    b"2026-11-22T14:03:01.050Z\n"
    b"114\n"
    b"9WUCNbBUEwtNK+hwEHVuLDK69a87AXAsYM4g6AA64AM=\n"
    b"8QLmvDcez3qoaFp/PXdyNVZkyzAoIprwnOIUvyP/G+Q=\n"
)
PAYLOAD_8 = (
    '{"createdAt":"2026-11-22T14:03:01.050Z","data":"\ufffd\ufffd raw\\n",'
    '"dataBase64":"//4gcmF3Cg==","seq":8,"type":"stdout"}'
).encode()


def example_records() -> list[bytes]:
    """The sixteen records of the example, chained."""
    prev, records = genesis(RUN, b""), []
    for item in example_rows():
        assert item.salt is not None
        assert item.payload is not None
        bound = commitment(item.salt, item.payload)
        created_at = format_time(item.created_at_ms)
        records.append(record_bytes(RUN, item.seq, item.type, created_at, item.payload_size, bound, prev))
        prev = leaf_hash(records[-1])
    return records


def test_the_example_is_reproduced_byte_for_byte() -> None:
    """Payload 8, record 8 and the checkpoint of the written-out run come out as written (EXAMPLE)."""
    assert len(EXAMPLE_PAYLOADS) == 16
    assert EXAMPLE_PAYLOADS[7] == PAYLOAD_8
    assert all(
        encode(decode(payload)) == canonical(decode(payload)) == payload for payload in EXAMPLE_PAYLOADS
    )
    records = example_records()
    assert records[7] == RECORD_8
    tree = CompactRange()
    for record in records:
        tree.append(leaf_hash(record))
    assert format_checkpoint(ORIGIN, RUN, tree.size, tree.root()) == (
        "crownest.local/0123456789abcdef/run/wsr_01k9x4m2c7d8e9f0g1h2j3k4m5\n"
        "16\n"
        "o1/jxi1+E+KjNtDSPEw4MA37TwJcsGhnXw0gM6dfuWU=\n"
    )


def test_a_record_is_read_back() -> None:
    """Parser and printer are a pair."""
    record = parse_record(RECORD_8)
    assert record == Record(
        stream=RUN,
        seq=8,
        type="stdout",
        created_at="2026-11-22T14:03:01.050Z",
        payload_size=114,
        commitment=decode_base64("9WUCNbBUEwtNK+hwEHVuLDK69a87AXAsYM4g6AA64AM="),
        prev=decode_base64("8QLmvDcez3qoaFp/PXdyNVZkyzAoIprwnOIUvyP/G+Q="),
    )


@pytest.mark.parametrize(
    ("line", "other"),
    [
        (0, b"crownest/event/v2"),
        (1, b"wsr_"),
        (1, b"prj_abc"),
        (1, b"wsr_a/b"),
        (2, b"08"),
        (2, b"+8"),
        (2, b""),
        (2, b"8" * 16),
        (3, b"Stdout"),
        (3, b"a" * 33),
        (3, b""),
        (4, b"2026-11-22T14:03:01.05Z"),
        (4, b"2026-11-22T14:03:01.050z"),
        (4, b"2026-11-22 14:03:01.050Z"),
        (4, b"2026-13-22T14:03:01.050Z"),
        (4, b"2026-11-22T14:03:60.050Z"),
        (4, b"2026-11-22T14:03:01,050Z"),
        (4, b"2026-11-22T14:03:01.0 0Z"),
        (5, b"1" * 16),
        (5, b"-1"),
        (5, b"1e3"),
        (6, b"9WUCNbBUEwtNK+hwEHVuLDK69a87AXAsYM4g6AA64AN="),
        (6, b"9WUCNbBUEwtNK+hwEHVuLDK69a87AXAsYM4g6AA64AM"),
        (6, b"9WUCNbBUEwtNK-hwEHVuLDK69a87AXAsYM4g6AA64AM="),
        (6, b"AAAA"),
        (7, b""),
        (7, b"\xff"),
    ],
)
def test_a_record_has_one_spelling(line: int, other: bytes) -> None:
    """Leading zeros, signs, stray base64 bits and foreign ids are refused, not repaired (P9.3)."""
    lines = RECORD_8.split(b"\n")
    lines[line] = other
    with pytest.raises(FormatError):
        parse_record(b"\n".join(lines))


@pytest.mark.parametrize("data", [b"", RECORD_8[:-1], RECORD_8 + b"\n", RECORD_8 + b"x"])
def test_a_record_has_eight_lines(data: bytes) -> None:
    """Neither fewer nor more, and the last ends with LF."""
    with pytest.raises(FormatError, match="lines"):
        parse_record(data)


@pytest.mark.parametrize("text", ["\u0661", "1_0", " 1", "1\n", "\u00b2"])
def test_only_ascii_digits_make_a_number(text: str) -> None:
    """What Python's int() would accept beside is refused."""
    with pytest.raises(FormatError):
        parse_decimal(text)


def test_numbers_have_at_most_fifteen_digits() -> None:
    """All of them stay below 2^53."""
    assert parse_decimal("9" * 15) == 10**15 - 1
    with pytest.raises(FormatError, match="15 digits"):
        parse_decimal("1" * 16)


@pytest.mark.parametrize("text", ["2026-11-22T14:03:01.\u0661\u0662\u0663Z", "\u0662026-11-22T14:03:01.000Z"])
def test_only_ascii_digits_make_a_time(text: str) -> None:
    """The same for the digits of a time."""
    with pytest.raises(FormatError, match="time"):
        parse_time(text)


def test_hours_end_at_23_whatever_python_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 3.14 on Python takes 24:00:00 for the next midnight, which has a spelling (P9.3)."""

    class Lenient(datetime):
        @classmethod
        def fromisoformat(cls, date_string: str, /) -> Self:
            return super().fromisoformat(date_string.replace("T24:", "T00:"))

    monkeypatch.setattr("evidence.record.datetime", Lenient)
    assert parse_time("2031-11-22T23:00:00.000Z")
    with pytest.raises(FormatError, match="time"):
        parse_time("2031-11-22T24:00:00.000Z")


@pytest.mark.parametrize("text", ["é", "AAA", "AA AA", "AAAA\n", "AAAB=", "AA=="[:3], "AB=="])
def test_base64_has_one_spelling(text: str) -> None:
    """Whitespace, missing padding and stray bits are refused (P9.3)."""
    with pytest.raises(FormatError):
        decode_base64(text)


def test_a_hash_has_thirty_two_bytes() -> None:
    """Shorter base64 is not a hash."""
    assert parse_hash(encode_base64(b"x" * 32)) == b"x" * 32
    with pytest.raises(FormatError, match="32 bytes"):
        parse_hash(encode_base64(b"x" * 31))


@pytest.mark.parametrize("ms", [0, 999, 1000, 1_795_000_000_123, 253_402_300_799_999, -1])
def test_a_time_is_read_back(ms: int) -> None:
    """Parser and printer are a pair, to the millisecond."""
    assert parse_time(format_time(ms)) == ms


def test_the_genesis_ties_stream_and_anchor() -> None:
    """Another run or another anchor starts from another hash (P2.3)."""
    assert len({genesis(RUN, b""), genesis(RUN, b"a"), genesis(RUN + "x", b"")}) == 3
