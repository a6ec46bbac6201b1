"""`crownest-verify`: one file that says what `crownest verify` says, with Python and `cryptography` alone."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import click
import pytest

from cli.verify import verify
from evidence.bundle import Bundle
from evidence.note import split_note
from tests.cli.cli_runner import CROWNEST, Shell
from tests.cli.proof_files import make_proof, tampered
from tests.verifier.isolation import Clerk, clerk, importable, lonely_python, packed_file
from verifier import command, pack

ROOT = Path(__file__).resolve().parents[2]
POLICY = ["--policy", "trust.policy"]
PROCESS_S_MAX = 60


@dataclass(frozen=True)
class Office:
    """An auditor's: files to check in `folder`, and a Python that has `cryptography` only."""

    folder: Path
    bin: Path
    file: Path

    @property
    def env(self) -> dict[str, str]:
        """The auditor's environment."""
        return {"PATH": f"{self.bin}:/usr/bin:/bin", "COLUMNS": "100"}

    def alone(self, *args: str) -> subprocess.CompletedProcess[bytes]:
        """Run `crownest-verify`, by its first line."""
        return self._run([self.file, *args], self.env)

    def crownest(self, *args: str) -> subprocess.CompletedProcess[bytes]:
        """Run `crownest verify`."""
        return self._run([CROWNEST, "verify", *args], {"COLUMNS": "100"})

    def _run(self, args: list[str | Path], env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            args, cwd=self.folder, env=env, capture_output=True, check=False, timeout=PROCESS_S_MAX
        )


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """Honest, open, withheld, tampered and broken proofs, pins and evidence, signed by one key or another."""
    folder = tmp_path_factory.mktemp("office")
    made = make_proof()
    (folder / "proof.zip").write_bytes(made.bundle)
    (folder / "trust.policy").write_bytes(made.policy)
    pretty = {**json.loads(made.evidence), "proof": {"size": 12}}
    (folder / "evidence.json").write_text(json.dumps(pretty, indent=2))
    (folder / "edited.json").write_text(json.dumps({**pretty, "exitCode": 0}))
    (folder / "nothing.json").write_text("[]")
    flipped = tampered(made.bundle, "events.log", lambda log: log.replace(b"failures=1", b"failures=0"))
    (folder / "flipped.zip").write_bytes(flipped)
    hostile = tampered(made.bundle, "events.log", lambda log: log.replace(b"\nstdout\n", b"\n\x1b[2J\n", 1))
    (folder / "hostile.zip").write_bytes(hostile)
    (folder / "cut.zip").write_bytes(made.bundle[:-1])
    (folder / "empty.zip").write_bytes(b"")
    (folder / "keyless.policy").write_bytes(b"quorum none\n")
    for name, other in (
        ("open", make_proof(sealed=False)),
        ("withheld", make_proof(without=frozenset({"stdout"}))),
    ):
        (folder / f"{name}.zip").write_bytes(other.bundle)
        (folder / f"{name}.policy").write_bytes(other.policy)
    with (folder / "proof.zip").open("rb") as file:
        note = Bundle(file).checkpoint
    (folder / "run.checkpoint").write_bytes(note)
    text = split_note(note)[0]
    (folder / "text.pin").write_text(text)
    (folder / "fork.pin").write_text(text.replace(text.split("\n")[2], "A" * 43 + "="))
    (folder / "later.pin").write_text(text.replace("\n12\n", "\n13\n"))
    (folder / "edited.pin").write_bytes(note.replace(b"\n12\n", b"\n11\n"))
    (folder / "foreign.pin").write_bytes(_checkpoint(folder / "open.zip"))
    file = folder / "crownest-verify"
    packed_file(file)
    return Office(folder, lonely_python(folder / "python"), file)


@pytest.fixture(scope="module")
def auditor(office: Office) -> Iterator[Clerk]:
    """`crownest-verify` of the auditor's Python, in one process."""
    with clerk(office.bin / "python3", office.file, office.folder, office.env) as running:
        yield running


