"""crownest dashboard: a link for people, an object for programs, and an answer that is no link."""

from __future__ import annotations

import json
import webbrowser

import pytest

from tests.cli.cli_runner import Shell
from tests.cli.recording_server import RecordingServer, as_json
from tests.serving import Running

LINK = {"url": "http://127.0.0.1:1/auth/link?token=t", "expiresAt": "2026-06-01T00:10:00.000Z"}


def test_the_link_alone_stands_on_a_line(shell: Shell, server: RecordingServer) -> None:
    """So that a program can take it; as JSON it comes with its end."""
    server.routes["POST /auth/links"] = lambda _: as_json(LINK, 201)
    assert shell("dashboard").out.decode() == f"{LINK['url']}\n"
    assert json.loads(shell("dashboard", "--json").out)["data"] == LINK


def test_it_is_opened_when_asked_for(
    shell: Shell, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only then; where no browser starts, the link is there all the same."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or False)
    server.routes["POST /auth/links"] = lambda _: as_json(LINK, 201)
    shell("dashboard")
    assert opened == []
    result = shell("dashboard", "--open")
    assert opened == [LINK["url"]]
    assert "open the link yourself" in result.err
    assert result.out.decode() == f"{LINK['url']}\n"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", ""], ids=range(3))
def test_what_is_no_web_address_is_not_opened(shell: Shell, server: RecordingServer, url: str) -> None:
    """Whatever a server says."""
    server.routes["POST /auth/links"] = lambda _: as_json({**LINK, "url": url}, 201)
    result = shell("dashboard", "--open")
    assert result.status != 0
    assert result.out == b""


def test_a_real_server_gives_one(running: Running, lonely_shell: Shell) -> None:
    """With the key that is configured."""
    lonely_shell.env |= {"CROWNEST_API_URL": running.url, "CROWNEST_API_KEY": running.key}
    found = lonely_shell("dashboard").out.decode()
    assert found.startswith(f"{running.url}/auth/link?token=")
