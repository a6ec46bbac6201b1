"""Owns what passes between a log and a witness: the add-checkpoint body and the cosignature (PROOF P5.5).

Formats: C2SP tlog-witness and tlog-cosignature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint, parse_checkpoint
from evidence.note import COSIGNATURE, NOTE_BYTES_MAX, SignatureLine, Signer, Verifier, format_verifier_key
from evidence.record import encode_base64, parse_decimal, parse_hash
from evidence.tlog import TIMESTAMP_BYTES, cosign

ADD_CHECKPOINT = "/add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
"""Content type of a 409 whose body is the size that the witness has."""
PROOF_HASHES_MAX = 63
BODY_BYTES_MAX = NOTE_BYTES_MAX + 4096
"""A note and, before it, a size and 63 hashes of 45 bytes."""

_OLD = "old "


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request: the size that the witness should have, the proof from there, and the signed checkpoint."""

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """The pair of `parse_add_checkpoint`."""
        hashes = "".join(f"{encode_base64(node)}\n" for node in self.proof)
        return f"{_OLD}{self.old_size}\n{hashes}\n".encode() + self.note


def parse_add_checkpoint(data: bytes) -> AddCheckpoint:
    """Read a request body in its one spelling; the note stays unread. Raises `FormatError`."""
    head, separator, note = data.partition(b"\n\n")
    try:
        old, *hashes = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise FormatError("the lines before the checkpoint are ASCII") from error
    if not old.startswith(_OLD) or not separator:
        raise FormatError("the body is 'old <size>', hashes, an empty line and a checkpoint")
    if len(hashes) > PROOF_HASHES_MAX:
        raise FormatError(f"a consistency proof has at most {PROOF_HASHES_MAX} hashes")
    return AddCheckpoint(parse_decimal(old.removeprefix(_OLD)), tuple(map(parse_hash, hashes)), note)


def parse_extended(text: str) -> Checkpoint:
    """The checkpoint of a text that may go on with the extension lines of other logs. Raises FormatError."""
    *three, extensions = text.split("\n", 3) if text.count("\n") >= 3 else (text, "")
    if extensions and (not extensions.endswith("\n") or "" in extensions[:-1].split("\n")):
        raise FormatError("extension lines of a checkpoint are not empty, and end with LF")
    return parse_checkpoint("\n".join((*three, "")))


def witness_key(signer: Signer) -> Verifier:
    """The public half of a witness's key: the signer's, of the type of cosignatures."""
    plain = Verifier.parse(signer.verifier_key)
    return Verifier.parse(format_verifier_key(plain.name, plain.public_key, COSIGNATURE))


def sign_cosignature(text: str, timestamp_s: int, signer: Signer) -> SignatureLine:
    """The line that says: at this unix second the log's largest tree was the one of this text."""
    key = witness_key(signer)
    signature = timestamp_s.to_bytes(TIMESTAMP_BYTES, "big") + signer.sign(cosign(text, timestamp_s))
    return SignatureLine(key.name, key.key_id, signature)


def signature_lines(lines: Sequence[SignatureLine]) -> str:
    """The lines as they stand in a note, each ended by LF."""
    return "".join(f"{line}\n" for line in lines)
