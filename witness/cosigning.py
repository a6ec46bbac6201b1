"""Decides whether a checkpoint is cosigned, and keeps it before anybody is told (C2SP tlog-witness, P5.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint
from evidence.merkle import EMPTY_ROOT, verify_consistency
from evidence.note import BadSignature, OpenedNote, SignatureLine, UnknownKey, Verifier, open_note, split_note
from evidence.policy import Policy
from evidence.witnessing import (
    SIZE_TYPE,
    AddCheckpoint,
    parse_add_checkpoint,
    parse_extended,
    sign_cosignature,
    signature_lines,
)
from witness.state import State

PLAIN_TYPE = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP."""

    status: HTTPStatus
    body: str
    content_type: str = PLAIN_TYPE


class Refused(Exception):
    """The checkpoint is not cosigned."""

    def __init__(self, status: HTTPStatus, why: str, content_type: str = PLAIN_TYPE) -> None:
        super().__init__(why)
        self.answer = Answer(status, f"{why}\n", content_type)


def add_checkpoint(state: State, body: bytes, now_s: int) -> Answer:
    """Answer a request; `now_s` is the unix second at which it is cosigned.

    A 200 is given only after the checkpoint is durable. Raises `StateError` and OSError when the folder
    cannot be used: then nothing was cosigned.
    """
    try:
        request, opened, checkpoint = _authentic(state.trusted(), body)
        with state.alone():
            # From here to the end nobody else reads or writes the newest checkpoint: of two requests
            # that both continue it, the second one finds the first one's.
            _check_progress(request, checkpoint, _latest(state, checkpoint.origin_line))
            line = sign_cosignature(opened.text, now_s, state.signer)
            # Crash window: signed, not kept. The signature has left no trace; the log asks again.
            state.keep(checkpoint.origin_line, _cosigned(request.note, opened, line))
            # Crash window: kept, not answered. The log gets 409 with this size, then asks for it with
            # old size = size, and is answered.
    except Refused as refused:
        return refused.answer
    return Answer(HTTPStatus.OK, signature_lines([line]))


def _authentic(trusted: Policy, body: bytes) -> tuple[AddCheckpoint, OpenedNote, Checkpoint]:
    """The request, if it is well formed and signed by the log that it is of. Raises `Refused`."""
    try:
        request = parse_add_checkpoint(body)
        text, _ = split_note(request.note)
        checkpoint = parse_extended(text)
        keys = _keys_of(trusted, checkpoint)
        opened = open_note(request.note, keys)
    except (BadSignature, UnknownKey) as error:
        raise Refused(
            HTTPStatus.FORBIDDEN,
            f"The checkpoint has no valid signature of a trusted key: {error}. After a change of key, the "
            "witness's operator trusts the new one with crownest-witness trust.",
        ) from error
    except FormatError as error:
        raise Refused(
            HTTPStatus.BAD_REQUEST, f"The request is not as tlog-witness has it: {error}."
        ) from error
    if request.old_size > checkpoint.size:
        raise Refused(HTTPStatus.BAD_REQUEST, "The old size is larger than that of the checkpoint.")
    return request, opened, checkpoint


def _keys_of(trusted: Policy, checkpoint: Checkpoint) -> Sequence[Verifier]:
    """The keys that sign for the log at this size; there may be two while keys change (P6)."""
    keys = [key for key in trusted.logs if key.name == checkpoint.origin_line]
    if not keys:
        raise Refused(
            HTTPStatus.NOT_FOUND,
            "This witness does not follow a log of that origin. Its operator adds one with "
            "crownest-witness trust.",
        )
    return [key for key in keys if trusted.until.get(key.key_id, checkpoint.size) >= checkpoint.size]


def _latest(state: State, origin: str) -> Checkpoint:
    note = state.latest(origin)
    return Checkpoint(origin, 0, EMPTY_ROOT) if note is None else parse_extended(split_note(note)[0])


def _check_progress(request: AddCheckpoint, new: Checkpoint, latest: Checkpoint) -> None:
    """Whether the checkpoint continues the newest one. Raises `Refused`."""
    if request.old_size != latest.size:
        raise Refused(HTTPStatus.CONFLICT, str(latest.size), SIZE_TYPE)
    if new.size == latest.size and new.root != latest.root:
        raise Refused(
            HTTPStatus.CONFLICT,
            f"A checkpoint of this log with size {latest.size} and another root was cosigned before: the "
            "log has signed two histories. Do not publish this one; find out where it came from.",
        )
    if latest.size == 0:
        is_consistent = not request.proof
    else:
        is_consistent = verify_consistency(latest.size, new.size, latest.root, new.root, request.proof)
    if not is_consistent:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The proof does not lead from the cosigned checkpoint of size {latest.size} to this one of "
            f"size {new.size}.",
        )


def _cosigned(note: bytes, opened: OpenedNote, cosignature: SignatureLine) -> bytes:
    """The note to keep: the log's own signatures and ours; what strangers signed is dropped."""
    ours = {(key.name, key.key_id) for key in opened.verified}
    lines = [line for line in split_note(note)[1] if (line.name, line.key_id) in ours]
    return f"{opened.text}\n{signature_lines([*lines, cosignature])}".encode()
