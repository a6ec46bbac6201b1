"""`crownest demo`: one run from archive to evidence verified offline, by the public commands only."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import click

from cli import output
from cli.problems import failure

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "greeter"
COMMAND = ("python3", "-m", "unittest", "-v")
ARTIFACT = "report.txt"
START_S_MAX = 30.0
STEP_S_MAX = 90.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the demo works: the server's data, and what an auditor would be handed."""

    data: Path
    handover: Path

    @property
    def config(self) -> Path:
        """The demo's own CLI configuration: the user's is left alone."""
        return self.handover / "cli-config.json"


@click.command("demo")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Keep the data here (default: a temporary folder)."
)
def demo(data: Path | None) -> None:
    """Run the example project and check its evidence offline.

    Starts a server, packs examples/greeter, runs its tests through the public command line, collects an
    artifact, writes the evidence and the proof, verifies them in a process that has nothing but the
    bundle and the policy, then flips one byte and shows that it is noticed.
    """
    root = (data or Path(tempfile.mkdtemp(prefix="crownest-demo-"))).resolve()
    folders = Folders(root / "server", root / "handover")
    folders.handover.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with _server(folders):
        run_id = _run_example(folders)
        _export(folders, run_id)
    _say("The server is stopped. What follows needs only two files: proof.zip and trust.policy.")
    _verify_offline(folders, run_id)
    _show_tampering(folders, run_id)
    click.echo(f"""
Done in {time.monotonic() - began:.1f} s.
  data      {folders.data}
            (look again: export CROWNEST_CONFIG_PATH={folders.handover / "cli-config.json"}
            and in two terminals: crownest serve --data {folders.data}; crownest workspace-runs list)
  evidence  {folders.handover / "evidence.json"}
  proof     {folders.handover / "proof.zip"}
  policy    {folders.handover / "trust.policy"}   (keep it apart from the bundles it judges)""")


def _say(text: str) -> None:
    click.echo(output.paint(f"\n== {text}", sys.stdout, bold=True))
    sys.stdout.flush()


def _cli(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments]


def _env(folders: Folders) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CROWNEST_")}
    limits = {name: value for name, value in os.environ.items() if name == "CROWNEST_PROVIDER"}
    return {**kept, **limits, "CROWNEST_CONFIG_PATH": str(folders.config)}


@contextlib.contextmanager
def _server(folders: Folders) -> Generator[None]:
    """`crownest serve` on a free port, until the block ends."""
    _say("Starting the server")
    folders.config.unlink(missing_ok=True)
    command = _cli("serve", "--port", "0", "--data", str(folders.data))
    with subprocess.Popen(command, env=_env(folders)) as process:  # noqa: S603 # our own command line
        try:
            _wait_for_config(folders, process)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(START_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for_config(folders: Folders, process: subprocess.Popen[bytes]) -> None:
    """`serve` writes the address and key once it listens."""
    deadline = time.monotonic() + START_S_MAX
    while not folders.config.exists():
        if process.poll() is not None:
            raise failure("The server did not start; its message stands above.")
        if time.monotonic() > deadline:
            raise failure(f"The server did not start within {START_S_MAX:.0f} s.")
        time.sleep(POLL_S)


def _step(folders: Folders, *arguments: str, shown: bool = True) -> str:
    """Run one public command; show it, and its output unless it is data."""
    if shown:
        click.echo(output.paint(f"$ crownest {' '.join(arguments)}", sys.stdout, dim=True))
        sys.stdout.flush()
    done = subprocess.run(  # noqa: S603 # our own command line
        _cli(*arguments),
        env=_env(folders),
        stdout=None if shown else subprocess.PIPE,
        timeout=STEP_S_MAX,
        check=False,
    )
    if done.returncode != 0:
        raise failure(f"`crownest {' '.join(arguments)}` ended with {done.returncode}.")
    return "" if shown else done.stdout.decode()


def _run_example(folders: Folders) -> str:
    _say("Packing the example project and running its tests")
    archive = folders.handover / "greeter.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(EXAMPLE, arcname=".", filter=lambda member: None if "__pycache__" in member.name else member)
    run = ("run-archive", str(archive), "--metadata", "demo=greeter", "--artifact", ARTIFACT, "--", *COMMAND)
    _step(folders, "workspace-runs", *run)
    listed = json.loads(_step(folders, "workspace-runs", "list", "--json", shown=False))
    run_id: str = listed["data"][0]["id"]
    return run_id


def _export(folders: Folders, run_id: str) -> None:
    _say("Taking the evidence, the proof and the trust policy away")
    handover = folders.handover
    _step(folders, "workspace-runs", "evidence", run_id, "--output", str(handover / "evidence.json"))
    _step(folders, "workspace-runs", "proof", run_id, "--output", str(handover / "proof.zip"))
    click.echo(output.paint("$ crownest policy > trust.policy", sys.stdout, dim=True))
    (handover / "trust.policy").write_text(_step(folders, "policy", shown=False), encoding="utf-8")


def _verify(folders: Folders, bundle: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Verify in an empty folder with an empty environment: two files are all there is."""
    with tempfile.TemporaryDirectory() as empty:
        Path(empty, "proof.zip").write_bytes(bundle.read_bytes())
        Path(empty, "trust.policy").write_bytes((folders.handover / "trust.policy").read_bytes())
        command = _cli("verify", "proof.zip", "--policy", "trust.policy", *arguments)
        return subprocess.run(  # noqa: S603 # our own command line
            command, cwd=empty, env={}, stdout=subprocess.PIPE, timeout=STEP_S_MAX, check=False
        )


def _verify_offline(folders: Folders, run_id: str) -> None:
    _say("Verifying offline: empty environment, empty folder, no server, no keys from the bundle")
    done = _verify(folders, folders.handover / "proof.zip", "--run", run_id)
    click.echo(done.stdout.decode(), nl=False)
    if done.returncode != 0:
        raise failure(f"the untouched bundle was refused (exit code {done.returncode})")


def _show_tampering(folders: Folders, run_id: str) -> None:
    _say("Flipping one byte of the recorded output, and verifying again")
    tampered = folders.handover / "tampered.zip"
    seq = _flip_output_byte(folders.handover / "proof.zip", tampered)
    done = _verify(folders, tampered, "--run", run_id, "--json")
    verdict = json.loads(done.stdout)
    verdict = verdict.get("data", verdict)
    if (verdict["code"], verdict["seq"]) != ("E_PAYLOAD_MISMATCH", seq):
        raise failure(f"the flipped byte in event {seq} was not named: {verdict}")
    click.echo(f"{verdict['verdict']} {verdict['code']} at seq {verdict['seq']}: {verdict['message']}")


def _flip_output_byte(source: Path, target: Path) -> int:
    """Copy the bundle with one letter of the first output event changed; answer that event's seq."""
    with zipfile.ZipFile(source) as bundle, zipfile.ZipFile(target, "w") as out:
        log, seq = _with_one_letter_changed(bundle.read("events.log"))
        for member in bundle.infolist():
            out.writestr(member, log if member.filename == "events.log" else bundle.read(member))
    return seq


def _with_one_letter_changed(log: bytes) -> tuple[bytes, int]:
    """The events with the first letter of the first output changed, and that event's seq."""
    lines = log.split(b"\n")
    index = next(i for i, line in enumerate(lines) if line.startswith(b"+ ") and b'"data":"' in line)
    place = lines[index].index(b'"data":"') + len(b'"data":"')
    lines[index] = lines[index][:place] + b"X" + lines[index][place + 1 :]
    return b"\n".join(lines), int(lines[index - 6])
