"""How an archive arrives: directly or staged, counted and hashed, durable before it is an event."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any, Protocol

from eventstore.log import Answer, Append, ExpectedHeadMismatch, NewEvent, Record
from eventstore.views import ViewRow
from evidence.canonical import decode, encode
from evidence.record import format_time, parse_time
from runs import decide
from runs.access import Principal
from runs.idempotency import IdempotentRequest
from runs.ids import new_id
from runs.refusal import Refusal
from runs.service import RunService

MIB = 1024 * 1024
TRANSFER = "transfer"
"""The record kind of staged transfers; they are not views (DESIGN §2)."""
ARCHIVE_BLOB = "archive_blob"
"""The record kind of digests that are some run's archive: such a blob is never swept as an artifact."""
TRANSFER_KEPT_MS = 24 * 60 * 60 * 1000
"""An expired transfer answers `upload_expired` this long, then `upload_not_found`."""


class BlobWriter(Protocol):
    """A blob on its way to the store; nothing is visible before `commit` (see `eventstore.blobs`)."""

    @property
    def sha256(self) -> str:
        """Lowercase hex digest of what was written so far."""
        ...

    def write(self, data: bytes) -> None:
        """Add bytes."""
        ...

    def commit(self) -> tuple[str, int]:
        """Make it durable; answer its lowercase hex sha256 and its size."""
        ...

    def abort(self) -> None:
        """Forget it."""
        ...


class OpenBlob(Protocol):
    """Opens a writer that refuses more than `size_bytes_max`."""

    def __call__(self, size_bytes_max: int) -> BlobWriter:
        """A writer for one blob."""
        ...


