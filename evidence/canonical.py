"""Owns the canonical bytes of an event: one spelling for every JSON value (PROOF P1.1, P1.2).

The profile: ASCII keys, no floats, |int| < 2^53, no lone surrogates, no duplicate keys, at most
`NESTING_MAX` levels. Within it the bytes equal RFC 8785 except that U+0085, U+2028 and U+2029 are
escaped, because clients split a stream into lines at them. `canonical` and `parse` define the bytes
with the standard library; `encode` and `decode` may use orjson and give the same bytes and refusals.
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any, NoReturn, cast


def _optional(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:  # a verifier needs nothing but the standard library and cryptography (P9.5)
        return None


_orjson: Any = _optional("orjson")

INTEGER_LIMIT = 1 << 53
"""Integers lie strictly between plus and minus this, so that every JSON reader keeps them exact."""

NESTING_MAX = 64
"""Levels of objects and arrays; more is refused, so that no input can exhaust the stack."""

_LINE_SEPARATORS = (
    ("\u0085".encode(), b"\\u0085"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


class FormatError(ValueError):
    """The bytes cannot be read as what they should be; the message says where and why."""


class ProfileError(FormatError):
    """It is JSON, but outside the event profile (P1.2), so it has no canonical bytes."""


def canonical(value: object) -> bytes:
    """The canonical bytes of a JSON value, by the standard library alone: the definition (P1.1).

    Raises `ProfileError` for everything outside the profile.
    """
    _check_profile(value, 0)
    try:
        return _escape_line_separators(_write(value).encode())
    except UnicodeEncodeError as error:
        raise ProfileError("a string holds a lone surrogate: it has no UTF-8 form") from error


def encode(value: object) -> bytes:
    """`canonical(value)`, faster where orjson is installed: the hot path of append."""
    if _orjson is None:
        return canonical(value)
    if value.__class__ is not str:  # text alone is output, the most frequent
        _check_profile(value, 0)
    try:
        data: bytes = _orjson.dumps(value, option=_orjson.OPT_SORT_KEYS)
    except TypeError as error:  # what orjson raises for a lone surrogate
        raise ProfileError("a string holds a lone surrogate: it has no UTF-8 form") from error
    return data if data.isascii() else _escape_line_separators(data)


def parse(data: bytes) -> object:
    """Read JSON of the event profile in any spelling (spaces, key order), refusing all that is ambiguous.

    Raises `FormatError` when it is not UTF-8 JSON and `ProfileError` for duplicate keys, floats,
    NaN, integers of 2^53 and more, non-ASCII keys, lone surrogates and too many levels.
    """
    value = _load(data)
    canonical(value)
    return value


def decode(payload: bytes) -> dict[str, Any]:
    """The JSON object whose canonical bytes are exactly `payload` (P1.2): the hot path of verification.

    Raises `FormatError` when it is not a JSON object and `ProfileError` when the bytes are not the
    canonical ones. Whatever orjson does not accept at once, the definition above decides.
    """
    if _orjson is not None:
        try:
            fast: object = _orjson.loads(payload)
            if isinstance(fast, dict) and encode(cast("object", fast)) == payload:
                return cast("dict[str, Any]", fast)
        except ValueError:
            pass  # told precisely by the reference below
    value = _load(payload)
    expected = canonical(value)
    if not isinstance(value, dict):
        raise FormatError("not a JSON object")
    if expected != payload:
        raise ProfileError(
            "not the canonical bytes: keys are sorted, no spaces, one spelling for every value"
        )
    return cast("dict[str, Any]", value)


def unescape(text: bytes) -> bytes:
    """What the inside of a canonical JSON string says, as UTF-8; the caller checked that it is one."""
    quoted = b'"' + text + b'"'
    said: str = _orjson.loads(quoted) if _orjson is not None else json.loads(quoted.decode())
    return said.encode()


def _load(data: bytes) -> object:
    """Read JSON without the checks of `canonical`. Raises `FormatError`, also for what only parsing sees."""
    try:
        value: object = _read(data.decode())
    except FormatError:
        raise
    except UnicodeDecodeError as error:
        raise FormatError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise ProfileError(f"more than {NESTING_MAX} levels of nesting") from error
    return value


def _check_profile(value: Any, depth: int) -> None:
    kind: type[object] = value.__class__
    if kind is dict:
        _check_object(value, depth + 1)
    elif kind is list or kind is tuple:
        _check_depth(depth + 1)
        for item in value:
            _check_profile(item, depth + 1)
    elif kind is int:
        if not -INTEGER_LIMIT < value < INTEGER_LIMIT:
            raise ProfileError("an integer of 2^53 or more is not exact in every JSON reader")
    elif kind is not str and kind is not bool and value is not None:
        raise ProfileError(
            f"{kind.__name__} is not in the event profile: use str, int, bool, None, dict, list"
        )


def _check_object(value: dict[Any, Any], depth: int) -> None:
    _check_depth(depth)
    for key, item in value.items():
        if type(key) is not str or not key.isascii():
            raise ProfileError(f"key {key!a}: keys are ASCII strings")
        if type(item) is not str:  # strings are the most frequent and need no call
            _check_profile(item, depth)


def _check_depth(depth: int) -> None:
    if depth > NESTING_MAX:
        raise ProfileError(f"more than {NESTING_MAX} levels of nesting")


def _escape_line_separators(data: bytes) -> bytes:
    for raw, escaped in _LINE_SEPARATORS:
        data = data.replace(raw, escaped)
    return data


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ProfileError("an object holds the same key twice")
    return result


def _refuse_float(text: str) -> NoReturn:
    raise ProfileError(f"{text[:40]}: floats are not in the event profile")


def _small_int(text: str) -> int:
    if len(text) > len("-9007199254740992"):
        raise ProfileError("an integer of 2^53 or more is not exact in every JSON reader")
    return int(text)


_write = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
_read = json.JSONDecoder(
    object_pairs_hook=_object_without_duplicates,
    parse_float=_refuse_float,
    parse_constant=_refuse_float,
    parse_int=_small_int,
).decode
