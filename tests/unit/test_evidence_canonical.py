"""Canonical bytes: one spelling for every JSON value of the event profile (PROOF P1.2)."""

import importlib.util
import sys
from types import ModuleType

import pytest

from evidence import canonical as module
from evidence.canonical import (
    INTEGER_LIMIT,
    NESTING_MAX,
    FormatError,
    ProfileError,
    canonical,
    decode,
    encode,
    parse,
)


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    """The same module where orjson is not installed."""
    spec = importlib.util.spec_from_file_location("canonical_without_orjson", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    hidden = sys.modules.pop("orjson")
    sys.modules["orjson"] = None  # type: ignore[assignment]  # how Python spells "not importable"
    try:
        spec.loader.exec_module(loaded)
    finally:
        sys.modules["orjson"] = hidden
    return loaded


def nested(levels: int) -> object:
    """Lists in lists."""
    value: object = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_keys_are_sorted_and_nothing_is_spaced() -> None:
    """The bytes do not depend on how the object was made."""
    value = {"b": [1, True, None], "a": {"d": -1, "c": "é"}}
    assert canonical(value) == encode(value) == '{"a":{"c":"é","d":-1},"b":[1,true,null]}'.encode()


def test_line_separators_are_escaped_and_nothing_else_is() -> None:
    """Clients split lines at U+0085, U+2028 and U+2029, so these three never stand raw (P1.2)."""
    value = {"data": "a\u0085b\u2028c\u2029d\u00a0\x7f\n"}
    expected = b'{"data":"a\\u0085b\\u2028c\\u2029d\xc2\xa0\x7f\\n"}'
    assert canonical(value) == encode(value) == expected
    assert decode(expected) == value


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        {"a": {"b": 0.5}},
        [1.5],
        INTEGER_LIMIT,
        -INTEGER_LIMIT,
        {"é": 1},
        {1: 1},
        {"a": "\ud800"},
        ["\udfff"],
        b"bytes",
        {"a": {1, 2}},
        nested(NESTING_MAX + 1),
        {"a": nested(NESTING_MAX)},
    ],
)
def test_a_value_outside_the_profile_has_no_bytes(value: object) -> None:
    """Floats, large integers, lone surrogates and foreign types are refused by both encoders alike."""
    for encoder in (canonical, encode):
        with pytest.raises(ProfileError):
            encoder(value)


def test_the_limits_of_the_profile_are_inside_it() -> None:
    """The largest integers, the deepest nesting, tuples and the empty values have bytes."""
    value = {"a": INTEGER_LIMIT - 1, "b": 1 - INTEGER_LIMIT, "c": nested(NESTING_MAX - 1), "d": (), "": ""}
    assert encode(value) == canonical(value)
    assert canonical(parse(canonical(value))) == canonical(value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff", "not UTF-8 at byte 0"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b"[1] 2", "not JSON"),
    ],
)
def test_what_is_not_json_is_a_format_error(data: bytes, reason: str) -> None:
    """The message says where it stops being JSON."""
    with pytest.raises(FormatError, match=reason):
        parse(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a":1,"a":2}', "same key twice"),
        (b'{"b":{"a":1,"a":1}}', "same key twice"),
        (b"1.0", "floats"),
        (b"1e3", "floats"),
        (b"NaN", "floats"),
        (b"-Infinity", "floats"),
        (b"9007199254740992", "2\\^53"),
        (b"-9007199254740992", "2\\^53"),
        (b"1" * 5000, "2\\^53"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\xc3\xa9":1}', "ASCII"),
        (b'{"\\u00e9":1}', "ASCII"),
        (b"[" * 100_000, "nesting"),
        (b"[" * (NESTING_MAX + 1) + b"]" * (NESTING_MAX + 1), "nesting"),
    ],
)
def test_ambiguous_json_is_outside_the_profile(data: bytes, reason: str) -> None:
    """What two readers could read differently is refused, not guessed."""
    with pytest.raises(ProfileError, match=reason):
        parse(data)


def test_parse_reads_any_spelling() -> None:
    """Spaces, key order and escapes are read; only `decode` insists on one spelling."""
    assert parse(b' { "b" : "\\u0041" ,\n"a":[ 1 , -2 ] } ') == {"a": [1, -2], "b": "A"}


SPELLINGS = [
    b'{"a": 1}',
    b'{"b":1,"a":2}',
    b'{"a":1,"a":1}',
    b'{"a":"\\u0041"}',
    b'{"a":"\\/"}',
    b'{"a":1}\n',
    b'{"a":1.0}',
    b'{"a":-0}',
    b'{"a":9007199254740993}',
    b'{"a":18446744073709551616}',
    '{"a":"\u2028"}'.encode(),
    b'{"a":"\\u000a"}',
    b'{"a":"\\uD83D\\uDE02"}',
    b'{"a":"\\ud800"}',
]


@pytest.mark.parametrize("payload", SPELLINGS)
def test_another_spelling_of_a_payload_is_refused(payload: bytes, plain: ModuleType) -> None:
    """A payload is accepted only as the bytes that its value has, with and without orjson (P1.2)."""
    with pytest.raises(ProfileError):
        decode(payload)
    with pytest.raises(plain.ProfileError):
        plain.decode(payload)


@pytest.mark.parametrize("payload", [b"[]", b"1", b'"a"', b"null", b"{", b"\xff{}"])
def test_a_payload_is_an_object(payload: bytes, plain: ModuleType) -> None:
    """Anything else cannot be an event."""
    with pytest.raises(FormatError):
        decode(payload)
    with pytest.raises(plain.FormatError):
        plain.decode(payload)


def test_without_orjson_the_bytes_are_the_same(plain: ModuleType) -> None:
    """A verifier needs the standard library and cryptography only (P9.5)."""
    value = {"z": "\u2028\U0001f602\x00", "a": [1, {"b": None}], "t": True}
    assert plain._orjson is None
    assert plain.encode(value) == encode(value)
    assert plain.decode(encode(value)) == decode(encode(value)) == value
