"""What is too large, in any of the files: a refusal with a code, in little memory and no traceback (P9.3)."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from evidence.container import Container
from tests.evidence_samples import HONEST, POLICY, example, members, zip_header

MEMORY_BYTES_MAX = 256 * 1024 * 1024
"""Address space that the verifier gets: that of Python and its libraries, and room for some blocks."""
TWO_GB = 2 * 1024**3
PROCESS_S_MAX = 120

LIMITED = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES_MAX}, {MEMORY_BYTES_MAX}))
from verifier.command import main
sys.exit(main())
"""


def verify(folder: Path, *args: str) -> tuple[int, str]:
    """Exit status, and code of the verdict or of the error, of a verification in little memory."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *args, "--json"],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        check=False,
        timeout=PROCESS_S_MAX,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    said = json.loads(done.stdout or done.stderr)
    return done.returncode, said["data"]["code"] if "data" in said else said["error"]["code"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An honest proof and its policy."""
    (tmp_path / "proof.zip").write_bytes(HONEST)
    (tmp_path / "trust.policy").write_bytes(POLICY)
    assert verify(tmp_path, "proof.zip", "--policy", "trust.policy", "--allow-unlogged") == (0, None)
    return tmp_path


def sparse(path: Path, size: int, head: bytes = b"") -> None:
    """A file of this size that takes no room on the disk."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)


def grown(path: Path, name: str, size: int) -> None:
    """The honest bundle, a well-formed zip, with `size` zeros more in one member."""
    members_ = Container(io.BytesIO(HONEST)).members
    at = struct.unpack_from("<L", HONEST, len(HONEST) - 6)[0]
    directory = bytearray(HONEST[at:-22])
    end, entry = bytearray(HONEST[-22:]), 0
    with path.open("wb") as file:
        file.write(HONEST[:at])
        for member in members_.values():
            start = members_[name].offset + members_[name].size
            if member.name == name:
                _add(directory, entry + 20, size)
                _add(directory, entry + 24, size)
                file.seek(member.offset - len(name) - 30 + 18)
                file.write(struct.pack("<LL", member.size + size, member.size + size))
            elif member.offset > start:
                _add(directory, entry + 42, size)
            entry += 46 + len(member.name)
        _add(end, 16, size)
        file.seek(start + size)
        file.write(HONEST[start:at] + directory + end)


def _add(data: bytearray, at: int, amount: int) -> None:
    struct.pack_into("<L", data, at, struct.unpack_from("<L", data, at)[0] + amount)


@pytest.mark.parametrize("size", [TWO_GB, 5 * 1024**3])
def test_a_file_of_gigabytes_that_is_no_bundle(folder: Path, size: int) -> None:
    """With and without the first bytes of a zip."""
    for head in (b"", HONEST):
        sparse(folder / "large.zip", size, head)
        assert verify(folder, "large.zip", "--policy", "trust.policy") == (2, "E_FORMAT")


@pytest.mark.parametrize("name", ["evidence.json", "run.checkpoint", "anchor.note"])
def test_a_small_member_of_two_gigabytes(folder: Path, name: str) -> None:
    """It is not read to be refused."""
    grown(folder / "large.zip", name, TWO_GB)
    with zipfile.ZipFile(folder / "large.zip") as archive:
        assert archive.getinfo(name).file_size >= TWO_GB  # others read this zip
    assert verify(folder, "large.zip", "--policy", "trust.policy") == (2, "E_FORMAT")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_log_with_two_gigabytes_that_are_no_events(folder: Path, jobs: str) -> None:
    """The container is sound, so it is judged: it fails at the first thing that is no event."""
    grown(folder / "large.zip", "events.log", TWO_GB)
    assert verify(folder, "large.zip", "--policy", "trust.policy", "--jobs", jobs) == (1, "E_FORMAT")


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["proof.zip", "--policy", "large"], "E_FORMAT"),
        (["proof.zip", "--policy", "trust.policy", "--pin", "large"], "E_FORMAT"),
        (["large", "--policy", "trust.policy", "--bundle", "proof.zip"], "usage_error"),
        (["proof.zip", "--policy", "large", "--pin", "large"], "E_FORMAT"),
    ],
)
def test_any_other_file_of_two_gigabytes(folder: Path, args: list[str], code: str) -> None:
    """Policy, pin, evidence: each is read as far as it may be long."""
    sparse(folder / "large", TWO_GB)
    assert verify(folder, *args) == (2, code)


def bomb() -> bytes:
    """256 MiB of zeros as a deflated events.log, 0.3 MB large."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members(HONEST).items():
            if name != "events.log":
                archive.writestr(zip_header(name), data)
        with archive.open(zip_header("events.log"), "w") as stored:
            stored.write(b"")
        info = zip_header("artifacts/art_1")
        info.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(info, "w") as member:
            for _ in range(256):
                member.write(bytes(1024 * 1024))
    return out.getvalue()


def many_members() -> bytes:
    """A zip with more members than a bundle can have."""
    contents = members(HONEST) | {f"artifacts/a{number}": b"" for number in range(2000)}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in contents.items():
            archive.writestr(zip_header(name), data)
    return out.getvalue()


def twice() -> bytes:
    """A zip with two logs."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in [*members(HONEST).items(), ("eventz.log", b"x")]:
            archive.writestr(zip_header(name), data)
    return out.getvalue().replace(b"eventz.log", b"events.log")


def without_log() -> bytes:
    """A zip that lacks the log."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members(HONEST).items():
            if name != "events.log":
                archive.writestr(zip_header(name), data)
    return out.getvalue()


@pytest.mark.parametrize("make", [bomb, many_members, twice, without_log])
def test_a_zip_that_is_not_a_bundle(folder: Path, make: Callable[[], bytes]) -> None:
    """Bombs, crowds, doubles and gaps."""
    (folder / "odd.zip").write_bytes(make())
    assert verify(folder, "odd.zip", "--policy", "trust.policy") == (2, "E_FORMAT")


def test_a_policy_without_a_log_key(folder: Path) -> None:
    """It would trust nobody."""
    (folder / "keyless.policy").write_bytes(b"quorum none\n")
    assert verify(folder, "proof.zip", "--policy", "keyless.policy") == (2, "E_FORMAT")


def test_a_payload_line_that_never_ends(folder: Path) -> None:
    """One event whose line goes on for 64 MiB: read as far as a line may go."""
    bundle = example().bundle()
    log = members(bundle)["events.log"]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members(bundle).items():
            endless = log[:-2] + b" " * (64 << 20) + b"\n"
            archive.writestr(zip_header(name), endless if name == "events.log" else data)
    (folder / "endless.zip").write_bytes(out.getvalue())
    assert verify(folder, "endless.zip", "--policy", "trust.policy") == (1, "E_FORMAT")
