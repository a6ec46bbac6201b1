"""The witness cosigns what continues, and nothing else; what it cosigned it never forgets (PROOF P5.5)."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.canonical import FormatError
from evidence.merkle import EMPTY_ROOT
from evidence.note import NOTE_BYTES_MAX, Ed25519Signer, Verifier, sign_note, split_note
from evidence.policy import format_policy, parse_policy
from evidence.record import encode_base64
from evidence.tlog import cosigned_at, open_log_checkpoint
from evidence.witnessing import (
    BODY_BYTES_MAX,
    AddCheckpoint,
    parse_add_checkpoint,
    parse_extended,
    sign_cosignature,
    witness_key,
)
from tests.evidence_samples import LOG_KEY, ORIGIN, signer
from tests.witness_kit import NOW_S, WITNESS_NAME, GrowingLog, make_state
from witness import durable
from witness.cosigning import add_checkpoint
from witness.state import State, StateError

HASH = st.binary(min_size=32, max_size=32)


@pytest.fixture
def log() -> GrowingLog:
    """A log of eleven entries."""
    return GrowingLog().grow(11)


@pytest.fixture
def state(tmp_path: Path, log: GrowingLog) -> State:
    """A witness that follows it."""
    return make_state(tmp_path / "witness", log.policy())


def answer(state: State, body: bytes, now_s: int = NOW_S) -> tuple[int, str]:
    """Status and body."""
    answered = add_checkpoint(state, body, now_s)
    return answered.status, answered.body


def test_a_log_that_grows_is_cosigned_again_and_again(state: State, log: GrowingLog) -> None:
    """From nothing, at the same size, and further: each answer is a cosignature over that checkpoint."""
    for old, new in ((0, 4), (4, 4), (4, 7), (7, 11), (11, 11)):
        status, body = answer(state, log.request(old, new), NOW_S + new)
        assert status == 200
        text, lines = split_note(log.note(new) + body.encode())
        assert [line.name for line in lines] == [ORIGIN, WITNESS_NAME]
        assert cosigned_at(text, lines[1], state.key) == NOW_S + new


def test_a_cosigned_checkpoint_meets_a_policy_that_demands_it(state: State, log: GrowingLog) -> None:
    """What the witness answers is what the verifier counts."""
    _, body = answer(state, log.request(0))
    policy = parse_policy(format_policy(LOG_KEY.verifier_key, witnesses={"w1": str(state.key)}, quorum="w1"))
    opened = open_log_checkpoint(log.note() + body.encode(), policy)
    assert (opened.cosigned, opened.unknown) == ({"w1": NOW_S}, 0)


def test_an_unknown_origin_is_not_found(state: State) -> None:
    """404, whoever signed."""
    other = GrowingLog(signer("other.example/log", "log")).grow(3)
    assert answer(state, other.request(0))[0] == 404


def test_without_a_trusted_signature_nothing_is_cosigned(state: State, log: GrowingLog) -> None:
    """403 for a stranger's key under the log's name, and for a text that was changed after signing."""
    assert answer(state, log.request(0, 5, signer(ORIGIN, "thief")))[0] == 403
    assert answer(state, log.request(0, 5).replace(b"\n5\n", b"\n6\n"))[0] == 403


def test_signatures_of_strangers_are_ignored(state: State, log: GrowingLog) -> None:
    """They neither help nor hurt, and are not kept."""
    assert answer(state, log.request(0, 5, log.key, signer("stranger.example", "s")))[0] == 200
    kept = state.latest(ORIGIN)
    assert kept is not None
    assert b"stranger" not in kept


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"new 0\n\n",
        b"old 00\n\n",
        b"old -1\n\n",
        b"old 0\nAAAA\n\n",
        b"old \xc3\xa9\n\n",
        b"old 0\n\nno note",
        b"old 0\n" + (encode_base64(bytes(32)) + "\n").encode() * 64 + b"\n",
        AddCheckpoint(0, (), sign_note(f"{ORIGIN}\n05\n{encode_base64(bytes(32))}\n", LOG_KEY)).to_bytes(),
        AddCheckpoint(0, (), sign_note(f"{ORIGIN}\n5\n", LOG_KEY)).to_bytes(),
        AddCheckpoint(
            0, (), sign_note(f"{ORIGIN}\n5\n{encode_base64(bytes(32))}\nx\n\ny\n", LOG_KEY)
        ).to_bytes(),
        AddCheckpoint(0, (), b"x" * (NOTE_BYTES_MAX + 1)).to_bytes(),
        AddCheckpoint(0, (), GrowingLog().grow(2).note(2, LOG_KEY, LOG_KEY)).to_bytes(),
    ],
)
def test_a_malformed_request_is_bad(state: State, body: bytes) -> None:
    """400 for everything that is not in its one spelling."""
    status, why = answer(state, body)
    assert status == 400, why
    assert state.latest(ORIGIN) is None


def test_an_old_size_above_the_checkpoint_is_bad(state: State, log: GrowingLog) -> None:
    """400, also where the witness has just that size."""
    answer(state, log.request(0, 7))
    assert answer(state, AddCheckpoint(7, (), log.note(5)).to_bytes())[0] == 400


def test_another_old_size_is_a_conflict_that_tells_ours(state: State, log: GrowingLog) -> None:
    """409 with the size and a line feed as text/x.tlog.size; zero before the first."""
    for known, old in ((0, 3), (6, 0), (6, 5)):
        if known:
            answer(state, log.request(0, known))
        answered = add_checkpoint(state, log.request(old, 9), NOW_S)
        assert (answered.status, answered.body) == (409, f"{known}\n")
        assert answered.content_type == "text/x.tlog.size"


def test_another_root_at_the_same_size_is_a_conflict(state: State, log: GrowingLog) -> None:
    """409 without a size: there is nothing to learn, the log has forked."""
    answer(state, log.request(0, 7))
    answered = add_checkpoint(state, log.fork(6).grow(1, "other").request(7, 7), NOW_S)
    assert answered.status == 409
    assert answered.content_type.startswith("text/plain")
    assert "two histories" in answered.body


def test_a_proof_that_does_not_lead_there_is_unprocessable(state: State, log: GrowingLog) -> None:
    """422 for a fork, a proof with a hash too few, too many or changed, and one where none is needed."""
    good = parse_add_checkpoint(log.request(7, 11))
    assert answer(state, replace(good, old_size=0).to_bytes())[0] == 422
    answer(state, log.request(0, 7))
    path = good.proof
    for proof in ((), path[:-1], (*path, bytes(32)), (bytes(32), *path[1:]), path[::-1]):
        assert answer(state, replace(good, proof=proof).to_bytes())[0] == 422
    assert answer(state, log.fork(6).grow(9, "other").request(7, 11))[0] == 422
    same = parse_add_checkpoint(log.request(7, 7))
    assert answer(state, replace(same, proof=(bytes(32),)).to_bytes())[0] == 422
    assert answer(state, good.to_bytes())[0] == 200


def test_an_empty_log_has_one_root(state: State) -> None:
    """Size 0 is cosigned with the root of nothing only."""
    wrong = sign_note(f"{ORIGIN}\n0\n{encode_base64(bytes(32))}\n", LOG_KEY)
    assert answer(state, AddCheckpoint(0, (), wrong).to_bytes())[0] == 409
    right = sign_note(f"{ORIGIN}\n0\n{encode_base64(EMPTY_ROOT)}\n", LOG_KEY)
    assert answer(state, AddCheckpoint(0, (), right).to_bytes())[0] == 200


def test_extension_lines_are_cosigned_with_the_rest(state: State, log: GrowingLog) -> None:
    """Other logs write more than three lines; the whole text is signed."""
    note = sign_note(f"{log.checkpoint(5)}an extension\n", LOG_KEY)
    status, body = answer(state, AddCheckpoint(0, (), note).to_bytes())
    assert status == 200
    text, lines = split_note(note + body.encode())
    assert "extension" in text
    assert cosigned_at(text, lines[1], state.key) == NOW_S
    assert answer(state, log.request(5, 6))[0] == 200


def test_keys_may_change_while_the_log_is_followed(state: State, log: GrowingLog) -> None:
    """Signed by the old key, by both, by the new one; the old one counts up to its size only (P6)."""
    new = signer(ORIGIN, "new log")
    assert answer(state, log.request(0, 4))[0] == 200
    assert answer(state, log.request(4, 6, new))[0] == 403
    assert state.trust(parse_policy(format_policy(new.verifier_key, retired={LOG_KEY.verifier_key: 6}))) == [
        Verifier.parse(new.verifier_key)
    ]
    assert answer(state, log.request(4, 6, log.key, new))[0] == 200
    assert answer(state, log.request(6, 8, log.key))[0] == 403
    assert answer(state, log.request(6, 8, new))[0] == 200


def test_a_log_is_trusted_once(state: State, log: GrowingLog) -> None:
    """Trusting again adds nothing; two logs are followed side by side."""
    assert state.trust(parse_policy(log.policy())) == []
    other = GrowingLog(signer("other.example/log", "o")).grow(2)
    state.trust(parse_policy(other.policy()))
    assert answer(state, other.request(0))[0] == 200
    assert answer(state, log.request(0))[0] == 200
    assert len(state.trusted().logs) == 2


def test_a_key_is_never_replaced(state: State) -> None:
    """A second init is refused, and the key is for its owner's eyes."""
    with pytest.raises(StateError, match="already"):
        State.make(state.folder, "other.example")
    assert (state.folder / "key.pem").stat().st_mode & 0o777 == 0o600
    assert State(state.folder).key == state.key


