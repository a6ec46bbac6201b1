"""What the proof panel says of runs of every kind, of a check that does not end, and of what it remembers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from evidence.policy import parse_policy
from tests.browser.altered import BUNDLE, POLICY, alter
from tests.browser.driven import new_context, sign_in
from tests.browser.proof_panel import open_panel
from tests.browser.samples import FINISH_S_MAX, Site
from tests.browser.watched import Watch, watch
from tests.cli.real_server import serving
from tests.evidence_samples import LOG_KEY, tamper
from tests.requires import chromium_path
from tests.witness_kit import make_state, witness_thread

KEYS = "crownest:proof:keys"
RUNS = "crownest:proof:runs"


@pytest.fixture(scope="module")
def run_id(site: Site) -> str:
    """A run that succeeded, with an artifact, and output that is not text."""
    command = "echo one; printf '\\377\\376 raw\\n'; echo two >&2; echo kept > out.txt"
    return site.run(command, artifacts=[{"path": "out.txt"}])


def record(site: Site, *texts: str) -> str:
    """A run that was recorded from outside, not finished."""
    run_id = site.create("make test", template="external")
    for number, text in enumerate(texts, 1):
        event = {"type": "stdout", "data": text}
        body = {"producerId": "t", "number": number, "events": [event]}
        assert site.http.post(f"/v1/workspace-runs/{run_id}/events", json=body).status_code == 200
    return run_id


def finish(site: Site, run_id: str) -> None:
    """Say how it ended."""
    assert site.http.post(f"/v1/workspace-runs/{run_id}/finish", json={"exitCode": 0}).status_code == 200


def remembered(page: Page, name: str) -> Any:
    """What this browser keeps under a name."""
    return json.loads(page.evaluate("(name) => localStorage.getItem(name)", name) or "null")


def remember(page: Page, name: str, value: object) -> None:
    """Keep something else there."""
    page.evaluate("([name, text]) => localStorage.setItem(name, text)", [name, json.dumps(value)])


# ---- runs of every kind ---------------------------------------------------------------------------


def test_a_whole_record_verifies(page: Page, run_id: str) -> None:
    """Every row but the witnesses', of which this server names none; the key is remembered."""
    panel = open_panel(page, run_id).check()
    assert panel.state == "verified", panel.title.inner_text()
    expect(panel.title).to_have_text("Verified, without a witness")
    assert panel.rows("bad") == []
    assert panel.rows("todo") == ["Witnesses"]
    assert panel.row("Artifacts") == ("ok", "1 of 1 contents hashed again")
    assert panel.row("Attestations")[1].startswith("3 signed")
    assert panel.last == {"state": "verified", "seq": None, "code": None, "badSeqs": []}
    expect(page.locator("#proof-chip")).to_have_text("Verified here")
    expect(panel.section).to_contain_text("It was seen here for the first time")
    assert len(remembered(page, KEYS)["keys"]) == 1
    assert remembered(page, RUNS)[0][0] == run_id
    panel.check()
    expect(panel.section).to_contain_text("This browser remembers it since")


def test_the_panel_is_complete_without_script(browser: Browser, site: Site, run_id: str) -> None:
    """Root, log entry, bundle, commands, and what it does not show."""
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    sign_in(context, site.key)
    page = context.new_page()
    page.goto(f"/workspace-runs/{run_id}")
    panel = page.locator("#proof")
    note = site.http.get(f"/v1/workspace-runs/{run_id}/proof/checkpoint").text.split("\n")
    expect(panel).to_contain_text(note[2])
    expect(panel).to_contain_text("entry")
    expect(panel).to_contain_text("What this does not show")
    expect(panel).to_contain_text(f"crownest verify {run_id}.proof.zip --policy trust.policy --run {run_id}")
    expect(panel.get_by_role("link", name="Download bundle")).to_have_attribute(
        "href", f"/v1/workspace-runs/{run_id}/proof/bundle"
    )
    expect(panel.get_by_role("button", name="Verify")).to_have_count(0)
    context.close()


