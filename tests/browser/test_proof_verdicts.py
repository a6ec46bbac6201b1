"""The verifier in the page says what the reference says: of every published bundle, of every tampering."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evidence.checkpoint import parse_checkpoint
from evidence.verify import verify_bundle
from tests.browser.judged import COMPARED, PageVerifier, compared
from tests.depth import examples
from tests.spec.vectors import DEFAULTS, FOLDER, INDEX
from tests.tampering import contents, heads, records
from tests.tampering.kit import Tampered, Tampering
from tests.whole_proof import POLICY, RUN, WHOLE, judge_whole

BUNDLES = json.loads((FOLDER / INDEX).read_bytes())["bundles"]
TAMPERINGS = [
    one
    for one in (*records.TAMPERINGS, *heads.TAMPERINGS, *contents.TAMPERINGS)
    if one.code != "E_RANGE_PROOF"  # of windows, which the page does not read
]


def options_of(case: dict[str, Any]) -> dict[str, Any]:
    """The options of a vector, as both verifiers take them."""
    options = DEFAULTS | case["options"]
    file = options["evidenceFile"]
    return {
        "expected_run": options["run"],
        "allow_open": options["allowOpen"],
        "allow_withheld": options["allowWithheld"],
        "allow_unlogged": options["allowUnlogged"],
        "allow_unattested": options["allowUnattested"],
        "strict_time": options["strictTime"],
        "pin": None if options["pin"] is None else parse_checkpoint(options["pin"]),
        "shown": None if file is None else (FOLDER / file).read_bytes(),
    }


@pytest.mark.parametrize("case", BUNDLES, ids=[case["name"] for case in BUNDLES])
def test_a_published_bundle_gets_the_published_verdict(verifier: PageVerifier, case: dict[str, Any]) -> None:
    """Verdict, code, clause and event; and all that the reference says beside them."""
    bundle, policy, options = (
        FOLDER / case["bundle"],
        (FOLDER / case["policy"]).read_bytes(),
        options_of(case),
    )
    found = verifier.verdict(bundle.read_bytes(), policy, **options)
    expected = case["expected"]
    assert {name: found[name] for name in ("verdict", "code", "clause", "seq")} == {
        name: expected[name] for name in ("verdict", "code", "clause", "seq")
    }, found["message"]
    if found["code"] != "E_FORMAT":  # what cannot be read is found sooner or later by either of them
        reference = compared(verify_bundle(bundle, policy, **options))
        assert {name: found[name] for name in COMPARED} == reference


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=str)
@settings(examples(4), suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_each_tampering_gets_the_verdict_of_the_reference(
    verifier: PageVerifier, tampering: Tampering, data: st.DataObject
) -> None:
    """Whatever hypothesis draws: the same code, the same event, the same clause."""
    case = tampering.make(data.draw)
    if not isinstance(case, Tampered):
        return  # a check that reads no bundle
    reference = judge_whole(case.bundle, **case.options)
    given_options = {"expected_run": RUN, "policy": POLICY} | dict(case.options)
    found = verifier.verdict(case.bundle, given_options.pop("policy"), **given_options)
    assert found["code"] == tampering.code, found["message"]
    if tampering.code != "E_FORMAT":
        assert {name: found[name] for name in COMPARED} == compared(reference)


def test_untouched_it_is_complete(verifier: PageVerifier) -> None:
    """So whatever fails above fails because of the tampering alone."""
    found = verifier.verdict(WHOLE, POLICY, expected_run=RUN)
    assert {name: found[name] for name in COMPARED} == compared(judge_whole(WHOLE))
    assert found["verdict"] == "COMPLETE"


def test_a_bundle_that_is_cut_anywhere_is_refused(verifier: PageVerifier) -> None:
    """At every kind of place: in a header, in a record, in the directory, before the last byte."""
    for at in (0, 3, 29, 40, 1500, len(WHOLE) // 2, len(WHOLE) - 60, len(WHOLE) - 1):
        assert verifier.verdict(WHOLE[:at], POLICY)["verdict"] == "FAILED"
