"""The run page as the server makes it: facts, phases, evidence and commands, now and as they were."""

import asyncio
import html
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar, cast

import httpx2
import pytest

from api.dashboard.run_content import RunContent, run_content
from api.dashboard.run_facts import RunFacts, read_facts
from api.dashboard.words import clock_text, duration_text, short_digest, short_id, size_text
from runs.dispatch import Store
from tests.recording_kit import batch, finish, out, recorded
from tests.serving import FINISH_S_MAX, Running, serving

T = TypeVar("T")
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
FOR_PEOPLE = {"accept": "text/html"}
COMMAND = "echo out; echo err >&2; printf x > kept.txt; exit 3"


@pytest.fixture(scope="module")
def failed(running: Running) -> dict[str, Any]:
    """A run that failed, kept one artifact and missed another."""
    return running.run(
        COMMAND,
        artifacts=[{"path": "kept.txt"}, {"path": "lost.txt", "name": "other"}],
        metadata={"repo": "acme/app", "branch": "main"},
        sourceMetadata={"dirty": "false"},
    )


@pytest.fixture
def browser(running: Running) -> Iterator[httpx2.Client]:
    """A browser that is signed in with the first key."""
    with httpx2.Client(base_url=running.url, headers=FOR_PEOPLE, timeout=FINISH_S_MAX) as one:
        one.post("/sign-in", data={"key": running.key}, headers=SAME_ORIGIN)
        yield one


def on_server(running: Running, work: Coroutine[Any, Any, T]) -> T:
    """What the server's own loop answers."""
    return asyncio.run_coroutine_threadsafe(work, running.loop).result(FINISH_S_MAX)


def facts_of(running: Running, run_id: str, seq: int | None = None) -> RunFacts:
    """The facts of a run, read as the page reads them."""

    async def read() -> RunFacts:
        store = running.server.services.store
        row = await store.get_view("runs", run_id)
        assert row is not None
        return await read_facts(store, row, seq)

    return on_server(running, read())


def content_of(running: Running, run_id: str, seq: int | None = None) -> RunContent:
    """What the page shows of it."""
    services = running.server.services
    facts = facts_of(running, run_id, seq)
    return on_server(running, run_content(services.store, facts, services.runs.now_ms(), None))


def shown(content: RunContent) -> dict[str, str]:
    """The rows of the evidence, as text."""
    return {
        row.name: " ".join(filter(None, (row.time, row.text, *row.codes, row.after, row.note)))
        for row in content.rows
    }


def states(content: RunContent) -> dict[str, str]:
    """The phases by name."""
    return {phase.name: phase.state for phase in content.phases}


def test_the_facts_are_those_of_the_stored_run(running: Running, failed: dict[str, Any]) -> None:
    """Though only both ends of the log are read: whatever the run printed, and while it goes on."""
    chatty = running.run("for i in $(seq 1 300); do echo $i; sleep 0.001; done; echo end >&2; exit 1")
    waiting = running.create()
    canceled = running.create()
    running.http.post(f"/v1/workspace-runs/{canceled}/cancel")
    open_recording = recorded(running, *(batch(n, out(f"{n}\n")) for n in range(1, 150)))
    for run_id in (failed["id"], chatty["id"], waiting, canceled, open_recording):
        facts = facts_of(running, run_id)
        assert facts.run == running.get(run_id)
        assert [
            event for event in running.events(run_id) if event["type"] not in {"stdout", "stderr"}
        ] == list(facts.events)


class EndingMeanwhile:
    """The server's store, to a reader during whose reads the run ends: behind read number `ends_after`."""

    def __init__(self, running: Running, run_id: str, ends_after: int) -> None:
        self._running, self._run_id, self._reads_left = running, run_id, ends_after

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def read(*args: Any, **named: Any) -> Any:
            answer = await getattr(self._running.server.services.store, name)(*args, **named)
            self._reads_left -= 1
            if self._reads_left == 0:
                await asyncio.to_thread(finish, self._running, self._run_id, 3)
            return answer

        return read


@pytest.mark.parametrize("ends_after", range(1, 7))
def test_a_run_that_ends_while_its_page_is_made_has_whole_facts(running: Running, ends_after: int) -> None:
    """As it was before the end, or as it is after it: never the seal's number without the seal."""
    run_id = recorded(running, batch(1, out("hi\n")))
    store = EndingMeanwhile(running, run_id, ends_after)

    async def read() -> RunFacts:
        row = await store.get_view("runs", run_id)
        return await read_facts(cast("Store", store), row)

    facts = on_server(running, read())
    events = running.events(run_id)
    known = events[: facts.seq]
    assert [event for event in known if event["type"] != "stdout"] == list(facts.events)
    assert facts.is_over == (facts.seq == len(events)) == (facts.seal is not None)
    if facts.is_over:
        assert facts.run == running.get(run_id)


