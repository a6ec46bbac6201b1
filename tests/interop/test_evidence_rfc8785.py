"""Our canonical JSON against an independent implementation of RFC 8785."""

import json

import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.bundle import ATTESTATIONS
from evidence.canonical import INTEGER_LIMIT, encode
from evidence.dsse import parse_envelope
from tests.evidence_samples import EXAMPLE_PAYLOADS, HONEST, members

ESCAPES = {b"\\u0085": "\u0085", b"\\u2028": "\u2028", b"\\u2029": "\u2029"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = st.text(st.characters(max_codepoint=127), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(1 - INTEGER_LIMIT, INTEGER_LIMIT - 1) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def unescaped(data: bytes) -> bytes:
    """The bytes without the three escapes of our own; a backslash before them would be another text."""
    for escape, raw in ESCAPES.items():
        parts = data.split(escape)
        joined = parts[0]
        for part in parts[1:]:
            is_text = (len(joined) - len(joined.rstrip(b"\\"))) % 2 == 1
            joined += (escape if is_text else raw.encode()) + part
        data = joined
    return data


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_within_the_profile_we_write_rfc_8785_but_for_three_escapes(value: object) -> None:
    """Any value of the profile (P1.2)."""
    assert unescaped(encode(value)) == rfc8785.dumps(value)  # type: ignore[arg-type]  # any JSON value


def test_every_code_point_is_written_as_rfc_8785_writes_it() -> None:
    """All of Unicode but surrogates, a thousand at a time."""
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    for start in range(0, len(points), 1024):
        text = "".join(map(chr, points[start : start + 1024]))
        assert unescaped(encode({"data": text})) == rfc8785.dumps({"data": text})


def test_the_example_is_rfc_8785_but_for_its_escape() -> None:
    """One of the sixteen payloads holds U+2028."""
    for payload in EXAMPLE_PAYLOADS:
        assert unescaped(payload) == rfc8785.dumps(json.loads(payload))


def test_statements_and_envelopes_are_rfc_8785() -> None:
    """What an attestation signs, and its envelope, need none of the three escapes in the example."""
    contents = members(HONEST)
    for name in ATTESTATIONS:
        for data in (contents[name], parse_envelope(contents[name]).payload):
            assert data == rfc8785.dumps(json.loads(data))
