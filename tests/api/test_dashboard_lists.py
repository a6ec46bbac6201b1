"""The lists of the dashboard: what they show, how their address filters them, and whom they show nothing."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import unescape
from typing import Any

import httpx2
import pytest

from api.dashboard.last_lines import plain
from api.sessions import CSRF_HEADER, csrf_token
from tests.serving import FINISH_S_MAX, Running

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
NAUGHTY = "<img src=x onerror=alert(1)>\"'\u202e{{6+7}}"


class Reader:
    """A browser without script that is signed in with a key."""

    def __init__(self, http: httpx2.Client, key: str) -> None:
        self.http = http
        answer = http.post("/sign-in", data={"key": key}, headers=SAME_ORIGIN)
        assert answer.status_code == 303

    def get(self, path: str, status: int = 200) -> str:
        """The page's text."""
        answer = self.http.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def rows(self, path: str) -> list[str]:
        """The ids of the rows, in order."""
        return re.findall(r'<tr[^>]* data-row="(\w+)"', self.get(path))

    def link(self, path: str, rel: str) -> str | None:
        """Where the pager leads."""
        found = re.search(rf'<a class="btn" href="([^"]*)" rel="{rel}"', self.get(path))
        return unescape(found[1]) if found else None

    def own(self) -> dict[str, str]:
        """The headers of a change by a page of this browser."""
        return {**SAME_ORIGIN, CSRF_HEADER: csrf_token(self.http.cookies.get("crownest_session", ""))}


@pytest.fixture
def reader(running: Running) -> Iterator[Reader]:
    """A browser with the first key, which sees everything of its organisation."""
    with httpx2.Client(base_url=running.url, timeout=FINISH_S_MAX) as http:
        yield Reader(http, running.key)


@contextmanager
def limited(running: Running, **limits: int) -> Iterator[None]:
    """A server with other limits of its edge, until the block ends."""
    services = running.server.services
    before = services.limits
    object.__setattr__(services, "limits", replace(before, **limits))
    try:
        yield
    finally:
        object.__setattr__(services, "limits", before)


def project(running: Running, name: str) -> str:
    """A new project's id."""
    made = running.http.post("/v1/projects", json={"name": name})
    return str(made.json()["project"]["id"])


def restricted(running: Running, project_id: str, *scopes: str) -> str:
    """A key that sees this project alone."""
    body = {"name": "restricted", "scopes": list(scopes), "projectIds": [project_id]}
    made = running.http.post("/v1/api-keys", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["secret"])


def count(text: str, tab: str) -> str:
    """The number beside a tab's word."""
    found = re.search(rf"{tab} <span class=\"n\">([\d,+]+)</span>", text)
    assert found, text
    return found[1]


def test_runs_are_listed_with_what_is_known_of_them(running: Running, reader: Reader) -> None:
    """Status, reason, command, source, exit code; newest first."""
    place = project(running, "listed")
    metadata = {"repository": "acme/ledger", "commit": "0123456789abcdef", "pr": "7"}
    done = running.run("exit 3", projectId=place, metadata=metadata)
    waiting = running.create("echo later", projectId=place)
    text = reader.get(f"/workspace-runs?project={place}")
    assert reader.rows(f"/workspace-runs?project={place}") == [waiting, done["id"]]
    row = text[text.index(f'data-row="{done["id"]}"') :]
    for words in ("Failed", "command exit", "exit 3", "acme/ledger", "01234567 pr 7", "python-node"):
        assert words in row
    assert '<td class="d-exit r mono" role="cell">3</td>' in row
    assert "Waiting for archive" in text
    assert "being recorded" in text


