"""Hostile archives end their run with a reason, leave nothing outside, and the log of it is provable."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving import Running

Build = Callable[[tarfile.TarFile], None]


def _member(name: str, type_: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = type_, linkname
    return member


def _tar(build: Build) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        build(tar)
    return out.getvalue()


def _symlink_chain(tar: tarfile.TarFile) -> None:
    """Each link is short and looks harmless; together they climb out."""
    tar.addfile(_member("a", tarfile.SYMTYPE, "."))
    tar.addfile(_member("a/b", tarfile.SYMTYPE, ".."))
    tar.addfile(_member("a/b/escaped"), io.BytesIO())


def _bomb() -> bytes:
    """512 MiB and one byte of zeros in half a megabyte."""
    out = io.BytesIO()
    with gzip.open(out, "wb", compresslevel=9) as packed:
        member = _member("zeros")
        member.size = 512 * 1024 * 1024 + 1
        packed.write(member.tobuf())
        for _ in range(513):
            packed.write(bytes(1024 * 1024))
    return out.getvalue()


def _entries(tar: tarfile.TarFile) -> None:
    for number in range(100_000):
        tar.addfile(_member(f"f{number}"))


CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    "parent": (lambda: _tar(lambda tar: tar.addfile(_member("../escaped"))), "archive_invalid"),
    "absolute": (lambda: _tar(lambda tar: tar.addfile(_member("/tmp/escaped"))), "archive_invalid"),
    "symlink chain": (lambda: _tar(_symlink_chain), "archive_invalid"),
    "absolute symlink": (
        lambda: _tar(lambda tar: tar.addfile(_member("l", tarfile.SYMTYPE, "/etc/passwd"))),
        "archive_invalid",
    ),
    "hard link": (
        lambda: _tar(lambda tar: tar.addfile(_member("l", tarfile.LNKTYPE, "/etc/passwd"))),
        "archive_invalid",
    ),
    "device": (lambda: _tar(lambda tar: tar.addfile(_member("null", tarfile.CHRTYPE))), "archive_invalid"),
    "fifo": (lambda: _tar(lambda tar: tar.addfile(_member("pipe", tarfile.FIFOTYPE))), "archive_invalid"),
    "sparse": (
        lambda: _tar(lambda tar: tar.addfile(_member("s", tarfile.GNUTYPE_SPARSE))),
        "archive_invalid",
    ),
    "bomb": (_bomb, "archive_too_large"),
    "100,000 entries": (lambda: _tar(_entries), "archive_too_large"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_archive_fails_its_run_and_nothing_else(running: Running, name: str) -> None:
    """The reason and a message are in the run, the command never ran, the log verifies."""
    build, reason = CASES[name]
    run_id = running.create("echo this must not run")
    assert running.upload(run_id, build()).status_code == 200
    running.http.post(f"/v1/workspace-runs/{run_id}/start")
    run = running.finished(run_id)
    assert (run["status"], run["failureReason"], run["failureClass"]) == ("failed", reason, "user_input")
    assert run["failureMessage"]
    assert run["cleanupStatus"] == "succeeded"
    assert run["output"]["stdoutBytes"] == 0
    assert running.http.post(f"/v1/workspace-runs/{run_id}/verify").json()["verdict"]["verdict"] == "COMPLETE"
    assert not Path("/tmp/escaped").exists()
    assert not list(running.data_dir.rglob("escaped"))
