"""Every naughty string through fields of runs, sandboxes and projects, counted: it is only ever text."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from api.dashboard.visitors import PROJECTS_SHOWN_MAX
from tests.browser.driven import sign_in
from tests.browser.log_kit import Log, err, out, raw, record
from tests.browser.naughty_kit import (
    OPENED_EVERY,
    STRINGS,
    Account,
    fetched,
    look,
    look_again,
    look_at_all,
    made,
    packs,
    pairs,
    refuse_others,
    takes_artifact_name,
    takes_command,
    takes_key,
    takes_name,
    takes_path,
    takes_producer,
)
from tests.browser.samples import Site
from tests.browser.terminal_corpus import CORPUS
from tests.browser.watched import Watch
from tests.serving import TERMINAL

PACK = 16
"""As many labels as a run takes; a run takes two artifacts for each of them."""
RUNS = "/v1/workspace-runs"
MAKER = b"""
import json, pathlib
for path in json.loads(pathlib.Path("paths.json").read_text()):
    try:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(path).write_bytes(b"x")
    except OSError:
        pass
"""
REASON_CHARS_MAX = 512
IN_VIEW = """async () => {
  for (let frame = 0; frame < 4; frame += 1) await new Promise(requestAnimationFrame);
  const codes = (rows) => [...document.querySelectorAll(`#log ${rows} > code`)];
  const text = (rows) => codes(rows).map((one) => one.textContent).join("");
  return { stdout: text(".ln:not(.ln--err)"), stderr: text(".ln--err") };
}"""
DOWN = """(log) => {
  const was = log.scrollTop;
  log.scrollTop += log.clientHeight / 2;
  return log.scrollTop === was;
}"""


@pytest.fixture
def account() -> Account:
    """What went through which field in this test."""
    return Account()


def walked(page: Page, path: str) -> str:
    """The text of a list, from its first page to its last."""
    texts = [look(page, path)]
    while older := page.get_by_role("link", name="Older").all():
        address = older[0].get_attribute("href")
        if not address:
            break
        texts.append(look(page, address))
    return "\n".join(texts)


def _with_everything(site: Site, pack: list[str]) -> str:
    """A run that executes, with these strings in all its fields; it makes files of them where it can."""
    paths = list(filter(takes_path, pack))
    names = {f"named{number}": text for number, text in enumerate(filter(takes_artifact_name, pack))}
    return site.start(
        "python3 make.py\nexit\n" + "\n".join(filter(takes_command, pack)),
        {"make.py": MAKER, "paths.json": json.dumps([*paths, *names]).encode()},
        artifacts=[*({"path": one} for one in paths), *({"path": at, "name": names[at]} for at in names)],
        metadata=pairs(pack),
        sourceMetadata=pairs(pack, "s"),
    )


def test_labels_and_artifacts_of_runs(page: Page, site: Site, account: Account) -> None:
    """Keys and values of both kinds of labels, the whole command, artifacts kept and not kept."""
    runs = {_with_everything(site, pack): pack for pack in packs(STRINGS, PACK)}
    for run_id, pack in runs.items():
        site.wait_for(run_id, *TERMINAL)
        text = look(page, f"/workspace-runs/{run_id}")
        account.shown("command", list(filter(takes_command, pack)), text)
        for field in ("metadata", "sourceMetadata"):
            account.shown(f"{field} value", pack, text)
            account.shown(f"{field} key", list(filter(takes_key, pack)), text)
        account.shown("artifact path", list(filter(takes_path, pack)), text)
        account.shown("artifact name", list(filter(takes_artifact_name, pack)), text)
    walked(page, "/artifacts")
    walked(page, "/workspace-runs")
    refuse_others(
        site.http,
        account,
        "command",
        takes_command,
        (RUNS, lambda one: {"command": one}),
    )
    for field in ("metadata", "sourceMetadata"):
        refuse_others(
            site.http,
            account,
            f"{field} key",
            takes_key,
            (RUNS, lambda one, field=field: {"command": "true", field: {one: "x"}}),
        )
    refuse_others(
        site.http,
        account,
        "artifact path",
        takes_path,
        (RUNS, lambda one: {"command": "true", "artifacts": [{"path": one}]}),
    )
    refuse_others(
        site.http,
        account,
        "artifact name",
        takes_artifact_name,
        (RUNS, lambda one: {"command": "true", "artifacts": [{"path": "x", "name": one}]}),
    )
    account.close(
        "command", "metadata key", "metadata value", "sourceMetadata key", "sourceMetadata value",
        "artifact path", "artifact name",
    )  # fmt: skip


def test_what_producers_of_a_recorded_run_send(page: Page, site: Site, account: Account) -> None:
    """Both streams, the ids of producers, and why output was removed."""
    for pack in packs(STRINGS, PACK):
        producers = [text for text in pack if takes_producer(text)]
        run_id = site.create("\n".join(filter(takes_command, pack)), template="external")
        for text in producers:
            batch = {"producerId": text, "number": 1, "events": [out(text + "\n")]}
            assert site.http.post(f"{RUNS}/{run_id}/events", json=batch).status_code == 200
        account.passed("producerId", producers)
        look(page, f"/workspace-runs/{run_id}")
    other = site.create("true", template="external")
    refuse_others(
        site.http,
        account,
        "producerId",
        takes_producer,
        (f"{RUNS}/{other}/events", lambda one: {"producerId": one, "number": 1, "events": [out("x")]}),
    )
    reasons = list(_reasons())
    run = record(site.http, *(out(f"{number}\n") for number in range(len(reasons))))
    run.finish()
    seqs = [event["seq"] for event in run.events() if event["type"] == "stdout"]
    for seq, reason in zip(seqs, reasons, strict=True):
        made(
            site.http.post(
                f"{RUNS}/{run.run_id}/redactions", json={"targets": [seq], "reason": "\n".join(reason)}
            )
        )
    shown = look(page, f"/workspace-runs/{run.run_id}")
    account.shown("reason", [text for reason in reasons for text in reason], shown)
    account.close("producerId", "reason")


def _reasons() -> Iterator[list[str]]:
    """All strings in as few reasons as hold them."""
    pack: list[str] = []
    for text in STRINGS:
        if pack and len("\n".join([*pack, text])) > REASON_CHARS_MAX:
            yield pack
            pack = []
        pack.append(text)
    yield pack


def test_output_of_both_streams(page: Page, site: Site, account: Account) -> None:
    """Every line of it is brought into view, with the terminal's bytes as they are."""
    events = [event for text in STRINGS for event in (out(f"{text}\n"), err(f"{text}\n"))]
    events += [raw(case.data, stream) for case in CORPUS for stream in ("stdout", "stderr")]
    run = record(site.http)
    for start in range(0, len(events), 200):
        run.write(*events[start : start + 200])
    run.finish()
    readable = [text for text in STRINGS if text.isprintable()]  # the log spells the others
    log = Log(page).open(run.run_id)
    for stream, shown in _all_lines(page, log).items():
        account.shown(stream, readable, shown)
        account.passed(stream, STRINGS)
    account.close("stdout", "stderr")