@pytest.mark.parametrize("name", ["", "two words", "a+b", "none"])
def test_a_name_that_a_policy_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    """It would make a line that nobody can read."""
    with pytest.raises(StateError, match="name"):
        State.make(tmp_path / "w", name)


def test_a_folder_without_a_witness_says_how_to_make_one(tmp_path: Path) -> None:
    """Also one whose init was cut off between name and key."""
    with pytest.raises(StateError, match="init"):
        State(tmp_path)
    (tmp_path / "name").write_text("w\n")
    with pytest.raises(StateError, match="init"):
        State(tmp_path)
    assert State.make(tmp_path, "w2").key.name == "w2"
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(StateError, match="backup"):
        State(tmp_path)


def test_damage_is_never_taken_for_a_new_beginning(state: State, log: GrowingLog) -> None:
    """A checkpoint or a list of logs that cannot be read is an error, not an empty one."""
    answer(state, log.request(0, 7))
    path = next((state.folder / "checkpoints").iterdir())
    path.write_bytes(b"")
    with pytest.raises(StateError, match="damaged"):
        answer(state, log.request(0, 7))
    (state.folder / "logs.policy").write_bytes(b"log x\n")
    with pytest.raises(StateError, match="mend"):
        answer(state, log.request(0, 7))


class Cut(Exception):
    """The power went away."""