def test_a_redacted_run_verifies_and_says_so(page: Page, site: Site) -> None:
    """Which event, by whom, why; the log's placeholder is not taken for a change."""
    run_id = site.run("echo public; sleep 0.3; echo hunter2 >&2; sleep 0.3; echo done")
    [seq] = site.redact(run_id, "stderr", "ticket 5512")
    panel = open_panel(page, run_id).check()
    assert panel.state == "redacted", panel.title.inner_text()
    expect(panel.title).to_have_text("Verified, with 1 event redacted")
    expect(panel.section.locator(".verdict")).to_contain_text(f"event {seq}")
    expect(panel.section.locator(".verdict")).to_contain_text("ticket 5512")
    assert panel.row("Seal")[1].endswith("after it only a redaction")
    assert panel.row("Output") == ("ok", "digests, where nothing was redacted")
    assert panel.rows("bad") == []


def test_an_open_run_is_whole_so_far_and_the_panel_follows_its_end(page: Page, site: Site) -> None:
    """What is there is checked; when the run ends, the panel offers to check the whole."""
    run_id = record(site, "one\n", "two\n")
    panel = open_panel(page, run_id)
    expect(panel.title).to_have_text("Open, not sealed yet")
    expect(panel.button).to_have_text("Check what is recorded so far")
    panel.check()
    size = site.http.get(f"/v1/workspace-runs/{run_id}/proof/checkpoint").text.split("\n")[1]
    assert panel.state == "open"
    expect(panel.title).to_have_text(f"Whole up to event {size}")
    assert panel.row("Seal") == ("todo", "none yet")
    assert panel.rows("bad") == []
    finish(site, run_id)
    expect(panel.title).to_have_text("Sealed, not checked in this browser")
    expect(panel.button).to_have_text("Verify in this browser")
    panel.check()
    assert panel.state == "verified", panel.title.inner_text()
    expect(panel.title).to_have_text("Verified, without a witness")


def test_a_recorded_run_verifies(page: Page, site: Site) -> None:
    """Made outside of a sandbox: its record is judged like any other."""
    run_id = record(site, "compiling\n", "ü\u2028\x1b[1m\n")
    finish(site, run_id)
    assert open_panel(page, run_id).check().state == "verified"


def test_a_prefix_of_a_sealed_run_is_not_taken_for_an_open_one(page: Page, run_id: str, site: Site) -> None:
    """The server itself would have to sign it; on the wire it is only cut off."""
    panel = open_panel(page, run_id)
    alter(
        page,
        BUNDLE,
        lambda bundle: tamper(bundle, "events.log", lambda log: b"\n".join(log.split(b"\n")[:9]) + b"\n"),
    )
    panel.check()
    expect(panel.title).to_have_text("The end is missing")
    assert site.http.post(f"/v1/workspace-runs/{run_id}/verify").json()["verdict"]["verdict"] == "COMPLETE"


# ---- checks that do not end -----------------------------------------------------------------------


def test_a_check_can_be_stopped(page: Page, run_id: str) -> None:
    """A stopped one says nothing, and can be made again."""
    panel = open_panel(page, run_id)
    page.route(BUNDLE, lambda route: None)  # never answered
    page.keyboard.press("v")
    expect(panel.title).to_have_text("Checking")
    expect(panel.button).to_have_text("Stop")
    panel.button.click()
    expect(panel.section).to_contain_text("stopped before its end, so it says nothing")
    assert panel.last["state"] == "unchecked"
    page.unroute(BUNDLE)
    assert panel.check().state == "verified"


