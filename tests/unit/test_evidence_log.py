"""The global log, witnesses, retired keys, times and pins, as an auditor meets them (PROOF P5, P6, P9)."""

import itertools
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint, parse_checkpoint
from evidence.merkle import CompactRange, inclusion_proof, node_hash
from evidence.note import COSIGNATURE, Ed25519Signer, Verifier, format_verifier_key, sign_note
from evidence.record import encode_base64, leaf_hash, parse_time
from evidence.report import OTHER_ENDING, REWRITE
from evidence.tlog import TlogProof, cosign, parse_tlog_proof
from evidence.verdict import FAILED
from tests.evidence_samples import (
    ATTESTATION_KEY,
    HONEST,
    LOG_KEY,
    ORIGIN,
    OTHER_RUN,
    POLICY,
    RUN,
    assert_caught,
    checkpoint_of,
    event_of,
    example,
    example_rows,
    judge,
    members,
    policy_of,
    record,
    repack,
    signer,
    with_event,
    with_tlog_proof,
)
from tests.whole_proof import RECORDED, cosigned, judge_whole, whole_bundle
from tests.witness_kit import GrowingLog
from witness.history import History

RUN_TEXT = checkpoint_of(example_rows())
ENTRIES = [f"entry {number}\n".encode() for number in range(11)]
INDEX = 5
LOG_LEAVES = [leaf_hash(entry) for entry in ENTRIES]
LOG_LEAVES[INDEX] = leaf_hash(RUN_TEXT.encode())
SEEN_S = parse_time("2026-11-22T14:05:00.000Z") // 1000


def subtree(level: int, index: int) -> bytes:
    """Root of a full subtree of the log."""
    if level == 0:
        return LOG_LEAVES[index]
    return node_hash(subtree(level - 1, 2 * index), subtree(level - 1, 2 * index + 1))


class Witness:
    """A witness that signs what it is given, at the time that it is told."""

    def __init__(self, name: str, at: int = SEEN_S) -> None:
        self._key, self._at = signer(f"witness.example/{name}", name), at
        self.name = self._key.name
        public = Verifier.parse(self._key.verifier_key).public_key
        self.verifier_key = format_verifier_key(self.name, public, COSIGNATURE)

    def sign(self, message: bytes) -> bytes:
        """A timestamped cosignature."""
        return self._at.to_bytes(8, "big") + self._key.sign(cosign(message.decode(), self._at))


W1, W2, W3 = (Witness(name) for name in ("w1", "w2", "w3"))
WITNESSED = policy_of(witnesses={"w1": W1.verifier_key}, quorum="w1")


def log_note(*more: Any, key: Ed25519Signer = LOG_KEY, text: str | None = None) -> bytes:
    """The log's checkpoint, signed."""
    tree = CompactRange()
    for leaf in LOG_LEAVES:
        tree.append(leaf)
    return sign_note(text or str(Checkpoint(key.name, tree.size, tree.root())), key, *more)


def proof(*more: Any, **changes: Any) -> TlogProof:
    """The proof that the log holds the example's checkpoint."""
    note = log_note(*more, **changes)
    return TlogProof(INDEX, tuple(inclusion_proof(INDEX, len(LOG_LEAVES), subtree)), note)


def logged(tlog_proof: TlogProof | bytes, bundle: bytes = HONEST) -> bytes:
    """The bundle with this proof in it."""
    data = tlog_proof if isinstance(tlog_proof, bytes) else tlog_proof.to_bytes()
    return with_tlog_proof(bundle, data)


def test_a_checkpoint_in_the_log_is_proved() -> None:
    """Inclusion is told of; without witnesses no time is."""
    verdict = judge(logged(proof()), allow_unlogged=False)
    assert verdict.ok
    assert any("global log" in sentence for sentence in verdict.proven)
    assert not any("tlog-proof" in sentence for sentence in verdict.not_proven)
    assert (verdict.not_before, verdict.not_after) == (None, None)


