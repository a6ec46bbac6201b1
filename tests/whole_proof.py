"""A proof with everything in it: all members, an anchor and a log entry that two witnesses cosigned."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evidence.bundle import BundleWriter, EntryChain
from evidence.checkpoint import Checkpoint, parse_checkpoint
from evidence.merkle import inclusion_proof
from evidence.note import Ed25519Signer, in_order, sign_note, split_note
from evidence.record import genesis, parse_time
from evidence.tlog import TlogProof
from evidence.verdict import Verdict
from evidence.verify import verify_bundle
from evidence.witnessing import sign_cosignature, signature_lines, witness_key
from tests.evidence_samples import (
    LOG_KEY,
    RUN,
    Recorded,
    StoredRow,
    attested,
    checkpoint_of,
    example_events,
    policy_of,
    record,
    signer,
)
from tests.witness_kit import GrowingLog

WITNESSES = (signer("witness.example/w1", "w1"), signer("witness.example/w2", "w2"))
ARTIFACT = b"<x/>"
"""The content of the example's artifact art_r1."""
BEFORE, AFTER = 9, 4
"""Entries of the global log before the run's, and after it."""
ANCHOR_S = parse_time("2026-11-22T14:00:00.000Z") // 1000
SEEN_S = parse_time("2026-11-22T14:05:00.000Z") // 1000


def strict_policy(log_key: Ed25519Signer = LOG_KEY, **more: Any) -> bytes:
    """Trusts the log and the attestation key, and wants both witnesses."""
    keys = {f"w{number}": str(witness_key(key)) for number, key in enumerate(WITNESSES, 1)}
    policy = policy_of(log_key, witnesses=keys, **more)
    return policy.replace(b"quorum none\n", b"group both all w1 w2\nquorum both\n")


POLICY = strict_policy()


def cosigned(note: bytes, at_s: int, keys: Sequence[Ed25519Signer] = WITNESSES) -> bytes:
    """The note with the cosignatures of these witnesses, made at this unix second."""
    text, _ = split_note(note)
    return note + signature_lines(in_order(sign_cosignature(text, at_s, key) for key in keys)).encode()


def _recorded() -> Recorded:
    """The example's run with more output, plain and escaped, between its own."""
    events = [{name: event[name] for name in event if name != "seq"} for event in example_events()]
    middle = events[8]["createdAt"]
    more = [
        {"type": kind, "createdAt": middle, "data": f'line {at} "\t\u2028é"\n'}
        for at, kind in enumerate(("stdout", "stdout", "stderr") * 4)
    ]
    return record([*events[:9], *more, *events[9:14]])


RECORDED = _recorded()
SIZE = len(RECORDED.rows)
OUTPUTS = tuple(item.seq for item in RECORDED.rows if item.type in {"stdout", "stderr"})
"""Seqs of the events that hold output."""


ANCHOR = cosigned(GrowingLog().grow(BEFORE).note(), ANCHOR_S)


@dataclass
class Logged:
    """The global log that holds a run's checkpoint, and proves it."""

    run: Checkpoint
    key: Ed25519Signer = LOG_KEY
    log: GrowingLog = field(init=False)

    def __post_init__(self) -> None:
        self.log = GrowingLog(self.key).grow(BEFORE)
        self.log.entries.append(str(self.run).encode())
        self.log.grow(AFTER)

    def proof(self, at_s: int = SEEN_S, keys: Sequence[Ed25519Signer] = WITNESSES) -> TlogProof:
        """The proof that both witnesses saw, unless told otherwise."""
        path = inclusion_proof(BEFORE, len(self.log.entries), self.log.subtree)
        return TlogProof(BEFORE, tuple(path), cosigned(self.log.note(), at_s, keys))


def whole_bundle(
    rows: Sequence[StoredRow] | None = None,
    *,
    evidence: bytes | None = RECORDED.evidence,
    anchor: bytes = ANCHOR,
    key: Ed25519Signer = LOG_KEY,
    proof: TlogProof | None = None,
) -> bytes:
    """The run's bundle with every member, or one in which the server itself signed other things.

    Attestations are made where seal and evidence allow it.
    """
    chosen = RECORDED.rows if rows is None else list(rows)
    note = sign_note(checkpoint_of(chosen, anchor=anchor, origin=key.name), key)
    proof = proof or Logged(parse_checkpoint(split_note(note)[0]), key).proof()
    out = io.BytesIO()
    writer = BundleWriter(out, checkpoint=note, anchor=anchor, evidence=evidence)
    chain = EntryChain(RUN, genesis(RUN, anchor))
    for item in chosen:
        writer.event(chain.add(item))
    writer.tlog_proof(proof.to_bytes())
    writer.attestations(attested(chosen, note, evidence, proof.index))
    writer.artifact("art_r1", [ARTIFACT])
    writer.close()
    return out.getvalue()


WHOLE = whole_bundle()


def judge_whole(bundle: bytes, **options: Any) -> Verdict:
    """Verify as an auditor does who leaves nothing out."""
    policy = options.pop("policy", POLICY)
    return verify_bundle(
        io.BytesIO(bundle), policy, **({"expected_run": RUN, "allow_unlogged": False} | options)
    )
