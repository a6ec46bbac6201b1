"""The verifier in the page says what the reference says: of every published bundle, of every tampering."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evidence import attestation
from evidence.canonical import decode
from evidence.checkpoint import parse_checkpoint
from evidence.verify import verify_bundle
from tests.browser.judged import COMPARED, PageVerifier, compared
from tests.depth import examples
from tests.evidence_samples import example_events, members, record, repack
from tests.spec.vectors import DEFAULTS, FOLDER, INDEX
from tests.tampering import contents, heads, records
from tests.tampering.kit import Tampered, Tampering
from tests.whole_proof import POLICY, RUN, WHOLE, judge_whole, whole_bundle

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


def signed(change: Callable[[list[dict[str, Any]]], None]) -> bytes:
    """The example without its artifacts, changed, recorded, attested and signed by the server."""
    events = [{name: one[name] for name in one if name != "seq"} for one in example_events()[:14]]
    kept = [one for one in events if not one["type"].startswith("artifact")]
    change(kept)
    recorded = record(kept)
    contents = members(whole_bundle(recorded.rows, evidence=recorded.evidence))
    del contents["artifacts/art_r1"]
    return repack(contents)


def a_sandbox_that_is_taken_back(events: list[dict[str, Any]]) -> None:
    """A second event of the same status says that there is none."""
    at = next(at for at, one in enumerate(events) if one.get("status") == "starting")
    events.insert(at + 1, events[at] | {"sandboxId": None})


def a_reason_that_is_no_text(events: list[dict[str, Any]]) -> None:
    """Nothing can be attested then."""
    events[-1] |= {"status": "failed", "failureReason": ["command_exit"]}


def a_command_that_is_no_text(events: list[dict[str, Any]]) -> None:
    """The browser would make one of it."""
    events[0]["request"] = events[0]["request"] | {"command": 5}


@pytest.mark.parametrize(
    ("change", "verdict", "code"),
    [
        (a_sandbox_that_is_taken_back, "COMPLETE", None),
        (a_reason_that_is_no_text, "FAILED", "E_FORMAT"),
        (a_command_that_is_no_text, "FAILED", "E_FORMAT"),
    ],
)
def test_what_only_a_liar_records_gets_the_verdict_of_the_reference(
    verifier: PageVerifier,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[list[dict[str, Any]]], None],
    verdict: str,
    code: str | None,
) -> None:
    """Facts of another kind than a server records, attested as a careless verifier would expect it."""

    def careless(data: bytes) -> dict[str, Any]:
        found = decode(data)
        return found | {"command": str(found["command"]), "failureReason": str(found.get("failureReason"))}

    monkeypatch.setattr(attestation, "decode", careless)
    bundle = signed(change)
    monkeypatch.undo()
    found = verifier.verdict(bundle, POLICY, expected_run=RUN)
    reference = judge_whole(bundle)
    assert {name: found[name] for name in COMPARED} == compared(reference), found["message"]
    assert (reference.verdict, reference.code) == (verdict, code)


def test_untouched_it_is_complete(verifier: PageVerifier) -> None:
    """So whatever fails above fails because of the tampering alone."""
    found = verifier.verdict(WHOLE, POLICY, expected_run=RUN)
    assert {name: found[name] for name in COMPARED} == compared(judge_whole(WHOLE))
    assert found["verdict"] == "COMPLETE"


def test_a_bundle_that_is_cut_anywhere_is_refused(verifier: PageVerifier) -> None:
    """At every kind of place: in a header, in a record, in the directory, before the last byte."""
    for at in (0, 3, 29, 40, 1500, len(WHOLE) // 2, len(WHOLE) - 60, len(WHOLE) - 1):
        assert verifier.verdict(WHOLE[:at], POLICY)["verdict"] == "FAILED"
