"""Writes a proof bundle from what is stored, into a temporary file of bounded size (PROOF P8)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from api.attesting import attested
from api.services import Services
from eventstore.log import Head, StorageUnavailable
from eventstore.views import ViewRow
from evidence.bundle import BundleWriter, EntryChain
from evidence.canonical import decode
from evidence.checkpoint import parse_checkpoint
from evidence.record import genesis
from evidence.tlog import TlogProof
from runs.refusal import Refusal, not_found

COPY_BYTES = 1024 * 1024


async def write_bundle_file(
    services: Services, stream: str, *, without: frozenset[str] = frozenset(), artifacts: bool = False
) -> Path:
    """The bundle of a stream as it stands; the caller removes the file.

    The checkpoint is taken first and says how many events belong in, so that events appended meanwhile
    cannot make the bundle disagree with itself. A redaction meanwhile can: its targets are gone, and it is
    not among those events. Then the bundle is made again.
    """
    for _ in range(services.limits.bundle_attempts_max):
        path, is_whole = await _attempt(services, stream, without=without, artifacts=artifacts)
        if is_whole:
            return path
        path.unlink(missing_ok=True)
    raise Refusal("conflict", "Output of this run is being redacted right now. Ask again in a moment.")


async def _attempt(
    services: Services, stream: str, *, without: frozenset[str], artifacts: bool
) -> tuple[Path, bool]:
    """A bundle, and whether all that is absent in it was redacted before its checkpoint."""
    note = await services.store.checkpoint(stream)
    head = await services.store.head(stream)
    if note is None or head is None:
        raise not_found("Stream", stream)
    size = _size_of(note)
    evidence = await _sealed_evidence(services, stream, size)
    tlog_proof = await services.sequencer.inclusion(stream, size)
    contents = await _artifacts(services, evidence) if artifacts and evidence is not None else []
    path = services.temporary_dir / f"bundle-{secrets.token_hex(8)}.zip"
    try:
        with path.open("xb", buffering=COPY_BYTES) as out:
            parts = _Parts(head, note, size, evidence, tlog_proof, without, contents)
            has_absent = await _write(services, parts, out)
        now = await services.store.head(stream)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):  # the disk's, and no mistake of the program
            raise StorageUnavailable(
                f"a bundle cannot be written to {path.parent} ({error.strerror}): free space and try again, "
                "and check the disk if that does not help"
            ) from error
        raise
    return path, not has_absent or (now is not None and now.size == size)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What goes into one bundle."""

    head: Head
    checkpoint: bytes
    size: int
    evidence: ViewRow | None
    tlog_proof: TlogProof | None
    without: frozenset[str]
    artifacts: Sequence[tuple[str, Path]]


async def _write(services: Services, parts: _Parts, out: BinaryIO) -> bool:
    """Write all members; answers whether there are events whose payload was erased."""
    has_absent = False
    head = parts.head
    evidence, index = parts.evidence, parts.tlog_proof.index if parts.tlog_proof else None
    writer = BundleWriter(
        out, checkpoint=parts.checkpoint, anchor=head.anchor_note, evidence=evidence.doc if evidence else None
    )
    chain = EntryChain(head.stream, genesis(head.stream, head.anchor_note))
    async for event in services.store.entries(head.stream, up_to_seq=parts.size):
        writer.event(chain.add(event, withhold=event.type in parts.without))
        has_absent = has_absent or event.payload is None
        _within_limit(services, out)
    if parts.tlog_proof is not None:
        writer.tlog_proof(parts.tlog_proof.to_bytes())
    if evidence is not None:
        writer.attestations(await attested(services, evidence, parts.checkpoint, index))
    for artifact_id, path in parts.artifacts:
        writer.artifact(artifact_id, _chunks(artifact_id, path))
        _within_limit(services, out)
    writer.close()
    return has_absent


def _size_of(note: bytes) -> int:
    """The number of events that a signed checkpoint covers."""
    return parse_checkpoint(note.decode().split("\n\n", 1)[0] + "\n").size


async def _sealed_evidence(services: Services, stream: str, size: int) -> ViewRow | None:
    """The evidence, if the seal is among the first `size` events: a run may be sealed right now."""
    row = await services.store.get_view("evidence", stream)
    if row is None or int(row.labels["lastPublicSeq"]) >= size:
        return None
    return row


def _within_limit(services: Services, out: BinaryIO) -> None:
    if out.tell() > services.limits.bundle_bytes_max:
        raise Refusal(
            "file_too_large",
            f"The bundle is larger than {services.limits.bundle_bytes_max} bytes. Leave the artifacts out.",
        )


async def _artifacts(services: Services, evidence: ViewRow) -> list[tuple[str, Path]]:
    """Contents that are still kept, by id; a deleted one stays out and the verdict says so."""
    found: list[tuple[str, Path]] = []
    artifacts: list[dict[str, Any]] = decode(evidence.doc)["artifacts"]
    for artifact in artifacts:
        row = await services.store.get_view("artifacts", artifact["id"])
        if row is not None and row.status == "stored":
            found.append((row.id, services.blob_path(artifact["sha256"])))
    return sorted(found)


def _chunks(artifact_id: str, path: Path) -> Iterator[bytes]:
    try:
        content = path.open("rb")
    except FileNotFoundError as error:  # no fault of the disk that the bundle is written to
        raise Refusal(
            "conflict",
            f"The content of {artifact_id} is gone: it is being deleted right now, or was lost. "
            "Ask again in a moment, or without artifacts.",
        ) from error
    with content:
        while chunk := content.read(COPY_BYTES):
            yield chunk
