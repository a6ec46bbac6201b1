"""Go's note package opens what we sign and what our witness cosigns, and refuses what was altered."""

import re
from pathlib import Path

import pytest

from evidence.note import SignatureLine, format_verifier_key, split_note
from evidence.record import encode_base64
from tests.evidence_samples import HONEST, LOG_KEY, ORIGIN, members, signer
from tests.interop.conftest import GoProgram
from tests.witness_kit import NOW_S, WITNESS_NAME, GrowingLog, make_state
from witness.cosigning import add_checkpoint
from witness.state import State

LOG_VKEY = LOG_KEY.verifier_key
RUN_NOTE = members(HONEST)["run.checkpoint"]
LOG_NOTE = GrowingLog().grow(11).note()
NOTES = pytest.mark.parametrize("note", [RUN_NOTE, LOG_NOTE], ids=["run", "log"])


@NOTES
def test_go_opens_our_checkpoints(notecheck: GoProgram, note: bytes) -> None:
    """Of a run and of the global log, with the verifier key as a policy has it."""
    assert notecheck.lines(LOG_VKEY, stdin=note) == [ORIGIN]


@NOTES
def test_go_refuses_them_altered(notecheck: GoProgram, note: bytes) -> None:
    """A flipped bit anywhere in the text or the signature is seen, and so is a stranger's key."""
    text, lines = split_note(note)
    base = note.index(encode_base64(lines[0].key_id + lines[0].signature).encode())
    places = [*range(0, len(text.encode()), 7), *range(base + 8, len(note) - 3, 5)]
    for at in places:
        altered = note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :]
        accepts, why = notecheck(LOG_VKEY, stdin=altered)
        assert not accepts, (at, why)
    assert not notecheck(signer(ORIGIN, "thief").verifier_key, stdin=note)[0]


def test_go_opens_a_note_of_two_keys(notecheck: GoProgram) -> None:
    """While keys change a checkpoint carries both signatures; either key is enough (P6)."""
    new = signer(ORIGIN, "new log")
    note = GrowingLog().grow(3).note(None, LOG_KEY, new)
    assert notecheck.lines(LOG_VKEY, new.verifier_key, stdin=note) == [ORIGIN, ORIGIN]
    assert notecheck.lines(new.verifier_key, stdin=note) == [ORIGIN]


@pytest.fixture
def state(tmp_path: Path) -> State:
    """The real witness."""
    return make_state(tmp_path / "witness", GrowingLog().policy())


@pytest.fixture
def cosignature(state: State) -> str:
    """What it answers for the checkpoint of the log."""
    return add_checkpoint(state, GrowingLog().grow(11).request(0), NOW_S).body


def test_go_accepts_the_cosignature_of_our_witness(
    notecheck: GoProgram, state: State, cosignature: str
) -> None:
    """Type 4 over cosignature/v1, the time and the text, checked by a verifier written in Go."""
    note = LOG_NOTE + cosignature.encode()
    assert notecheck.lines(LOG_VKEY, state.key, stdin=note) == [ORIGIN, WITNESS_NAME]
    kept = state.latest(ORIGIN)
    assert kept is not None
    assert notecheck.lines(LOG_VKEY, state.key, stdin=kept) == [ORIGIN, WITNESS_NAME]


def test_go_refuses_a_cosignature_whose_time_was_moved(
    notecheck: GoProgram, state: State, cosignature: str
) -> None:
    """A second earlier or later, another text, a stranger's key, or the plain signature of the same key."""
    text, lines = split_note(LOG_NOTE + cosignature.encode())
    ours = lines[1]

    def check(signature: bytes) -> tuple[bool, str]:
        line = SignatureLine(ours.name, ours.key_id, signature)
        return notecheck(LOG_VKEY, state.key, stdin=LOG_NOTE + f"{line}\n".encode())

    assert check(ours.signature) == (True, f"{ORIGIN}\n{WITNESS_NAME}\n")
    for seconds in (NOW_S - 1, NOW_S + 1, 0, 2**63):
        accepts, why = check(seconds.to_bytes(8, "big") + ours.signature[8:])
        assert (accepts, "invalid signature" in why) == (False, True)
    assert not check(NOW_S.to_bytes(8, "big") + state.signer.sign(text.encode()))[0]
    assert not check(ours.signature[8:])[0]
    longer = GrowingLog().grow(12).note() + cosignature.encode()
    assert not notecheck(LOG_VKEY, state.key, stdin=longer)[0]
    plain = format_verifier_key(WITNESS_NAME, state.key.public_key)
    assert notecheck.lines(LOG_VKEY, plain, stdin=LOG_NOTE + cosignature.encode()) == [ORIGIN]


def test_go_computes_the_same_key_ids(notecheck: GoProgram, state: State) -> None:
    """A verifier key whose id was mistyped is refused on both sides."""
    for vkey in (LOG_VKEY, str(state.key)):
        wrong = re.sub(r"\+(.)", lambda m: "+" + ("0" if m[1] != "0" else "1"), vkey, count=1)
        accepts, why = notecheck(wrong, stdin=LOG_NOTE)
        assert not accepts
        assert "id" in why or "malformed" in why
