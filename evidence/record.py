"""Owns the record of an event: its eight lines, its commitment, its leaf, its chain (PROOF P2)."""

from __future__ import annotations

import base64
import re
from binascii import b2a_base64
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256

from evidence.canonical import FormatError

SCHEMA = "crownest/event/v1"
SALT_BYTES = 16
HASH_BYTES = 32
SEQ_DIGITS_MAX = 15
"""No sequence number or size has more digits: all of them stay below 2^53."""
TIME_CHARS = len("2026-11-22T14:03:00.000Z")

TYPE = re.compile(r"[a-z_]{1,32}", re.ASCII)
_SECOND = re.compile(r"\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):\d{2}:\d{2}", re.ASCII)
"""Hours end at 23: from 3.14 on Python also reads 24:00:00, a second spelling of the next midnight."""
STREAM_ID = re.compile(r"(?:wsr|org)_[A-Za-z0-9]{1,64}", re.ASCII)
"""A stream is a run or an organisation (P2.3a); the suffix has no separator of any format it is put in."""


@dataclass(frozen=True, slots=True)
class Record:
    """One parsed record: the columns of P2, hashes decoded."""

    stream: str
    seq: int
    type: str
    created_at: str
    payload_size: int
    commitment: bytes
    prev: bytes


def genesis(stream: str, anchor_note: bytes) -> bytes:
    """`prev` of event 1: ties the stream to its id and to the newest global checkpoint known then (P2.3)."""
    return sha256(b"crownest/genesis/v1\n" + stream.encode() + b"\n" + anchor_note).digest()


def commitment(salt: bytes, payload: bytes) -> bytes:
    """Binds the record to the payload without telling anything about it to who has no salt (P2, P7)."""
    return sha256(b"\x02" + salt + payload).digest()


def record_bytes(  # noqa: PLR0917  # the columns, in the order of the record's lines
    stream: str,
    seq: int,
    type_: str,
    created_at: str,
    payload_size: int,
    commitment: bytes,
    prev: bytes,
) -> bytes:
    """The eight lines of P2, each ended by LF; the inputs are trusted columns."""
    # `b2a_base64` ends its output with the LF that ends the line, too: this is the hot path of append.
    lines = f"{SCHEMA}\n{stream}\n{seq}\n{type_}\n{created_at}\n{payload_size}\n".encode()
    return lines + b2a_base64(commitment) + b2a_base64(prev)


def leaf_hash(record: bytes) -> bytes:
    """`leaf(seq)`: the RFC 6962 leaf hash of the record, and the `prev` of the next one."""
    return sha256(b"\x00" + record).digest()


def parse_record(data: bytes) -> Record:
    """Read eight record lines, each value in its one spelling (P9.3). Raises `FormatError`."""
    try:
        schema, stream, seq, type_, created_at, payload_size, commitment_, prev, rest = data.decode(
            "ascii"
        ).split("\n")
    except ValueError as error:  # not ASCII, or not eight lines
        raise FormatError("a record is eight lines of ASCII, each ended by LF") from error
    if schema != SCHEMA or rest:
        raise FormatError(f"a record starts with {SCHEMA!r} and ends after eight lines")
    if not STREAM_ID.fullmatch(stream):
        raise FormatError("line 2 is not the id of a run or an organisation")
    if not TYPE.fullmatch(type_):
        raise FormatError("line 4, the type, is 1 to 32 of a-z and _")
    parse_time(created_at)
    return Record(
        stream,
        parse_decimal(seq),
        type_,
        created_at,
        parse_decimal(payload_size),
        parse_hash(commitment_),
        parse_hash(prev),
    )


def parse_decimal(text: str) -> int:
    """A decimal without sign or leading zeros, below 2^53. Raises `FormatError`."""
    if not (text.isascii() and text.isdigit()) or len(text) > SEQ_DIGITS_MAX:
        raise FormatError("not a decimal number of at most 15 digits")
    if text[0] == "0" and text != "0":
        raise FormatError("a decimal number has no leading zeros")
    return int(text)


def encode_base64(data: bytes) -> str:
    """RFC 4648 standard alphabet with padding."""
    return b2a_base64(data, newline=False).decode("ascii")


def decode_base64(text: str) -> bytes:
    """The one spelling only: no spaces, no stray bits, no missing padding (P9.3). Raises `FormatError`."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise FormatError("not base64 of the standard alphabet with padding") from error
    if encode_base64(data) != text:
        raise FormatError("base64 with stray bits or padding: another spelling of the same bytes")
    return data


def parse_hash(text: str) -> bytes:
    """The base64 of 32 bytes. Raises `FormatError`."""
    data = decode_base64(text)
    if len(data) != HASH_BYTES:
        raise FormatError("a hash has 32 bytes")
    return data


@lru_cache(maxsize=64)  # sealing, the views and who appends ask for one time each
def format_time(ms: int) -> str:
    """Unix milliseconds as `YYYY-MM-DDTHH:MM:SS.mmmZ` (P2.1)."""
    second, millisecond = divmod(ms, 1000)
    return f"{_second_text(second)}.{millisecond:03d}Z"


def parse_time(text: str) -> int:
    """Unix milliseconds of exactly `YYYY-MM-DDTHH:MM:SS.mmmZ`. Raises `FormatError`."""
    millisecond = text[20:23]
    if len(text) != TIME_CHARS or text[19] != "." or text[23] != "Z":
        raise FormatError("a time is YYYY-MM-DDTHH:MM:SS.mmmZ")
    if not (millisecond.isascii() and millisecond.isdigit()):
        raise FormatError("a time has three digits of milliseconds")
    return _second_number(text[:19]) * 1000 + int(millisecond)


@lru_cache(maxsize=64)  # neighbouring events share their second
def _second_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat(timespec="seconds")


@lru_cache(maxsize=64)
def _second_number(text: str) -> int:
    if not _SECOND.fullmatch(text):
        raise FormatError("a time is YYYY-MM-DDTHH:MM:SS.mmmZ")
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise FormatError(f"there is no such time: {error}") from error
