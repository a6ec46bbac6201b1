"""The commands redact and signing-keys: what they change on a real server, and that they ask first."""

from __future__ import annotations

import os
import pty
import subprocess
import zipfile
from pathlib import Path

import pytest

from cli.redact import TARGETS_MAX
from tests.cli.cli_runner import CROWNEST, PROCESS_S_MAX, Shell
from tests.serving import Running

REASON = "printed an address"


def output_seqs(running: Running, run_id: str) -> list[int]:
    """The numbers of the run's output events."""
    return [event["seq"] for event in running.events(run_id) if event["type"] in {"stdout", "stderr"}]


def verdict(owner: Shell, run_id: str, *without: str) -> str:
    """What the verifier says of the run's proof as of now, under the policy as of now."""
    Path("trust.policy").write_bytes(owner("policy").out)
    assert owner("workspace-runs", "proof", run_id, "--output", "proof.zip", *without).status == 0
    result = owner("verify", "proof.zip", "--policy", "trust.policy", "--allow-withheld")
    return result.out.decode().split()[0]


def proof_contents() -> bytes:
    """All files of the proof that was judged last."""
    with zipfile.ZipFile("proof.zip") as proof:
        return b"".join(proof.read(name) for name in proof.namelist())


def answered(owner: Shell, args: list[str], answer: bytes) -> int:
    """Run on a terminal and type the answer; the status."""
    screen, far_end = pty.openpty()
    process = subprocess.Popen(
        [CROWNEST, *args],
        stdin=far_end,
        stdout=far_end,
        stderr=far_end,
        env=owner.env,
        start_new_session=True,
    )
    os.close(far_end)
    shown = b""
    try:
        while b"[y/N]" not in shown:
            shown += os.read(screen, 1024)
        os.write(screen, answer)
        while os.read(screen, 1024):
            pass
    except OSError:  # the far end is closed: Linux says EIO
        pass
    os.close(screen)
    assert b"[y/N]" in shown, shown
    return process.wait(PROCESS_S_MAX)


def test_redacted_output_is_gone_and_the_run_still_verifies(owner: Shell, running: Running) -> None:
    """From the log and the proof, which now holds the reason."""
    run_id = running.run("cat a.txt", {"a.txt": b"a secret"})["id"]
    assert verdict(owner, run_id) == "COMPLETE"
    assert b"a secret" in proof_contents()
    (seq,) = output_seqs(running, run_id)
    result = owner("redact", run_id, "--seq", str(seq), "--reason", REASON, "--yes", "--json")
    assert result.status == 0, result.err
    assert b"a secret" not in owner("workspace-runs", "logs", run_id).out
    assert verdict(owner, run_id) == "REDACTED"
    assert b"a secret" not in proof_contents()
    assert REASON.encode() in proof_contents()


@pytest.mark.parametrize("seqs", ["0", "x", "7-5", "1,,2", "-1", f"1-{TARGETS_MAX + 1}", "9" * 20])
def test_numbers_that_name_no_events_are_refused_before_anything_is_asked(owner: Shell, seqs: str) -> None:
    """Exit 2, with what is wrong."""
    result = owner("redact", "wsr_abc", f"--seq={seqs}", "--reason", REASON, "--yes", "--json")
    assert result.status == 2
    assert result.error["code"] == "usage_error"


def test_what_the_server_refuses_is_said_in_its_words(owner: Shell, running: Running) -> None:
    """Events that are no output cannot go, nor output of a run that nobody knows."""
    run_id = running.run("true")["id"]
    wrong = owner("redact", run_id, "--seq", "1", "--reason", REASON, "--yes", "--json")
    assert (wrong.status, wrong.error["code"]) == (1, "invalid_request")
    assert "only stdout and stderr" in wrong.error["message"]
    unknown = owner("redact", "wsr_unknown", "--seq", "1", "--reason", REASON, "--yes", "--json")
    assert (unknown.status, unknown.error["code"]) == (1, "not_found")


def test_a_rotated_key_is_listed_as_retired_and_what_it_signed_still_counts(
    owner: Shell, running: Running
) -> None:
    """The policy, asked for anew, knows both."""
    run_id = running.run("true")["id"]
    (first,) = owner("signing-keys", "list", "--json").data
    result = owner("signing-keys", "rotate", "--yes", "--json")
    assert result.status == 0, result.err
    active, retired = owner("signing-keys", "list", "--json").data
    assert (active["status"], active["keyId"]) == ("active", result.data["keyId"])
    assert (retired["status"], retired["keyId"], retired["until"]) == (
        "retired", first["keyId"], active["from"]
    )  # fmt: skip
    table = owner("signing-keys", "list").out.decode().splitlines()
    assert [line.split("\t")[0] for line in table] == ["keyId", active["keyId"], retired["keyId"]]
    assert verdict(owner, run_id) == "COMPLETE"


def test_withheld_output_is_not_in_the_bundle(owner: Shell, running: Running) -> None:
    """And the verdict says so; the server keeps it."""
    run_id = running.run("echo between us")["id"]
    assert verdict(owner, run_id, "--without", "stdout,stderr") == "WITHHELD"
    assert verdict(owner, run_id) == "COMPLETE"


@pytest.mark.parametrize("as_json", [False, True])
def test_a_program_is_not_asked_and_nothing_happens(owner: Shell, running: Running, *, as_json: bool) -> None:
    """It says --yes, or it is told to; an answer on a pipe does not count."""
    run_id = running.run("echo kept")["id"]
    seqs, more = ",".join(map(str, output_seqs(running, run_id))), ["--json"] if as_json else []
    for args in (["redact", run_id, "--seq", seqs, "--reason", REASON], ["signing-keys", "rotate"]):
        result = owner.process(*args, *more, input_=b"y\n")
        assert result.status == 2
        assert "add --yes" in result.err
    assert verdict(owner, run_id) == "COMPLETE"
    assert len(owner("signing-keys", "list", "--json").data) == 1


def test_a_person_is_asked_and_no_means_no(owner: Shell, running: Running) -> None:
    """Exit 1 and nothing changed; yes does it."""
    run_id = running.run("echo kept")["id"]
    (seq,) = output_seqs(running, run_id)
    redact = ["redact", run_id, "--seq", str(seq), "--reason", REASON]
    for args in (redact, ["signing-keys", "rotate"]):
        assert answered(owner, args, b"n\n") == 1
    assert verdict(owner, run_id) == "COMPLETE"
    assert len(owner("signing-keys", "list", "--json").data) == 1
    for args in (redact, ["signing-keys", "rotate"]):
        assert answered(owner, args, b"y\n") == 0
    assert verdict(owner, run_id) == "REDACTED"
    assert len(owner("signing-keys", "list", "--json").data) == 2
