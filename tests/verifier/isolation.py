"""A Python that has nothing but its standard library and `cryptography`, as an auditor may have it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

PARTS = ("cryptography", "cffi", "_cffi_backend", "pycparser")
"""`cryptography` and what it imports."""


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