class UploadService:
    """Direct uploads and staged transfers of run archives (CONTRACT §4)."""

    def __init__(self, runs: RunService, open_blob: OpenBlob) -> None:
        self._runs = runs
        self._open_blob = open_blob

    def __repr__(self) -> str:
        return f"UploadService({self._runs!r})"

    async def direct(
        self, who: Principal, run_id: str, body: AsyncIterator[bytes], *, sha256: str, size_bytes: int,
        idempotent: IdempotentRequest | None,
    ) -> Answer:  # fmt: skip
        """PUT …/archive: 200 `{archive, workspaceRun}` once the bytes are durable and as announced."""
        async with self._runs.in_flight.one_at_a_time(idempotent):
            if answer := await self._runs.stored_answer(idempotent):
                return answer
            self._check_size(size_bytes)
            run = await self._run(who, run_id)
            _refuse_other_archive(run, sha256, size_bytes)
            await self._receive(run_id, run, body, size_bytes, expected_sha256=sha256)
            return await self._uploaded(who, run_id, sha256, size_bytes, idempotent)

    async def create_transfer(
        self, who: Principal, run_id: str, sha256: str, size_bytes: int, idempotent: IdempotentRequest | None
    ) -> Answer:
        """POST …/archive-transfer: 201 `{transfer}`; an archive over the limit is refused here (rule 10)."""
        async with self._runs.in_flight.one_at_a_time(idempotent):
            if answer := await self._runs.stored_answer(idempotent):
                return answer
            run = await self._run(who, run_id)
            self._check_size(size_bytes)
            _refuse_other_archive(run, sha256, size_bytes)
            upload_id = new_id("upl")
            expires_at_ms = self._runs.now_ms() + self._runs.limits.transfer_ms_max
            doc: dict[str, Any] = {
                "id": upload_id,
                "workspaceRunId": run_id,
                "orgId": who.org_id,
                "sha256": sha256,
                "sizeBytes": size_bytes,
                "expiresAt": format_time(expires_at_ms),
                "status": "pending",
            }
            answer = Answer(201, encode({"transfer": self._wire(doc)}))
            record = Record(TRANSFER, upload_id, encode(doc), expires_at_ms + TRANSFER_KEPT_MS)
            claim = idempotent.claim(lambda _: answer) if idempotent else None
            done = await self._runs.store.append(Append(run_id, None, (), claim=claim, records=[record]))
            return done.answer or answer

    async def receive_transfer(
        self, who: Principal, run_id: str, upload_id: str, body: AsyncIterator[bytes]
    ) -> None:
        """PUT to the upload URL: keep whatever came; `finalize` judges it (rule 10)."""
        run = await self._run(who, run_id)
        doc = await self._transfer(who, run_id, upload_id)
        if doc["status"] == "finalized":
            raise Refusal("upload_conflict", "This transfer is finalized already. Start the run.")
        sha256, size_bytes = await self._receive(run_id, run, body, doc["sizeBytes"])
        doc.update(status="uploaded", storedSha256=sha256, storedSizeBytes=size_bytes)
        await self._keep(doc)

    async def finalize(
        self, who: Principal, run_id: str, upload_id: str, *, sha256: str, size_bytes: int,
        idempotent: IdempotentRequest | None,
    ) -> Answer:  # fmt: skip
        """POST …/archive/finalize: verify size and digest of the stored bytes, then `archive_uploaded`."""
        async with self._runs.in_flight.one_at_a_time(idempotent):
            if answer := await self._runs.stored_answer(idempotent):
                return answer
            await self._run(who, run_id)
            doc = await self._transfer(who, run_id, upload_id)
            if doc["status"] == "pending":
                raise Refusal(
                    "upload_incomplete", "The bytes of this transfer have not arrived. PUT them first."
                )
            _check_content((doc["storedSha256"], doc["storedSizeBytes"]), (sha256, size_bytes))
            _check_content((doc["storedSha256"], doc["storedSizeBytes"]), (doc["sha256"], doc["sizeBytes"]))
            answer = await self._uploaded(who, run_id, sha256, size_bytes, idempotent)
            # Crash window: the run is uploaded and the transfer not yet marked; a retry answers the same.
            await self._keep({**doc, "status": "finalized"})
            return answer

    async def _uploaded(
        self, who: Principal, run_id: str, sha256: str, size_bytes: int, idempotent: IdempotentRequest | None
    ) -> Answer:
        def decision(run: dict[str, Any]) -> list[NewEvent]:
            return decide.archive_uploaded(run, actor=who.key_id, sha256=sha256, size_bytes=size_bytes)

        return await self._runs.change(
            who, run_id, "workspace_run:create", decision, idempotent=idempotent, render=_archive_answer,
            records=[Record(ARCHIVE_BLOB, sha256, b"{}")],
        )  # fmt: skip

    async def _run(self, who: Principal, run_id: str) -> dict[str, Any]:
        row = await self._runs.get(who, run_id, "workspace_run:create")
        return decode(row.doc)

    async def _transfer(self, who: Principal, run_id: str, upload_id: str) -> dict[str, Any]:
        record = await self._runs.store.get_record(TRANSFER, upload_id[:80])
        doc = decode(record.doc) if record else None
        if doc is None or doc["workspaceRunId"] != run_id or doc["orgId"] != who.org_id:
            raise Refusal("upload_not_found", "There is no such transfer for this run. Create one first.")
        if doc["status"] != "finalized" and doc["expiresAt"] <= format_time(self._runs.now_ms()):
            raise Refusal("upload_expired", "This transfer has expired. Create a new one and upload again.")
        return doc

    async def _keep(self, doc: dict[str, Any]) -> None:
        """Store the transfer as it stands now, until some time after its expiry."""
        until_ms = parse_time(doc["expiresAt"]) + TRANSFER_KEPT_MS
        await self._runs.store.put_record(Record(TRANSFER, doc["id"], encode(doc), until_ms))

    async def _receive(
        self,
        run_id: str,
        run: dict[str, Any],
        body: AsyncIterator[bytes],
        announced_bytes: int,
        *,
        expected_sha256: str | None = None,
    ) -> tuple[str, int]:
        """Stream a body into the blob store, telling the log about each full MiB.

        With `expected_sha256` other bytes than announced are refused before they become a blob, so that
        mistaken uploads leave nothing behind. A staged transfer keeps what came until `finalize`.
        """
        writer = self._open_blob(self._runs.limits.archive_bytes_max)
        received = told = 0
        try:
            async for data in body:
                received += len(data)
                if received > self._runs.limits.archive_bytes_max:
                    raise _too_large(self._runs.limits.archive_bytes_max)
                await asyncio.to_thread(writer.write, data)
                while run["status"] == "awaiting_archive" and received - told >= MIB:
                    told += MIB
                    await self._progress(run_id, told, announced_bytes)
            if expected_sha256 is not None:
                _check_content((writer.sha256, received), (expected_sha256, announced_bytes))
        except BaseException:
            writer.abort()
            raise
        return await asyncio.to_thread(writer.commit)

    async def _progress(self, run_id: str, received_bytes: int, size_bytes: int) -> None:
        """One `archive_progress`; skipped when the run has moved on meanwhile."""
        head = await self._runs.store.head(run_id)
        row = await self._runs.store.get_view("runs", run_id)
        if head is None or row is None or row.status != "awaiting_archive":
            return
        event = NewEvent("archive_progress", {"receivedBytes": received_bytes, "sizeBytes": size_bytes})
        try:
            await self._runs.store.append(Append(run_id, head.size, [event]))
        except ExpectedHeadMismatch:
            return

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._runs.limits.archive_bytes_max:
            raise _too_large(self._runs.limits.archive_bytes_max, size_bytes)

    def _wire(self, doc: dict[str, Any]) -> dict[str, Any]:
        """The Transfer of CONTRACT §4.2; a relative URL is right behind any proxy or port map."""
        return {
            "id": doc["id"],
            "workspaceRunId": doc["workspaceRunId"],
            "checksumAlgorithm": "sha256",
            "method": "PUT",
            "uploadUrl": f"/v1/workspace-runs/{doc['workspaceRunId']}/archive-transfer/{doc['id']}",
            "headers": {},
            "expiresAt": doc["expiresAt"],
            "maxSizeBytes": self._runs.limits.archive_bytes_max,
            "status": doc["status"],
        }