def test_without_the_log_its_absence_is_told_or_refused() -> None:
    """Until the global log exists the absence is reported; E_INCLUSION once the auditor insists (P5.3)."""
    verdict = judge(HONEST)
    assert any("run.tlog-proof" in sentence for sentence in verdict.not_proven)
    assert_caught(HONEST, "E_INCLUSION", allow_unlogged=False)


def test_the_attested_place_in_the_log_is_the_proved_one() -> None:
    """E_ATTESTATION_RESULT when the proof of the log was taken out of a bundle, or put into one."""
    contents = members(logged(proof()))
    stripped = {name: data for name, data in contents.items() if name != "run.tlog-proof"}
    added = members(HONEST) | {"run.tlog-proof": contents["run.tlog-proof"]}
    for bundle in (stripped, added):
        assert "globalIndex" in assert_caught(repack(bundle), "E_ATTESTATION_RESULT").message


def test_a_retired_attestation_key_counts_up_to_a_size_of_the_log() -> None:
    """The same rule as for the log's own key (P6)."""
    hex_id = Verifier.parse(ATTESTATION_KEY.verifier_key).key_id.hex()
    for until, code in ((10, "E_KEY_RETIRED"), (11, None)):
        policy = POLICY.replace(b"quorum", f"#crownest until {hex_id} {until}\nquorum".encode())
        assert judge(logged(proof()), policy=policy).code == code


def test_a_proof_is_read_back() -> None:
    """Parser and printer are a pair."""
    assert parse_tlog_proof(proof().to_bytes()) == proof()
    with pytest.raises(FormatError, match="at most 64 hashes"):
        parse_tlog_proof(replace(proof(), path=(bytes(32),) * 65).to_bytes())
    single = TlogProof(0, (), b"note")
    assert parse_tlog_proof(single.to_bytes()) == single


@pytest.mark.parametrize(
    "change",
    [
        lambda p: replace(p, index=p.index + 1),
        lambda p: replace(p, index=99),
        lambda p: replace(p, path=p.path[::-1]),
        lambda p: replace(p, path=p.path[:-1]),
        lambda p: replace(p, path=(*p.path, bytes(32))),
        lambda p: replace(p, note=p.note.replace(b"\n11\n", b"\n12\n")),
        lambda p: replace(p, note=sign_note(f"{ORIGIN}\n11\n{encode_base64(bytes(32))}\n", LOG_KEY)),
        lambda p: replace(p, note=log_note(key=signer(ORIGIN, "thief"))),
        lambda p: replace(p, note=log_note(text=f"{ORIGIN}x\n11\n{encode_base64(bytes(32))}\n")),
        lambda p: replace(p, note=log_note(W1)),
        lambda p: replace(p, note=b"nothing"),
        lambda p: b"",
        lambda p: p.to_bytes().replace(b"@v1", b"@v2"),
        lambda p: p.to_bytes().replace(b"index 5", b"index 05"),
        lambda p: p.to_bytes().replace(b"index 5", b"5"),
        lambda p: p.to_bytes().split(b"\n\n")[0],
        lambda p: p.to_bytes().replace(b"index 5", b"extra AAAA\nindex 5"),
        lambda p: p.to_bytes().replace(b"index 5", "index \u0665".encode()),
        lambda p: replace(p, path=(bytes(32),) * 65),
    ],
)
def test_a_wrong_path_index_or_head_proves_nothing(change: Any) -> None:
    """E_INCLUSION for everything that does not lead from this checkpoint to the log's signed root."""
    assert_caught(logged(change(proof())), "E_INCLUSION")


def test_a_proof_of_another_log_proves_nothing() -> None:
    """Both logs are trusted, but a run of one is not an entry of the other."""
    other = signer("example.org/other-log", "other log")
    policy = policy_of().replace(b"quorum", f"log {other.verifier_key}\nquorum".encode())
    assert_caught(logged(proof(key=other)), "E_INCLUSION", policy=policy)