def test_a_lost_connection_says_nothing_about_the_record(page: Page, run_id: str, watched: Watch) -> None:
    """Not failed, but not finished; and it can be checked again."""
    watched.expect("ERR_FAILED")
    panel = open_panel(page, run_id)
    page.route(BUNDLE, lambda route: route.abort())
    panel.check()
    assert panel.state == "unfinished"
    expect(panel.title).to_have_text("The check could not finish")
    expect(panel.section).to_contain_text("the connection was lost. This says nothing about the record")
    page.unroute(BUNDLE)
    assert panel.check().state == "verified"


def test_a_refusal_is_told_in_the_words_of_the_server(page: Page, run_id: str, watched: Watch) -> None:
    """A redaction that is under way, say."""
    watched.expect("status of 409")
    panel = open_panel(page, run_id)
    error = {"error": {"code": "conflict", "message": "Output is being redacted right now. Ask again."}}
    page.route(BUNDLE, lambda route: route.fulfill(status=409, json=error))
    panel.check()
    assert panel.state == "unfinished"
    expect(panel.section).to_contain_text("Output is being redacted right now. Ask again.")


def test_a_policy_that_is_none_is_no_reason_to_believe(page: Page, run_id: str) -> None:
    """Without keys nothing can be trusted: the check fails, and says what it could not read."""
    panel = open_panel(page, run_id)
    alter(page, POLICY, lambda policy: policy.replace(b"quorum", b"quarum"))
    panel.check()
    assert panel.state == "failed"
    expect(panel.section).to_contain_text("policy line")


# ---- what this browser remembers ------------------------------------------------------------------


def test_another_key_than_before_is_said_loudly(page: Page, run_id: str) -> None:
    """What holds by a key that this browser never saw fails, until the reader takes the key for right."""
    panel = open_panel(page, run_id)
    remember(
        page, KEYS, {"keys": [LOG_KEY.verifier_key], "witnesses": [], "since": "2026-01-02T03:04:05.000Z"}
    )
    panel.check()
    assert panel.state == "failed"
    expect(panel.title).to_have_text("Signed by another key than before")
    assert panel.last["code"] == "E_SIG_UNKNOWN_KEY"
    assert remembered(page, KEYS)["keys"] == [LOG_KEY.verifier_key]
    panel.section.get_by_role("button", name="Trust the new key").click()
    expect(panel.section).to_have_attribute("data-state", "verified")
    assert remembered(page, KEYS)["keys"] != [LOG_KEY.verifier_key]


def test_a_key_that_the_old_one_vouches_for_is_taken(page: Page, site: Site, run_id: str) -> None:
    """After a rotation the log shows a checkpoint of both keys: no alarm, but it is told."""
    assert open_panel(page, run_id).check().state == "verified"
    before = remembered(page, KEYS)["keys"]
    assert site.http.post("/v1/signing-keys/rotate").status_code == 200
    later = site.run("echo after the rotation")
    panel = open_panel(page, later).check()
    assert panel.state == "verified", panel.title.inner_text()
    expect(panel.section).to_contain_text("The key that this browser remembered vouches for")
    after = remembered(page, KEYS)["keys"]
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1
    assert open_panel(page, later).check().state == "verified"
    expect(panel.section).not_to_contain_text("vouches for")


def test_another_history_than_before_is_a_fork(page: Page, run_id: str) -> None:
    """The checkpoint that was checked here earlier has another root at the same size."""
    panel = open_panel(page, run_id).check()
    [[_, origin, size, root]] = remembered(page, RUNS)
    remember(page, RUNS, [[run_id, origin, size, ("B" if root[0] == "A" else "A") + root[1:]]])
    panel.check()
    assert panel.state == "failed"
    expect(panel.title).to_have_text("This is another history than the one checked here before")
    remember(page, RUNS, [[run_id, origin, size + 5, root]])
    panel.check()
    expect(panel.title).to_have_text("This record is older than the one checked here before")
    panel.section.get_by_role("button", name="Forget the one remembered").click()
    expect(panel.section).to_have_attribute("data-state", "verified")


