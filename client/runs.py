"""The client's methods of runs: create, upload, start, follow (CONTRACT §3, §4, §6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import cast

from client.archive import Archive, Progress
from client.follow import follow
from client.producer import Producer, ProducerLimits
from client.shapes import Event, EventPage, JsonObject, Page, RunRequest, Transfer, WorkspaceRun
from client.wire import Methods, at, given, idempotency, labelled, page_of, run_of, unwrapped

RUNS = "/v1/workspace-runs"
_BODY_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})


class RunMethods(Methods):
    """Routes below /v1/workspace-runs, but for what proves them."""

    def create_run(self, request: RunRequest, *, idempotency_key: str | None = None) -> WorkspaceRun:
        """POST /v1/workspace-runs."""
        answer = self._transport.json("POST", RUNS, body=request.body(), headers=idempotency(idempotency_key))
        return run_of(answer)

    def get_run(self, run_id: str) -> WorkspaceRun:
        """GET /v1/workspace-runs/{id}."""
        return run_of(self._transport.json("GET", at(RUNS, run_id)))

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
        params = given(projectId=project_id, status=status, limit=limit, cursor=cursor) | labelled(metadata)
        return cast("Page[WorkspaceRun]", page_of(self._transport.json("GET", RUNS, params=params), cursor))

    def start_run(self, run_id: str, *, idempotency_key: str | None = None) -> WorkspaceRun:
        """POST …/start. Starting again answers the same run."""
        return self._act(run_id, "start", idempotency_key)

    def cancel_run(self, run_id: str, *, idempotency_key: str | None = None) -> WorkspaceRun:
        """POST …/cancel. A terminal run answers its present state."""
        return self._act(run_id, "cancel", idempotency_key)

    def producer(self, run_id: str, producer_id: str, limits: ProducerLimits | None = None) -> Producer:
        """Of the append session …/events/session; open it in an event loop."""
        url, headers, trust_env = self._transport.session(at(RUNS, run_id, "events/session"))
        return Producer(url, headers, producer_id, trust_env=trust_env, limits=limits)

    def finish_run(self, run_id: str, exit_code: int, *, idempotency_key: str | None = None) -> WorkspaceRun:
        """POST …/finish: seal a recorded run. The same exit code again answers the same run."""
        path, body = at(RUNS, run_id, "finish"), {"exitCode": exit_code}
        return run_of(self._transport.json("POST", path, body=body, headers=idempotency(idempotency_key)))

    def _act(self, run_id: str, action: str, idempotency_key: str | None) -> WorkspaceRun:
        path = at(RUNS, run_id, action)
        return run_of(self._transport.json("POST", path, headers=idempotency(idempotency_key)))

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
            **idempotency(idempotency_key),
        }
        answer = self._transport.json(
            "PUT", at(RUNS, run_id, "archive"), content=partial(archive.chunks, on_progress), headers=headers
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
            at(RUNS, run_id, "archive-transfer"),
            body={"sha256": sha256, "sizeBytes": size_bytes},
            headers=idempotency(idempotency_key),
        )
        return cast("Transfer", unwrapped(answer, "transfer", "id", "uploadUrl"))

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
        path = at(RUNS, run_id, "archive/finalize")
        return _uploaded(self._transport.json("POST", path, body=body, headers=idempotency(idempotency_key)))

    # ---- events

    def events(self, run_id: str, *, after_seq: int = 0, limit: int | None = None) -> EventPage:
        """GET …/events: one JSON page (CONTRACT §6.2)."""
        return self._event_page(at(RUNS, run_id, "events"), after_seq, limit)

    def stream_events(
        self, run_id: str, *, after_seq: int = 0, reconnect: bool = True, resuming: bool = False
    ) -> Iterator[Event]:
        """Follow the run up to and including `terminal` (see `client.follow`)."""
        path = at(RUNS, run_id, "events")
        return follow(
            lambda last_seq: self._open_events(path, last_seq),
            after_seq,
            reconnect=reconnect,
            resuming=resuming,
        )


def _uploaded(answer: JsonObject) -> JsonObject:
    run_of(answer)
    return answer
