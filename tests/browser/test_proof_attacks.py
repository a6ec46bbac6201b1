"""Somebody holds the wire and has whatever the server ever signed: other runs, older states, other orders."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.alterations import on_entries, on_member, outputs
from tests.browser.altered import BUNDLE, EVENTS, EVIDENCE, Change, alter
from tests.browser.log_kit import Recording, out
from tests.browser.proof_panel import ProofPanel, open_panel
from tests.browser.samples import Site
from tests.browser.watched import Watch
from tests.evidence_samples import Entries, members, repack, zip_header

PRINTING = "for n in 1 2 3; do echo line $n; sleep 0.1; done; echo kept > out.txt"
PROOF = "run.tlog-proof"
NDJSON = {"content-type": "application/x-ndjson"}


@dataclass(frozen=True)
class Signed:
    """Everything that a server answers about a run at one time."""

    bundle: bytes
    events: bytes
    evidence: bytes
    has_ended: bool


def signed(site: Site, run_id: str) -> Signed:
    """Take it down."""
    base = f"/v1/workspace-runs/{run_id}"
    evidence = site.http.get(f"{base}/evidence")
    return Signed(
        site.http.get(f"{base}/proof/bundle?artifacts=true").content,
        site.http.get(f"{base}/events", headers={"accept": "application/x-ndjson"}).content,
        evidence.content,
        evidence.status_code == 200,
    )


def replay(page: Page, answers: Signed) -> None:
    """Answer with that, whatever run is asked for."""

    def fulfil(pattern: str, body: bytes, headers: dict[str, str], status: int = 200) -> None:
        def handle(route: Route) -> None:
            route.fulfill(status=status, headers=headers, body=body)

        page.route(pattern, handle)

    fulfil(BUNDLE, answers.bundle, {"content-type": "application/zip"})
    fulfil(EVENTS, answers.events, NDJSON)
    status = 200 if answers.has_ended else 404
    fulfil(EVIDENCE, answers.evidence, {"content-type": "application/json"}, status)


def assert_failed(panel: ProofPanel, code: str, title: str) -> None:
    """The panel names it."""
    assert panel.state == "failed", panel.title.inner_text()
    assert panel.last["code"] == code
    expect(panel.title).to_contain_text(title)


@pytest.fixture(scope="module")
def run_id(site: Site) -> str:
    """A run with several output events and an artifact."""
    return site.run(PRINTING, artifacts=[{"path": "out.txt"}])


@pytest.fixture(scope="module")
def other_id(site: Site, run_id: str) -> str:
    """Another one, of the same project and the same commands, sealed later."""
    del run_id
    return site.run(PRINTING, artifacts=[{"path": "out.txt"}])


def test_another_run_of_the_same_project_is_not_this_one(
    page: Page, site: Site, run_id: str, other_id: str
) -> None:
    """Everything of it is whole and signed; only the name differs."""
    panel = open_panel(page, run_id)
    replay(page, signed(site, other_id))
    assert_failed(panel.check(), "E_ORIGIN_MISMATCH", "This is the proof of another run")


def test_an_older_state_of_a_run_that_has_ended_is_not_its_record(
    page: Page, site: Site, watched: Watch
) -> None:
    """The server signed the open run too; the page that shows its end does not take that for all of it."""
    watched.expect("status of 404")
    recording = Recording(site.http, site.create("make", template="external"))
    recording.write(out("before\n"))
    older = signed(site, recording.run_id)
    recording.write(out("what shall not be seen\n"))
    recording.finish()
    panel = open_panel(page, recording.run_id)
    replay(page, older)
    assert_failed(panel.check(), "E_NOT_FINAL", "The run has ended, but its end is not here")
    assert panel.rows("bad") == ["Seal"]


def reordered(body: bytes) -> bytes:
    """The last two events change places."""
    lines = body.splitlines(keepends=True)
    return b"".join([*lines[:-2], lines[-1], lines[-2]])


def doubled(body: bytes) -> bytes:
    """An event stands there twice."""
    lines = body.splitlines(keepends=True)
    return b"".join([*lines[:3], lines[2], *lines[3:]])


LOGS: dict[str, tuple[Change, str]] = {
    "reordered": (reordered, "is changed in the log that is sent"),
    "doubled": (doubled, "is changed in the log that is sent"),
    "empty": (lambda _: b"", "is missing from the log that is sent"),
    "more without an end": (lambda body: body + b'{"data":"more"', "goes on after event"),
    "a blank line more": (lambda body: body + b"\n", "goes on after event"),
    "last event without its end": (lambda body: body[:-2], "is changed in the log that is sent"),
}


@pytest.mark.parametrize("case", LOGS)
def test_a_log_in_another_shape_is_named(page: Page, run_id: str, case: str) -> None:
    """Also where the reader of lines could overlook it."""
    change, title = LOGS[case]
    panel = open_panel(page, run_id)
    alter(page, EVENTS, change)
    panel.check()
    assert panel.state == "failed", panel.title.inner_text()
    expect(panel.title).to_contain_text(title)
    assert panel.rows("bad") == ["As sent"]


def without(*names: str) -> Change:
    """The bundle lacks these members."""
    return lambda bundle: repack(
        {name: data for name, data in members(bundle).items() if not name.startswith(names)}
    )


def a_withheld_payload(entries: Entries) -> None:
    """The text of an output is left out, and nothing says so."""
    entries[outputs(entries)[0]][8] = b"-"


def reversed_members(bundle: bytes) -> bytes:
    """The members stand in another order."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in reversed(members(bundle).items()):
            archive.writestr(zip_header(name), data)
    return out.getvalue()


