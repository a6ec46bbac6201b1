"""Owns the proof that the global log holds a run's checkpoint, and what witnesses say of it (PROOF P5, P9.1).

Formats: C2SP tlog-proof and tlog-cosignature. A leaf of the global log is the text of a run checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint, parse_checkpoint
from evidence.merkle import verify_inclusion
from evidence.note import NoteError, SignatureLine, Verifier, in_order, open_note, split_note
from evidence.policy import Policy
from evidence.record import encode_base64, leaf_hash, parse_decimal, parse_hash
from evidence.verdict import VerificationError

HEADER = "c2sp.org/tlog-proof@v1"
PATH_HASHES_MAX = 64

TIMESTAMP_BYTES = 8
"""A cosignature is the unix second, big endian, before 64 bytes of signature."""
_TIMESTAMP_MAX = 253_402_300_799
"""The last second that ISO 8601 can write with four digits of year."""


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A tlog-proof: where the entry stands, its audit path, and the signed checkpoint of the log."""

    index: int
    path: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """The pair of `parse_tlog_proof`."""
        path = "".join(f"{encode_base64(node)}\n" for node in self.path)
        return f"{HEADER}\nindex {self.index}\n{path}\n".encode() + self.note


@dataclass(frozen=True, slots=True)
class LogCheckpoint:
    """A checkpoint of the global log whose signatures were checked.

    `cosigned` maps policy names of witnesses to the unix seconds at which they saw it; `unknown` counts
    signature lines of keys that the policy does not name.
    """

    checkpoint: Checkpoint
    signers: tuple[Verifier, ...]
    cosigned: Mapping[str, int]
    unknown: int


def parse_tlog_proof(data: bytes) -> TlogProof:
    """Read a proof in its one spelling, without extra data. Raises `FormatError`."""
    head, separator, note = data.partition(b"\n\n")
    try:
        header, index, *path = head.decode("ascii").split("\n")
    except ValueError as error:
        raise FormatError("a tlog-proof has a header and an index line") from error
    if header != HEADER or not index.startswith("index ") or not separator:
        raise FormatError(f"a tlog-proof is {HEADER}, an index, hashes, an empty line and a checkpoint")
    if len(path) > PATH_HASHES_MAX:
        raise FormatError(f"an audit path has at most {PATH_HASHES_MAX} hashes")
    return TlogProof(parse_decimal(index.removeprefix("index ")), tuple(map(parse_hash, path)), note)


def cosign(text: str, timestamp_s: int) -> bytes:
    """The bytes that a witness signs over a checkpoint's text (C2SP cosignature/v1)."""
    return f"cosignature/v1\ntime {timestamp_s}\n{text}".encode()


def cosigned_at(text: str, line: SignatureLine, key: Verifier) -> int | None:
    """The unix second that a witness signed together with the text; None when the signature does not fit."""
    timestamp = int.from_bytes(line.signature[:TIMESTAMP_BYTES], "big")
    is_valid = key.is_valid(cosign(text, timestamp), line.signature[TIMESTAMP_BYTES:])
    return timestamp if is_valid and timestamp <= _TIMESTAMP_MAX else None


def open_log_checkpoint(note: bytes, policy: Policy) -> LogCheckpoint:
    """Check the signatures of a checkpoint of the global log.

    Raises `NoteError` or `FormatError` when the log's own signature or the text is bad, and
    `VerificationError` (E_WITNESS_SIG) when a witness that the policy names did not sign this.
    """
    opened = open_note(note, policy.logs)
    checkpoint = parse_checkpoint(opened.text)
    if any(key.name != checkpoint.origin_line for key in opened.verified):
        raise FormatError("the checkpoint is of another log than the one that signed it")
    names = {(key.name, key.key_id): name for name, key in policy.witnesses.items()}
    logs = {(key.name, key.key_id) for key in opened.verified}
    cosigned: dict[str, int] = {}
    unknown = 0
    for line in split_note(note)[1]:
        name = names.get((line.name, line.key_id))
        if name is None:
            unknown += (line.name, line.key_id) not in logs
            continue
        if name in cosigned:
            raise VerificationError("E_WITNESS_SIG", f"Witness {name} cosigned twice.")
        at = cosigned_at(opened.text, line, policy.witnesses[name])
        if at is None:
            raise VerificationError("E_WITNESS_SIG", f"The cosignature of {name} does not fit.")
        cosigned[name] = at
    return LogCheckpoint(checkpoint, opened.verified, cosigned, unknown)


def judge_inclusion(data: bytes, policy: Policy, run: Checkpoint, origin: str) -> LogCheckpoint:
    """Check that the log of this origin holds the run's checkpoint and that enough witnesses saw it.

    Raises `VerificationError`.
    """
    try:
        proof = parse_tlog_proof(data)
        log = open_log_checkpoint(proof.note, policy)
        _refuse_disorder(proof.note, log)
    except NoteError as error:
        raise VerificationError("E_INCLUSION", f"The log's checkpoint: {error}.") from error
    except FormatError as error:
        raise VerificationError("E_INCLUSION", f"run.tlog-proof: {error}.") from error
    head = log.checkpoint
    if head.origin_line != origin:
        raise VerificationError("E_INCLUSION", f"The proof is of the log {head.origin_line}.")
    if log.unknown:
        raise VerificationError(
            "E_INCLUSION", "It carries signatures of keys that your policy does not name."
        )
    leaf = leaf_hash(str(run).encode())
    if not verify_inclusion(proof.index, head.size, leaf, proof.path, head.root):
        raise VerificationError(
            "E_INCLUSION", f"The path from entry {proof.index} does not lead to its root."
        )
    if not policy.is_quorum(log.cosigned):
        raise VerificationError(
            "E_WITNESS_QUORUM", f"Only these cosigned: {', '.join(log.cosigned) or 'none'}."
        )
    return log


def _refuse_disorder(note: bytes, log: LogCheckpoint) -> None:
    """The signatures of the log come first, then the cosignatures, each `in_order` (P9.3)."""
    keys = {(key.name, key.key_id) for key in log.signers}
    lines = split_note(note)[1]
    own = [line for line in lines if (line.name, line.key_id) in keys]
    others = [line for line in lines if (line.name, line.key_id) not in keys]
    if lines != in_order(own) + in_order(others):
        raise FormatError("its signature lines stand in another order than log, witnesses, each ascending")


def not_after(policy: Policy, cosigned: Mapping[str, int]) -> int | None:
    """The earliest unix second by which a quorum had seen the checkpoint; None without witnesses."""
    return _quorum_time(policy, sorted((at, name) for name, at in cosigned.items()))


def not_before(policy: Policy, cosigned: Mapping[str, int]) -> int | None:
    """The latest unix second such that a quorum cosigned no earlier; None without witnesses."""
    return _quorum_time(policy, sorted(((at, name) for name, at in cosigned.items()), reverse=True))


def _quorum_time(policy: Policy, cosigned: list[tuple[int, str]]) -> int | None:
    names: set[str] = set()
    for at, name in cosigned:
        names.add(name)
        if policy.quorum is not None and policy.is_quorum(names):
            return at
    return None
