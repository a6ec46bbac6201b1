"""Makes the text of range and consistency proofs of a stream from what is stored (PROOF P3.3, P3.4)."""

from __future__ import annotations

from api.services import Services
from eventstore.proving import StreamLeaves, prove
from evidence.checkpoint import Checkpoint, parse_checkpoint
from evidence.note import split_note
from evidence.proofs import consistency_proof, range_proof
from runs.refusal import Refusal, not_found


async def signed_checkpoint(services: Services, stream: str) -> tuple[Checkpoint, bytes]:
    """The stream's checkpoint as it stands now, parsed and signed."""
    note = await services.store.checkpoint(stream)
    if note is None:
        raise not_found("Stream", stream)
    return parse_checkpoint(split_note(note)[0]), note


async def window_text(services: Services, stream: str, after_seq: int, limit: int) -> bytes:
    """The nine lines of each event after `after_seq`, an empty line, and the proof of the window.

    It holds at most `limit` events, and ends early past `proof_bytes_max`; the proof says where. The
    checkpoint is taken behind the events, so that it covers the redaction of whatever is absent in them.
    """
    entries = await _entries(services, stream, after_seq, limit)
    checkpoint, note = await signed_checkpoint(services, stream)
    tree = await StreamLeaves.of(services.store, stream)
    end = after_seq + len(entries)
    proof = await prove(tree, lambda subtree: range_proof(after_seq, end, checkpoint.size, subtree, note))
    return b"".join(entries) + b"\n" + proof.to_bytes()


async def _entries(services: Services, stream: str, after_seq: int, limit: int) -> list[bytes]:
    head = await services.store.head(stream)
    if head is None:
        raise not_found("Stream", stream)
    if after_seq > head.size:
        raise Refusal(
            "invalid_request",
            f"afterSeq {after_seq} lies beyond the {head.size} events of this stream.",
            {"field": "afterSeq", "size": head.size},
        )
    tree = await StreamLeaves.of(services.store, stream)
    chain, at = await tree.chain_at(after_seq)
    entries: list[bytes] = []
    size_bytes = 0
    async for event in services.store.entries(stream, at, after_seq + limit):
        entry = chain.add(event)
        if event.seq <= after_seq:
            continue
        entries.append(entry)
        size_bytes += len(entry)
        if size_bytes > services.limits.proof_bytes_max:
            break
    return entries


async def consistency_text(services: Services, stream: str, size1: int, size2: int | None) -> bytes:
    """The proof that the first `size1` events are unchanged among `size2`, by default all there are now.

    It ends with the signed checkpoint of the size that it leads to, which therefore is the present one.
    """
    checkpoint, note = await signed_checkpoint(services, stream)
    wanted = checkpoint.size if size2 is None else size2
    if not 1 <= size1 <= wanted <= checkpoint.size:
        raise Refusal(
            "invalid_request",
            f"from and to must be sizes with 1 <= from <= to <= {checkpoint.size}.",
            {"field": "from", "size": checkpoint.size},
        )
    if wanted != checkpoint.size:
        kept = await services.store.checkpoint_at(stream, wanted)
        if kept is None:
            raise Refusal(
                "invalid_request",
                f"No checkpoint of {wanted} events is kept: leave `to` out for the present one.",
                {"field": "to", "size": checkpoint.size},
            )
        note = kept
    tree = await StreamLeaves.of(services.store, stream)
    proof = await prove(tree, lambda subtree: consistency_proof(size1, wanted, subtree, note))
    return proof.to_bytes()