def test_what_is_remembered_may_be_damaged(page: Page, run_id: str) -> None:
    """Whatever stands in the storage: it is taken for nothing."""
    panel = open_panel(page, run_id)
    for keys, runs in (("7", "{}"), ("nonsense", '[[1],["a"],null]'), ('{"keys":3}', '[["x","y",1,"%%"]]')):
        page.evaluate(
            "([a, b, c, d]) => { localStorage.setItem(a, b); localStorage.setItem(c, d); }",
            [KEYS, keys, RUNS, runs],
        )
        assert panel.check().state == "verified"


# ---- witnesses ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def witnessed(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that asks two witnesses and needs both."""
    folder: Path = tmp_path_factory.mktemp("witnessed")
    with contextlib.ExitStack() as stack:
        states, lines = [], []
        for name in ("alice", "bob"):
            states.append(make_state(folder / name, name=f"witness.example/{name}"))
            server = stack.enter_context(witness_thread(states[-1], now_s=lambda: int(time.time())))
            lines.append(f"witness {name} {states[-1].key} http://127.0.0.1:{server.server_address[1]}\n")
        file = folder / "witnesses"
        file.write_text("".join(lines) + "group both all alice bob\nquorum both\n")
        home = folder / "home"
        home.mkdir()
        server = stack.enter_context(serving(home, CROWNEST_WITNESSES=str(file)))
        headers = {"authorization": f"Bearer {server.key}"}
        http = stack.enter_context(httpx2.Client(base_url=server.url, headers=headers, timeout=FINISH_S_MAX))
        for state in states:
            state.trust(parse_policy(http.get("/v1/proof/policy").content))
        yield Site(server.url, server.key, http)


@pytest.fixture
def witnessed_page(browser: Browser, witnessed: Site) -> Iterator[Page]:
    """A page of that server, signed in, in which nothing goes wrong."""
    context = new_context(browser, witnessed.url)
    seen = watch(context, witnessed.url)
    sign_in(context, witnessed.key)
    yield context.new_page()
    context.close()
    assert seen.problems == []


def bundle_when_cosigned(site: Site, run_id: str) -> bytes:
    """The bundle, once the log's checkpoint in it carries both cosignatures."""
    deadline = time.monotonic() + FINISH_S_MAX
    while True:
        bundle = site.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle").content
        if b"witness.example/bob" in bundle.split(b"c2sp.org/tlog-proof")[-1]:
            return bundle
        assert time.monotonic() < deadline, "the witnesses never cosigned"
        time.sleep(0.1)


def test_witnesses_are_counted_and_give_a_time(witnessed_page: Page, witnessed: Site) -> None:
    """Two needed, two signed: then no word is left of a missing witness."""
    bundle_when_cosigned(witnessed, witnessed.run("true"))  # the next run's anchor is cosigned
    run_id = witnessed.run("echo seen")
    bundle_when_cosigned(witnessed, run_id)
    panel = open_panel(witnessed_page, run_id).check()
    assert panel.state == "verified", panel.title.inner_text()
    expect(panel.title).to_have_text("Verified in this browser")
    assert panel.row("Witnesses") == ("ok", "2 signed, 2 needed")
    expect(panel.section).to_contain_text("Recorded between")
    expect(panel.section).to_contain_text("by the log and 2 witnesses")
    expect(panel.section.locator(".proof-kv")).to_contain_text("alice")


