"""A Python that has nothing but its standard library and `cryptography`, as an auditor may have it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import venv
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

PARTS = ("cryptography", "cffi", "_cffi_backend", "pycparser")
"""`cryptography` and what it imports."""

CLERK = """
import io, json, runpy, sys
file, asked, answers = sys.argv[1], sys.stdin, sys.stdout
for line in asked:
    sys.argv = [file, *json.loads(line)]
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), answers.encoding) for _ in range(2))
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit as ended:
        status = ended.code
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    told = [stream.buffer.getvalue().decode("latin-1") for stream in (sys.stdout, sys.stderr)]
    print(json.dumps([status, *told]), file=answers, flush=True)
"""
"""Runs a single file again and again in one process, as its own `__main__`: starting is most of its time."""


class Clerk:
    """A running `CLERK`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __call__(self, *args: str) -> subprocess.CompletedProcess[bytes]:
        """What the file does with these arguments."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(args).encode() + b"\n")
        self._process.stdin.flush()
        status, out, err = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(args, status, out.encode("latin-1"), err.encode("latin-1"))


@contextmanager
def clerk(python: Path, file: Path, folder: Path, env: dict[str, str]) -> Generator[Clerk]:
    """One that works in `folder` until the block ends."""
    command = [python, "-c", CLERK, file]
    with subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield Clerk(process)


def lonely_python(folder: Path, *more: str) -> Path:
    """A virtual environment in `folder` with these parts, `more`, and no others; answers its `bin` folder."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in (*PARTS, *more):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            source = Path(spec.origin)
            source = source.parent if spec.submodule_search_locations else source
            (site / source.name).symlink_to(source)
    return folder / "bin"


def importable(bin_folder: Path, *names: str) -> list[str]:
    """Which of these modules that Python can import."""
    program = "import sys; from importlib.util import find_spec; print(*filter(find_spec, sys.argv[1:]))"
    done = subprocess.run(
        [bin_folder / "python3", "-I", "-c", program, *names], check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def packed_file(target: Path) -> str:
    """Write `crownest-verify` there, as `make verifier` does; answers what was printed."""
    done = subprocess.run(
        [sys.executable, "-m", "verifier.pack", target], check=True, capture_output=True, text=True
    )
    return done.stdout