def test_the_past_is_what_a_fold_of_its_events_says(running: Running, failed: dict[str, Any]) -> None:
    """At every event: nothing of what came later is shown, but for the sentence that says so."""
    events = running.events(failed["id"])
    for event in events:
        content = content_of(running, failed["id"], event["seq"])
        assert content.seq == event["seq"]
        assert content.at == event["createdAt"]
        assert content.is_past == (event["seq"] < len(events))
        if event["type"] == "status":
            assert (
                content.status.word
                == {
                    "awaiting_archive": "Waiting for archive",
                    "archive_uploaded": "Ready to start",
                    "starting": "Starting",
                    "extracting": "Unpacking",
                    "running": "Running",
                    "collecting": "Collecting",
                }[event["status"]]
            )
        if not content.is_over:
            assert shown(content)["Finished"] == ""
            assert content.later == "It later failed with exit 3."
    assert content_of(running, failed["id"], 10**9).is_past is False
    assert [artifact.id for artifact in content_of(running, failed["id"], 5).artifacts] == ["", ""]


def test_the_evidence_shows_every_field_of_the_bundle(running: Running, failed: dict[str, Any]) -> None:
    """In words, with the whole value to copy where it is shortened."""
    rows = shown(content_of(running, failed["id"]))
    evidence = running.http.get(f"/v1/workspace-runs/{failed['id']}/evidence").json()["evidence"]
    assert rows["Exit code"] == "3"
    assert rows["Reason"] == "the exit code is not 0 command_exit"
    assert rows["Created"] == evidence["createdAt"]
    assert rows["Started"] == evidence["startedAt"]
    assert rows["Finished"] == evidence["finishedAt"]
    assert rows["Archive"] == short_digest(evidence["archive"]["sha256"])
    assert rows["Sandbox"] == f"{short_id(evidence['sandboxId'])} removed"
    assert rows["Output"] == "stdout 4 B, stderr 4 B"
    assert rows["Requested by"].endswith(short_id(evidence["actor"]))
    copied = {row.copied for row in content_of(running, failed["id"]).rows}
    assert {
        evidence["archive"]["sha256"],
        evidence["sandboxId"],
        evidence["commandId"],
        evidence["actor"],
        evidence["projectId"],
        evidence["orgId"],
        evidence["proof"]["evidenceSha256"],
    } <= copied


def test_artifacts_are_kept_missed_or_still_to_come(running: Running, failed: dict[str, Any]) -> None:
    """Each says which, in the order of the request; a deleted one says that."""
    content = content_of(running, failed["id"])
    kept, lost = content.artifacts
    assert (kept.path, kept.size, kept.problem) == ("kept.txt", "1 B", "")
    assert kept.id == failed["artifactIds"][0]
    assert (lost.path, lost.name, lost.id) == ("lost.txt", "other", "")
    assert "no such file" in lost.problem
    assert content.artifacts_word == "1 of 2 kept"
    assert content.trouble == ["1 of 2 artifacts could not be kept, see Artifacts."]
    gone = running.run("touch a", artifacts=[{"path": "a"}])
    running.http.delete(f"/v1/artifacts/{gone['artifactIds'][0]}")
    assert "deleted" in content_of(running, gone["id"]).artifacts[0].gone
    waiting = running.create(artifacts=[{"path": "a"}])
    assert content_of(running, waiting).artifacts_word == "1 asked for"


def test_phases_say_where_a_run_failed_or_was_stopped(running: Running, failed: dict[str, Any]) -> None:
    """In the order in which they happen."""
    assert states(content_of(running, failed["id"])) == {
        "Upload": "done", "Start": "done", "Unpack": "done", "Run": "bad", "Collect": "done", "Seal": "done",
    }  # fmt: skip
    late = running.run("sleep 30", timeoutMs=200)
    assert states(content_of(running, late["id"]))["Run"] == "bad"
    assert content_of(running, late["id"]).ending == "time limit"
    broken = running.create()
    assert running.upload(broken, b"no gzip at all").status_code == 200
    running.http.post(f"/v1/workspace-runs/{broken}/start")
    running.finished(broken)
    assert list(states(content_of(running, broken)).values()) == [
        "done", "done", "bad", "never", "never", "done",
    ]  # fmt: skip
    assert content_of(running, broken).trouble
    unstarted = running.create()
    assert states(content_of(running, unstarted))["Upload"] == "now"
    running.http.post(f"/v1/workspace-runs/{unstarted}/cancel")
    canceled = content_of(running, unstarted)
    assert states(canceled)["Upload"] == "stop"
    assert canceled.phase_sentence == "Never ran, then was canceled"


def test_a_recorded_run_has_facts_of_its_own(running: Running) -> None:
    """No archive and no sandbox, and it is repeated where it ran."""
    run_id = recorded(running, batch(1, out("hi\n")))
    content = content_of(running, run_id)
    assert states(content) == {"Begin": "done", "Record": "now", "Seal": "next"}
    assert "Sandbox" not in shown(content)
    assert content.again.text.startswith("crownest record --project ")
    assert "producer" in content.cancel_text
    finish(running, run_id, 2)
    assert states(content_of(running, run_id)) == {"Begin": "done", "Record": "bad", "Seal": "done"}


