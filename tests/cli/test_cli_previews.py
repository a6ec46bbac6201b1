"""The group previews against a real server: what it prints, and what a script gets."""

from __future__ import annotations

import json

import pytest

from tests.cli.cli_runner import Shell
from tests.cli.test_cli_terminal import COLOUR, on_terminal
from tests.serving import Running


def test_a_preview_is_opened_listed_and_closed(owner: Shell, running: Running) -> None:
    """The address alone on stdout; the list for programs; closing twice is fine."""
    sandbox_id = running.run("true", keepSandbox=True)["sandboxId"]
    created = owner("previews", "create", sandbox_id, "8000")
    assert created.status == 0, created.err
    url = created.out.decode().strip()
    listed = owner("previews", "list", sandbox_id).out.decode()
    assert url in listed
    (preview,) = json.loads(owner("previews", "list", sandbox_id, "--json").out)["data"]
    assert (preview["url"], preview["port"], preview["authMode"]) == (url, 8000, "authenticated")
    for _ in range(2):
        revoked = owner("previews", "revoke", preview["id"], "--json")
        assert json.loads(revoked.out)["data"]["revokedAt"]
    assert owner("previews", "revoke", preview["id"]).status == 0


def test_a_token_is_part_of_the_address_that_is_printed(owner: Shell, running: Running) -> None:
    """For a browser; with --json it stands beside the preview."""
    sandbox_id = running.run("true", keepSandbox=True)["sandboxId"]
    printed = owner("previews", "create", sandbox_id, "8000", "--token").out.decode().strip()
    assert "/?crownest_preview_token=cnp_" in printed
    answer = json.loads(owner("previews", "create", sandbox_id, "8001", "--token", "--json").out)
    assert answer["previewToken"].startswith("cnp_")
    assert "previewToken" not in answer["data"]


def test_what_is_wrong_is_said(owner: Shell, running: Running) -> None:
    """A port that is none is a usage error; a sandbox that is none is the server's 404."""
    assert owner("previews", "create", "sbx_a", "0").status == 2
    wrong = owner("previews", "create", "sbx_unknown", "80", "--json")
    assert (wrong.status, wrong.error["code"]) == (1, "not_found")


def test_the_way_on_is_that_of_previews(owner: Shell) -> None:
    """Not that of runs."""
    for args in (("create", "sbx_unknown", "80"), ("list", "sbx_unknown")):
        assert "crownest sandboxes list" in owner("previews", *args, "--json").error["remediation"]
    revoked = owner("previews", "revoke", "prv_unknown", "--json")
    assert "crownest previews list" in revoked.error["remediation"]


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
def test_a_listed_address_is_never_cut(owner: Shell, running: Running, columns: int) -> None:
    """It is what the list is for; other columns go first, and it is folded at last."""
    sandbox_id = running.run("true", keepSandbox=True)["sandboxId"]
    url = owner("previews", "create", sandbox_id, "8000").out.decode().strip()
    _, shown = on_terminal(owner, "previews", "list", sandbox_id, columns=columns)
    lines = COLOUR.sub("", shown).splitlines()
    assert all(len(line) <= columns for line in lines)
    assert url in "".join(line[32:].strip() if columns <= 80 else line for line in lines)
    assert ("live" in shown) == (columns >= 100)
