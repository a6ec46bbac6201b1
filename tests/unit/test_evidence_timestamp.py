"""What a verdict makes of a timestamp, whoever judges it (PROOF P5.7, P9.2b)."""

from __future__ import annotations

from evidence.record import format_time, parse_time
from evidence.verdict import Timestamp, TimestampCheck, VerificationError
from tests.evidence_samples import HONEST, assert_caught, flipped, judge, members, tamper
from tests.unit.test_evidence_log import SEEN_S, W1, WITNESSED, logged, proof

LAST_MS = parse_time("2026-11-22T14:03:01.210Z")
SEEN_MS = 1000 * SEEN_S
SKEW_MS = 5 * 60 * 1000


def seen_at(ms: int) -> TimestampCheck:
    """An authority that saw every checkpoint at that time."""
    return lambda _: Timestamp("CN=authority", ms)


def unfit(_: bytes) -> Timestamp:
    """A timestamp that does not fit."""
    raise VerificationError("E_TIMESTAMP", "The timestamp: it is over something else.")


def test_it_is_judged_over_the_bytes_of_the_checkpoint() -> None:
    """The note as it lies in the bundle, signatures and all."""
    asked: list[bytes] = []

    def check(note: bytes) -> Timestamp:
        asked.append(note)
        return Timestamp("CN=authority", SEEN_MS)

    assert judge(HONEST, timestamp=check).ok
    assert asked == [members(HONEST)["run.checkpoint"]]


def test_without_witnesses_it_gives_the_time() -> None:
    """The verdict names the authority, and says that it saw this history, not that there is no other."""
    verdict = judge(logged(proof()), timestamp=seen_at(SEEN_MS))
    assert verdict.ok
    assert verdict.not_after == format_time(SEEN_MS)
    assert any("CN=authority" in sentence and format_time(SEEN_MS) in sentence for sentence in verdict.proven)
    assert not any("Witnesses" in sentence for sentence in verdict.proven)
    assert not any("rewrite" in sentence or "notAfter" in sentence for sentence in verdict.not_proven)
    assert any("no other history" in sentence for sentence in verdict.not_proven)


def test_of_witness_and_authority_the_earlier_counts() -> None:
    """Both are told with their own times; beside a witness a timestamp's own limits need no words."""
    for moved_ms, earlier in ((-10, SEEN_MS - 10), (10, SEEN_MS)):
        verdict = judge(logged(proof(W1)), policy=WITNESSED, timestamp=seen_at(SEEN_MS + moved_ms))
        assert verdict.not_after == format_time(earlier)
        told = " ".join(verdict.proven)
        assert format_time(SEEN_MS) in told
        assert format_time(SEEN_MS + moved_ms) in told
        assert not any("a timestamp shows" in sentence for sentence in verdict.not_proven)


def test_one_that_does_not_fit_fails_whatever_witnesses_say() -> None:
    """E_TIMESTAMP; and with it nothing is proven."""
    assert_caught(HONEST, "E_TIMESTAMP", timestamp=unfit)
    verdict = assert_caught(logged(proof(W1)), "E_TIMESTAMP", policy=WITNESSED, timestamp=unfit)
    assert verdict.message.endswith("it is over something else.")


def test_what_was_tampered_with_is_blamed_first() -> None:
    """The timestamp is looked at behind the log and the anchor (P9.1)."""
    bad = tamper(HONEST, "events.log", lambda log: flipped(log, len(log) - 2))
    assert judge(bad, timestamp=unfit).code not in {None, "E_TIMESTAMP"}
    assert_caught(logged(proof()), "E_WITNESS_QUORUM", policy=WITNESSED, timestamp=unfit)


def test_events_later_than_it_are_told_or_refused() -> None:
    """The rule of witnesses: five minutes are a clock's error, more is a warning, and fails when asked to."""
    for before_ms, late in ((SKEW_MS, False), (SKEW_MS + 1, True)):
        check = seen_at(LAST_MS - before_ms)
        verdict = judge(HONEST, timestamp=check)
        assert verdict.ok
        assert any("E_TIME_AFTER_WITNESS" in sentence for sentence in verdict.not_proven) is late
        if late:
            assert_caught(HONEST, "E_TIME_AFTER_WITNESS", 16, timestamp=check, strict_time=True)
        else:
            assert judge(HONEST, timestamp=check, strict_time=True).ok