def test_a_witnessed_log_may_hold_two_endings_of_a_run_and_the_verdict_says_so() -> None:
    """Witnesses see that the log only grows, not what is in it: whom that worries is told whom to ask."""
    ends = [RECORDED, record([event_of(item) for item in with_event(7, data="ok 2\n")[:14]])]
    heads = [parse_checkpoint(checkpoint_of(end.rows)) for end in ends]
    created = checkpoint_of(RECORDED.rows[:1]).encode()
    log = GrowingLog().grow(2)
    log.entries += [created, *(str(head).encode() for head in heads)]
    history = History(ORIGIN)
    history.add(created)
    for at, (end, head) in enumerate(zip(ends, heads, strict=True), 3):
        path = inclusion_proof(at, 5, log.subtree)
        seen = TlogProof(at, tuple(path), cosigned(log.note(), SEEN_S))
        shown = whole_bundle(end.rows, evidence=end.evidence, anchor=b"", proof=seen)
        verdict = judge_whole(shown)
        assert (verdict.verdict, head.size) == ("COMPLETE", verdict.size), verdict
        assert OTHER_ENDING in verdict.not_proven
        assert OTHER_ENDING not in judge_whole(shown, pin=head).not_proven
        history.add(str(head).encode())
    assert [found.code for found in history.findings] == ["E_LOG_FORK"], "who reads the log sees both"


def test_a_witness_gives_the_time() -> None:
    """The quorum's time is notAfter, and rewriting is no longer the server's to do."""
    verdict = judge(logged(proof(W1)), policy=WITNESSED)
    assert verdict.ok
    assert verdict.not_after == "2026-11-22T14:05:00.000Z"
    assert not any("rewrite" in sentence for sentence in verdict.not_proven)


def test_a_missing_cosignature_is_no_quorum() -> None:
    """E_WITNESS_QUORUM when it was stripped, and when another witness cosigned."""
    assert "none" in assert_caught(logged(proof()), "E_WITNESS_QUORUM", policy=WITNESSED).message
    two = policy_of(witnesses={"w1": W1.verifier_key, "w2": W2.verifier_key}, quorum="w1")
    assert "w2" in assert_caught(logged(proof(W2)), "E_WITNESS_QUORUM", policy=two).message


def test_without_a_quorum_no_time_is_claimed() -> None:
    """A witness that the policy names but does not rely on gives no notAfter."""
    policy = policy_of(witnesses={"w1": W1.verifier_key})
    verdict = judge(logged(proof(W1)), policy=policy)
    assert verdict.ok
    assert verdict.not_after is None


def test_a_cosignature_whose_time_was_moved_does_not_fit() -> None:
    """E_WITNESS_SIG: the time is part of what was signed."""

    class Liar(Witness):
        def sign(self, message: bytes) -> bytes:
            return (self._at - 3600).to_bytes(8, "big") + super().sign(message)[8:]

    class Eternal(Witness):
        def sign(self, message: bytes) -> bytes:
            return Witness("w1", 2**60).sign(message)

    class Short(Witness):
        def sign(self, message: bytes) -> bytes:
            return b"short"

    for witness in (Liar("w1"), Eternal("w1"), Short("w1")):
        assert_caught(logged(proof(witness)), "E_WITNESS_SIG", policy=WITNESSED)
    assert_caught(logged(proof(W1, W1)), "E_WITNESS_SIG", policy=WITNESSED)


def test_a_bad_cosignature_fails_even_above_the_quorum() -> None:
    """A listed witness whose signature does not fit is never ignored (P9.3)."""

    class Liar(Witness):
        def sign(self, message: bytes) -> bytes:
            return bytes(72)

    policy = policy_of(witnesses={"w1": W1.verifier_key, "w2": W2.verifier_key}, quorum="w1")
    assert judge(logged(proof(W1, W2)), policy=policy).ok
    assert_caught(logged(proof(W1, Liar("w2"))), "E_WITNESS_SIG", policy=policy)


