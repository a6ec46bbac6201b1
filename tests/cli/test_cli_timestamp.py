"""`crownest timestamp` and `verify --timestamp`, with a real authority and with ones that misbehave."""

from __future__ import annotations

import json
import os
import sys
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rfc3161_client import decode_timestamp_response

from cli.main import run
from client import timestamp as client_timestamp
from client.timestamp import TsaLimits
from tests.cli.cli_runner import Result, Shell
from tests.cli.proof_files import ORIGIN, RUN, make_proof
from tests.requires import need
from tests.tsa_kit import Certified, Tsa, certify, certify_tsa, query_over, serving_tsa

TSA_ROOTS = ["--tsa-roots", "root.pem"]


@dataclass(frozen=True)
class Desk:
    """A working folder with proof.zip, run.checkpoint, trust.policy and root.pem, and the authority's own."""

    root: Certified
    tsa: Tsa
    note: bytes


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The working folder is `tmp_path`."""
    need("openssl")
    monkeypatch.chdir(tmp_path)
    made, root = make_proof(), certify("Root")
    Path("proof.zip").write_bytes(made.bundle)
    Path("trust.policy").write_bytes(made.policy)
    Path("root.pem").write_bytes(root.pem)
    with zipfile.ZipFile("proof.zip") as archive:
        note = archive.read("run.checkpoint")
    Path("run.checkpoint").write_bytes(note)
    return Desk(root, Tsa(tmp_path / "tsa", certify_tsa("Honest TSA", root)), note)


def ask(shell: Shell, answer: Callable[[bytes], bytes], *more: str, file: str = "proof.zip") -> Result:
    """Have an authority that answers so stamp the proof into run.tsr."""
    with serving_tsa(answer) as served:
        return shell("timestamp", file, "--tsa", served.url, "--output", "run.tsr", *more)


def verify(shell: Shell, *more: str) -> Result:
    """Verify the proof with run.tsr."""
    return shell("verify", "proof.zip", "--policy", "trust.policy", "--timestamp", "run.tsr", *more)


def test_a_timestamp_is_asked_for_kept_and_verified(lonely_shell: Shell, desk: Desk) -> None:
    """The authority sees a hash of run.checkpoint, a number and a wish for its certificate."""
    with serving_tsa(desk.tsa.answer) as served:
        made = lonely_shell("timestamp", "proof.zip", "--tsa", served.url, "--output", "run.tsr", "--json")
    assert made.status == 0
    assert (made.data["checkpoint"], made.data["path"]) == (f"{ORIGIN}/run/{RUN}", "run.tsr")
    ((content_type, query),) = served.queries
    assert content_type == "application/timestamp-query"
    shown = desk.tsa.openssl("ts", "-query", "-in", str(_saved(query)), "-text")
    assert "Hash Algorithm: sha256" in shown
    assert "Certificate required: yes" in shown
    assert "Nonce: 0x" in shown
    told = decode_timestamp_response(Path("run.tsr").read_bytes()).tst_info.gen_time
    assert made.data["time"] == f"{told:%Y-%m-%dT%H:%M:%SZ}"
    verdict = verify(lonely_shell, *TSA_ROOTS, "--json").data
    assert verdict["verdict"] == "COMPLETE"
    assert verdict["notAfter"][:16] >= made.data["time"][:16]
    assert any("CN=Honest TSA" in sentence for sentence in verdict["proven"])
    words = verify(lonely_shell, *TSA_ROOTS).out.decode()
    assert "not after" in words
    assert verdict["notAfter"] in words


def _saved(query: bytes) -> Path:
    path = Path("query.tsq").resolve()
    path.write_bytes(query)
    return path


def test_a_checkpoint_file_is_stamped_as_well(lonely_shell: Shell, desk: Desk) -> None:
    """The bytes are the same, so the timestamp fits the proof."""
    made = ask(lonely_shell, desk.tsa.answer, *TSA_ROOTS, file="run.checkpoint")
    assert (made.status, made.out) == (0, b"")
    assert made.err.startswith(f"{ORIGIN}/run/{RUN} was there at 2")
    assert verify(lonely_shell, *TSA_ROOTS).status == 0


def test_openssl_accepts_what_was_written(lonely_shell: Shell, desk: Desk) -> None:
    """The file is the authority's answer, for any tool of RFC 3161."""
    assert ask(lonely_shell, desk.tsa.answer).status == 0
    files = [str(Path(name).resolve()) for name in ("run.checkpoint", "run.tsr", "root.pem")]
    said = desk.tsa.openssl("ts", "-verify", "-data", files[0], "-in", files[1], "-CAfile", files[2])
    assert "Verification: OK" in said


