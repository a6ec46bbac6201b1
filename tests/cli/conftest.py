"""What the command-line tests share: a recording server, a shell against it, an archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.cli_runner import Shell
from tests.cli.recording_server import RecordingServer, with_run_routes
from tests.serving import Running, serving


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    """A server with the routes of one run."""
    with with_run_routes(RecordingServer()).serving() as running:
        yield running


@pytest.fixture
def shell(
    tmp_path: Path,
    server: RecordingServer,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Shell:
    """Commands that talk to the recording server."""
    return Shell(tmp_path, server.url, capfdbinary, monkeypatch)


@pytest.fixture
def lonely_shell(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """Commands without any configuration."""
    return Shell(tmp_path, None, capfdbinary, monkeypatch)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A real server with an empty log."""
    with serving(tmp_path / "data") as one:
        yield one


@pytest.fixture
def owner(
    running: Running,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Shell:
    """Commands with the real server's first key, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    shell = Shell(tmp_path, running.url, capfdbinary, monkeypatch)
    shell.env["CROWNEST_API_KEY"] = running.key
    return shell


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A file with the right ending; the recording server does not look inside."""
    path = tmp_path / "repo.tgz"
    path.write_bytes(b"\x1f\x8b" + b"x" * 1000)
    return path