@pytest.fixture
def crownest(
    office: Office, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """`crownest` in the same folder, in this process."""
    monkeypatch.chdir(office.folder)
    return Shell(office.folder, None, capfdbinary, monkeypatch)


def _checkpoint(path: Path) -> bytes:
    with path.open("rb") as file:
        return Bundle(file).checkpoint


def test_the_auditors_python_has_cryptography_only(office: Office) -> None:
    """Otherwise the tests below would show nothing."""
    names = ["cryptography", "orjson", "click", "rich", "pydantic", "evidence", "verifier", "cli", "pip"]
    assert importable(office.bin, *names) == ["cryptography"]


LINES = [
    ("proof.zip --policy trust.policy --run wsr_0example0example0example00", 0),
    ("proof.zip --policy trust.policy", 0),
    ("proof.zip --policy trust.policy --run wsr_other", 1),
    ("proof.zip --policy trust.policy --allow-unlogged --strict-time", 0),
    ("flipped.zip --policy trust.policy", 1),
    ("hostile.zip --policy trust.policy", 1),
    ("proof.zip --policy open.policy", 1),
    ("open.zip --policy open.policy", 1),
    ("open.zip --policy open.policy --allow-open", 0),
    ("withheld.zip --policy withheld.policy", 1),
    ("withheld.zip --policy withheld.policy --allow-withheld", 0),
    ("evidence.json --bundle proof.zip --policy trust.policy --run wsr_0example0example0example00", 0),
    ("edited.json --bundle proof.zip --policy trust.policy", 1),
    ("evidence.json --bundle flipped.zip --policy trust.policy", 1),
    ("proof.zip --policy trust.policy --pin run.checkpoint", 0),
    ("proof.zip --policy trust.policy --pin text.pin", 0),
    ("evidence.json --bundle proof.zip --policy trust.policy --pin text.pin", 0),
    ("proof.zip --policy trust.policy --pin fork.pin", 1),
    ("proof.zip --policy trust.policy --pin later.pin", 1),
    ("proof.zip --policy trust.policy --pin edited.pin", 2),
    ("proof.zip --policy trust.policy --pin foreign.pin", 2),
    ("proof.zip --policy trust.policy --pin evidence.json", 2),
    ("cut.zip --policy trust.policy", 2),
    ("empty.zip --policy trust.policy", 2),
    ("trust.policy --bundle trust.policy --policy trust.policy", 2),
    ("proof.zip --policy keyless.policy", 2),
    ("proof.zip --policy keyless.policy --pin text.pin", 2),
    ("proof.zip --policy evidence.json", 2),
]
"""Command lines, and the exit status of both commands."""


@pytest.mark.parametrize(("line", "status"), LINES)
def test_both_commands_say_the_same(auditor: Clerk, crownest: Shell, line: str, status: int) -> None:
    """In words and in JSON, byte for byte, with the same exit status (P9.2)."""
    for mode in ([], ["--json"]):
        args = [*line.split(), *mode]
        alone, other = auditor(*args), crownest("verify", *args)
        assert (alone.returncode, alone.stderr) == (status, b"")
        assert (alone.stdout, alone.returncode) == (other.out, other.status)
        assert b"\x1b" not in alone.stdout
    assert (json.loads(alone.stdout)["data"]["code"] is None) is (status == 0 or line.startswith("open.zip"))


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("proof.zip --policy trust.policy", 0),
        ("proof.zip --policy trust.policy --jobs 2", 0),
        ("flipped.zip --policy trust.policy --jobs 3", 1),
        ("cut.zip --policy trust.policy", 2),
    ],
)
def test_both_commands_say_the_same_as_processes(office: Office, line: str, status: int) -> None:
    """As people start them: one proof each, some with processes of their own."""
    alone, crownest = office.alone(*line.split()), office.crownest(*line.split())
    assert (alone.returncode, alone.stderr) == (status, b"")
    assert (alone.stdout, alone.returncode) == (crownest.stdout, crownest.returncode)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("", "--policy"),
        ("proof.zip", "--policy"),
        ("missing.zip --policy trust.policy", "missing.zip"),
        ("proof.zip --policy missing.policy", "missing.policy"),
        ("proof.zip --policy trust.policy --pin missing.pin", "missing.pin"),
        ("proof.zip --policy trust.policy --bundle proof.zip", "checked alone"),
        ("evidence.json --policy trust.policy", "--bundle proof.zip"),
        ("evidence.json --policy trust.policy --run wsr_0example0example0example00", "--bundle proof.zip"),
        ("nothing.json --policy trust.policy", "--bundle proof.zip"),
        ("evidence.json --policy trust.policy --bundle proof.zip --allow-open", "--allow-open"),
        ("proof.zip --policy trust.policy --jobs 0", "--jobs"),
        ("proof.zip --policy trust.policy --jobs 65", "--jobs"),
        ("proof.zip --policy trust.policy --jobs two", "--jobs"),
        ("proof.zip --policy trust.policy --allow", "--allow"),
        (". --policy trust.policy", "directory"),
    ],
)
def test_a_command_line_that_asks_nothing_exits_2(auditor: Clerk, line: str, part: str) -> None:
    """With a line that says what is wrong, or the envelope of crownest."""
    plain, as_json = auditor(*line.split()), auditor(*line.split(), "--json")
    assert (plain.returncode, plain.stdout, as_json.returncode, as_json.stdout) == (2, b"", 2, b"")
    assert plain.stderr.startswith(b"error: ")
    assert part in plain.stderr.decode()
    error = json.loads(as_json.stderr)["error"]
    assert error["code"] == "usage_error"
    assert part in error["message"]
    assert b"Traceback" not in plain.stderr


