"""The client: one method per route of the contract that the command line and other callers use.

Every method raises a `client.errors.ClientError`. Methods that change something send an
`Idempotency-Key`, a fresh UUID v4 unless the caller gives one (CONTRACT §2, §5).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, Self, cast
from uuid import uuid4

import httpx2

from client.archive import Archive, Progress
from client.errors import BadAnswer, ClientError
from client.follow import follow
from client.shapes import (
    Artifact,
    Event,
    EventPage,
    JsonObject,
    Page,
    RunRequest,
    Sandbox,
    Transfer,
    Usage,
    WorkspaceRun,
)
from client.transport import BodyLimits, Timeouts, Transport

RUNS = "/v1/workspace-runs"
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_BODY_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})


class CrownestClient:
    """A synchronous client of one server; close it, or use it as a context manager."""

    def __init__(
        self,
        api_url: str,
        credential: str | None,
        *,
        trust_env: bool = False,
        timeouts: Timeouts | None = None,
        limits: BodyLimits | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = Transport(
            api_url, credential, trust_env=trust_env, timeouts=timeouts, limits=limits, wait=wait
        )

    def __repr__(self) -> str:
        return f"CrownestClient({self._transport!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    # ---- runs

    def create_run(self, request: RunRequest, *, idempotency_key: str | None = None) -> WorkspaceRun:
        """POST /v1/workspace-runs."""
        answer = self._transport.json(
            "POST", RUNS, body=request.body(), headers=_idempotency(idempotency_key)
        )
        return _run(answer)

    def get_run(self, run_id: str) -> WorkspaceRun:
        """GET /v1/workspace-runs/{id}."""
        return _run(self._transport.json("GET", _path(RUNS, run_id)))

    def list_runs(
        self,
        *,
        project_id: str | None = None,
        status: str | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[WorkspaceRun]:
        """GET /v1/workspace-runs: one page, newest first."""
        params = _given(projectId=project_id, status=status, limit=limit, cursor=cursor)
        params.update({f"metadata.{key}": value for key, value in (metadata or {}).items()})
        return cast("Page[WorkspaceRun]", _page(self._transport.json("GET", RUNS, params=params), cursor))

    def start_run(self, run_id: str, *, idempotency_key: str | None = None) -> WorkspaceRun:
        """POST …/start. Starting again answers the same run."""
        return self._act(run_id, "start", idempotency_key)

    def cancel_run(self, run_id: str, *, idempotency_key: str | None = None) -> WorkspaceRun:
        """POST …/cancel. A terminal run answers its present state."""
        return self._act(run_id, "cancel", idempotency_key)

    def _act(self, run_id: str, action: str, idempotency_key: str | None) -> WorkspaceRun:
        path = _path(RUNS, run_id, action)
        return _run(self._transport.json("POST", path, headers=_idempotency(idempotency_key)))

    # ---- archives

    def upload_direct(
        self,
        run_id: str,
        archive: Archive,
        *,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> JsonObject:
        """PUT …/archive (CONTRACT §4.1): answers `{archive, workspaceRun}`."""
        headers = {
            "content-type": "application/gzip",
            "content-length": str(archive.size_bytes),
            "x-crownest-archive-sha256": archive.sha256,
            "x-crownest-archive-size": str(archive.size_bytes),
            **_idempotency(idempotency_key),
        }
        answer = self._transport.json(
            "PUT",
            _path(RUNS, run_id, "archive"),
            content=partial(archive.chunks, on_progress),
            headers=headers,
        )
        return _uploaded(answer)

    def upload_staged(
        self, run_id: str, archive: Archive, *, on_progress: Progress | None = None
    ) -> JsonObject:
        """Transfer, PUT, finalize (CONTRACT §4.2): answers `{archive, workspaceRun}`."""
        transfer = self.create_transfer(run_id, archive.sha256, archive.size_bytes)
        self.put_transfer(transfer, archive, on_progress=on_progress)
        return self.finalize(run_id, transfer["id"], archive)

    def create_transfer(
        self, run_id: str, sha256: str, size_bytes: int, *, idempotency_key: str | None = None
    ) -> Transfer:
        """POST …/archive-transfer: the server refuses a bad size here (CONTRACT rule 10)."""
        answer = self._transport.json(
            "POST",
            _path(RUNS, run_id, "archive-transfer"),
            body={"sha256": sha256, "sizeBytes": size_bytes},
            headers=_idempotency(idempotency_key),
        )
        return cast("Transfer", _unwrap(answer, "transfer", "id", "uploadUrl"))

    def put_transfer(
        self, transfer: Transfer, archive: Archive, *, on_progress: Progress | None = None
    ) -> None:
        """PUT the bytes to the transfer's address; the credential goes along to the API's origin only."""
        named = transfer.get("headers") or {}
        headers = {
            "content-type": "application/gzip",
            **{key: value for key, value in named.items() if key.lower() not in _BODY_HEADERS},
            "content-length": str(archive.size_bytes),
        }
        url = self._transport.resolve(transfer["uploadUrl"])
        if self._transport.is_own_origin(url):
            headers = {key: value for key, value in headers.items() if key.lower() != "authorization"}
        with self._transport.exchange(
            "PUT", str(url), content=partial(archive.chunks, on_progress), headers=headers
        ):
            pass

    def finalize(
        self, run_id: str, upload_id: str, archive: Archive, *, idempotency_key: str | None = None
    ) -> JsonObject:
        """POST …/archive/finalize: answers `{archive, workspaceRun}`."""
        body = {"uploadId": upload_id, "sha256": archive.sha256, "sizeBytes": archive.size_bytes}
        path = _path(RUNS, run_id, "archive/finalize")
        return _uploaded(self._transport.json("POST", path, body=body, headers=_idempotency(idempotency_key)))

    # ---- events

    def events(self, run_id: str, *, after_seq: int = 0, limit: int | None = None) -> EventPage:
        """GET …/events: one JSON page (CONTRACT §6.2)."""
        params = _given(afterSeq=after_seq or None, limit=limit)
        answer = self._transport.json("GET", _path(RUNS, run_id, "events"), params=params)
        next_seq = answer.get("nextSeq")
        return EventPage(
            cast("list[Event]", _objects(answer)),
            answer.get("hasMore") is True,
            next_seq if isinstance(next_seq, int) else None,
        )

    def stream_events(
        self, run_id: str, *, after_seq: int = 0, reconnect: bool = True, resuming: bool = False
    ) -> Iterator[Event]:
        """Follow the run up to and including `terminal` (see `client.follow`)."""
        return follow(
            lambda last_seq: self._open_stream(run_id, last_seq),
            after_seq,
            reconnect=reconnect,
            resuming=resuming,
        )

    @contextmanager
    def _open_stream(self, run_id: str, after_seq: int) -> Generator[Iterator[Event]]:
        params: dict[str, str | int] = {"stream": "true", **_given(afterSeq=after_seq or None)}
        headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
        path = _path(RUNS, run_id, "events")
        with self._transport.exchange(
            "GET", path, params=params, headers=headers, streaming=True
        ) as response:
            yield _sse_events(response, self._transport.limits.event_bytes_max)

    # ---- evidence and proof

    def evidence(self, run_id: str) -> JsonObject:
        """GET …/evidence: the Evidence Bundle, with the wire's `proof` key (CONTRACT §3.5, §6.6)."""
        return _unwrap(self._transport.json("GET", _path(RUNS, run_id, "evidence")), "evidence")

    def proof_bundle(
        self, run_id: str, out: BinaryIO, *, without: tuple[str, ...] = (), artifacts: bool = False
    ) -> int:
        """Write the proof bundle (PROOF P8), a zip, to `out`; answers its size in bytes."""
        params = _given(without=",".join(without) or None, artifacts="true" if artifacts else None)
        return self._download(_path(RUNS, run_id, "proof/bundle"), out, "application/zip", params)

    def checkpoint(self, run_id: str) -> str:
        """GET …/proof/checkpoint: the signed note at the present size (PROOF P4.3)."""
        return self._transport.text(_path(RUNS, run_id, "proof/checkpoint"))

    def proof_events(self, run_id: str, *, after_seq: int, limit: int) -> bytes:
        """GET …/proof/events: a window of events and its range proof, unchecked (PROOF P3.4)."""
        params = {"afterSeq": after_seq, "limit": limit}
        return self._transport.document(_path(RUNS, run_id, "proof/events"), params)

    def proof_consistency(self, run_id: str, size1: int, size2: int) -> bytes:
        """GET …/proof/consistency from `size1` events to `size2`, unchecked (PROOF P3.2)."""
        sizes = {"from": size1, "to": size2}
        return self._transport.document(_path(RUNS, run_id, "proof/consistency"), sizes)

    def redact(
        self, run_id: str, targets: Sequence[int], reason: str, *, idempotency_key: str | None = None
    ) -> JsonObject:
        """POST …/redactions: erase the payloads of these output events (PROOF P7)."""
        answer = self._transport.json(
            "POST",
            _path(RUNS, run_id, "redactions"),
            body={"targets": list(targets), "reason": reason},
            headers=_idempotency(idempotency_key),
        )
        return _unwrap(answer, "redaction")

    def signing_keys(self) -> list[JsonObject]:
        """GET /v1/signing-keys: the log's keys, newest first (PROOF P6)."""
        return _objects(self._transport.json("GET", "/v1/signing-keys"))

    def rotate_signing_key(self) -> JsonObject:
        """POST /v1/signing-keys/rotate: a new key, vouched for by the old one (PROOF P6)."""
        return _unwrap(self._transport.json("POST", "/v1/signing-keys/rotate"), "signingKey")

    def policy(self) -> str:
        """GET /v1/proof/policy: whose signatures the proofs carry (PROOF P6). No credential needed."""
        return self._transport.text("/v1/proof/policy")

    def verify_on_server(self, run_id: str) -> JsonObject:
        """POST …/verify: the server's own verdict over its stored bytes, which proves nothing about it."""
        answer = self._transport.json("POST", _path(RUNS, run_id, "verify"))
        return _unwrap(answer, "verdict")

    def usage(self) -> Usage:
        """GET /v1/usage: what was used this month, and the quotas (CONTRACT §8)."""
        answer = self._transport.json("GET", "/v1/usage")
        return cast("Usage", answer | {"period": _unwrap(answer, "period", "start", "end")})

    # ---- artifacts and sandboxes

    def list_artifacts(
        self, sandbox_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[Artifact]:
        """GET /v1/sandboxes/{id}/artifacts; works after the sandbox is gone."""
        path = _path("/v1/sandboxes", sandbox_id, "artifacts")
        answer = self._transport.json("GET", path, params=_given(limit=limit, cursor=cursor))
        return cast("Page[Artifact]", _page(answer, cursor))

    def get_artifact(self, artifact_id: str) -> Artifact:
        """GET /v1/artifacts/{id}."""
        answer = self._transport.json("GET", _path("/v1/artifacts", artifact_id))
        return cast("Artifact", _unwrap(answer, "artifact", "id"))

    def download_artifact(self, artifact_id: str, out: BinaryIO) -> int:
        """GET /v1/artifacts/{id}/download into `out`; answers the size in bytes."""
        path = _path("/v1/artifacts", artifact_id, "download")
        return self._download(path, out, "application/octet-stream", {})

    def delete_artifact(self, artifact_id: str) -> Artifact:
        """DELETE /v1/artifacts/{id}: answers its tombstone."""
        answer = self._transport.json("DELETE", _path("/v1/artifacts", artifact_id))
        return cast("Artifact", _unwrap(answer, "artifact", "id"))

    def list_sandboxes(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Sandbox]:
        """GET /v1/sandboxes: the live ones."""
        answer = self._transport.json("GET", "/v1/sandboxes", params=_given(limit=limit, cursor=cursor))
        return cast("Page[Sandbox]", _page(answer, cursor))

    def get_sandbox(self, sandbox_id: str) -> Sandbox:
        """GET /v1/sandboxes/{id}; destroyed ones stay readable."""
        answer = self._transport.json("GET", _path("/v1/sandboxes", sandbox_id))
        return cast("Sandbox", _unwrap(answer, "sandbox", "id", "status"))

    def delete_sandbox(self, sandbox_id: str) -> Sandbox:
        """DELETE /v1/sandboxes/{id}."""
        answer = self._transport.json("DELETE", _path("/v1/sandboxes", sandbox_id))
        return cast("Sandbox", _unwrap(answer, "sandbox", "id", "status"))

    def _download(self, path: str, out: BinaryIO, accept: str, params: Mapping[str, str | int]) -> int:
        size_bytes, bytes_max = 0, self._transport.limits.download_bytes_max
        headers = {"accept": accept, "accept-encoding": "identity"}
        with self._transport.exchange("GET", path, params=params, headers=headers) as response:
            for chunk in response.iter_bytes():
                size_bytes += len(chunk)
                if size_bytes > bytes_max:
                    raise BadAnswer(f"The download is larger than {bytes_max} bytes.")
                out.write(chunk)
        return size_bytes


def _sse_events(response: httpx2.Response, bytes_max: int) -> Iterator[Event]:
    """Parse frames (CONTRACT §6.3): only `data:` counts, comments and the other fields carry nothing."""
    for frame in httpx2.EventSource(response, max_event_size=bytes_max):
        if not frame.data:
            continue
        try:
            event: object = json.loads(frame.data)
        except (ValueError, RecursionError) as exc:
            raise BadAnswer("The event stream holds a frame that is not one JSON object.") from exc
        yield _event(event)


def _event(value: object) -> Event:
    fields = cast("JsonObject", value) if isinstance(value, dict) else {}
    if not isinstance(fields.get("type"), str) or type(fields.get("seq")) is not int:
        raise BadAnswer("The event stream holds an event without type and seq.")
    if fields["type"] == "terminal":
        _run(fields)
    return cast("Event", fields)


def _run(answer: JsonObject) -> WorkspaceRun:
    return cast("WorkspaceRun", _unwrap(answer, "workspaceRun", "id", "status"))


def _uploaded(answer: JsonObject) -> JsonObject:
    _run(answer)
    return answer


def _unwrap(answer: JsonObject, key: str, *texts: str) -> JsonObject:
    """The object under `key`, in which each of `texts` is a string."""
    value: object = answer.get(key)
    fields = cast("JsonObject", value) if isinstance(value, dict) else None
    if fields is None or not all(isinstance(fields.get(text), str) for text in texts):
        raise BadAnswer(f"The server's answer lacks {key!r} as the contract has it.")
    return fields


def _objects(answer: JsonObject) -> list[JsonObject]:
    data: object = answer.get("data")
    items = cast("list[object]", data) if isinstance(data, list) else None
    if items is None or not all(isinstance(item, dict) for item in items):
        raise BadAnswer("The server's list lacks 'data' as the contract has it.")
    return cast("list[JsonObject]", items)


def _page(answer: JsonObject, cursor: str | None) -> Page[JsonObject]:
    """A page; a `hasMore` that leads nowhere or in a circle is refused (CONTRACT §1)."""
    items, next_cursor = _objects(answer), answer.get("nextCursor")
    if answer.get("hasMore") is not True:
        return Page(items, None)
    if not isinstance(next_cursor, str) or next_cursor == cursor:
        raise BadAnswer("The server says that there is more, but names no next page.")
    return Page(items, next_cursor)


def _path(collection: str, item_id: str, rest: str = "") -> str:
    """Join a path; an id with other characters than ids have is refused, so it cannot leave its place."""
    if not _ID.fullmatch(item_id):
        raise ClientError("invalid_id", f"{item_id!r} is not an id: letters, digits, '_' and '-' only.")
    return f"{collection}/{item_id}/{rest}".rstrip("/")


def _given(**params: str | int | None) -> dict[str, str | int]:
    return {key: value for key, value in params.items() if value is not None}


def _idempotency(key: str | None) -> dict[str, str]:
    return {"idempotency-key": key or str(uuid4())}