def body_fingerprint(sha256: str, size_bytes: int) -> bytes:
    """What stands for an archive body in an idempotency fingerprint (CONTRACT §5)."""
    return hashlib.sha256(f"{sha256} {size_bytes}".encode()).digest()


def _archive_answer(row: ViewRow | None) -> Answer:
    assert row is not None, "a run's append always answers its row"
    run = decode(row.doc)
    return Answer(200, b'{"archive":' + encode(run["archive"]) + b',"workspaceRun":' + row.doc + b"}")


def _refuse_other_archive(run: dict[str, Any], sha256: str, size_bytes: int) -> None:
    archive = run.get("archive")
    if archive is None or (archive["sha256"], archive["sizeBytes"]) != (sha256, size_bytes):
        decide.require_awaiting_archive(run)


def _too_large(size_bytes_max: int, size_bytes: int | None = None) -> Refusal:
    """What is still arriving has no size yet: how much came until the refusal says nothing of the archive."""
    found = f"The archive is {size_bytes} bytes" if size_bytes is not None else "The archive is too large"
    return Refusal(
        "file_too_large",
        f"{found}; at most {size_bytes_max} bytes are accepted. "
        "Build a smaller one (leave out .git, dependencies and build output).",
        {"maxSizeBytes": size_bytes_max},
    )


def _check_content(found: tuple[str, int], expected: tuple[str, int]) -> None:
    if found[1] != expected[1]:
        raise Refusal(
            "upload_size_mismatch",
            f"{found[1]} bytes arrived where {expected[1]} were announced. Upload the archive again.",
            {"expectedBytes": expected[1], "receivedBytes": found[1]},
        )
    if found[0] != expected[0]:
        raise Refusal(
            "upload_checksum_mismatch",
            "The bytes that arrived have another sha256 than announced. Upload the archive again.",
            {"expectedSha256": expected[0], "receivedSha256": found[0]},
        )
