"""What a script writes into a page reads as what the server had written there."""

from typing import Any

import pytest
from playwright.sync_api import Page

from api.dashboard.words import clock_text, duration_text, short_id, size_text
from tests.browser.log_kit import module

DURATIONS_MS = (
    0,
    1,
    99,
    100,
    149,
    950,
    999,
    1_000,
    57_749,
    59_999,
    60_000,
    61_500,
    3_599_999,
    3_600_000,
    3_661_000,
)
SIZES = (0, 1, 999, 1_000, 1_023, 1_024, 10_240, 86_221, 102_400, 1_023_949, 1_048_576, 2**30, 5 * 2**40)
IDS = ("sbx_abcdefghijklmnopqrstuvwxyz", "key_12345678", "plain", "a_b_cdefghijklmn")
EXPECTED = {
    "durationText": (DURATIONS_MS, duration_text),
    "clockText": (DURATIONS_MS, clock_text),
    "sizeText": (SIZES, size_text),
    "shortId": (IDS, short_id),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_script_and_server_write_alike(page: Page, name: str) -> None:
    """Durations, clocks, sizes and ids."""
    values, python = EXPECTED[name]
    written: Any = python
    page.goto("/workspace-runs")
    script = "async ([path, name, values]) => values.map((await import(path))[name])"
    from_script = page.evaluate(script, [module(page, "shell/words.js"), name, list(values)])
    assert from_script == [written(value) for value in values]
