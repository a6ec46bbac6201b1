"""What every provider stands on: how a sandbox is noted, limited, started and removed again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from runner import proctable, remains
from runner.cgroups import Cgroups
from runner.interpreters import Interpreter
from runner.job import Limit
from runner.limits import RunnerLimits
from runner.link import SandboxUnavailable
from runner.remains import Notes, Remains
from runner.sandbox import Booted, Sandbox
from runner.spawner import Spawner


@dataclass(frozen=True, slots=True)
class Ground:
    """The machine's part, shared by all sandboxes of a runner."""

    spawner: Spawner
    notes: Notes
    cgroups: Cgroups
    limits: RunnerLimits
    program: bytes = field(repr=False)
    """The holder."""
    python: Interpreter
    """What runs it."""

    async def raise_sandbox(
        self,
        note: Remains,
        environment: Mapping[str, str],
        start: Callable[[], Awaitable[tuple[Booted, int]]],
    ) -> Sandbox:
        """Make one sandbox; `start` gives the holder and the pid of the sandbox's first process.

        Raises `SandboxUnavailable`, with everything removed again. A crash at any point leaves the note, and
        the next start of the server removes what it names.
        """
        name = f"crownest-{note.token}"
        note = replace(note, cgroups=":".join(str(path) for path in self.cgroups.folders(name)))
        self.notes.write(note)
        try:
            group = self.cgroups.create(
                name, memory_bytes=self.limits.memory_bytes_max, processes=self.limits.processes_max
            )
            booted, init_pid = await start()
            note = replace(note, init_pid=str(init_pid), init_ticks=str(proctable.start_ticks(init_pid)))
            self.notes.write(note)
            sandbox = Sandbox(
                note.sandbox_id,
                booted,
                init_pid=init_pid,
                environment={**environment, remains.MARKER: note.token},
                limits=self.limits,
                remove=lambda: self.removed(note),
            )
        except (OSError, SandboxUnavailable) as error:
            await asyncio.to_thread(self.removed, note)
            raise SandboxUnavailable(str(error)) from error
        except BaseException:
            self.removed(note)
            raise
        try:
            if group:
                await asyncio.to_thread(group.add, init_pid)  # the kernel takes its time over it
        except OSError as error:
            await sandbox.destroy()
            raise SandboxUnavailable(f"The sandbox could not be limited: {error}.") from error
        return sandbox

    def removed(self, note: Remains) -> bool:
        """Remove what the note names, and the note."""
        if not remains.remove(note):
            return False
        self.notes.forget(note.sandbox_id)
        return True

    def limits_report(self, *, processes_enforced: bool, workspace_enforced: bool) -> dict[str, Limit]:
        """The four limits of CONTRACT §6.6; output is always ours to cut."""
        limits, cgroups = self.limits, self.cgroups
        return {
            "memoryBytes": Limit(limits.memory_bytes_max, enforced=cgroups.memory is not None),
            "processes": Limit(limits.processes_max, enforced=processes_enforced or cgroups.pids is not None),
            "workspaceBytes": Limit(limits.workspace_bytes_max, enforced=workspace_enforced),
            "outputBytes": Limit(limits.output_bytes_max, enforced=True),
        }


def base_environment(search_path: str, home: str, scratch: str) -> dict[str, str]:
    """What a command finds in its environment beside the run's own variables."""
    return {
        "PATH": search_path,
        "HOME": home,
        "TMPDIR": scratch,
        "LANG": "C.UTF-8",
        "USER": "sandbox",
        "LOGNAME": "sandbox",
        "SHELL": "/bin/sh",
    }
