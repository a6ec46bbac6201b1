"""Bytes are altered on their way to the browser: the page names it, while the server says COMPLETE."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Page, expect

from tests.browser.alterations import (
    a_cut_end,
    a_doubled_event,
    a_dropped_event,
    a_foreign_key,
    a_payload_and_the_whole_chain,
    a_payload_byte,
    a_payload_with_its_commitment,
    a_record_line,
    a_salt,
    a_time,
    an_artifact,
    an_attestation,
    another_index,
    another_root,
    another_signature,
    another_size,
    exit_code_in_evidence,
    first_output,
    on_entries,
    on_member,
    swapped_events,
    two_payloads,
)
from tests.browser.altered import BUNDLE, EVENTS, EVIDENCE, Change, alter, alter_json
from tests.browser.proof_panel import open_panel
from tests.browser.samples import Site

PRINTING = "for n in 1 2 3 4; do echo line $n; sleep 0.2; done; echo kept > out.txt"
NOTE, PROOF = "run.checkpoint", "run.tlog-proof"


@pytest.fixture(scope="module")
def run_id(site: Site) -> str:
    """A run with several output events and an artifact."""
    return site.run(PRINTING, artifacts=[{"path": "out.txt"}])


@dataclass(frozen=True)
class Altered:
    """A change on the wire: the code that names it, and the event at fault, counted from the first output."""

    name: str
    change: Change
    code: str
    title: str
    """What the panel says; `{seq}` is the event at fault."""
    after_first: int | None = None
    bad_rows: set[str] = field(default_factory=set[str])


TABLE = (
    Altered(
        "payload byte",
        on_entries(a_payload_byte),
        "E_PAYLOAD_MISMATCH",
        "Event {seq} was changed",
        0,
        {"Payloads"},
    ),
    Altered(
        "two payloads",
        on_entries(two_payloads),
        "E_PAYLOAD_MISMATCH",
        "Event {seq} was changed",
        0,
        {"Payloads"},
    ),
    Altered("salt", on_entries(a_salt), "E_PAYLOAD_MISMATCH", "Event {seq} was changed", 0, {"Payloads"}),
    Altered(
        "payload and commitment",
        on_entries(a_payload_with_its_commitment),
        "E_CHAIN_BROKEN",
        "Event {seq} does not continue the one before it",
        1,
        {"Chain, tree"},
    ),
    Altered(
        "chained again",
        on_entries(a_payload_and_the_whole_chain),
        "E_ROOT_MISMATCH",
        "The events are not those that were signed",
    ),
    Altered(
        "time",
        on_entries(a_time),
        "E_CHAIN_BROKEN",
        "Event {seq} does not continue the one before it",
        1,
        {"Chain, tree"},
    ),
    Altered("dropped", on_entries(a_dropped_event), "E_SEQ_GAP", "Event {seq} is missing", 0, {"Records"}),
    Altered(
        "swapped",
        on_entries(swapped_events),
        "E_SEQ_ORDER",
        "Event {seq} is not in its place",
        0,
        {"Records"},
    ),
    Altered(
        "doubled", on_entries(a_doubled_event), "E_SEQ_DUP", "Event {seq} stands here twice", 0, {"Records"}
    ),
    Altered("cut end", on_entries(a_cut_end), "E_TRUNCATED", "The end is missing", None, {"Records"}),
    Altered("record line", on_entries(a_record_line), "E_FORMAT", "Event {seq} cannot be read", 0),
    Altered(
        "root",
        on_member(NOTE, another_root),
        "E_SIG_INVALID",
        "The signed checkpoint was changed",
        None,
        {"Signature"},
    ),
    Altered(
        "size",
        on_member(NOTE, another_size),
        "E_SIG_INVALID",
        "The signed checkpoint was changed",
        None,
        {"Signature"},
    ),
    Altered(
        "signature",
        on_member(NOTE, another_signature),
        "E_SIG_INVALID",
        "The signed checkpoint was changed",
        None,
        {"Signature"},
    ),
    Altered(
        "foreign key",
        on_member(NOTE, a_foreign_key),
        "E_SIG_UNKNOWN_KEY",
        "Signed by an unknown key",
        None,
        {"Signature"},
    ),
    Altered(
        "evidence",
        on_member("evidence.json", exit_code_in_evidence),
        "E_EVIDENCE_DRIFT",
        "The evidence is not what the events say",
        None,
        {"Evidence"},
    ),
    Altered(
        "artifact",
        an_artifact,
        "E_ARTIFACT_DIGEST",
        "An artifact is not the one that was collected",
        None,
        {"Artifacts"},
    ),
    Altered(
        "log entry",
        on_member(PROOF, another_index),
        "E_INCLUSION",
        "The global log is not shown to hold this record",
        None,
        {"Global log"},
    ),
    Altered(
        "attestation",
        an_attestation,
        "E_DSSE_SIG",
        "An attestation is not signed as it should be",
        None,
        {"Attestations"},
    ),
    Altered("half a zip", lambda bundle: bundle[: len(bundle) // 2], "E_FORMAT", "cannot be read"),
)


@pytest.mark.parametrize("altered", TABLE, ids=lambda one: one.name)
def test_the_page_names_what_was_altered(page: Page, site: Site, run_id: str, altered: Altered) -> None:
    """The title, the code, the first bad event; and the server's own check says COMPLETE all the same."""
    panel = open_panel(page, run_id)
    bundle = site.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle").content
    alter(page, BUNDLE, altered.change)
    panel.check()
    assert panel.state == "failed"
    seq = None if altered.after_first is None else first_output(bundle) + altered.after_first
    expect(panel.title).to_contain_text(altered.title.format(seq=seq))
    expect(panel.section.locator(".cmp")).to_contain_text(altered.code)
    assert panel.last["code"] == altered.code
    if seq is not None:
        assert panel.last["seq"] == seq
        assert seq in panel.last["badSeqs"]
        expect(page.locator("#proof-chip")).to_contain_text(f"Proof failed at event {seq}")
    assert altered.bad_rows <= set(panel.rows("bad"))
    verdict = site.http.post(f"/v1/workspace-runs/{run_id}/verify").json()["verdict"]
    assert verdict["verdict"] == "COMPLETE"


