"""Runs source distributions that others wrote through `run-archive`, and compares with running them here.

Not part of `make test`: it downloads. `make sdists` prints a line each and fails when an exit code, a count
of tests or a last line differs from what the same suite gives outside the sandbox.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.serving import Running, serving

SUITE_S_MAX = 180.0
TIMING = re.compile(r" in \d+\.\d+s")


@dataclass(frozen=True)
class Sdist:
    """A pinned source distribution and the command that runs its tests inside its folder."""

    name: str
    version: str
    sha256: str
    command: str

    @property
    def folder(self) -> str:
        """The archive's one top-level folder."""
        return f"{self.name}-{self.version}"


SDISTS = (
    Sdist(
        "idna",
        "3.10",
        "12f65c9b470abda6dc35cf8e63cc574b1c52b11df2c86030af0ac09b01b13ea9",
        "python3 -m unittest discover -s tests -t .",
    ),
    Sdist(
        "pycparser",
        "3.12",
        "f03387877eab82ce01bbdfd0ba7252ee55a90b1c708d5129e2ce915475cf1db6",
        "python3 -m unittest discover -s tests -t .",
    ),
    Sdist(
        "bottle",
        "0.13.4",
        "787e78327e12b227938de02248333d788cfe45987edca735f8f88e03472c3f47",
        "python3 -m unittest discover -s test -t .",
    ),
    Sdist(
        "defusedxml",
        "0.7.1",
        "1bb3032db185915b62d7c6209c5a8792be6a32ab2fedacc84e01b52c51aa3e69",
        "python3 tests.py",
    ),
    Sdist(
        "polib",
        "1.2.0",
        "f3ef94aefed6e183e342a8a269ae1fc4742ba193186ad76f175938621dbfc26b",
        "python3 tests/tests.py",
    ),
    Sdist(
        "cachetools",
        "8.0.1",
        "deb1d376d4d28c2f33f3e3058043b005e0af75c35c094bd54053e27d2906ad95",
        "PYTHONPATH=src python3 -m unittest discover tests",
    ),
)


def download(sdist: Sdist, folder: Path) -> Path:
    """Fetch the archive with pip and check its digest."""
    options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--disable-pip-version-check"]
    wanted = f"{sdist.name}=={sdist.version}"
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), wanted]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    path = folder / f"{sdist.folder}.tar.gz"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sdist.sha256, (
        f"{path.name} is not the pinned file"
    )
    return path


def outside(sdist: Sdist, archive: Path, folder: Path) -> tuple[int, str]:
    """Exit code and output of the suite on this machine, without a sandbox."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["/bin/sh", "-c", sdist.command],
        cwd=folder / sdist.folder,
        env=env,
        timeout=SUITE_S_MAX,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def inside(sdist: Sdist, archive: Path, running: Running, config: Path) -> tuple[int, str]:
    """Exit code and output of the same suite through the public command line."""
    env = {**os.environ, "CROWNEST_API_URL": running.url, "CROWNEST_API_KEY": running.key,
           "CROWNEST_CONFIG_PATH": str(config)}  # fmt: skip
    shell = f"cd {sdist.folder} && {sdist.command} 2>&1"
    run = ["workspace-runs", "run-archive", str(archive), "--", "sh", "-c", shell]
    command = [sys.executable, "-m", "cli.main", *run]
    done = subprocess.run(
        command, env=env, timeout=SUITE_S_MAX, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return done.returncode, done.stdout.decode(errors="replace")


def summary(code: int, output: str) -> tuple[int, list[str]]:
    """What must agree: the exit code, unittest's count, and the last line, timings removed."""
    lines = [TIMING.sub("", line) for line in output.strip().splitlines()]
    return code, [line for line in lines if line.startswith("Ran ")] + lines[-1:]


def main() -> int:
    """One line a distribution; 1 if any differs."""
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(folder / "data", provider=os.environ.get("CROWNEST_PROVIDER", "auto")) as running:
            print(f"sandbox: {running.server.runner.provider}")
            for sdist in SDISTS:
                archive = download(sdist, folder)
                expected = summary(*outside(sdist, archive, folder))
                found = summary(*inside(sdist, archive, running, folder / "config.json"))
                wrong += found != expected
                verdict = "same" if found == expected else f"DIFFERENT from outside: {expected}"
                print(f"{sdist.folder:20} exit {found[0]}  {' | '.join(found[1])}  {verdict}", flush=True)
    print(f"{len(SDISTS) - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