def test_filters_are_kept_in_the_address_and_shown_as_chips(running: Running, reader: Reader) -> None:
    """Each with a link to the list without it; counts follow the filters; the form keeps the rest."""
    place = project(running, "filtered")
    one = running.create("make alpha", projectId=place, metadata={"repo": "r 1=&x"})
    two = running.create("make beta", projectId=place, metadata={"repo": "r2"})
    running.http.post(f"/v1/workspace-runs/{two}/cancel")
    base = f"/workspace-runs?project={place}"
    assert reader.rows(f"{base}&q=MAKE") == [two, one]
    assert reader.rows(f"{base}&q=make+alp") == [one]
    assert reader.rows(f"{base}&q={one[-8:]}") == [one]
    assert reader.rows(f"{base}&q={two}&status=live") == []
    assert reader.rows(f"{base}&status=canceled") == [two]
    assert reader.rows(f"{base}&meta=repo%3Dr+1%3D%26x") == [one]
    assert reader.rows(f"{base}&since=1h&from=2020-01-01") == [two, one]
    assert reader.rows(f"{base}&to=2020-01-01") == []
    text = reader.get(f"{base}&q=make&meta=repo%3Dr2&since=24h")
    without = [unescape(link) for link in re.findall(r'<a href="([^"]*)" aria-label="Remove filter', text)]
    assert without == [
        f"{base}&meta=repo%3Dr2&since=24h",
        f"{base}&q=make&meta=repo%3Dr2",
        f"{base}&q=make&since=24h",
    ]
    assert [count(text, tab) for tab in ("All", "Live", "Canceled")] == ["1", "0", "1"]
    assert f'<input type="hidden" name="project" value="{place}">' in text
    assert '<input type="hidden" name="meta" value="repo=r2">' in text


def test_a_search_in_vain_says_what_was_looked_at(running: Running, reader: Reader) -> None:
    """And how many would match over all time."""
    place = project(running, "in vain")
    running.create("echo 1", projectId=place)
    text = reader.get(f"/workspace-runs?project={place}&q=echo&to=2020-01-01")
    assert "No run matches these filters" in text
    assert "1 run matches over all time" in text
    empty = reader.get(f"/workspace-runs?project={project(running, 'empty')}")
    assert "No runs in this project yet" in empty
    assert "run-archive repo.tgz" in empty


def test_a_page_never_searches_without_a_limit(running: Running, reader: Reader) -> None:
    """It says where it stopped, and goes on from there."""
    place = project(running, "long")
    wanted = running.create("echo wanted", projectId=place)
    for number in range(6):
        running.create(f"echo {number}", projectId=place)
    with limited(running, rows_searched_max=3):
        path = f"/workspace-runs?project={place}&q=wanted"
        pages = [path]
        while not (rows := reader.rows(pages[-1])):
            text = reader.get(pages[-1])
            assert "Looked at 3 runs and stopped there" in text
            found = re.search(r'<a href="([^"]*)">Go on with older ones</a>', text)
            assert found
            pages.append(unescape(found[1]))
    assert rows == [wanted]
    assert len(pages) == 3


def test_pages_lead_to_older_runs_and_back(running: Running, reader: Reader) -> None:
    """Every run once, the same pages in both directions."""
    with limited(running, list_page_default=3):
        _walk(running, reader)


def _walk(running: Running, reader: Reader) -> None:
    place = project(running, "paged")
    made = [running.create(f"echo {number}", projectId=place) for number in range(8)]
    path: str | None = f"/workspace-runs?project={place}&q=echo"
    forth: list[list[str]] = []
    visited: list[str] = []
    while path is not None:
        forth.append(reader.rows(path))
        visited.append(path)
        path = reader.link(path, "next")
    assert [row for page in forth for row in page] == made[::-1]
    assert [len(page) for page in forth] == [3, 3, 2]
    back: list[list[str]] = [forth[-1]]
    path = reader.link(visited[-1], "prev")
    while path is not None:
        back.append(reader.rows(path))
        path = reader.link(path, "prev")
    assert back == forth[::-1]


