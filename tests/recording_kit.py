"""What the tests of recorded runs share: batches, a run to record, and an open append session."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httpx2
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.serving import Running

PRODUCER = "kit"
ANSWER_S_MAX = 20.0


def out(text: str) -> dict[str, str]:
    """A stdout event."""
    return {"type": "stdout", "data": text}


def raw(data: bytes, stream: str = "stdout") -> dict[str, str]:
    """An event of any bytes."""
    return {"type": stream, "dataBase64": base64.b64encode(data).decode()}


def batch(number: int, *events: dict[str, str], producer: str = PRODUCER, **fields: Any) -> dict[str, Any]:
    """The body of one batch."""
    return {"producerId": producer, "number": number, "events": list(events), **fields}


def append(running: Running, run_id: str, body: Any, **headers: str) -> httpx2.Response:
    """POST one batch; bytes are sent as they are."""
    path = f"/v1/workspace-runs/{run_id}/events"
    if isinstance(body, bytes):
        return running.http.post(path, content=body, headers=headers)
    return running.http.post(path, json=body, headers=headers)


def appended(running: Running, run_id: str, body: Any) -> int:
    """POST a batch that is stored; answer the head's size."""
    answer = append(running, run_id, body)
    assert answer.status_code == 200, answer.text
    size: int = answer.json()["head"]["size"]
    return size


def refused(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The error of a refusal."""
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == code
    return error


def recorded(running: Running, *bodies: Any, **fields: Any) -> str:
    """A recorded run with these batches; with none it has just begun."""
    run_id = running.create("make test", template="external", **fields)
    for body in bodies or (batch(1),):
        appended(running, run_id, body)
    return run_id


def finish(running: Running, run_id: str, exit_code: int = 0, **headers: str) -> httpx2.Response:
    """POST …/finish."""
    path = f"/v1/workspace-runs/{run_id}/finish"
    return running.http.post(path, json={"exitCode": exit_code}, headers=headers)


def output(running: Running, run_id: str, stream: str = "stdout") -> bytes:
    """The raw bytes that the log holds of a stream."""
    return b"".join(
        base64.b64decode(event["dataBase64"]) if "dataBase64" in event else event["data"].encode()
        for event in running.events(run_id)
        if event["type"] == stream
    )


def steps(running: Running, run_id: str) -> list[str]:
    """The run's events by type, and by status where they have one."""
    return [
        event.get("status", event["type"]) for event in running.events(run_id) if event["type"] != "outcome"
    ]


def session_url(running: Running, run_id: str, producer: str | None = PRODUCER) -> str:
    """Where the append session is."""
    query = f"?producerId={producer}" if producer is not None else ""
    return f"ws{running.url.removeprefix('http')}/v1/workspace-runs/{run_id}/events/session{query}"


@contextlib.contextmanager
def session(
    running: Running, run_id: str, producer: str | None = PRODUCER, key: str | None = None
) -> Iterator[ClientConnection]:
    """An open append session; the first frame was not read yet."""
    headers = {"authorization": f"Bearer {key or running.key}"}
    with connect(session_url(running, run_id, producer), additional_headers=headers, proxy=None) as socket:
        yield socket


def send(socket: ClientConnection, body: Any) -> None:
    """Send one batch."""
    socket.send(json.dumps(body))


def received(socket: ClientConnection) -> dict[str, Any]:
    """The next frame."""
    answer: dict[str, Any] = json.loads(socket.recv(timeout=ANSWER_S_MAX))
    return answer


def closed_with(socket: ClientConnection) -> int:
    """The code that the session closes with, whatever comes before it."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=ANSWER_S_MAX)
    assert socket.close_code is not None, "the connection broke off"
    return socket.close_code
