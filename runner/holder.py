"""The first process of a sandbox: it unpacks archives, starts commands, keeps files and dials ports there.

It runs inside the sandbox, as the sandbox's user, and knows nothing but the packets of `runner.wire`. It
lives as long as the sandbox: a kept one gets its later commands from it, several at once. When the runner's
end of the socket closes, for whatever reason, the holder ends everything in the sandbox and itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from typing import NoReturn

from runner import identity, proctable, tasks, wire, workspace
from runner.archive import ArchiveLimits
from runner.archive_path import ArchiveRefused
from runner.dials import Dials
from runner.extract import check_archive, extract
from runner.files import FileRefused
from runner.tasks import Command, Task
from runner.wire import Packet


class Holder:
    """Serves the packets of one runner until that runner is gone."""

    def __init__(self, control: socket.socket, scope: str, workspace_path: str) -> None:
        self._control = control
        self._scope = scope
        self._workspace = workspace_path
        self._tasks: dict[str, Task] = {}
        self._poll = select.poll()
        self._dials = Dials(self._poll, self._answer)

    def serve(self) -> None:
        """Announce the sandbox, then do what comes; returns when the runner is gone."""
        child_ended, wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        workspace_fd = os.open(self._workspace, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        wire.send(self._control, Packet("ready", (sys.version.split()[0],)), (workspace_fd,))
        os.close(workspace_fd)
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(child_ended, select.POLLIN)
        while True:
            readable = [fd for fd, _ in self._poll.poll()]
            if child_ended in readable:
                os.read(child_ended, 4096)
                self._reap()
            for fd in readable:
                self._dials.stirred(fd)
            if self._control.fileno() in readable and not self._receive():
                return

    def _receive(self) -> bool:
        received = wire.receive(self._control)
        if received is None:
            return False
        packet, fds = received
        name, *fields = packet.fields
        try:
            self._do(packet.kind, name, tuple(fields), fds)
        except (OSError, ValueError) as error:
            what = f"The sandbox cannot do this now: {error}."
            self._answer(name, Packet("refused", ("sandbox_unavailable", what)))
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _do(self, kind: str, name: str, fields: tuple[str, ...], fds: list[int]) -> None:
        task = self._tasks.get(name)
        if kind == "kill":
            self._dials.drop(name)
            self._kill(task)
        elif kind == "terminate":
            if task:
                task.terminate()
        elif kind == "dial":
            self._dials.start(name, int(fields[0]))
        elif kind == "extract":
            self._tasks[name] = tasks.start_worker(lambda: self._unpack(fields, fds[0]))
        elif kind == "file":
            self._tasks[name] = tasks.start_worker(lambda: self._handle_file(fields, fds[0]))
        elif kind == "run":
            processes_max, folder, line, *variables = fields
            self._tasks[name] = tasks.start_command(
                Command(
                    scope=self._scope,
                    workspace=self._workspace,
                    folder=folder,
                    processes_max=int(processes_max),
                    line=line,
                    variables=tuple(variables),
                    out_fd=fds[0],
                    err_fd=fds[1],
                )
            )

    def _unpack(self, fields: tuple[str, ...], archive_fd: int) -> Packet:
        """In the child: unpack."""
        self._control.close()
        how, *numbers = fields
        bytes_max, entries_max, depth_max, path_bytes_max, ratio_max, ratio_free_bytes = map(int, numbers)
        limits = ArchiveLimits(
            bytes_max=bytes_max,
            entries_max=entries_max,
            depth_max=depth_max,
            path_bytes_max=path_bytes_max,
            ratio_max=ratio_max,
            ratio_free_bytes=ratio_free_bytes,
        )
        try:
            with os.fdopen(os.dup(archive_fd), "rb") as archive:
                if how == "checked":
                    check_archive(archive, limits)
                    archive.seek(0)
                root_fd = os.open(self._workspace, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                done = extract(archive, root_fd, limits)
            return Packet("extracted", (str(done.entries), str(done.size_bytes)))
        except ArchiveRefused as refusal:
            return Packet("refused", (refusal.reason, refusal.message))
        except OSError as error:
            return Packet(
                "refused", ("extraction_failed", f"The archive could not be read: {error.strerror}.")
            )

    def _handle_file(self, fields: tuple[str, ...], content_fd: int) -> Packet:
        """In the child: one operation on a file of the workspace."""
        self._control.close()
        operation, *arguments = fields
        try:
            return Packet("done", workspace.perform(self._workspace, operation, tuple(arguments), content_fd))
        except FileRefused as refusal:
            return Packet("refused", (refusal.code, refusal.message))

    def _kill(self, task: Task | None) -> None:
        """End a task; that it is dead is seen when its child is reaped, and the rest is ended then."""
        if task is None:
            return
        task.killed = True
        if len(self._tasks) == 1:
            tasks.kill_all(self._scope)
        else:
            proctable.kill(lambda: (task.pid, *proctable.descendants(task.pid)))

    def _reap(self) -> None:
        """Bury the dead; when tasks are among them, end what they left behind, and answer.

        Where no other task runs, that is everything in the sandbox. Else it is whatever came back to us: the
        processes of a task are below its child, so those below nobody's child belong to no task any more.
        """
        ended: list[tuple[str, Task, int]] = []
        while True:
            ended += self._bury()
            if not ended:
                return
            if not self._tasks:
                tasks.end_all(self._scope)
                break
            if not proctable.kill(self._strays):
                break
            time.sleep(tasks.REAP_PAUSE_S)
        for name, task, status in ended:
            self._answer(name, task.outcome(status))

    def _bury(self) -> list[tuple[str, Task, int]]:
        """The tasks that ended, with the wait status of each."""
        ended: list[tuple[str, Task, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if pid == 0:
                return ended
            name = next((name for name, task in self._tasks.items() if task.pid == pid), None)
            if name is None:
                for task in self._tasks.values():
                    task.orphan_ended(pid, status)
                continue
            final = self._tasks[name].final_status(status)
            if final is not None:
                ended.append((name, self._tasks.pop(name), final))

    def _strays(self) -> list[int]:
        return proctable.descendants(os.getpid(), without={task.pid for task in self._tasks.values()})

    def _answer(self, name: str, packet: Packet, fds: tuple[int, ...] = ()) -> None:
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # the next receive tells that it is gone
            wire.send(self._control, Packet(packet.kind, (name, *packet.fields)), fds)


def main(arguments: list[str]) -> NoReturn:
    """`holder <control fd> <scope> <workspace>`: set this process up and serve.

    The scope says how everything in the sandbox is found when it must end: `namespace` (it is a process
    namespace of its own), `user` (it has a user of its own), `tree` (it descends from us).
    """
    control_fd, scope, workspace_path = int(arguments[0]), arguments[1], arguments[2]
    wide = {
        "namespace": os.getpid() != 1,
        "user": os.getuid() < identity.EXCLUSIVE_UIDS.start,
        "tree": False,
    }
    if wide[scope]:  # kill(-1) would reach beyond the sandbox
        sys.exit(f"crownest holder: scope {scope} is not safe for pid {os.getpid()}, uid {os.getuid()}")
    os.closerange(3, control_fd)
    os.closerange(control_fd + 1, tasks.FD_MAX)
    os.set_inheritable(control_fd, False)
    os.umask(0o022)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the runner ends us by closing the socket
    tasks.prctl(tasks.PR_SET_NO_NEW_PRIVS, 1)
    tasks.prctl(tasks.PR_SET_DUMPABLE, 0)  # commands have our uid: no ptrace, no /proc/1/fd, no /proc/1/mem
    if scope != "namespace":
        tasks.prctl(tasks.PR_SET_CHILD_SUBREAPER, 1)
    Holder(socket.socket(fileno=control_fd), scope, workspace_path).serve()
    if scope != "namespace":
        tasks.end_all(scope)  # in a namespace our own end does it
    os._exit(0)
