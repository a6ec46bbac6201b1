"""Hostile archives end their run with a reason, leave nothing outside, and the log of it is provable."""

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.limits import RunnerLimits
from tests.serving import Running, serving

Build = Callable[[tarfile.TarFile], None]

LIMITS = RunnerLimits(entries_max=2_000, extracted_bytes_max=32 * 1024 * 1024)
"""Smaller than usual: what is refused just past them costs what they allow."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with these limits."""
    with serving(tmp_path_factory.mktemp("data"), runner=LIMITS) as server:
        yield server


def _member(name: str, type_: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = type_, linkname
    return member


def _tar(build: Build) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        build(tar)
    return out.getvalue()


def _symlink_chain(tar: tarfile.TarFile) -> None:
    """Each link is short and looks harmless; together they climb out."""
    tar.addfile(_member("a", tarfile.SYMTYPE, "."))
    tar.addfile(_member("a/b", tarfile.SYMTYPE, ".."))
    tar.addfile(_member("a/b/escaped"), io.BytesIO())


def _bomb() -> bytes:
    """One byte of zeros too many, a thousand times smaller when it is packed."""
    out = io.BytesIO()
    with gzip.open(out, "wb", compresslevel=9) as packed:
        member = _member("zeros")
        member.size = LIMITS.extracted_bytes_max + 1
        packed.write(member.tobuf())
        packed.write(bytes(member.size + tarfile.BLOCKSIZE))
    return out.getvalue()


def _entries(tar: tarfile.TarFile) -> None:
    for number in range(LIMITS.entries_max + 1):
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
    "too many entries": (lambda: _tar(_entries), "archive_too_large"),
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