def test_both_commands_have_the_same_options() -> None:
    """Names, arguments and help."""
    alone = {
        action.option_strings[-1]: (action.help, action.metavar)
        for action in command._parser(as_json=False)._actions
        if action.option_strings and not isinstance(action, argparse._HelpAction)
    }
    crownest = {
        option.opts[-1]: (option.help, option.metavar)
        for option in verify.params
        if isinstance(option, click.Option)
    }
    assert alone == crownest


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    """Wherever and whenever it is packed; the digest is printed."""
    for room in ("evidence", "verifier"):
        shutil.copytree(ROOT / room, tmp_path / room, copy_function=shutil.copyfile)
    for path in tmp_path.rglob("*"):
        path.chmod(0o700)
        os.utime(path, (1, 1))
    done = subprocess.run(
        [sys.executable, "-m", "verifier.pack", "out/crownest-verify"],
        cwd=tmp_path, env={"TZ": "Asia/Tokyo"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    data = (tmp_path / "out/crownest-verify").read_bytes()
    assert done.stdout == f"{sha256(data).hexdigest()}  out/crownest-verify\n"
    assert packed_file(tmp_path / "here") == f"{sha256(data).hexdigest()}  {tmp_path / 'here'}\n"
    assert (tmp_path / "here").read_bytes() == data == pack.packed()


def test_it_holds_the_verifier_itself(office: Office) -> None:
    """Not a second implementation: every module is the one that crownest runs, and all of them are there."""
    with zipfile.ZipFile(office.file) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert held.pop("__main__.py") == (ROOT / "verifier/__main__.py").read_bytes()
    assert held == {name: (ROOT / name).read_bytes() for name in held}
    ours = {f"{room}/{path.name}" for room in ("evidence", "verifier") for path in (ROOT / room).glob("*.py")}
    assert ours - held.keys() == {"verifier/__main__.py", "verifier/pack.py"}


def test_without_cryptography_it_says_what_is_missing(office: Office) -> None:
    """An auditor's first start should not end in a traceback."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", office.file, "--help"],
        capture_output=True,
        check=False,
        timeout=PROCESS_S_MAX,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"crownest-verify needs the package cryptography")


def test_being_stopped_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends it as it ends crownest."""

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "check", stopped)
    assert command.main(["proof.zip", *POLICY]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_a_reader_that_goes_away_is_no_traceback(office: Office) -> None:
    """`crownest-verify … | head -0`: status 141 and silence."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [office.bin / "python3", office.file, "proof.zip", *POLICY],
        cwd=office.folder, stdout=write, stderr=subprocess.PIPE, check=False, timeout=PROCESS_S_MAX,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