def test_signature_lines_stand_in_one_order() -> None:
    """Exchanged, they say the same; a bundle has one spelling (P9.3): E_INCLUSION, or E_FORMAT of the run."""
    new = signer(ORIGIN, "new log")
    lines = {f"w{n}": witness.verifier_key for n, witness in enumerate((W1, W2), 1)}
    policy = policy_of(new, retired={LOG_KEY.verifier_key: 99}, witnesses=lines, quorum="w1")
    good = proof(new, W1, W2)
    assert judge(logged(good), policy=policy).ok
    text, _, block = good.note.rpartition(b"\n\n")
    for order in itertools.permutations(block[:-1].split(b"\n")):
        note = text + b"\n\n" + b"".join(line + b"\n" for line in order)
        if note != good.note:
            verdict = assert_caught(logged(replace(good, note=note)), "E_INCLUSION", policy=policy)
            assert "another order" in verdict.message
    both = sign_note(RUN_TEXT, LOG_KEY, new)
    assert both == sign_note(RUN_TEXT, new, LOG_KEY)
    text, _, block = both.rpartition(b"\n\n")
    first, second = block[:-1].split(b"\n")
    turned = b"%b\n\n%b\n%b\n" % (text, second, first)
    assert_caught(example().bundle(note=turned), "E_FORMAT", policy=policy)


def test_the_time_of_a_quorum_is_that_of_its_last_needed_witness() -> None:
    """Two of three: the second to see it decides notAfter; the second newest decides notBefore."""
    witnesses = [Witness("w1", SEEN_S + 10), Witness("w2", SEEN_S + 20), Witness("w3", SEEN_S + 30)]
    lines = "".join(f"witness {w.name[-2:]} {w.verifier_key}\n" for w in witnesses)
    policy = policy_of().replace(b"quorum none\n", f"{lines}group g 2 w1 w2 w3\nquorum g\n".encode())
    verdict = judge(logged(proof(*witnesses)), policy=policy)
    assert verdict.not_after == "2026-11-22T14:05:20.000Z"


def test_a_retired_key_counts_up_to_a_size_of_the_log() -> None:
    """E_KEY_RETIRED past that size, and where no size is shown at all (P6)."""
    new = signer(ORIGIN, "new log")
    for until, ok in ((10, False), (11, True), (12, True)):
        policy = policy_of(new, retired={LOG_KEY.verifier_key: until})
        if ok:
            assert judge(logged(proof()), policy=policy).ok
        else:
            assert_caught(logged(proof()), "E_KEY_RETIRED", policy=policy)
        assert_caught(HONEST, "E_KEY_RETIRED", policy=policy)
        assert_caught(logged(proof(key=new)), "E_KEY_RETIRED", policy=policy) if until < 11 else None
    policy = policy_of(new, retired={LOG_KEY.verifier_key: 0})
    both = example().bundle(note=sign_note(RUN_TEXT, LOG_KEY, new))
    assert judge(both, policy=policy).ok
    assert judge(logged(proof(key=new), both), policy=policy).ok


ANCHOR_S = parse_time("2026-11-22T14:00:00.000Z") // 1000


def anchored(witness: Witness, **changes: Any) -> bytes:
    """A run whose genesis holds a cosigned checkpoint of the log."""
    return example().bundle(anchor=log_note(witness, **changes))


def test_an_anchor_that_a_witness_saw_gives_the_earliest_time() -> None:
    """NotBefore is claimed from cosignatures on the anchor, and from nothing else (P2.3)."""
    seen = Witness("w1", ANCHOR_S)
    verdict = judge(anchored(seen), policy=WITNESSED)
    assert verdict.not_before == "2026-11-22T14:00:00.000Z"
    assert judge(anchored(seen)).not_before is None
    stranger = anchored(seen, key=signer(ORIGIN, "earlier log"))
    assert judge(stranger, policy=WITNESSED).not_before is None
    other_log = anchored(seen, text=f"{ORIGIN}/other\n11\n{encode_base64(bytes(32))}\n")
    assert judge(other_log, policy=WITNESSED).not_before is None


def test_an_empty_prefix_has_no_times_to_compare() -> None:
    """Anchored and witnessed, but without any event."""
    bundle = example().bundle(rows=[], open_prefix=True, anchor=log_note(Witness("w1", ANCHOR_S)))
    assert judge(bundle, policy=WITNESSED, allow_open=True, strict_time=True).not_before is not None


