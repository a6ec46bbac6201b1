"""The group previews against a real server: what it prints, and what a script gets."""

from __future__ import annotations

import json

from tests.cli.cli_runner import Shell
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
