"""Every row of PROOF P10, tampered with in all ways that hypothesis draws, each caught by its own code."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evidence.verdict import CODES, COMPLETE, FAILED, VerificationError
from tests.depth import examples
from tests.tampering import contents, heads, records
from tests.tampering.kit import Tampered, Tampering
from tests.whole_proof import WHOLE, judge_whole

TAMPERINGS = [*records.TAMPERINGS, *heads.TAMPERINGS, *contents.TAMPERINGS]

ROWS = """
E_PAYLOAD_MISMATCH
E_SEQ_GAP E_SEQ_ORDER E_SEQ_DUP
E_CHAIN_BROKEN
E_ROOT_MISMATCH
E_TRUNCATED E_EXTRA_EVENTS
E_NOT_FINAL E_EVENT_AFTER_SEAL
E_RUN_MISMATCH E_ORIGIN_MISMATCH
E_SIG_INVALID E_SIG_UNKNOWN_KEY E_KEY_RETIRED
E_INCLUSION E_WITNESS_QUORUM E_WITNESS_SIG
E_FORK E_ROLLBACK
E_EVIDENCE_DRIFT E_STREAM_DIGEST E_ARTIFACT_DIGEST
E_DSSE_SIG E_ATTESTATION_SUBJECT E_ATTESTATION_RESULT
E_REDACTION_UNRECORDED E_REDACTION_MISMATCH E_REDACTION_FORBIDDEN
E_GENESIS E_TIME_ORDER E_TIME_BEFORE_ANCHOR E_TIME_AFTER_WITNESS
E_RANGE_PROOF
E_FORMAT E_NONCANONICAL E_HEADER_PAYLOAD_DISAGREE
"""
"""The codes of the table P10, row by row."""

SEEN_ELSEWHERE = {"E_RUN_MISSING", "E_DOUBLE_SEAL", "E_LOG_FORK", "E_TIMESTAMP"}
"""What no bundle shows: what only a follower of the whole log can see (P5.6), and a timestamp, which lies
beside the bundle (P5.7). The tests of monitor and timestamps tamper there."""


def test_every_code_of_the_table_is_tampered_for() -> None:
    """A code without a tampering here, or one that the table does not know, fails."""
    tampered = {tampering.code for tampering in TAMPERINGS}
    assert tampered == set(ROWS.split())
    assert tampered == CODES.keys() - SEEN_ELSEWHERE
    assert len({str(tampering) for tampering in TAMPERINGS}) == len(TAMPERINGS)


def test_untouched_it_is_complete() -> None:
    """So whatever fails below fails because of the tampering alone."""
    verdict = judge_whole(WHOLE)
    assert (verdict.verdict, verdict.code, verdict.exit_code) == (COMPLETE, None, 0)
    assert judge_whole(WHOLE, strict_time=True) == verdict


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=str)
@settings(examples(15), suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_each_tampering_is_caught_by_its_own_code(tampering: Tampering, data: st.DataObject) -> None:
    """By that code, at that event, with its clause and its meaning."""
    code = CODES[tampering.code]
    case = tampering.make(data.draw)
    if not isinstance(case, Tampered):
        with pytest.raises(VerificationError) as caught:
            case()
        assert caught.value.code == tampering.code
        return
    verdict = judge_whole(case.bundle, **case.options)
    assert (verdict.verdict, verdict.code, verdict.seq) == (FAILED, tampering.code, case.seq), verdict.message
    assert (verdict.exit_code, verdict.clause, verdict.proven) == (1, code.clause, [])
    assert verdict.message.startswith(f"{code.meaning} ")