def test_a_forged_anchor_is_named() -> None:
    """Bad signatures on the anchor, of the log or of a listed witness, are never ignored."""

    class Liar(Witness):
        def sign(self, message: bytes) -> bytes:
            return bytes(72)

    assert_caught(anchored(Liar("w1")), "E_WITNESS_SIG", policy=WITNESSED)
    forged = log_note().replace(b"\n11\n", b"\n12\n")
    assert_caught(example().bundle(anchor=forged), "E_SIG_INVALID")


def test_times_outside_the_window_warn_and_fail_when_asked() -> None:
    """Five minutes of skew pass; beyond it a warning, or a failure with strict time (P9.2b)."""
    first, last = parse_time("2026-11-22T14:03:00.000Z"), parse_time("2026-11-22T14:03:01.210Z")
    late = Witness("w1", (first + 5 * 60 * 1000) // 1000)
    assert judge(anchored(late), policy=WITNESSED, strict_time=True).ok
    late = Witness("w1", (first + 5 * 60 * 1000) // 1000 + 1)
    assert_caught(anchored(late), "E_TIME_BEFORE_ANCHOR", 1, policy=WITNESSED, strict_time=True)
    verdict = judge(anchored(late), policy=WITNESSED)
    assert verdict.ok
    assert any("E_TIME_BEFORE_ANCHOR" in sentence for sentence in verdict.not_proven)
    early = Witness("w1", (last - 5 * 60 * 1000) // 1000 + 1)
    assert judge(logged(proof(early)), policy=WITNESSED, strict_time=True).ok
    early = Witness("w1", (last - 5 * 60 * 1000) // 1000 - 1)
    assert_caught(logged(proof(early)), "E_TIME_AFTER_WITNESS", 16, policy=WITNESSED, strict_time=True)
    verdict = judge(logged(proof(early)), policy=WITNESSED)
    assert any("E_TIME_AFTER_WITNESS" in sentence for sentence in verdict.not_proven)


def test_a_pin_finds_forks_and_rollbacks() -> None:
    """The history must continue the checkpoint that the auditor kept."""
    for size in (1, 7, 16):
        pin = parse_checkpoint(checkpoint_of(example_rows()[:size]))
        verdict = judge(HONEST, pin=pin)
        assert verdict.ok
        assert any("pinned" in sentence for sentence in verdict.proven)
        rest = [sentence for sentence in verdict.not_proven if "rewrite" in sentence]
        assert [f"event {size}," in sentence for sentence in rest] == [True] * (size < 16)
        assert_caught(HONEST, "E_FORK", pin=replace(pin, root=sha256(b"other").digest()))
    pin = parse_checkpoint(RUN_TEXT)
    nothing = judge(HONEST, pin=replace(pin, size=0))
    assert nothing.ok
    assert REWRITE in nothing.not_proven
    prefix = example().bundle(rows=example_rows()[:10], open_prefix=True)
    assert_caught(prefix, "E_ROLLBACK", pin=pin)
    other = replace(pin, origin_line=pin.origin_line.replace(RUN, OTHER_RUN))
    assert_caught(HONEST, "E_ORIGIN_MISMATCH", pin=other)


def test_log_proofs_are_judged_after_the_run_itself() -> None:
    """A bad run is blamed before a bad proof (P9.1)."""
    broken = repack(members(HONEST) | {"run.tlog-proof": b"", "evidence.json": b"{}"})
    verdict = judge(broken)
    assert (verdict.verdict, verdict.code) == (FAILED, "E_EVIDENCE_DRIFT")
    with pytest.raises(FormatError):
        parse_tlog_proof(b"\xff\n\n")


def test_without_a_policy_that_trusts_the_log_nothing_is_judged() -> None:
    """The policy decides, never the bundle."""
    assert judge(logged(proof()), policy=POLICY).ok
    assert_caught(logged(proof()), "E_SIG_UNKNOWN_KEY", policy=policy_of(signer("x", "y")))