def test_what_cannot_be_a_filter_is_refused_by_name(reader: Reader) -> None:
    """Never a 500."""
    for bad in (
        "status=nonsense", "since=3w", "from=yesterday", "to=2026-13-01", "meta=%3Dvalue", "before=%00",
        "after=x", "q=" + "x" * 201, "&".join(["meta=a%3Db"] * 17), "project=prj_unknown",
    ):  # fmt: skip
        answer = reader.http.get(f"/workspace-runs?{bad}")
        assert answer.status_code in {400, 403}, (bad, answer.text)


def test_updates_are_of_the_rows_asked_for_and_can_be_asked_for_again(
    running: Running, reader: Reader
) -> None:
    """Whether they still meet the filters or not; 304 while nothing changes."""
    place = project(running, "updated")
    old = running.create("echo old", projectId=place)
    text = reader.get(f"/workspace-runs?project={place}&status=live")
    top = re.search(r'data-top="([^"]+)"', text)
    assert top
    path = f"/workspace-runs/updates?project={place}&status=live&top={top[1]}&row={old}&row=wsr_none"
    first = reader.http.get(path)
    assert (first.status_code, "Waiting for archive" in first.text) == (200, True)
    assert "data-newer hidden" in first.text
    again = reader.http.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    running.http.post(f"/v1/workspace-runs/{old}/cancel")
    new = [running.create(f"echo {number}", projectId=place) for number in range(2)]
    changed = reader.http.get(path, headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200
    assert re.findall(r'data-row="(\w+)"', changed.text) == [old]
    assert "Canceled" in changed.text
    assert "2 new runs. Show them" in changed.text
    links = {unescape(link) for link in re.findall(r'<a [^>]*href="([^"]*)"', changed.text)}
    assert f"/workspace-runs?project={place}&status=live" in links
    assert not [link for link in links if "/updates" in link]
    assert not set(new) & set(re.findall(r"wsr_\w+", changed.text))


def test_a_key_of_one_project_is_shown_nothing_of_others(running: Running, reader: Reader) -> None:
    """Neither rows nor counts nor new runs, whatever is in the address."""
    mine, others = project(running, "mine"), project(running, "others")
    shared = {"repo": "shared"}
    own = running.run("echo mine", projectId=mine, metadata=shared, artifacts=[{"path": "a.txt"}])
    foreign = running.run("echo others", projectId=others, metadata=shared, artifacts=[{"path": "a.txt"}])
    key = restricted(running, mine, "workspace_run:read", "artifact:read")
    with httpx2.Client(base_url=running.url, timeout=FINISH_S_MAX) as http:
        confined = Reader(http, key)
        for query in ("", "?q=echo", "?meta=repo%3Dshared", f"?q={foreign['id']}", "?status=succeeded"):
            text = confined.get(f"/workspace-runs{query}")
            assert foreign["id"] not in set(re.findall(r'data-row="(\w+)"', text))
            assert "echo others" not in text
            assert count(text, "All") in {"0", "1"}
        assert confined.rows("/workspace-runs?q=echo") == [own["id"]]
        confined.get(f"/workspace-runs?project={others}", 403)
        updates = confined.get(f"/workspace-runs/updates?top=&row={foreign['id']}&row={own['id']}")
        assert re.findall(r'data-row="(\w+)"', updates) == [own["id"]]
        assert "1 new run. Show it" in updates
        assert confined.rows("/artifacts") == own["artifactIds"]
        assert confined.rows(f"/artifacts?q={foreign['id']}") == []
        confined.get("/sandboxes", 403)
    assert foreign["id"] in reader.rows("/workspace-runs?q=echo")


def test_another_organisation_is_shown_nothing(running: Running) -> None:
    """An empty list, and no id of ours opens anything."""
    ours = running.run("echo ours", artifacts=[{"path": "a.txt"}])
    made = running.http.post("/v1/orgs", json={"name": "Other"})
    assert made.status_code == 201, made.text
    with httpx2.Client(base_url=running.url, timeout=FINISH_S_MAX) as http:
        other = Reader(http, made.json()["secret"])
        assert other.rows("/workspace-runs") == []
        assert other.rows(f"/workspace-runs?q={ours['id']}") == []
        assert ours["id"] not in other.get(f"/workspace-runs/updates?top=&row={ours['id']}")
        assert other.rows("/artifacts") == []


def test_a_failed_proof_is_said_beside_the_run_and_has_a_tab(running: Running, reader: Reader) -> None:
    """As the server found it; and no longer once it is found whole."""
    with limited(running, check_events_max=0):  # it verifies when it is asked, and not by itself
        _fail_and_recover(running, reader)


def _fail_and_recover(running: Running, reader: Reader) -> None:
    place = project(running, "proofs")
    run = running.run("echo 1", projectId=place)
    verdicts = running.server.services.verdicts
    failure = {"verdict": "FAILED", "code": "E_PAYLOAD_MISMATCH", "seq": 147}

    def keep(verdict: dict[str, Any], size: int) -> None:
        work = verdicts.keep(run["orgId"], run["id"], size, verdict)
        asyncio.run_coroutine_threadsafe(work, running.loop).result(FINISH_S_MAX)

    keep(failure, 11)
    path = f"/workspace-runs?project={place}"
    text = reader.get(path)
    assert count(text, "Proof failed") == "1"
    assert "event 147 is not as recorded" in text
    assert reader.rows(f"{path}&status=proof-failed") == [run["id"]]
    assert reader.rows(f"{path}&status=proof-failed&to=2020-01-01") == []
    running.http.post(f"/v1/workspace-runs/{run['id']}/verify")
    assert "by this server" in reader.get(path)
    assert reader.rows(f"{path}&status=proof-failed") == []
    keep({"verdict": "COMPLETE", "code": None, "seq": None}, 5)
    assert "not checked yet" in reader.get(path)


def test_text_from_outside_is_only_text(running: Running, reader: Reader) -> None:
    """In every field of the lists."""
    place = project(running, NAUGHTY.replace("\u202e", ""))
    running.run(
        f"printf '%s\\n' '{NAUGHTY.replace(chr(39), '')}'",
        {f"a{NAUGHTY.replace('/', '')}": b"x"},
        projectId=place,
        metadata={"repository": NAUGHTY, "branch": NAUGHTY},
        artifacts=[{"path": f"a{NAUGHTY.replace('/', '')}", "name": NAUGHTY}],
    )
    for path in (f"/workspace-runs?project={place}", f"/artifacts?project={place}&q=%3Cimg"):
        text = reader.get(path)
        assert "<img" not in text
    assert "onerror=alert(1)&gt;&#34;&#39;\u202e{{6+7}}" in reader.get(f"/workspace-runs?project={place}")
    for tried in ("q", "meta", "status", "project", "before"):
        answer = reader.http.get("/workspace-runs", params={tried: NAUGHTY})
        assert "<img" not in answer.text


def test_artifacts_are_listed_with_their_run_and_sent_as_files(running: Running, reader: Reader) -> None:
    """Path, run, size, digest, expiry; deleted ones stay as records."""
    place = project(running, "artifacts")
    run = running.run(
        "printf 12345 > out.bin", projectId=place,
        artifacts=[{"path": "out.bin", "name": "result"}, {"path": "a.txt"}],
    )  # fmt: skip
    path = f"/artifacts?project={place}"
    text = reader.get(path)
    assert sorted(reader.rows(path)) == sorted(run["artifactIds"])
    for words in ("out.bin", "result", "printf 12345", "5 B", "days left"):
        assert words in text
    assert reader.rows(f"{path}&q=out.bin") == [
        one["id"] for one in run["artifacts"] if one["name"] == "result"
    ]
    assert sorted(reader.rows(f"{path}&q={run['id']}")) == sorted(run["artifactIds"])
    file = reader.http.get(f"/v1/artifacts/{run['artifactIds'][0]}/download")
    assert file.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in file.headers["content-security-policy"]
    gone = run["artifactIds"][0]
    assert reader.http.delete(f"/v1/artifacts/{gone}", headers=reader.own()).status_code == 200
    assert gone not in reader.rows(path)
    assert reader.rows(f"{path}&status=deleted") == [gone]
    assert f"/v1/artifacts/{gone}/download" not in reader.get(f"{path}&status=deleted")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[31mred\x1b[0m done", "red done"),
        ("10%\r20%\r 30% ", "30%"),
        ("10%\r", "10%"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x00b\x08c\u202ed\x1b", "a b c d"),
        ("  \t  ", ""),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_last_line_is_plain_text(line: str, shown: str) -> None:
    """What a terminal would show in the end, without control characters, and not too long."""
    assert plain(line) == shown


def test_usage_shows_what_was_used_and_what_is_allowed(running: Running, reader: Reader) -> None:
    """The same numbers in the plots and in the tables under them; the range lies in the address."""
    place = project(running, "used")
    running.http.patch(f"/v1/projects/{place}", json={"limits": {"artifactBytes": 10}})
    running.run("exit 3", projectId=place)
    running.run("true", projectId=place, artifacts=[{"path": "a.txt"}])
    running.http.post(f"/v1/workspace-runs/{running.create(projectId=place)}/cancel")
    text = reader.get(f"/usage?project={place}")
    assert "<dt>Runs ended</dt><dd>3<" in text
    assert "1 failed, 1 canceled" in text
    assert "Runs that ended on each day: 3 in all, 3 at most." in text
    table = text[text.index("<caption class") :]
    assert re.search(r"<td class=\"r\">1</td><td class=\"r\">1</td><td class=\"r\">1</td>", table)
    assert text.count('class="s2 part"') == 2, "the failed run, today, in both sizes of the plot"
    assert "Artifacts stored, <bdi>used</bdi>" in text
    assert "1 B of 10 B" in text
    assert "enterprise plan" in text
    for chosen in ("7d", "90d", "month", "last-month"):
        assert f'value="{chosen}" selected' in reader.get(f"/usage?project={place}&range={chosen}")
    assert "<dt>Runs ended</dt><dd>0<" in reader.get(f"/usage?project={place}&range=last-month")
    reader.get("/usage?range=century", 400)
    reader.get("/usage?project=prj_other", 403)
    other = project(running, "unused")
    assert "<dt>Runs ended</dt><dd>0<" in reader.get(f"/usage?project={other}")
    with httpx2.Client(base_url=running.url, timeout=FINISH_S_MAX) as http:
        confined = Reader(http, restricted(running, other, "usage:read"))
        assert "<dt>Runs ended</dt><dd>0<" in confined.get("/usage")
        assert "used" not in re.findall(r"<bdi[^>]*>(\w+)</bdi>", confined.get("/usage"))


def test_the_log_shows_its_head_and_only_entries_of_what_is_seen(running: Running, reader: Reader) -> None:
    """The log names every stream to everybody; this page links to nothing that its reader may not open."""
    mine = project(running, "logged")
    own = running.run("true", projectId=mine)
    running.http.post(f"/v1/workspace-runs/{own['id']}/verify")  # waits until the log covers it
    note = running.http.get("/log/checkpoint").text
    text = reader.get("/log")
    size, root = note.split("\n")[1:3]
    assert f'<dd class="num">{int(size):,}</dd>' in text
    assert root in text
    assert unescape(text).count(note.split("\n")[4]) >= 1, "the signature of the note"
    assert re.search(rf'Sealed</span></td>.*href="/workspace-runs/{own["id"]}"', text)
    assert "Signed by this server alone" in text
    assert "none are recorded here" in text
    before = min(int(size), 5)  # run alone, this test has few entries
    assert reader.get(f"/log?before={before}").count('<td role="cell" class="d-i r num">') == before
    reader.get("/log?before=x", 400)
    with httpx2.Client(base_url=running.url, timeout=FINISH_S_MAX) as http:
        confined = Reader(http, restricted(running, project(running, "elsewhere"), "workspace_run:read"))
        seen = confined.get("/log")
        assert "wsr_" not in seen
        assert "not of what you see here" in seen
