"""Sandboxes without isolation: ordinary processes with a folder of their own, where bubblewrap is missing.

The command sees the whole machine as its user does. That user is a fresh one without rights when the server
is root, else the server's own: no secret of that user is safe from it, and the server says so at start. What
is kept is that nothing is left running: the holder is everybody's parent, and control groups help where they
can.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from runner.ground import Ground, base_environment
from runner.holder_program import holder_command, memory_file
from runner.identity import Identity, fresh_identity
from runner.interpreters import Interpreter
from runner.job import Limit
from runner.remains import MARKER, Remains, new_remains
from runner.sandbox import Booted, Sandbox, boot_holder
from runner.spawner import Launch

_SHARED_PLACE = Path("/var/tmp")  # noqa: S108  # names in it are random, and made exclusively
"""Where every user can walk: the data folder is closed to the users that root drops to, and should be."""


class ProcessProvider:
    """Starts one holder per sandbox as a child process; commands run in a folder on disk."""

    name = "process"
    isolation = "none"

    def __init__(self, ground: Ground, work_dir: Path, *, drop: bool) -> None:
        self._ground = ground
        self._drop = drop
        self._folder = _SHARED_PLACE if drop else work_dir / "workspaces"

    def limits(self) -> Mapping[str, Limit]:
        """A folder on disk has no limit; processes are counted per user, so a fresh one is needed."""
        fresh = self._drop and fresh_identity().exclusive
        return self._ground.limits_report(processes_enforced=fresh, workspace_enforced=False)

    async def boot(self, sandbox_id: str, interpreters: Sequence[Interpreter], search_path: str) -> Sandbox:
        """Start a sandbox; the interpreters are used where they are."""
        identity = fresh_identity() if self._drop else Identity(None, exclusive=False)
        private = [one.executable.parent for one in interpreters if one.mount]
        scope = "user" if identity.exclusive else "tree"
        folder = self._folder / f"crownest-{secrets.token_hex(8)}"
        uid = str(identity.uid) if identity.exclusive else ""
        note = new_remains(sandbox_id, scope, uid=uid, folder=str(folder))
        environment = base_environment(
            ":".join((*map(str, private), search_path)), str(folder / "home"), str(folder / "tmp")
        )
        return await self._ground.raise_sandbox(note, environment, lambda: self._start(note, identity))

    async def _start(self, note: Remains, identity: Identity) -> tuple[Booted, int]:
        folder = Path(note.folder)
        _make_folders(folder, identity)
        with ExitStack() as opened:
            program_fd = memory_file("holder", self._ground.program)
            opened.callback(os.close, program_fd)

            def launch_with(control_fd: int, stderr_fd: int) -> Launch:
                program = f"/proc/self/fd/{program_fd}"
                workspace = str(folder / "workspace")
                arguments = holder_command(self._ground.python, program, control_fd, note.scope, workspace)
                return Launch(
                    arguments=[str(self._ground.python.executable), *arguments[1:]],
                    fds=(control_fd, program_fd),
                    stderr_fd=stderr_fd,
                    uid=identity.uid,
                    environment={MARKER: note.token},
                )

            booted = await boot_holder(self._ground.spawner, launch_with, self._ground.limits)
            return booted, booted.process.pid


def _make_folders(folder: Path, identity: Identity) -> None:
    """The sandbox's folders, closed to everybody but its user."""
    folder.mkdir(mode=0o700, parents=True)
    for path in (folder / "workspace", folder / "tmp", folder / "home", folder):
        path.mkdir(mode=0o700, exist_ok=True)
        if identity.uid is not None:
            os.chown(path, identity.uid, identity.uid)
