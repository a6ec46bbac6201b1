"""Finds the interpreters of this machine and decides under which path a sandbox sees each.

One below /usr is seen where it is. One in a private place (a home folder) is mounted read-only under
/opt/interpreters, and only its own prefix: never a folder that could hold somebody's files as well.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SYSTEM_FOLDER = Path("/usr")
_MOUNT_FOLDER = "/opt/interpreters"
_SYSTEM_BINS = (Path("/usr/local/bin"), Path("/usr/bin"))
_HOLDER_VERSION_MIN = (3, 11)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A program that runs code: its name, where it lies on the host, and what must be mounted for it."""

    name: str
    executable: Path
    mount: tuple[Path, str] | None = None
    """(host path, path in the sandbox); None when it is seen where it is."""

    @property
    def path(self) -> str:
        """The executable's path in the sandbox."""
        if self.mount is None:
            return str(self.executable)
        source, target = self.mount
        return str(Path(target) / self.executable.relative_to(source)) if source.is_dir() else target

    @property
    def library_folder(self) -> str | None:
        """Where its shared library is mounted: the place that the program itself knows is the private one."""
        if self.mount is None:
            return None
        source, target = self.mount
        return f"{target}/lib" if any(source.glob("lib/libpython*.so*")) else None

    @property
    def folder(self) -> str:
        """The folder to put into PATH."""
        return str(Path(self.path).parent)


def search_path_of(interpreters: Iterable[Interpreter]) -> str:
    """PATH for commands: mounted interpreters first."""
    mounted = [one.folder for one in interpreters if one.mount]
    return ":".join((*mounted, *map(str, _SYSTEM_BINS), "/bin"))


def find_python(own: Path | None = None) -> Interpreter | None:
    """`python3`: the system's if there is one, else the one that runs the server."""
    system = _system("python3")
    if system:
        return system
    executable = own or Path(sys.base_prefix) / "bin" / "python3"
    return _private_python(executable)


def find_node(search_path: Sequence[Path] = ()) -> Interpreter | None:
    """`node`: the system's if there is one, else the first of the search path."""
    return _system("node") or next(_private_nodes(search_path), None)


def find_holder_pythons() -> list[Interpreter]:
    """Interpreters new enough for the holder, best first; the last one runs the server, so it is."""
    named = (
        Interpreter("holder", folder / name)
        for folder in _SYSTEM_BINS
        for name in ("python3",)
        if os.access(folder / name, os.X_OK)
    )
    found = [one for one in named if _version(one.executable) >= _HOLDER_VERSION_MIN]
    own = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if SYSTEM_FOLDER in own.parents:
        return [*found, Interpreter("holder", own)]
    private = _private_python(own)
    return [*found, private] if private else found


def _system(name: str) -> Interpreter | None:
    for folder in _SYSTEM_BINS:
        executable = folder / name
        if os.access(executable, os.X_OK) and SYSTEM_FOLDER in executable.resolve().parents:
            return Interpreter(name, executable)
    return None


def _private_python(executable: Path) -> Interpreter | None:
    """A prefix that holds `bin/python3` and its standard library, and is nobody's home."""
    prefix = executable.parent.parent.resolve()
    if not os.access(executable, os.X_OK) or not any(prefix.glob("lib/python3.*/os.py")) or _is_home(prefix):
        return None
    return Interpreter("python3", prefix / "bin" / executable.name, (prefix, f"{_MOUNT_FOLDER}/python"))


def _private_nodes(search_path: Iterable[Path]) -> Iterator[Interpreter]:
    for folder in search_path:
        executable = (folder / "node").resolve()
        if not os.access(executable, os.X_OK) or executable.is_dir():
            continue
        prefix = executable.parent.parent
        if (prefix / "lib" / "node_modules").is_dir() and not _is_home(prefix):
            yield Interpreter("node", executable, (prefix, f"{_MOUNT_FOLDER}/node"))
        else:
            yield Interpreter("node", executable, (executable, f"{_MOUNT_FOLDER}/node/bin/node"))


def _is_home(prefix: Path) -> bool:
    """True for a home folder and everything above one; below one is where private interpreters live."""
    home = Path("~").expanduser()
    return prefix == home or prefix in home.parents or (prefix / ".ssh").exists()


def _version(executable: Path) -> tuple[int, int]:
    """From the name that python3 is a link to, without starting it; (0, 0) when it does not tell."""
    match = re.fullmatch(r"python(\d+)\.(\d+)", executable.resolve().name)
    return (int(match[1]), int(match[2])) if match else (0, 0)
