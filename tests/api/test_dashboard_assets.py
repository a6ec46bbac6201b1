"""Static files of the dashboard: what a page names in its head is what it loads, all of it at once."""

import re
from collections.abc import Iterator

import httpx2
import pytest

from api.dashboard.assets import SHEETS, asset_path, assets, module_graph
from tests.recording_kit import recorded
from tests.serving import FINISH_S_MAX, Running

NAMED = re.compile(r'\b(?:from|import) "(\.[^"]+)"')
WORKER = "log/worker.js"


@pytest.fixture
def browser(running: Running) -> Iterator[httpx2.Client]:
    """A browser that is signed in with the first key."""
    with httpx2.Client(base_url=running.url, headers={"accept": "text/html"}, timeout=FINISH_S_MAX) as one:
        one.post("/sign-in", data={"key": running.key}, headers={"sec-fetch-site": "same-origin"})
        yield one


def test_the_run_page_names_every_module_of_its_graph(running: Running, browser: httpx2.Client) -> None:
    """Also those of the worker that reads the log; none twice, and none that nothing imports."""
    page = browser.get(f"/workspace-runs/{recorded(running)}").text
    preloaded: list[str] = re.findall(r'<link rel="modulepreload" href="([^"]+)">', page)
    entries: list[str] = re.findall(r'<script type="module" src="([^"]+)">', page)
    imported = {
        str(httpx2.URL(running.url).join(path).join(name).path)
        for path in preloaded
        for name in NAMED.findall(browser.get(path).text)
    }
    assert len(preloaded) == len(set(preloaded))
    assert set(preloaded) == imported | set(entries) | {asset_path(WORKER)}
    assert entries[0] == preloaded[0] == asset_path("run/open.js"), "the run is opened before all else"


def test_a_graph_goes_as_far_as_modules_are_imported() -> None:
    """Imports over several lines count, types in comments and what is asked for later do not."""
    assert module_graph("log/limits.js") == (asset_path("log/limits.js"),)
    assert asset_path("proof/judgement.js") in module_graph("proof/worker.js")
    assert asset_path("run/beside.js") not in module_graph("run/page.js")
    assert b'import("../log/session.js")' in assets()["run/beside.js"].body
    assert asset_path("log/session.js") not in module_graph("run/beside.js")


def test_a_sheet_is_its_parts_in_their_order(browser: httpx2.Client) -> None:
    """A page asks for one file where the repository has several."""
    for name, parts in SHEETS.items():
        answer = browser.get(asset_path(name))
        assert answer.headers["content-type"] == "text/css; charset=utf-8"
        assert answer.text == "".join(browser.get(asset_path(f"css/{part}.css")).text for part in parts)
