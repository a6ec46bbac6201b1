"""Batches that are meant to break something: each is refused by name, and nothing of it is stored."""

import json
from typing import Any

import pytest

from api.batches import EVENTS_MAX
from eventstore.log import StorageUnavailable
from evidence.fold import OUTPUT_EVENT_BYTES_MAX
from tests.recording_kit import PRODUCER, append, appended, batch, out, output, recorded, refused
from tests.serving import Running

GOOD: dict[str, Any] = batch(2, out("fine"))
DEEP = b'{"producerId":"kit","number":2,"events":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def _with(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


def _event(**fields: Any) -> bytes:
    return _with(events=[out("before"), fields])


def _one(event: bytes) -> bytes:
    return b'{"producerId":"kit","number":2,"events":[' + event + b"]}"


BAD: dict[str, tuple[bytes, str | None]] = {
    "no object": (b"[]", "body"),
    "nothing": (b"", None),
    "no JSON": (b"{", None),
    "NaN": (_with(number=float("nan")), "number"),
    "a lone surrogate": (_one(b'{"type":"stdout","data":"\\ud800"}'), "events.0.data"),
    "bytes that are no UTF-8": (_one(b'{"type":"stdout","data":"\xff"}'), None),
    "too deep": (DEEP, None),
    "no producer": (json.dumps({"number": 2, "events": []}).encode(), "producerId"),
    "an empty producer": (_with(producerId=""), "producerId"),
    "a long producer": (_with(producerId="x" * 65), "producerId"),
    "a producer with spaces": (_with(producerId="a b"), "producerId"),
    "a producer with a line": (_with(producerId="kit\n"), "producerId"),
    "a producer beyond ASCII": (_with(producerId="kït"), "producerId"),
    "a producer that is a number": (_with(producerId=7), "producerId"),
    "number zero": (_with(number=0), "number"),
    "a negative number": (_with(number=-1), "number"),
    "a number that is text": (_with(number="2"), "number"),
    "a number that is true": (_with(number=True), "number"),
    "a fraction": (_with(number=2.0), "number"),
    "a huge number": (_with(number=2**53), "number"),
    "a number beyond 64 bits": (_with(number=2**80), "number"),
    "a head that is text": (_with(expectedHead="3"), "expectedHead"),
    "a negative head": (_with(expectedHead=-1), "expectedHead"),
    "a head that is false": (_with(expectedHead=False), "expectedHead"),
    "no events": (json.dumps({"producerId": "kit", "number": 2}).encode(), "events"),
    "events that are an object": (_with(events={}), "events"),
    "too many events": (_with(events=[out("")] * (EVENTS_MAX + 1)), "events"),
    "an event that is text": (_with(events=["x"]), "events.0"),
    "an event that is null": (_with(events=[None]), "events.0"),
    "another type": (_event(type="status", status="running"), "events.1.type"),
    "a type that is a list": (_event(type=["stdout"], data="x"), "events.1.type"),
    "no type": (_event(data="x"), "events.1.type"),
    "no data": (_event(type="stdout"), "events.1.data"),
    "data that is a number": (_event(type="stdout", data=7), "events.1.data"),
    "both forms": (_event(type="stdout", data="x", dataBase64="eA=="), "events.1"),
    "base64 that is none": (_event(type="stdout", dataBase64="*"), "events.1.dataBase64"),
    "base64 without padding": (_event(type="stdout", dataBase64="eA"), "events.1.dataBase64"),
    "base64 with a line": (_event(type="stdout", dataBase64="eA==\n"), "events.1.dataBase64"),
    "base64 beyond ASCII": (_event(type="stdout", dataBase64="é"), "events.1.dataBase64"),
    "too much text": (_event(type="stdout", data="x" * (OUTPUT_EVENT_BYTES_MAX + 1)), "events.1"),
    "too many bytes": (_event(type="stdout", data="é" * (OUTPUT_EVENT_BYTES_MAX // 2 + 1)), "events.1"),
    "a key twice": (b'{"producerId":"kit","number":2,"number":2,"events":[]}', "number"),
    "a key of an event twice": (_one(b'{"type":"stdout","data":"a","data":"b"}'), "data"),
    "a key twice beside one more": (_one(b'{"type":"stdout","data":"a","x":1,"x":2}'), "x"),
    "a key behind an escape": (_one(b'{"type":"stdout","data":"a","d\\u0061ta":"b"}'), "data"),
    "a key that another counts for": (_one(b'{"type":"stdout","data":"a","type":"stderr","z":1}'), "type"),
}  # fmt: skip


@pytest.fixture(scope="module")
def run_id(running: Running) -> str:
    """A run that has begun."""
    return recorded(running)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_batch_is_refused_by_name(running: Running, run_id: str, name: str) -> None:
    """400 with the field's place, and nothing of the batch is stored."""
    body, field = BAD[name]
    error = refused(append(running, run_id, body), 400, "invalid_request")
    assert (error.get("details") or {}).get("field") == field
    assert output(running, run_id) == b""


def test_too_large_a_body_is_413(running: Running, run_id: str) -> None:
    """The usual limit of JSON bodies holds."""
    answer = append(running, run_id, b" " * (1024 * 1024 + 1))
    refused(answer, 413, "file_too_large")


@pytest.mark.parametrize(
    "text",
    ['"type":"stdout"', 'a"data"b', '{"events":[{"number":1}]}', "\\u0061", "\u2028\x85\x1b[0m", "\0", ""],
    ids=ascii,
)
def test_output_that_looks_like_a_batch_is_output(running: Running, text: str) -> None:
    """What stands in the data is nobody's business, names of keys and control characters too."""
    run_id = recorded(running, batch(1, out(text), out("end")))
    assert output(running, run_id) == text.encode() + b"end"


def test_the_largest_event_and_batch_are_stored(running: Running) -> None:
    """Exactly at the limits: 64 KiB in an event, and as many events as go together."""
    run_id = recorded(running, batch(1, out("x" * OUTPUT_EVENT_BYTES_MAX)))
    appended(running, run_id, batch(2, *([out("y")] * EVENTS_MAX)))
    assert output(running, run_id) == b"x" * OUTPUT_EVENT_BYTES_MAX + b"y" * EVENTS_MAX


def test_unknown_fields_are_tolerated(running: Running) -> None:
    """As everywhere (CONTRACT §1)."""
    body = {"producerId": PRODUCER, "number": 1, "note": {"a": [1]}, "events": [{**out("x"), "level": 3}]}
    assert output(running, recorded(running, body)) == b"x"


@pytest.mark.parametrize("code", [-1, 2**32, 1.0, True, "0", None], ids=repr)
def test_an_exit_code_is_a_whole_number(running: Running, run_id: str, code: object) -> None:
    """Of at most 32 bits, and given."""
    answer = running.http.post(f"/v1/workspace-runs/{run_id}/finish", json={"exitCode": code})
    assert refused(answer, 400, "invalid_request")["details"] == {"field": "exitCode"}


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (StorageUnavailable("the disk is full"), "its disk may be full"),
        (RuntimeError("a bug"), "Report "),
    ],
    ids=["disk", "mistake"],
)
def test_an_append_that_fails_is_answered_like_any_request(
    running: Running,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    told: str,
) -> None:
    """Its route is called past the framework's layers: envelope and request id come all the same.

    The caller is told to quote that id to the operator, who finds it with the cause in the server's log.
    """

    async def fail(*_: object) -> bytes:
        raise failure

    run_id = recorded(running)
    monkeypatch.setattr(running.server.services.recordings, "append", fail)
    answer = append(running, run_id, batch(2, out("x")))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (500, "internal_error")
    assert told in error["message"]
    assert error["requestId"] == answer.headers["x-request-id"]
    (line,) = [one for one in caplog.text.splitlines() if error["requestId"] in one]
    assert run_id in line
    assert str(failure) in caplog.text