@pytest.mark.parametrize("stored", [False, True], ids=["failed-and-lost", "failed-but-stored"])
@pytest.mark.parametrize("step", ["fsync", "rename", "fsync the folder"])
def test_a_cut_at_any_step_leaves_the_old_or_the_new_checkpoint(
    state: State, log: GrowingLog, monkeypatch: pytest.MonkeyPatch, step: str, *, stored: bool
) -> None:
    """No answer was given; afterwards the log goes on, and another history does not."""
    answer(state, log.request(0, 4))

    def cut_at(wanted: str, real: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object) -> object:
            if step == wanted and stored:
                real(*args)
            if step == wanted:
                raise Cut
            return real(*args)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "fsync", cut_at("fsync", os.fsync))
        patch.setattr(durable.Path, "replace", cut_at("rename", Path.replace))
        patch.setattr(durable, "fsync_folder", cut_at("fsync the folder", durable.fsync_folder))
        with pytest.raises(Cut):
            answer(state, log.request(4, 9))
    again = State(state.folder)
    known = parse_extended(split_note(again.latest(ORIGIN) or b"")[0]).size
    assert known == (9 if step == "fsync the folder" or (step == "rename" and stored) else 4)
    assert answer(again, log.fork(3).grow(8, "other").request(known, 11))[0] == 422
    assert answer(again, log.request(known, 9))[0] == 200


def test_nothing_is_answered_before_it_is_durable(
    state: State, log: GrowingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synced before it is renamed, and the folder after that; all before the answer."""
    order: list[str] = []
    real_fsync, real_replace, real_folder = os.fsync, Path.replace, durable.fsync_folder
    monkeypatch.setattr(durable.os, "fsync", lambda fd: (order.append("fsync"), real_fsync(fd)))
    monkeypatch.setattr(durable.Path, "replace", lambda a, b: (order.append("rename"), real_replace(a, b)))
    monkeypatch.setattr(durable, "fsync_folder", lambda p: (order.append("folder"), real_folder(p)))
    assert answer(state, log.request(0, 4))[0] == 200
    assert order == ["fsync", "rename", "folder", "fsync"]


def test_a_lock_that_is_held_too_long_is_told(state: State) -> None:
    """No wait is for ever."""
    lock = state.folder / "lock"
    with (
        durable.locked(lock),
        pytest.raises(durable.Locked, match="another process"),
        durable.locked(lock, wait_s_max=0.02),
    ):
        pass


@given(old=st.integers(0, 2**49), proof=st.lists(HASH, max_size=63), note=st.binary(max_size=200))
def test_a_request_reads_back(old: int, proof: list[bytes], note: bytes) -> None:
    """Parser and printer are a pair."""
    request = AddCheckpoint(old, tuple(proof), note)
    assert parse_add_checkpoint(request.to_bytes()) == request


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_format_error(data: bytes) -> None:
    """What is read has exactly one spelling; nothing else is raised."""
    for body in (data, b"old 7\n" + data, b"old 7\n\n" + data):
        try:
            request = parse_add_checkpoint(body)
        except FormatError:
            continue
        assert request.to_bytes() == body


def test_the_largest_request_fits_the_limit() -> None:
    """A full note behind 63 hashes is a request that a witness takes."""
    assert len(AddCheckpoint(2**49, (bytes(32),) * 63, b"x" * NOTE_BYTES_MAX).to_bytes()) <= BODY_BYTES_MAX


def test_a_cosignature_is_of_the_key_type_of_cosignatures() -> None:
    """The verifier key has type 04 and an id of its own, and the time is part of what is signed."""
    key = Ed25519Signer.generate("w")
    line = sign_cosignature("text\n", NOW_S, key)
    assert witness_key(key).type == 4
    assert line.key_id == witness_key(key).key_id != Verifier.parse(key.verifier_key).key_id
    assert cosigned_at("text\n", line, witness_key(key)) == NOW_S
    moved = replace(line, signature=(NOW_S - 60).to_bytes(8, "big") + line.signature[8:])
    assert cosigned_at("text\n", moved, witness_key(key)) is None
