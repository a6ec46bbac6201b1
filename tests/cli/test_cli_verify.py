"""`crownest verify`: offline verdicts in words and JSON, with exit statuses that scripts can rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evidence.verdict import CODES, FAILED, Verdict
from evidence.verdict_text import ANOTHER_COPY, REMEDIES, remedy
from tests.cli.cli_runner import CROWNEST, Shell
from tests.cli.proof_files import RUN, Proof, make_proof, tampered
from tests.cli.recording_server import RecordingServer, Reply

OUTPUT_SEQ = 6


@pytest.fixture
def proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proof:
    """`proof.zip`, `trust.policy` and `evidence.json` in the working folder."""
    made = make_proof()
    monkeypatch.chdir(tmp_path)
    Path("proof.zip").write_bytes(made.bundle)
    Path("trust.policy").write_bytes(made.policy)
    pretty = {**json.loads(made.evidence), "proof": {"size": 12}}
    Path("evidence.json").write_text(json.dumps(pretty, indent=2))
    return made


def flip(content: bytes) -> bytes:
    """Make a failure look like a success in the recorded output."""
    return content.replace(b"FAILED (failures=1)", b"PASSED (failures=0)")


def test_a_sound_proof_is_accepted_in_words(lonely_shell: Shell, proof: Proof) -> None:
    """The word first, then what it covers, then what it does not."""
    result = lonely_shell("verify", "proof.zip", "--policy", "trust.policy", "--run", RUN)
    text = result.out.decode()
    assert (result.status, result.err) == (0, "")
    assert text.startswith("COMPLETE\n  All 12 events of the sealed run are here and unchanged.\n")
    assert RUN in text
    assert text.index("\nProven\n") < text.index("\nNot proven\n")
    assert "That the command told the truth" in text
    assert "What to do" not in text
    assert "\x1b" not in text


def test_it_needs_no_environment_no_configuration_and_no_home(tmp_path: Path) -> None:
    """An empty environment, an empty folder with two files: nothing else is there to help (issue, item 2)."""
    made = make_proof()
    (tmp_path / "proof.zip").write_bytes(made.bundle)
    (tmp_path / "trust.policy").write_bytes(made.policy)
    done = subprocess.run(
        [CROWNEST, "verify", "proof.zip", "--policy", "trust.policy", "--json"],
        cwd=tmp_path, env={}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["data"]["verdict"] == "COMPLETE"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["proof.zip", "trust.policy"]


def test_it_imports_no_http_no_server_and_no_database(tmp_path: Path) -> None:
    """What an auditor runs is small: click, cryptography, the standard library."""
    made = make_proof()
    (tmp_path / "p.zip").write_bytes(made.bundle)
    (tmp_path / "t.policy").write_bytes(made.policy)
    program = (
        "import sys; from cli.main import run\n"
        f"status = run(['verify', {str(tmp_path / 'p.zip')!r}, '--policy', {str(tmp_path / 't.policy')!r}])\n"
        "rooms = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(rooms & set(sys.argv[1:])), status, file=sys.stderr)"
    )
    unwanted = [
        "httpx2",
        "ssl",
        "rich",
        "pydantic",
        "fastapi",
        "uvicorn",
        "api",
        "eventstore",
        "runner",
        "sqlite3",
    ]
    done = subprocess.run(
        [sys.executable, "-c", program, *unwanted], capture_output=True, check=True, timeout=60
    )
    assert done.stderr.decode().strip() == "[] 0"


def test_a_flipped_byte_is_named_with_its_event_and_what_to_do(lonely_shell: Shell, proof: Proof) -> None:
    """The code, the seq and the clause; nothing is called proven."""
    Path("bad.zip").write_bytes(tampered(proof.bundle, "events.log", flip))
    result = lonely_shell("verify", "bad.zip", "--policy", "trust.policy")
    text = result.out.decode()
    assert result.status == 1
    assert text.startswith(f"FAILED  E_PAYLOAD_MISMATCH at event {OUTPUT_SEQ} (PROOF P2)\n")
    assert "What to do\n  Fetch the proof from the server again." in text
    assert "\nProven\n" not in text
    verdict = lonely_shell("verify", "bad.zip", "--policy", "trust.policy", "--json").data
    assert (verdict["verdict"], verdict["code"], verdict["seq"]) == (
        "FAILED",
        "E_PAYLOAD_MISMATCH",
        OUTPUT_SEQ,
    )
    assert set(verdict) == {
        "verdict", "code", "seq", "clause", "message", "stream", "size", "root", "notBefore", "notAfter",
        "proven", "notProven",
    }  # fmt: skip


def test_another_signers_policy_is_refused_with_where_to_get_the_right_one(
    lonely_shell: Shell, proof: Proof
) -> None:
    """Trust comes from the policy alone."""
    Path("trust.policy").write_bytes(make_proof().policy)
    result = lonely_shell("verify", "proof.zip", "--policy", "trust.policy")
    assert result.status == 1
    assert "E_SIG_UNKNOWN_KEY" in result.out.decode()
    assert "never from whoever handed you the proof" in " ".join(result.out.decode().split())


def test_the_expected_run_is_compared(lonely_shell: Shell, proof: Proof) -> None:
    """A valid proof of another run is no proof of yours."""
    result = lonely_shell("verify", "proof.zip", "--policy", "trust.policy", "--run", "wsr_other", "--json")
    assert (result.status, result.data["verdict"]) == (1, "FAILED")
    assert result.data["code"] in {"E_RUN_MISMATCH", "E_ORIGIN_MISMATCH"}


def test_an_open_run_is_refused_unless_it_is_allowed(lonely_shell: Shell, proof: Proof) -> None:
    """PROOF P9.2: OPEN_PREFIX exits 1, and 0 with --allow-open."""
    made = make_proof(sealed=False)
    Path("proof.zip").write_bytes(made.bundle)
    Path("trust.policy").write_bytes(made.policy)
    refused = lonely_shell("verify", "proof.zip", "--policy", "trust.policy")
    assert (refused.status, refused.out.decode().split()[0]) == (1, "OPEN_PREFIX")
    assert "--allow-open" in refused.out.decode()
    allowed = lonely_shell("verify", "proof.zip", "--policy", "trust.policy", "--allow-open")
    assert (allowed.status, allowed.out.decode().split()[0]) == (0, "OPEN_PREFIX")


def test_withheld_output_is_refused_unless_it_is_allowed(lonely_shell: Shell, proof: Proof) -> None:
    """PROOF P7: accepted only if the verifier is told so."""
    made = make_proof(without=frozenset({"stdout"}))
    Path("proof.zip").write_bytes(made.bundle)
    Path("trust.policy").write_bytes(made.policy)
    refused = lonely_shell("verify", "proof.zip", "--policy", "trust.policy")
    assert refused.status == 1
    assert "--allow-withheld" in refused.out.decode()
    allowed = lonely_shell("verify", "proof.zip", "--policy", "trust.policy", "--allow-withheld", "--json")
    assert (allowed.status, allowed.data["verdict"]) == (0, "WITHHELD")


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04" + b"\x00" * 100])
def test_an_unreadable_bundle_exits_2_with_a_code(lonely_shell: Shell, proof: Proof, content: bytes) -> None:
    """PROOF P9.2: still a verdict, in both forms."""
    Path("broken.zip").write_bytes(content)
    result = lonely_shell("verify", "broken.zip", "--policy", "trust.policy", "--json")
    assert (result.status, result.data["code"]) == (2, "E_FORMAT")
    assert lonely_shell("verify", "broken.zip", "--policy", "trust.policy").out.startswith(
        b"FAILED  E_FORMAT"
    )


@pytest.mark.parametrize("content", [b"", b"log nonsense\n", b"\xff"])
def test_an_unreadable_policy_exits_2_with_a_code(lonely_shell: Shell, proof: Proof, content: bytes) -> None:
    """A policy that trusts nobody is a broken file, not a tampered proof."""
    Path("trust.policy").write_bytes(content)
    result = lonely_shell("verify", "proof.zip", "--policy", "trust.policy", "--json")
    assert (result.status, result.data["code"]) == (2, "E_FORMAT")


@pytest.mark.parametrize(
    "args",
    [
        ["proof.zip"],
        ["missing.zip", "--policy", "trust.policy"],
        ["proof.zip", "--policy", "missing.policy"],
        ["proof.zip", "--policy", "trust.policy", "--bundle", "proof.zip"],
        ["evidence.json", "--policy", "trust.policy", "--bundle", "proof.zip", "--allow-open"],
        ["broken.json", "--policy", "trust.policy"],
    ],
)
def test_usage_errors_exit_2(lonely_shell: Shell, proof: Proof, args: list[str]) -> None:
    """In JSON mode as an envelope."""
    Path("broken.json").write_text("[]")
    assert lonely_shell("verify", *args).status == 2
    assert lonely_shell("verify", *args, "--json").error["code"] == "usage_error"


def test_a_pretty_evidence_file_is_checked_against_its_bundle(lonely_shell: Shell, proof: Proof) -> None:
    """PROOF P9.2a: parse, drop `proof`, canonicalise, compare."""
    args = ["evidence.json", "--bundle", "proof.zip", "--policy", "trust.policy", "--run", RUN]
    assert lonely_shell("verify", *args, "--json").data["verdict"] == "COMPLETE"
    edited = {**json.loads(proof.evidence), "exitCode": 0}
    Path("evidence.json").write_text(json.dumps(edited))
    result = lonely_shell("verify", *args, "--json")
    assert (result.status, result.data["code"]) == (1, "E_EVIDENCE_DRIFT")


def test_without_a_bundle_it_is_fetched_for_the_run_that_the_evidence_names(
    shell: Shell, server: RecordingServer, proof: Proof
) -> None:
    """The server hands out the bundle; the policy still judges it."""
    server.routes[f"GET /v1/workspace-runs/{RUN}/proof/bundle"] = lambda _: Reply(200, proof.bundle)
    result = shell("verify", "evidence.json", "--policy", "trust.policy", "--json")
    assert (result.status, result.data["verdict"]) == (0, "COMPLETE")
    assert server.calls() == [f"GET /v1/workspace-runs/{RUN}/proof/bundle"]


def test_text_from_a_bundle_cannot_command_the_terminal(lonely_shell: Shell, proof: Proof) -> None:
    """A forged name inside a file is shown, not obeyed."""
    Path("bad.zip").write_bytes(
        tampered(proof.bundle, "events.log", lambda log: log.replace(b"\nstdout\n", b"\n\x1b[2J\n", 1))
    )
    result = lonely_shell("verify", "bad.zip", "--policy", "trust.policy")
    assert result.status == 1
    assert b"\x1b" not in result.out


def test_every_code_says_what_to_do() -> None:
    """The table names existing codes only, and the rest get the general advice."""
    assert set(REMEDIES) <= set(CODES)
    for code in CODES:
        assert remedy(Verdict(FAILED, 1, code=code)) == REMEDIES.get(code, ANOTHER_COPY)