def _all_lines(page: Page, log: Log) -> dict[str, str]:
    """Each stream from its first line to its last, a view at a time."""
    page.keyboard.press("g")
    shown = {"stdout": "", "stderr": ""}
    is_at_end = False
    while not is_at_end:
        for stream, text in page.evaluate(IN_VIEW).items():
            shown[stream] += text
        look_again(page)
        is_at_end = log.scroller.evaluate(DOWN)
    return shown


def test_labels_of_sandboxes(page: Page, site: Site, account: Account) -> None:
    """Keys and values, while they live and when they have ended."""
    for pack in packs(STRINGS, PACK):
        sandbox_id = site.warm(metadata=pairs(pack))
        keys = [one for one in pack if takes_key(one)]
        text = look(page, "/sandboxes")
        account.shown("value", pack, text)
        account.shown("key", keys, text)
        assert site.http.delete(f"/v1/sandboxes/{sandbox_id}").status_code < 300
    walked(page, "/sandboxes?status=ended")
    refuse_others(
        site.http,
        account,
        "key",
        takes_key,
        ("/v1/sandboxes", lambda one: {"template": "base", "metadata": {one: "x"}}),
    )
    account.close("key", "value")


def test_names_of_keys(
    context: BrowserContext, page: Page, site: Site, account: Account, watched: Watch
) -> None:
    """In the list of keys, as who is signed in, and as who started a run, whose title is the same string."""
    watched.expect("status of 40[13]")  # an open page asks on while another session begins
    runs: dict[str, str] = {}
    look(page, "/workspace-runs")
    for text in filter(takes_name, STRINGS):
        scopes = ["workspace_run:create", "workspace_run:read"]
        secret = made(site.http.post("/v1/api-keys", json={"name": text, "scopes": scopes}))["secret"]
        bearer = {"authorization": f"Bearer {secret}"}
        answer = site.http.post(RUNS, json={"command": text}, headers=bearer)
        runs[f"/workspace-runs/{made(answer)['workspaceRun']['id']}"] = text
        sign_in(context, secret)
        account.shown("signed in", [text], *fetched(page, ["/workspace-runs"]))
        if len(runs) % OPENED_EVERY == 0:
            account.shown("signed in", [text], look(page, "/workspace-runs"))
    sign_in(context, site.key)
    account.shown("key", list(runs.values()), walked(page, "/keys?limit=500"))
    page.get_by_role("button", name="Revoke").first.click()
    look_again(page)
    for path, shown in zip(runs, look_at_all(page, list(runs)), strict=True):
        account.shown("actor and title", [runs[path]], shown)
    body = {"scopes": ["workspace_run:read"]}
    refuse_others(site.http, account, "key", takes_name, ("/v1/api-keys", lambda one: {**body, "name": one}))
    for field in ("signed in", "actor and title"):
        account.passed(field, [text for text in STRINGS if not takes_name(text)])  # there is no such key
    account.close("signed in", "key", "actor and title")


def test_names_of_projects(page: Page, site: Site, account: Account, watched: Watch) -> None:
    """In the list, and in the switch of every page; last, for there they stay."""
    watched.expect("status of 404")
    names = list(filter(takes_name, STRINGS))
    paths = ("/usage", "/artifacts", "/sandboxes", "/log", "/workspace-runs", "/keys", "/nowhere")
    for number, pack in enumerate(packs(names, PROJECTS_SHOWN_MAX)):
        ids = [made(site.http.post("/v1/projects", json={"name": one}))["project"]["id"] for one in pack]
        account.shown("project", pack, look(page, paths[number % len(paths)]))
        look(page, f"/workspace-runs?project={ids[0]}")
    look(page, "/keys")
    refuse_others(site.http, account, "project", takes_name, ("/v1/projects", lambda one: {"name": one}))
    account.close("project")