def test_a_redaction_is_said(running: Running) -> None:
    """With its reason, and that the record still holds."""
    run = running.run("echo secret")
    seq = next(event["seq"] for event in running.events(run["id"]) if event["type"] == "stdout")
    answer = running.http.post(
        f"/v1/workspace-runs/{run['id']}/redactions", json={"targets": [seq], "reason": "an <address>"}
    )
    assert answer.status_code == 201
    content = content_of(running, run["id"])
    assert "text of 1 event erased, reason “an <address>”" in shown(content)["Redacted"]
    assert "erased after the end" in content.trouble[0]
    assert content_of(running, run["id"], content.head - 1).trouble == []


def test_a_cap_on_the_output_is_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With what was kept and what was not."""
    from runner.limits import RunnerLimits

    with serving(tmp_path_factory.mktemp("capped"), runner=RunnerLimits(output_bytes_max=1024)) as capped:
        run = capped.run("head -c 5000 /dev/zero | tr '\\0' x")
        row = shown(content_of(capped, run["id"]))["Output limit"]
    assert row == "reached of 1 KiB: 3.9 KiB after it were not recorded"


def test_the_page_stands_without_script(browser: httpx2.Client, failed: dict[str, Any]) -> None:
    """Facts, evidence, artifacts and commands are in what the server sends, past ones too."""
    page = browser.get(f"/workspace-runs/{failed['id']}")
    assert page.status_code == 200
    text = html.unescape(re.sub(r"<[^>]+>", " ", page.text))
    for said in (
        "Failed, exit 3",
        "acme/app",
        "kept.txt",
        "crownest verify proof.zip",
        failed["id"],
        COMMAND,
    ):
        assert said in text
    assert f"/v1/artifacts/{failed['artifactIds'][0]}/download" in page.text
    past = browser.get(f"/workspace-runs/{failed['id']}?seq=3").text
    assert "It later failed with exit 3." in past
    assert "Failed, exit 3" not in past
    assert browser.get(f"/workspace-runs/{failed['id']}?seq=x").status_code == 400


def test_text_of_others_is_only_text(running: Running, browser: httpx2.Client) -> None:
    """In command, labels, artifact paths and messages."""
    nasty = '"><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}\u202e'
    run = running.run(
        f"echo {nasty!r}",
        metadata={"repo": nasty, "<b>": nasty},
        sourceMetadata={"branch": nasty},
        artifacts=[{"path": "a<img>", "name": nasty}],
    )
    page = browser.get(f"/workspace-runs/{run['id']}").text
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{7*7}}" in page


def test_unknown_malformed_and_foreign_ids_are_not_found_alike(
    running: Running, browser: httpx2.Client, failed: dict[str, Any]
) -> None:
    """Nothing tells a run of another organisation from one that never was."""
    made = running.http.post("/v1/orgs", json={"name": "Others"})
    with httpx2.Client(base_url=running.url, headers=FOR_PEOPLE, timeout=FINISH_S_MAX) as stranger:
        stranger.post("/sign-in", data={"key": made.json()["secret"]}, headers=SAME_ORIGIN)
        foreign = stranger.get(f"/workspace-runs/{failed['id']}")
        unknown = stranger.get(f"/workspace-runs/wsr_{'a' * 26}")
    malformed = browser.get("/workspace-runs/wsr_<b>")
    assert {answer.status_code for answer in (foreign, unknown, malformed)} == {404}
    assert _without_ids(foreign.text) == _without_ids(unknown.text)
    assert COMMAND not in foreign.text
    assert "No run with this id here" in foreign.text
    assert "<b>" not in malformed.text


def _without_ids(text: str) -> str:
    """An answer without what differs from request to request: ids, tokens, the log's head."""
    return re.sub(r'wsr_\w+|content="[^"]+"|req_\w+|Log <span class="num">.*?…</span>', "…", text)


def test_words_of_sizes_and_durations() -> None:
    """Three digits and a unit; durations as a sentence or a clock."""
    assert [size_text(n) for n in (0, 512, 999, 1000, 86_221, 216_064, 2**31, 2**30 * 1000)] == [
        "0 B", "512 B", "999 B", "1 KiB", "84.2 KiB", "211 KiB", "2 GiB", "1 TiB",
    ]  # fmt: skip
    assert [duration_text(ms) for ms in (0, 35, 600, 1000, 57_704, 231_000, 3_900_000, 600_000)] == [
        "0 s", "35 ms", "0.6 s", "1 s", "57.7 s", "3 min 51 s", "1 h 5 min", "10 min",
    ]  # fmt: skip
    assert [clock_text(ms) for ms in (0, 48_999, 600_000, 3_723_000)] == ["0:00", "0:48", "10:00", "1:02:03"]
    assert short_id("sbx_01M81S0RXVGRECS8") == "sbx_…XVGRECS8"
    assert short_id("none") == "none"