@pytest.mark.parametrize(
    ("name", "code", "title"),
    [
        (b"bob", "E_WITNESS_QUORUM", "Fewer witnesses signed than are needed"),
        (None, "E_WITNESS_SIG", "The signature of a witness does not fit"),
    ],
    ids=["stripped", "moved"],
)
def test_a_cosignature_that_is_altered_is_named(
    witnessed_page: Page, witnessed: Site, name: bytes | None, code: str, title: str
) -> None:
    """Stripped on the wire, or its time moved."""
    run_id = witnessed.run("echo seen")
    bundle_when_cosigned(witnessed, run_id)
    panel = open_panel(witnessed_page, run_id)

    def change(proof: bytes) -> bytes:
        lines = proof.split(b"\n")
        if name is not None:
            return b"\n".join(line for line in lines if name not in line)
        at = next(at for at, line in enumerate(lines) if b"alice" in line)
        head, _, encoded = lines[at].rpartition(b" ")
        lines[at] = head + b" " + encoded[:14] + (b"A" if encoded[14:15] != b"A" else b"B") + encoded[15:]
        return b"\n".join(lines)

    alter(witnessed_page, BUNDLE, lambda bundle: tamper(bundle, "run.tlog-proof", change))
    panel.check()
    assert panel.last["code"] == code
    expect(panel.title).to_have_text(title)
    assert panel.row("Witnesses")[0] == "bad"


def test_a_witness_that_is_named_no_longer_is_missed(witnessed_page: Page, witnessed: Site) -> None:
    """The policy is the server's word: one that drops its witnesses would need nobody."""
    run_id = witnessed.run("echo seen")
    bundle_when_cosigned(witnessed, run_id)
    panel = open_panel(witnessed_page, run_id).check()
    keys = remembered(witnessed_page, KEYS)
    assert [witness["name"] for witness in keys["witnesses"]] == ["alice", "bob"]
    remember(
        witnessed_page, KEYS, {**keys, "witnesses": [*keys["witnesses"], {"name": "carol", "text": "x+y+z"}]}
    )
    panel.check()
    expect(panel.section).to_contain_text("This server names fewer witnesses than before")
    expect(panel.section).to_contain_text("carol")
    panel.section.get_by_role("button", name="Remember the present ones").click()
    panel.wait()
    expect(panel.section).not_to_contain_text("names fewer witnesses")


# ---- browsers that cannot check -------------------------------------------------------------------


def test_plain_http_beyond_localhost_is_explained(browser: Browser, site: Site, run_id: str) -> None:
    """A browser gives no cryptography there: the panel says so, and the offline command is at hand."""
    flags = ["--no-sandbox", "--host-resolver-rules=MAP crownest.test 127.0.0.1"]
    with browser.browser_type.launch(executable_path=chromium_path(), args=flags) as other:
        context = new_context(other, site.url)
        sign_in(context, site.key)
        url = f"http://crownest.test:{site.url.rpartition(':')[2]}"
        # The same session under the other name: no key is asked for on plain http.
        session = [{"name": one["name"], "value": one["value"], "url": url} for one in context.cookies()]
        context.add_cookies(session)  # type: ignore[arg-type]  # what was read can be set
        page = context.new_page()
        page.goto(f"{url}/workspace-runs/{run_id}")
        panel = page.locator("#proof")
        expect(panel.locator("h3").first).to_have_text("Cannot be checked in this browser")
        expect(panel).to_contain_text("plain http from crownest.test")
        expect(panel).to_contain_text("crownest verify")
        expect(panel.locator("[data-proof-check]")).to_have_count(0)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("Object.defineProperty(Crypto.prototype, 'subtle', { value: undefined });", "WebCrypto"),
        (
            "SubtleCrypto.prototype.importKey = () => Promise.reject(new DOMException('no'));",
            "Ed25519",
        ),
    ],
    ids=["no WebCrypto", "no Ed25519"],
)
def test_a_browser_without_the_means_is_told_what_it_lacks(
    page: Page, run_id: str, script: str, why: str
) -> None:
    """There is no button that could not work."""
    page.add_init_script(script)
    page.goto(f"/workspace-runs/{run_id}")
    panel = page.locator("#proof")
    expect(panel.locator("h3").first).to_have_text("Cannot be checked in this browser")
    expect(panel).to_contain_text(why)
    expect(panel.locator("[data-proof-check]")).to_have_count(0)