def test_what_was_written_survives_a_power_cut(
    lonely_shell: Shell, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is made durable, then its name: an authority says the same time only once."""
    fsync, made_durable = os.fsync, list[str]()

    def recorded(fd: int) -> None:
        made_durable.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", recorded)
    assert ask(lonely_shell, desk.tsa.answer).status == 0
    part, folder = made_durable
    assert part.startswith(".run.tsr.")
    assert folder == Path.cwd().name


def test_a_stamp_of_another_checkpoint_fails_the_proof(lonely_shell: Shell, desk: Desk) -> None:
    """E_TIMESTAMP, with what to do."""
    Path("run.tsr").write_bytes(desk.tsa.stamp(desk.note + b"x"))
    result = verify(lonely_shell, *TSA_ROOTS)
    assert result.status == 1
    assert result.out.startswith(b"FAILED  E_TIMESTAMP (PROOF P5.7)\n")
    assert "made for this very proof" in " ".join(result.out.decode().split())
    for data in (b"", b"rubbish", bytes(100_000)):
        Path("run.tsr").write_bytes(data)
        verdict = verify(lonely_shell, *TSA_ROOTS, "--json")
        assert (verdict.status, verdict.data["code"]) == (1, "E_TIMESTAMP")


def test_a_stranger_vouches_for_nothing(lonely_shell: Shell, desk: Desk) -> None:
    """E_TIMESTAMP for another root; a file without roots cannot be read (exit 2)."""
    Path("run.tsr").write_bytes(desk.tsa.stamp(desk.note))
    Path("root.pem").write_bytes(certify("Stranger").pem)
    assert verify(lonely_shell, *TSA_ROOTS, "--json").data["code"] == "E_TIMESTAMP"
    for data in (b"", b"-----BEGIN CERTIFICATE-----\n", bytes(2_000_000)):
        Path("root.pem").write_bytes(data)
        result = verify(lonely_shell, *TSA_ROOTS, "--json")
        assert (result.status, result.data["code"]) == (2, "E_FORMAT")
        assert "roots" in result.data["message"]
    assert "authority publishes" in " ".join(verify(lonely_shell, *TSA_ROOTS).out.decode().split())


def test_a_timestamp_needs_roots_and_roots_a_timestamp(lonely_shell: Shell, desk: Desk) -> None:
    """Alone neither asks anything."""
    Path("run.tsr").write_bytes(desk.tsa.stamp(desk.note))
    for args in (["--timestamp", "run.tsr"], TSA_ROOTS):
        result = lonely_shell("verify", "proof.zip", "--policy", "trust.policy", *args, "--json")
        assert (result.status, result.error["code"]) == (2, "usage_error")
        assert "go together" in result.error["message"]


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (lambda _: b"", "no response of RFC 3161"),
        (lambda _: b"<html>welcome</html>", "no response of RFC 3161"),
        (lambda _: bytes(70_000), "longer than 65536 bytes"),
    ],
)
def test_an_authority_that_answers_rubbish_leaves_nothing(
    lonely_shell: Shell, desk: Desk, answer: Callable[[bytes], bytes], part: str
) -> None:
    """An earlier timestamp stays what it was."""
    Path("run.tsr").write_bytes(b"earlier")
    result = ask(lonely_shell, answer, "--json")
    assert result.status == 1
    assert part in result.error["message"]
    assert "another authority" in result.error["remediation"]
    assert Path("run.tsr").read_bytes() == b"earlier"
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith(".")) == []


def test_the_answer_to_another_question_is_refused(lonely_shell: Shell, desk: Desk) -> None:
    """Over other bytes; over these, but asked for by somebody else; refused; signed by a stranger."""
    elsewhere = desk.tsa.stamp(b"other bytes")
    replayed = desk.tsa.answer(query_over(desk.note))
    refusal = desk.tsa.answer(b"\x30\x00")
    for answer, part in ((elsewhere, "something else"), (replayed, "another request"), (refusal, "refused")):
        result = ask(lonely_shell, lambda _, answer=answer: answer, "--json")
        assert (result.status, result.error["details"]) == (1, {"reason": "bad_timestamp"})
        assert part in result.error["message"]
    Path("root.pem").write_bytes(certify("Stranger").pem)
    assert ask(lonely_shell, desk.tsa.answer, *TSA_ROOTS).status == 1
    assert not Path("run.tsr").exists()
    assert ask(lonely_shell, desk.tsa.answer).status == 0


@pytest.mark.parametrize(
    ("status", "headers", "part"),
    [
        (500, {}, "status 500"),
        (404, {}, "status 404"),
        (302, {"location": "https://elsewhere.example/\x1b[2J"}, "redirect"),
    ],
)
def test_an_authority_that_answers_an_error_is_told_of(
    lonely_shell: Shell, desk: Desk, status: int, headers: dict[str, str], part: str
) -> None:
    """A redirect is not followed: whoever may redirect could choose the authority."""
    with serving_tsa(desk.tsa.answer) as served:
        served.status, served.headers = status, headers
        result = lonely_shell("timestamp", "proof.zip", "--tsa", served.url, "--output", "run.tsr")
    assert result.status == 1
    assert part in result.err
    assert "\x1b" not in result.err
    assert len(served.queries) == 1
    assert not Path("run.tsr").exists()


@pytest.mark.parametrize("limits", [TsaLimits(read_s=0.2), TsaLimits(whole_s=0.2)])
def test_an_authority_that_hangs_is_given_up(
    lonely_shell: Shell, desk: Desk, monkeypatch: pytest.MonkeyPatch, limits: TsaLimits
) -> None:
    """Between two bytes, and over the whole."""
    monkeypatch.setattr(client_timestamp, "TsaLimits", lambda: limits)
    enough = threading.Event()

    def hang(_: bytes) -> bytes:
        enough.wait(60)
        return b""

    with serving_tsa(hang) as served:
        result = lonely_shell("timestamp", "proof.zip", "--tsa", served.url, "--output", "run.tsr", "--json")
        enough.set()
    assert result.status == 1
    assert result.error["details"] == {"reason": "connection_failed"}
    assert "in time" in result.error["message"]
    assert not Path("run.tsr").exists()


@pytest.mark.parametrize(
    "url", ["", "tsa.example", "ftp://tsa.example/", "http://", "http://[", "http://127.0.0.1:1/"]
)
def test_an_address_where_no_authority_is_is_told_of(lonely_shell: Shell, desk: Desk, url: str) -> None:
    """Whether it is no address or nobody answers there."""
    result = lonely_shell("timestamp", "proof.zip", "--tsa", url, "--output", "run.tsr", "--json")
    assert result.status == 1
    assert "--tsa" in result.error["remediation"]


@pytest.mark.parametrize(
    "name", ["trust.policy", "empty.zip", "cut.zip", "long.checkpoint", "log.checkpoint"]
)
def test_only_proofs_and_checkpoints_are_stamped(lonely_shell: Shell, desk: Desk, name: str) -> None:
    """Nothing is sent for another file."""
    Path("empty.zip").write_bytes(b"")
    Path("cut.zip").write_bytes(Path("proof.zip").read_bytes()[:-1])
    Path("log.checkpoint").write_bytes(desk.note.replace(f"/run/{RUN}".encode(), b""))
    Path("long.checkpoint").write_bytes(desk.note + bytes(70_000))
    with serving_tsa(desk.tsa.answer) as served:
        result = lonely_shell("timestamp", name, "--tsa", served.url, "--output", "run.tsr", "--json")
    assert (result.status, result.error["code"]) == (2, "usage_error")
    assert "neither a proof nor a run.checkpoint" in result.error["message"]
    assert not served.queries


def test_without_the_extra_both_commands_name_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Verifying without a timestamp does not miss it."""
    Path("run.tsr").write_bytes(desk.tsa.stamp(desk.note))
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    monkeypatch.delitem(sys.modules, "verifier.timestamp", raising=False)
    verifying = ["verify", "proof.zip", "--policy", "trust.policy", "--json"]
    stamping = ["timestamp", "proof.zip", "--tsa", "http://127.0.0.1:1/", "--output", "x.tsr", "--json"]
    for args in (stamping, [*verifying, "--timestamp", "run.tsr", *TSA_ROOTS]):
        assert run(args) == 2
        error = json.loads(capfd.readouterr().err)["error"]
        assert "rfc3161-client" in error["message"]
        assert "pip install 'crownest-server[tsa]'" in error["remediation"]
    assert run(verifying) == 0
