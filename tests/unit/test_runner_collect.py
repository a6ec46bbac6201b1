"""Collecting artifacts: the plain function, where the sandboxes' tests cannot reach."""

import hashlib
import os
import socket
from pathlib import Path
from typing import BinaryIO

import pytest

from runner.collect import collect
from runner.job import Report, RequestedArtifact, StoredBlob


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder with a file in it."""
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "a.txt").write_bytes(b"abc")
    return tmp_path / "workspace"


def _store(source: BinaryIO, size_bytes_max: int) -> StoredBlob:
    data = source.read(size_bytes_max + 1)
    if len(data) > size_bytes_max:
        raise ValueError("too long")
    return StoredBlob(hashlib.sha256(data).hexdigest(), len(data))


def _full(source: BinaryIO, size_bytes_max: int) -> StoredBlob:
    raise OSError(28, "No space left on device")


def _collect(workspace: Path, path: str, name: str | None = None, store: object = _store) -> Report:
    fd = os.open(workspace, os.O_PATH | os.O_DIRECTORY)
    try:
        return collect(RequestedArtifact(path, name), fd, store, 3, lambda prefix: f"{prefix}_1")  # type: ignore[arg-type]  # one of the two above
    finally:
        os.close(fd)


def _error(report: Report) -> tuple[str, str]:
    error = report.fields["error"]
    assert isinstance(error, dict)
    assert report.type == "artifact_error"
    return str(error["code"]), str(error["message"])


def test_a_file_is_stored_under_its_name(workspace: Path) -> None:
    """The digest is that of its bytes; the limit is inclusive."""
    fields = _collect(workspace, "a.txt", "renamed").fields
    assert fields == {
        "artifactId": "art_1",
        "name": "renamed",
        "path": "a.txt",
        "sha256": hashlib.sha256(b"abc").hexdigest(),
        "sizeBytes": 3,
        "contentType": "application/octet-stream",
    }


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("missing", "file_not_found"),
        ("a.txt/inside", "file_not_found"),
        ("", "artifact_collect_failed"),
        (".", "artifact_collect_failed"),
        ("/".join("d" * 300), "artifact_collect_failed"),
        ("n" * 300, "artifact_collect_failed"),
        ("../workspace/a.txt", "path_outside_workspace"),
        ("x/../a.txt", "path_outside_workspace"),
        ("/etc/passwd", "path_outside_workspace"),
        ("a\0b", "path_outside_workspace"),
    ],
)
def test_what_is_no_file_of_the_workspace_is_an_error_with_its_code(
    workspace: Path, path: str, code: str
) -> None:
    """The three codes of CONTRACT §3.5, and a message that starts with the path."""
    found, message = _error(_collect(workspace, path))
    assert found == code
    assert ": " in message


def test_a_link_is_told_apart_by_where_it_leads(workspace: Path) -> None:
    """One that stays inside is named, so that it can be asked for instead."""
    (workspace / "sub").mkdir()
    (workspace / "sub" / "inner").symlink_to("../a.txt")
    (workspace / "sub" / "outer").symlink_to("../../outside")
    assert _error(_collect(workspace, "sub/inner")) == (
        "artifact_collect_failed",
        "sub/inner: is a symbolic link; name what it leads to instead: a.txt.",
    )
    assert _error(_collect(workspace, "sub/outer"))[0] == "path_outside_workspace"


def test_a_socket_or_a_pipe_does_not_make_the_server_wait(workspace: Path) -> None:
    """Nobody will ever write into it."""
    os.mkfifo(workspace / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(workspace / "sock"))
        assert _error(_collect(workspace, "sock"))[0] == "artifact_collect_failed"
    assert "named pipe" in _error(_collect(workspace, "pipe"))[1]


def test_a_file_over_the_limit_is_not_stored(workspace: Path) -> None:
    """The store finds out while it copies: a size can change."""
    (workspace / "big").write_bytes(b"abcd")
    assert "limit of 3 bytes" in _error(_collect(workspace, "big"))[1]


def test_a_store_that_fails_is_an_error_of_this_artifact(workspace: Path) -> None:
    """The run goes on to its end, and its log says why."""
    assert "No space left on device" in _error(_collect(workspace, "a.txt", store=_full))[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root: files of two users")
def test_a_hard_link_to_somebody_elses_file_is_not_evidence(workspace: Path) -> None:
    """Where the kernel lets a command make one, the server must not read it for the command."""
    secret = workspace.parent / "secret"
    secret.write_bytes(b"key")
    os.link(secret, workspace / "mine.txt")
    os.chown(workspace, 12_345, 12_345)
    assert _error(_collect(workspace, "mine.txt")) == (
        "artifact_collect_failed",
        "mine.txt: does not belong to the command.",
    )
