"""The holder as one file that any interpreter can run: a zip of the modules it is made of."""

from __future__ import annotations

import io
import os
import py_compile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from runner.interpreters import Interpreter

_MODULES = (
    "__init__",
    "archive",
    "archive_path",
    "dials",
    "extract",
    "files",
    "holder",
    "identity",
    "proctable",
    "tasks",
    "wire",
    "workspace",
)
_MAIN = "import sys\nfrom runner.holder import main\nmain(sys.argv[1:])\n"


def holder_program() -> bytes:
    """The program, with its modules compiled beside the sources: that saves a third of a sandbox's start.

    An interpreter of another version passes over the compiled ones.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as program, TemporaryDirectory() as scratch:
        for name in _MODULES:
            source = Path(__file__).parent / f"{name}.py"
            compiled = Path(scratch) / f"{name}.pyc"
            py_compile.compile(
                str(source),
                str(compiled),
                dfile=f"runner/{name}.py",
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
            program.writestr(zipfile.ZipInfo(f"runner/{name}.py"), source.read_bytes())
            program.writestr(zipfile.ZipInfo(f"runner/{name}.pyc"), compiled.read_bytes())
        program.writestr(zipfile.ZipInfo("__main__.py"), _MAIN)
    return buffer.getvalue()


def holder_command(
    python: Interpreter, program: str, control_fd: int, scope: str, workspace: str
) -> list[str]:
    """The arguments that start it: isolated from every setting, no site packages, text is UTF-8."""
    return [python.path, "-I", "-S", "-B", "-X", "utf8", program, str(control_fd), scope, workspace]


def memory_file(name: str, content: bytes) -> int:
    """A descriptor of an anonymous file with this content, at its start; the caller closes it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