def test_every_changed_event_is_told(page: Page, run_id: str) -> None:
    """Two of them: both are marked, the rest is counted as unchanged, and the log says which row it is."""
    panel = open_panel(page, run_id)
    alter(page, BUNDLE, on_entries(two_payloads))
    panel.check()
    first, second = panel.last["badSeqs"]
    assert second == first + 1
    state, words = panel.row("Payloads")
    assert state == "bad"
    assert f"{first} and 1 more do not" in words
    assert panel.row("Global log")[0] == "ok"
    expect(page.locator("#log .ln--changed")).to_have_count(2)
    expect(panel.section).to_contain_text("What still holds")
    expect(panel.section).to_contain_text("First keep a copy")


def test_a_log_that_is_sent_otherwise_is_named(page: Page, site: Site, run_id: str) -> None:
    """The proof is whole, and the text that the page shows is not what it holds."""
    panel = open_panel(page, run_id)
    alter(page, EVENTS, lambda body: body.replace(b"line 3", b"line 7", 1))
    panel.check()
    assert panel.state == "failed"
    expect(panel.title).to_have_text(f"Event {panel.last['seq']} is changed in the log that is sent")
    assert panel.rows("bad") == ["As sent"]
    event = site.http.get(
        f"/v1/workspace-runs/{run_id}/events?afterSeq={panel.last['seq'] - 1}&limit=1"
    ).json()
    assert "line 3" in event["data"][0]["data"]


@pytest.mark.parametrize(
    ("change", "title"),
    [
        (lambda body: b"\n".join(body.split(b"\n")[:-2]) + b"\n", "is missing from the log that is sent"),
        (lambda body: body + body.split(b"\n")[0] + b"\n", "The log that is sent goes on after event"),
    ],
    ids=["cut", "added"],
)
def test_a_log_with_another_end_is_named(page: Page, run_id: str, change: Change, title: str) -> None:
    """Its last event is not sent, or something follows it."""
    panel = open_panel(page, run_id)
    alter(page, EVENTS, change)
    panel.check()
    assert panel.state == "failed"
    expect(panel.title).to_contain_text(title)


def test_evidence_that_is_shown_otherwise_is_named(page: Page, run_id: str) -> None:
    """The sealed one is whole; what the server answers beside it has another exit code."""
    panel = open_panel(page, run_id)
    alter_json(page, EVIDENCE, lambda answer: answer["evidence"].update(exitCode=3))
    panel.check()
    assert panel.state == "failed"
    expect(panel.title).to_have_text("The evidence is not what the events say")
    expect(panel.section).to_contain_text("exitCode")
    assert panel.rows("bad") == ["As shown"]