BUNDLES: dict[str, tuple[Change, str]] = {
    "no log entry": (without(PROOF), "E_INCLUSION"),
    "no attestation": (without("attestations/test-result"), "E_FORMAT"),
    "no evidence": (without("evidence.json"), "E_FORMAT"),
    "no anchor": (without("anchor.note"), "E_FORMAT"),
    "withheld": (on_entries(a_withheld_payload), "E_REDACTION_UNRECORDED"),
    "other order": (reversed_members, "E_FORMAT"),
    "more behind": (lambda bundle: bundle + b"more", "E_FORMAT"),
    "more in front": (lambda bundle: b"more" + bundle, "E_FORMAT"),
    "more events": (on_member("events.log", lambda log: log + log[: log.index(b"\n") + 1]), "E_FORMAT"),
    "events twice": (on_member("events.log", lambda log: log + log), "E_SEQ_ORDER"),
    "blank note": (on_member("run.checkpoint", lambda note: note + b"\n"), "E_FORMAT"),
}


@pytest.mark.parametrize("case", BUNDLES)
def test_a_bundle_in_another_shape_is_named(page: Page, run_id: str, case: str) -> None:
    """Nothing is missing, and nothing more is there, without being said."""
    change, code = BUNDLES[case]
    panel = open_panel(page, run_id)
    alter(page, BUNDLE, change)
    panel.check()
    assert panel.state == "failed", panel.title.inner_text()
    assert panel.last["code"] == code


@pytest.mark.parametrize(
    "member",
    [
        ("run.checkpoint", "E_ORIGIN_MISMATCH"),
        (PROOF, "E_INCLUSION"),
        ("evidence.json", "E_EVIDENCE_DRIFT"),
        ("events.log", "E_RUN_MISMATCH"),
        ("anchor.note", "E_GENESIS"),
        ("attestations/run-evidence.dsse.json", "E_ATTESTATION_SUBJECT"),
    ],
)
def test_a_member_of_another_run_does_not_fit(
    page: Page, site: Site, run_id: str, other_id: str, member: tuple[str, str]
) -> None:
    """Each is whole and signed by the same server; the entry in the log is a valid one of a valid head."""
    name, code = member
    theirs = members(signed(site, other_id).bundle)[name]
    panel = open_panel(page, run_id)
    alter(page, BUNDLE, on_member(name, lambda _: theirs))
    panel.check()
    assert panel.state == "failed", panel.title.inner_text()
    assert panel.last["code"] == code


def test_a_head_of_the_log_from_before_the_seal_does_not_hold_it(page: Page, site: Site) -> None:
    """A shorter log with a valid checkpoint of its own, and a path that was right there."""
    recording = Recording(site.http, site.create("make", template="external"))
    early = members(signed(site, recording.run_id).bundle)
    recording.write(out("more\n"))
    recording.finish()
    panel = open_panel(page, recording.run_id)
    note = site.http.get("/log/checkpoint").content
    alter(page, BUNDLE, on_member(PROOF, lambda proof: early.get(PROOF) or proof.replace(note, note[:-9])))
    panel.check()
    assert panel.state == "failed"
    assert panel.last["code"] == "E_INCLUSION"


def test_contents_that_are_not_sent_are_not_called_checked(page: Page, run_id: str) -> None:
    """An artifact that is left out is no fault of the record, and no row says that it was read."""
    panel = open_panel(page, run_id)
    alter(page, BUNDLE, without("artifacts/"))
    panel.check()
    assert panel.row("Artifacts")[1] == "1 digests as in the events; contents not read"


def test_evidence_that_is_not_shown_is_not_called_checked(
    page: Page, site: Site, run_id: str, watched: Watch
) -> None:
    """404 for a run that has ended: its row stays open."""
    watched.expect("status of 404")
    answers = signed(site, run_id)
    panel = open_panel(page, run_id)
    replay(page, Signed(answers.bundle, answers.events, b"{}", has_ended=False))
    panel.check()
    assert panel.row("As shown")[0] == "todo"
