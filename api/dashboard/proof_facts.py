"""Gathers what the proof panel says without script: the checkpoint, and what the global log holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.services import Services
from api.windows import signed_checkpoint
from evidence.checkpoint import split_origin
from evidence.note import split_note
from evidence.policy import Policy, parse_policy
from evidence.record import encode_base64, format_time
from evidence.tlog import open_log_checkpoint


@dataclass(frozen=True, slots=True)
class Logged:
    """Where the global log holds the checkpoint, and who cosigned the log's newest one: names and times."""

    index: int
    size: int
    cosigned: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Signed:
    """The run checkpoint: `size` counts records, the seal and redactions included; `root` is base64."""

    origin: str
    size: int
    root: str
    keys: Sequence[str]
    """Name and id of each key that signed it."""
    seal_seq: int


@dataclass(frozen=True, slots=True)
class ProofFacts:
    """What this server says of a run's proof.

    `signed` is None before the seal, `logged` before the next checkpoint of the log covers it.
    """

    run_id: str
    size: int
    signed: Signed | None
    logged: Logged | None
    witnesses: int
    """Witnesses that the policy names."""


async def proof_facts(services: Services, run_id: str) -> ProofFacts:
    """The facts of a run that the caller may read. Waits for nothing: what is not signed yet is not told."""
    head = await services.store.head(run_id)
    policy = parse_policy(services.policy())
    sealed = await services.store.get_view("evidence", run_id)
    if sealed is None:
        return ProofFacts(run_id, head.size if head else 0, None, None, len(policy.witnesses))
    checkpoint, note = await signed_checkpoint(services, run_id)
    signed = Signed(
        origin=split_origin(checkpoint.origin_line)[0],
        size=checkpoint.size,
        root=encode_base64(checkpoint.root),
        keys=[f"{line.name}+{line.key_id.hex()}" for line in split_note(note)[1]],
        seal_seq=int(sealed.labels["lastPublicSeq"]) + 1,
    )
    logged = await _logged(services, policy, run_id, checkpoint.size)
    return ProofFacts(run_id, checkpoint.size, signed, logged, len(policy.witnesses))


async def _logged(services: Services, policy: Policy, run_id: str, size: int) -> Logged | None:
    """Where the newest published checkpoint of the log covers it; None while it does not."""
    index = await services.global_log.index_of(run_id, size)
    published = services.sequencer.published
    if index is None or published.size <= index:
        return None
    log = open_log_checkpoint(published.note, policy)
    cosigned = [(name, format_time(at_s * 1000)) for name, at_s in sorted(log.cosigned.items())]
    return Logged(index, log.checkpoint.size, cosigned)
