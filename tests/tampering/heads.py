"""Rows of P10 about what is signed: keys, the global log, witnesses, times, pins, windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st

from evidence.bundle import EntryChain
from evidence.checkpoint import Checkpoint, parse_checkpoint
from evidence.merkle import node_hash
from evidence.note import Verifier, in_order, sign_note, split_note
from evidence.proofs import consistency_proof, range_proof
from evidence.record import genesis, parse_time
from evidence.tlog import TIMESTAMP_BYTES, TlogProof, parse_tlog_proof
from evidence.witnessing import signature_lines
from tests.evidence_samples import (
    ATTESTATION_KEY,
    LOG_KEY,
    ORIGIN,
    RUN,
    Recorded,
    checkpoint_of,
    event_of,
    members,
    record,
    repack,
    signer,
    tamper,
)
from tests.tampering.kit import (
    HASHES,
    OUTPUT,
    SECRETS,
    TERMINAL,
    Draw,
    Tampered,
    Tamperings,
    bit_flipped,
    changed,
    event,
    other,
    rows,
)
from tests.tampering.records import OTHER_RUNS
from tests.whole_proof import (
    AFTER,
    ANCHOR,
    BEFORE,
    POLICY,
    RECORDED,
    SIZE,
    WHOLE,
    WITNESSES,
    Logged,
    cosigned,
    strict_policy,
    whole_bundle,
)
from tests.witness_kit import GrowingLog

TAMPERINGS = Tamperings()
NOTE = members(WHOLE)["run.checkpoint"]
PROOF = parse_tlog_proof(members(WHOLE)["run.tlog-proof"])
LOG_SIZE = BEFORE + 1 + AFTER
ORIGINS = st.text("abcdefghij.", min_size=1, max_size=12).map("{}.example".format)
SKEW_S = 5 * 60
"""What an honest server's clock may be off (P9.2b)."""
FIRST_S, LAST_S = (parse_time(event(seq)["createdAt"]) // 1000 for seq in (1, SIZE))


# ---- the run's checkpoint -----------------------------------------------------------------------


@TAMPERINGS.caught_as("E_ORIGIN_MISMATCH")
def a_whole_proof_of_another_run(draw: Draw) -> Tampered:
    """Valid, and not what the auditor expects."""
    run = draw(OTHER_RUNS)
    first = event(1) | {"runId": run}
    events = [
        {key: one[key] for key in one if key != "seq"} for one in (first, *map(event, range(2, SIZE - 1)))
    ]
    recorded = record(events)
    return Tampered(Recorded(recorded.rows, recorded.evidence, stream=run).bundle())


@TAMPERINGS.caught_as("E_ORIGIN_MISMATCH")
def a_checkpoint_of_another_server(draw: Draw) -> Tampered:
    """Signed by the trusted key, and about an origin that is not its own."""
    text = checkpoint_of(rows(), anchor=ANCHOR, origin=other(draw, ORIGINS, ORIGIN))
    return Tampered(tamper(WHOLE, "run.checkpoint", lambda _: sign_note(text, LOG_KEY)))


@TAMPERINGS.caught_as("E_SIG_INVALID")
def an_edited_checkpoint(draw: Draw) -> Tampered:
    """Another size, root or run below the old signature, or another signature below the text."""
    head = parse_checkpoint(split_note(NOTE)[0])
    texts = [
        replace(head, size=other(draw, st.integers(0, 10**9), head.size)),
        replace(head, root=other(draw, HASHES, head.root)),
        replace(head, origin_line=f"{ORIGIN}/run/{draw(OTHER_RUNS)}"),
    ]
    (line,) = split_note(NOTE)[1]
    forged = replace(line, signature=bit_flipped(draw, line.signature))
    notes = [f"{text}\n{line}\n".encode() for text in texts] + [f"{head}\n{forged}\n".encode()]
    return Tampered(tamper(WHOLE, "run.checkpoint", lambda _: draw(st.sampled_from(notes))))


@TAMPERINGS.caught_as("E_SIG_UNKNOWN_KEY")
def a_checkpoint_signed_by_another_key(draw: Draw) -> Tampered:
    """Whatever its name, alone or beside the trusted one."""
    thief = signer(draw(st.just(ORIGIN) | ORIGINS), f"thief {draw(SECRETS)}")
    keys = draw(st.sampled_from([(thief,), (LOG_KEY, thief)]))
    note = sign_note(checkpoint_of(rows(), anchor=ANCHOR), *keys)
    return Tampered(tamper(WHOLE, "run.checkpoint", lambda _: note))


@TAMPERINGS.caught_as("E_KEY_RETIRED")
def a_checkpoint_signed_by_a_retired_key(draw: Draw) -> Tampered:
    """Past the size of the global log up to which it counted."""
    policy = strict_policy(
        signer(ORIGIN, draw(SECRETS)), retired={LOG_KEY.verifier_key: draw(st.integers(0, LOG_SIZE - 1))}
    )
    return Tampered(WHOLE, options={"policy": policy})


@TAMPERINGS.caught_as("E_KEY_RETIRED")
def attestations_signed_by_a_retired_key(draw: Draw) -> Tampered:
    """The same for the key of attestations."""
    hex_id = Verifier.parse(ATTESTATION_KEY.verifier_key).key_id.hex()
    until = f"#crownest until {hex_id} {draw(st.integers(0, LOG_SIZE - 1))}\n"
    return Tampered(WHOLE, options={"policy": POLICY + until.encode()})


# ---- the global log and its witnesses -----------------------------------------------------------


def with_proof(proof: TlogProof | bytes) -> bytes:
    """The bundle with another run.tlog-proof."""
    data = proof if isinstance(proof, bytes) else proof.to_bytes()
    return tamper(WHOLE, "run.tlog-proof", lambda _: data)


@TAMPERINGS.caught_as("E_INCLUSION")
def a_wrong_index_or_path(draw: Draw) -> Tampered:
    """Another place, or a hash exchanged, dropped, added, moved."""
    index = replace(PROOF, index=other(draw, st.integers(0, LOG_SIZE) | st.integers(0, 2**40), BEFORE))
    path = replace(PROOF, path=changed(draw, PROOF.path))
    return Tampered(with_proof(draw(st.sampled_from([index, path]))))


@TAMPERINGS.caught_as("E_INCLUSION")
def a_wrong_head(draw: Draw) -> Tampered:
    """Another tree, also one that log and witnesses signed; or a head that nobody signed.

    Of the sizes only those in which the entry has another path: where the paths of two sizes have one shape,
    an inclusion proof cannot tell them apart (RFC 9162), and who signs both has forked the log.
    """
    head = Checkpoint(ORIGIN, LOG_SIZE, Logged(parse_checkpoint(split_note(NOTE)[0])).log.checkpoint().root)
    wrong = [
        replace(head, root=other(draw, HASHES, head.root)),
        replace(head, size=draw(st.integers(0, BEFORE) | st.integers(17, 2**40))),
        replace(head, origin_line=draw(ORIGINS)),
    ]
    signed = sign_note(str(draw(st.sampled_from(wrong))), LOG_KEY)
    unsigned = sign_note(str(head), signer(ORIGIN, f"thief {draw(SECRETS)}"))
    edited = PROOF.note.replace(b"\n%d\n" % LOG_SIZE, b"\n%d\n" % (LOG_SIZE + draw(st.integers(1, 9))))
    note = draw(st.sampled_from([cosigned(signed, LAST_S), cosigned(unsigned, LAST_S), edited]))
    return Tampered(with_proof(replace(PROOF, note=note)))


@TAMPERINGS.caught_as("E_INCLUSION")
def a_log_without_the_run(draw: Draw) -> Tampered:
    """A sound proof that the log holds another checkpoint, or a proof in the log of another server."""
    text = checkpoint_of(rows()[: draw(st.integers(1, SIZE - 1))], anchor=ANCHOR)
    stranger = signer(draw(ORIGINS), "other log")
    policy = POLICY + f"log {stranger.verifier_key}\n".encode()
    proofs = [
        Logged(parse_checkpoint(text)).proof(),
        Logged(parse_checkpoint(split_note(NOTE)[0]), stranger).proof(),
    ]
    return Tampered(with_proof(draw(st.sampled_from(proofs))), options={"policy": policy})


@TAMPERINGS.caught_as("E_INCLUSION")
def a_proof_in_another_spelling(draw: Draw) -> Tampered:
    """Leading zeros, signature lines in another order, a signature by a stranger, no proof at all."""
    text, lines = split_note(PROOF.note)
    shuffled = draw(st.permutations(lines).filter(lambda order: list(order) != lines))
    stranger = cosigned(PROOF.note, LAST_S, [signer("zz.example", draw(SECRETS))])
    index = b"index %d" % BEFORE
    without = {name: data for name, data in members(WHOLE).items() if name != "run.tlog-proof"}
    return Tampered(
        draw(
            st.sampled_from(
                [
                    with_proof(PROOF.to_bytes().replace(index, b"index 0%d" % BEFORE)),
                    with_proof(replace(PROOF, note=f"{text}\n{signature_lines(shuffled)}".encode())),
                    with_proof(replace(PROOF, note=stranger)),
                    with_proof(b""),
                    repack(without),
                ]
            )
        )
    )


@TAMPERINGS.caught_as("E_WITNESS_QUORUM")
def a_cosignature_stripped(draw: Draw) -> Tampered:
    """One of two, or both."""
    left = draw(st.sampled_from([(), *((witness,) for witness in WITNESSES)]))
    return Tampered(with_proof(Logged(parse_checkpoint(split_note(NOTE)[0])).proof(keys=left)))


@TAMPERINGS.caught_as("E_WITNESS_SIG")
def a_cosignature_changed(draw: Draw) -> Tampered:
    """Its time moved, a bit of it flipped, or one that was given for another head."""
    text, lines = split_note(PROOF.note)
    at = draw(st.sampled_from([at for at, line in enumerate(lines) if line.name != ORIGIN]))
    old = lines[at].signature
    moved = other(draw, st.integers(0, 2**34), int.from_bytes(old[:TIMESTAMP_BYTES], "big"))
    elsewhere = split_note(cosigned(GrowingLog().grow(draw(st.integers(1, 9))).note(), LAST_S))[1][at]
    forged = [
        replace(lines[at], signature=moved.to_bytes(TIMESTAMP_BYTES, "big") + old[TIMESTAMP_BYTES:]),
        replace(lines[at], signature=bit_flipped(draw, old)),
        elsewhere,
    ]
    lines[at] = draw(st.sampled_from(forged))
    return Tampered(with_proof(replace(PROOF, note=f"{text}\n{signature_lines(lines)}".encode())))


@TAMPERINGS.caught_as("E_WITNESS_SIG")
def a_cosignature_changed_on_the_anchor(draw: Draw) -> Tampered:
    """By the server, before the run began: genesis binds it, and it is a lie all the same."""
    text, lines = split_note(ANCHOR)
    at = draw(st.sampled_from([at for at, line in enumerate(lines) if line.name != ORIGIN]))
    lines[at] = replace(lines[at], signature=bit_flipped(draw, lines[at].signature))
    return Tampered(whole_bundle(anchor=f"{text}\n{signature_lines(in_order(lines))}".encode()))


# ---- the time window ----------------------------------------------------------------------------


@TAMPERINGS.caught_as("E_TIME_BEFORE_ANCHOR")
def a_run_older_than_its_anchor(draw: Draw) -> Tampered:
    """By more than a clock is off."""
    late_s = FIRST_S + SKEW_S + draw(st.integers(1, 10**7))
    anchor = cosigned(GrowingLog().grow(BEFORE).note(), late_s)
    return Tampered(whole_bundle(anchor=anchor), 1, {"strict_time": True})


@TAMPERINGS.caught_as("E_TIME_AFTER_WITNESS")
def a_run_younger_than_its_witness(draw: Draw) -> Tampered:
    """By more than a clock is off."""
    early_s = LAST_S - SKEW_S - draw(st.integers(1, 10**7))
    anchor = cosigned(GrowingLog().grow(BEFORE).note(), early_s)
    run = parse_checkpoint(checkpoint_of(rows(), anchor=anchor))
    return Tampered(
        whole_bundle(anchor=anchor, proof=Logged(run).proof(early_s)), SIZE, {"strict_time": True}
    )


# ---- pins, windows, consistency -----------------------------------------------------------------


def rewritten(seq: int, data: str) -> Recorded:
    """The run as the server tells it later: one output differs, all else is made and signed anew."""
    events = [event_of(item) for item in RECORDED.rows[: TERMINAL - 1]]
    events[seq - 1] = {key: events[seq - 1][key] for key in ("type", "createdAt")} | {"data": data}
    return record({key: one[key] for key in one if key != "seq"} for one in events)


@TAMPERINGS.caught_as("E_FORK")
def another_history_than_was_pinned(draw: Draw) -> Tampered:
    """Rewritten and signed anew by the server, which nobody but a pin can tell."""
    seq = draw(OUTPUT)
    fork = rewritten(seq, draw(st.text("xyz", max_size=5)))
    pin = parse_checkpoint(checkpoint_of(rows()[: draw(st.integers(seq, SIZE))], anchor=ANCHOR))
    return Tampered(whole_bundle(fork.rows, evidence=fork.evidence), options={"pin": pin})


@TAMPERINGS.caught_as("E_ROLLBACK")
def an_older_head_than_was_pinned(draw: Draw) -> Tampered:
    """A prefix, signed when it was the head; the auditor saw more."""
    size = draw(st.integers(1, TERMINAL - 1))
    pin = parse_checkpoint(checkpoint_of(rows()[: draw(st.integers(size + 1, SIZE))], anchor=ANCHOR))
    out = whole_bundle(rows()[:size], evidence=None)
    open_run = {name: data for name, data in members(out).items() if not name.startswith("artifacts/")}
    return Tampered(repack(open_run), options={"pin": pin, "allow_open": True})


def leaves(of: Recorded) -> list[bytes]:
    """The leaf hashes of a run."""
    chain, found = EntryChain(RUN, genesis(RUN, ANCHOR)), list[bytes]()
    for item in of.rows:
        chain.add(item)
        found.append(chain.prev)
    return found


LEAVES = leaves(RECORDED)
HEADS = [parse_checkpoint(checkpoint_of(rows()[:size], anchor=ANCHOR)) for size in range(SIZE + 1)]


def subtree(level: int, index: int) -> bytes:
    """Root of a full subtree of the run."""
    if level == 0:
        return LEAVES[index]
    return node_hash(subtree(level - 1, 2 * index), subtree(level - 1, 2 * index + 1))


@TAMPERINGS.caught_as("E_FORK")
def a_consistency_proof_between_other_heads(draw: Draw) -> Callable[[], object]:
    """A path, an old or a new head that are not those of one history."""
    old = draw(st.integers(1, SIZE - 1))
    new = draw(st.integers(old + 1, SIZE))
    proof = consistency_proof(old, new, subtree, NOTE)
    changes = [
        lambda: replace(proof, path=changed(draw, proof.path)).check(HEADS[old], HEADS[new]),
        lambda: proof.check(replace(HEADS[old], root=draw(HASHES)), HEADS[new]),
        lambda: proof.check(HEADS[old], replace(HEADS[new], root=draw(HASHES))),
        lambda: proof.check(HEADS[new], HEADS[old]),
        lambda: proof.check(HEADS[old], HEADS[draw(st.integers(0, SIZE).filter(lambda size: size != new))]),
    ]
    return draw(st.sampled_from(changes))


@TAMPERINGS.caught_as("E_RANGE_PROOF")
def a_window_with_a_wrong_side(draw: Draw) -> Callable[[], object]:
    """A wrong left or right, other events between, another place, another head."""
    start = draw(st.integers(0, SIZE))
    end = draw(st.integers(start, SIZE))
    proof = range_proof(start, end, SIZE, subtree, NOTE)
    window = LEAVES[start:end]
    place = draw(st.integers(0, len(window)))
    moved = other(draw, st.integers(0, SIZE), start)
    changes = [
        lambda: replace(proof, left=changed(draw, proof.left)).check(window, HEADS[SIZE]),
        lambda: replace(proof, right=changed(draw, proof.right)).check(window, HEADS[SIZE]),
        lambda: proof.check([*window[:place], draw(HASHES), *window[place:]], HEADS[SIZE]),
        lambda: replace(proof, start=moved).check(window, HEADS[SIZE]),
        lambda: replace(proof, end=end + draw(st.integers(1, 9))).check(window, HEADS[SIZE]),
        lambda: proof.check(window, replace(HEADS[SIZE], root=draw(HASHES))),
    ]
    if window:
        changes.append(lambda: proof.check(changed(draw, window), HEADS[SIZE]))
    return draw(st.sampled_from(changes))
