"""`crownest-verify --timestamp`: with rfc3161-client it says what crownest says, else what is missing."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.cli.proof_files import make_proof
from tests.requires import need
from tests.tsa_kit import Tsa, certify, certify_tsa
from tests.verifier.isolation import importable, lonely_python, packed_file
from tests.verifier.test_single_file import Office

PROOF = ["proof.zip", "--policy", "trust.policy"]
STAMPED = [*PROOF, "--timestamp", "run.tsr", "--tsa-roots", "root.pem"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A proof, its timestamp and one of something else, and two roots."""
    need("openssl")
    folder, made, root = tmp_path_factory.mktemp("stamped"), make_proof(), certify("Root")
    (folder / "proof.zip").write_bytes(made.bundle)
    (folder / "trust.policy").write_bytes(made.policy)
    (folder / "root.pem").write_bytes(root.pem)
    (folder / "stranger.pem").write_bytes(certify("Stranger").pem)
    with zipfile.ZipFile(folder / "proof.zip") as archive:
        note = archive.read("run.checkpoint")
    tsa = Tsa(folder / "tsa", certify_tsa("TSA \N{SNOWMAN} \x1b[2J", root))
    (folder / "run.tsr").write_bytes(tsa.stamp(note))
    (folder / "other.tsr").write_bytes(tsa.stamp(b"other"))
    packed_file(folder / "crownest-verify")
    return folder


@pytest.fixture(scope="module")
def bare(folder: Path) -> Office:
    """With `cryptography` alone."""
    return Office(folder, lonely_python(folder / "bare"), folder / "crownest-verify")


@pytest.fixture(scope="module")
def stamping(folder: Path) -> Office:
    """With `rfc3161_client` beside it."""
    return Office(folder, lonely_python(folder / "stamping", "rfc3161_client"), folder / "crownest-verify")


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (STAMPED, 0),
        ([*PROOF, "--timestamp", "other.tsr", "--tsa-roots", "root.pem"], 1),
        ([*PROOF, "--timestamp", "run.tsr", "--tsa-roots", "stranger.pem"], 1),
        ([*PROOF, "--timestamp", "trust.policy", "--tsa-roots", "root.pem"], 1),
        ([*PROOF, "--timestamp", "run.tsr", "--tsa-roots", "trust.policy"], 2),
    ],
)
def test_both_commands_say_the_same_of_a_timestamp(stamping: Office, args: list[str], status: int) -> None:
    """In words and in JSON, byte for byte; a name in a certificate cannot command the terminal."""
    for mode in ([], ["--json"]):
        alone, crownest = stamping.alone(*args, *mode), stamping.crownest(*args, *mode)
        assert (alone.returncode, alone.stderr) == (status, b"")
        assert (alone.stdout, alone.returncode) == (crownest.stdout, crownest.returncode)
        assert b"\x1b" not in alone.stdout


def test_without_the_package_it_says_what_is_missing(bare: Office) -> None:
    """Exit status 2, and all else goes on as before."""
    assert importable(bare.bin, "cryptography", "rfc3161_client") == ["cryptography"]
    done = bare.alone(*STAMPED)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"rfc3161-client" in done.stderr
    assert b"pip install" in done.stderr
    error = json.loads(bare.alone(*STAMPED, "--json").stderr)["error"]
    assert error["code"] == "usage_error"
    assert bare.alone(*PROOF).returncode == 0
