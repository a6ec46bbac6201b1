"""Owns the reading of what producers send: one batch of output, checked by hand because the path is hot.

A producer sends tens of thousands of events a second, so each is looked at once, here, and every fault is
`invalid_request` with the field's place, as in all other bodies (CONTRACT §11, PROOF P1.3).
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Any

import orjson

from api.bodies import DuplicateKey, without_duplicates
from api.faults import unreadable
from eventstore.log import NewEvent
from evidence.fold import OUTPUT_EVENT_BYTES_MAX
from runs.recording import Batch
from runs.refusal import Refusal

EVENTS_MAX = 500
"""In one batch. Batches that wait together share an append, so that small ones cost little."""
NUMBER_MAX = 2**53 - 1
TEXT_CHARS_MAX = OUTPUT_EVENT_BYTES_MAX // 4
"""So many characters are never more bytes than an event may hold."""
_PRODUCER_ID = re.compile(r"[!-~]{1,64}", re.ASCII)
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]", re.IGNORECASE)
"""Some spelling of a letter that a key could hide behind."""
_KEYS = tuple(
    b'"%b"' % name
    for name in (b"producerId", b"number", b"expectedHead", b"events", b"type", b"data", b"dataBase64")
)


def parse_batch(data: bytes) -> Batch:
    """The batch in a body or frame (CONTRACT §2.1). Raises `Refusal` naming the field."""
    try:
        body: Any = orjson.loads(data)
    except ValueError as error:
        raise unreadable(data, error) from None
    if body.__class__ is not dict:
        raise _wrong("body", "must be an object")
    producer_id, number, expected = body.get("producerId"), body.get("number"), body.get("expectedHead")
    if type(producer_id) is not str or not _PRODUCER_ID.fullmatch(producer_id):
        raise _wrong("producerId", "must be 1 to 64 printable ASCII characters without spaces")
    if type(number) is not int or not 1 <= number <= NUMBER_MAX:
        raise _wrong("number", "must be a whole number from 1: it counts the producer's batches")
    if expected is not None and (type(expected) is not int or not 0 <= expected <= NUMBER_MAX):
        raise _wrong("expectedHead", "must be a whole number: the head that the last answer told")
    items: Any = body.get("events")
    if items.__class__ is not list:
        raise _wrong("events", "must be a list, which may be empty")
    if len(items) > EVENTS_MAX:
        raise _wrong("events", f"holds {len(items)} events; at most {EVENTS_MAX} go together")
    batch = _batch(producer_id, number, expected, items)
    _refuse_duplicates(data, body, items)
    return batch


def _batch(producer_id: str, number: int, expected: int | None, items: list[Any]) -> Batch:
    mark = {"id": producer_id, "number": number}
    return _text_batch(mark, expected, items) or _any_batch(mark, expected, items)


def _text_batch(mark: dict[str, Any], expected: int | None, items: list[Any]) -> Batch | None:
    """The batch if it is the usual one, text of no great length; None to have each event looked at."""
    events: list[NewEvent] = []
    stdout: list[str] = []
    stderr: list[str] = []
    try:
        for item in items:
            kind, text = item["type"], item["data"]
            if text.__class__ is not str or len(text) > TEXT_CHARS_MAX or len(item) != 2:
                return None
            if kind == "stdout":
                stdout.append(text)
            elif kind == "stderr":
                stderr.append(text)
            else:
                return None
            events.append(NewEvent(kind, {"data": text, "producer": mark}))
    except (KeyError, TypeError):
        return None
    raw = "".join(stdout).encode(), "".join(stderr).encode()
    return Batch(mark["id"], mark["number"], expected, events, *raw)


def _any_batch(mark: dict[str, Any], expected: int | None, items: list[Any]) -> Batch:
    events: list[NewEvent] = []
    stdout: list[bytes] = []
    stderr: list[bytes] = []
    for index, item in enumerate(items):
        if item.__class__ is not dict:
            raise _wrong(f"events.{index}", "must be an object")
        kind, text = item.get("type"), item.get("data")
        if kind != "stdout" and kind != "stderr":  # noqa: PLR1714 # it may be anything, also unhashable
            raise _wrong(f"events.{index}.type", "must be stdout or stderr")
        encoded = item.get("dataBase64")
        if encoded is None:
            if type(text) is not str:
                raise _wrong(
                    f"events.{index}.data", "must be text; bytes that are not UTF-8 go to dataBase64"
                )
            raw = text.encode()
            fields: dict[str, object] = {"data": text, "producer": mark}
        else:
            raw, fields = _raw_output(index, text, encoded)
            fields["producer"] = mark
        if len(raw) > OUTPUT_EVENT_BYTES_MAX:
            raise _wrong(f"events.{index}", f"holds {len(raw)} bytes; at most {OUTPUT_EVENT_BYTES_MAX} fit")
        events.append(NewEvent(kind, fields))
        (stdout if kind == "stdout" else stderr).append(raw)
    return Batch(mark["id"], mark["number"], expected, events, b"".join(stdout), b"".join(stderr))


def _raw_output(index: int, text: object, encoded: object) -> tuple[bytes, dict[str, object]]:
    """Bytes in base64: kept beside their text exactly when they are not UTF-8 (P1.3)."""
    if text is not None:
        raise _wrong(f"events.{index}", "holds both data and dataBase64; one of them says it all")
    if type(encoded) is not str or not encoded.isascii():
        raise _wrong(f"events.{index}.dataBase64", "must be text in base64")
    try:
        raw = a2b_base64(encoded, strict_mode=True)
    except Base64Error as error:
        raise _wrong(f"events.{index}.dataBase64", f"is not base64 ({error})") from None
    try:
        return raw, {"data": raw.decode()}
    except UnicodeDecodeError:
        return raw, {"data": raw.decode("utf-8", "replace"), "dataBase64": b64encode(raw).decode("ascii")}


def _refuse_duplicates(data: bytes, body: dict[str, Any], items: list[Any]) -> None:
    """Refuse a key that stands twice (CONTRACT §11), which orjson does not tell.

    What orjson writes back exactly as it came had none. Reading everything again takes longer than all the
    rest, so of other spellings it is done only where it could be: with keys of other names, with a letter
    that is spelled as a number, or when the names of the keys stand in the bytes more often than there are
    keys (in output, say).
    """
    if _written_back(body) == data:
        return
    keys = len(body) + 2 * len(items)
    known = len(body) == 3 + ("expectedHead" in body) and all(len(item) == 2 for item in items)
    counted = sum(data.count(name) for name in _KEYS)
    if known and keys == counted and not _ESCAPED_LETTER.search(data):
        return
    try:
        json.loads(data, object_pairs_hook=without_duplicates)
    except DuplicateKey as error:
        message = f"The key {error} appears twice in the body."
        raise Refusal("invalid_request", message, {"field": str(error)}) from None
    except RecursionError:
        raise Refusal("invalid_request", "The body is nested too deeply.") from None


def _written_back(body: dict[str, Any]) -> bytes:
    """The body as orjson writes it; nothing where it is nested too deeply for that: it reads more levels."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return b""


def _wrong(field: str, rule: str) -> Refusal:
    return Refusal("invalid_request", f"{field} {rule}.", {"field": field})
