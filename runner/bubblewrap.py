"""Sandboxes by bubblewrap: namespaces of their own, a read-only system, a workspace in memory, no network.

What the command can reach is a list, not a remainder: the system folders, a few files of /etc, the template's
interpreters. Nothing of the server is on it, neither its data folder nor other workspaces (DESIGN §4).
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from runner.ground import Ground, base_environment
from runner.holder_program import holder_command, memory_file
from runner.identity import fresh_identity
from runner.interpreters import Interpreter
from runner.job import Limit
from runner.limits import RunnerLimits
from runner.remains import MARKER, new_remains
from runner.sandbox import Booted, Sandbox, boot_holder
from runner.spawner import Launch

WORKSPACE = "/workspace"
_HOME = "/home/sandbox"
_PROGRAM = "/run/crownest/holder.zip"
_STATUS_BYTES_MAX = 4096
_NPROC_PER_NAMESPACE_SINCE = (5, 14)
_INSIDE_ID = "1000"
_SYSTEM_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    *("alternatives", "ca-certificates", "debian_version", "fonts", "host.conf", "inputrc", "ld.so.cache"),
    *("ld.so.conf", "ld.so.conf.d", "locale.alias", "localtime", "magic", "mime.types", "nsswitch.conf"),
    *("os-release", "pki/ca-trust", "pki/tls/certs", "protocols", "services", "ssl/certs", "ssl/openssl.cnf"),
    *("terminfo", "timezone"),
)
"""Public facts about the system that programs read; nothing that names users, hosts or secrets."""
_FILES: Mapping[str, str] = {
    "/etc/passwd": f"sandbox:x:{_INSIDE_ID}:{_INSIDE_ID}:sandbox:{_HOME}:/bin/sh\n",
    "/etc/group": f"sandbox:x:{_INSIDE_ID}:\n",
    "/etc/hosts": "127.0.0.1 localhost crownest\n::1 localhost\n",
    "/etc/hostname": "crownest\n",
}


def sandbox_options(limits: RunnerLimits, interpreters: Mapping[str, Path]) -> list[str]:
    """Bubblewrap's options for the world a command sees, without the parts that are descriptors."""
    options = [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
        *("--as-pid-1", "--cap-drop", "ALL", "--uid", _INSIDE_ID, "--gid", _INSIDE_ID),
        *("--hostname", "crownest", "--ro-bind", "/usr", "/usr"),
    ]
    for path in map(Path, _SYSTEM_LINKS):
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    for path in (Path("/etc") / name for name in _ETC):
        if path.exists():
            options += ["--ro-bind", str(path), str(path)]
    for target, source in interpreters.items():
        options += ["--ro-bind", str(source), target]
    options += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--symlink", "/tmp", "/var/tmp"]  # noqa: S108  # a path in the sandbox
    for target, mode, size_bytes in (
        ("/dev/shm", "1777", limits.scratch_bytes_max),  # noqa: S108  # a path in the sandbox
        ("/tmp", "1777", limits.scratch_bytes_max),  # noqa: S108  # a path in the sandbox
        (_HOME, "0700", limits.scratch_bytes_max),
        (WORKSPACE, "0755", limits.workspace_bytes_max),
    ):
        options += ["--perms", mode, "--size", str(size_bytes), "--tmpfs", target]
    return options


class BubblewrapProvider:
    """Boots one bubblewrap per sandbox; its first process is the holder, as process 1 of the namespace."""

    name = "bubblewrap"
    isolation = "namespaces"

    def __init__(self, ground: Ground, executable: Path) -> None:
        self._ground = ground
        self._executable = executable

    def limits(self) -> Mapping[str, Limit]:
        """Processes are counted per namespace; older kernels count per user, so it takes root's fresh one."""
        counted = os.geteuid() == 0 or _kernel() >= _NPROC_PER_NAMESPACE_SINCE
        return self._ground.limits_report(processes_enforced=counted, workspace_enforced=True)

    async def boot(self, sandbox_id: str, interpreters: Sequence[Interpreter], search_path: str) -> Sandbox:
        """Start a sandbox that sees these interpreters."""
        environment = {
            **base_environment(search_path, _HOME, "/tmp"),  # noqa: S108  # a path in the sandbox
            **_libraries(interpreters),
        }
        note = new_remains(sandbox_id, "namespace")
        return await self._ground.raise_sandbox(
            note, environment, lambda: self._start(interpreters, note.token)
        )

    async def _start(self, interpreters: Sequence[Interpreter], token: str) -> tuple[Booted, int]:
        identity = fresh_identity()
        mounts: dict[str, Path] = {}
        for interpreter in (*interpreters, self._ground.python):
            if interpreter.mount:
                source, target = interpreter.mount
                mounts[target] = source if identity.uid is None else await self._reachable(source)
        options = [*sandbox_options(self._ground.limits, mounts), "--unsetenv", MARKER]
        for name, value in _libraries([self._ground.python]).items():
            options += ["--setenv", name, value]
        with ExitStack() as opened:
            status_fd, status_write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            opened.callback(os.close, status_fd)
            opened.callback(os.close, status_write_fd)
            files = {**{path: text.encode() for path, text in _FILES.items()}, _PROGRAM: self._ground.program}
            fds: list[int] = [status_write_fd]
            for path, content in files.items():
                fds.append(_opened(opened, content))
                options += ["--perms", "0444", "--file", str(fds[-1]), path]
            options += ["--remount-ro", "/", "--chdir", WORKSPACE, "--json-status-fd", str(status_write_fd)]
            options_fd = _opened(opened, b"".join(option.encode() + b"\0" for option in options))

            def launch_with(control_fd: int, stderr_fd: int) -> Launch:
                holder = holder_command(self._ground.python, _PROGRAM, control_fd, "namespace", WORKSPACE)
                return Launch(
                    arguments=[str(self._executable), "--args", str(options_fd), "--", *holder],
                    fds=(control_fd, options_fd, *fds),
                    stderr_fd=stderr_fd,
                    uid=identity.uid,
                    # Killed in the middle of bubblewrap's own setup, its child waits for ever: this is
                    # how the next start finds it. Nothing inside the sandbox is given the variable.
                    environment={MARKER: token},
                )

            booted = await boot_holder(self._ground.spawner, launch_with, self._ground.limits)
            # The holder answered, so bubblewrap has written the child's pid before.
            return booted, _child_pid(os.read(status_fd, _STATUS_BYTES_MAX))

    async def _reachable(self, source: Path) -> Path:
        """A private prefix, for the user that root drops to."""
        return await self._ground.spawner.reachable(source.parent) / source.name


def _libraries(interpreters: Sequence[Interpreter]) -> dict[str, str]:
    folders = [one.library_folder for one in interpreters if one.library_folder]
    return {"LD_LIBRARY_PATH": ":".join(folders)} if folders else {}


def _opened(stack: ExitStack, content: bytes) -> int:
    fd = memory_file("crownest", content)
    stack.callback(os.close, fd)
    return fd


def _child_pid(status: bytes) -> int:
    """From the first JSON document that bubblewrap writes: the namespace's process 1, as we see it."""
    return int(json.loads(status.splitlines()[0])["child-pid"])


def _kernel() -> tuple[int, int]:
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(char for char in minor if char.isdecimal()) or 0)
