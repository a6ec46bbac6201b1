"""The first process of a sandbox: it unpacks archives and starts commands there, one task at a time.

It runs inside the sandbox, as the sandbox's user, and knows nothing but the packets of `runner.wire`. It
lives as long as the sandbox: a kept one gets its later commands from it. When the runner's end of the socket
closes, for whatever reason, the holder ends everything in the sandbox and itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from runner import identity, proctable, wire
from runner.archive import ArchiveLimits
from runner.archive_path import ArchiveRefused
from runner.extract import check_archive, extract
from runner.wire import Packet

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
_OOM_SCORE_OF_COMMANDS = 500
"""When memory runs out the kernel ends the command before the holder."""
_RESULT_BYTES_MAX = 16 * 1024
_FD_MAX = 1 << 16
_REAP_PAUSE_S = 0.001


@dataclass(slots=True)
class _Task:
    """The one running task: a command, or an unpacking child with the pipe that its result comes through."""

    pid: int
    result_fd: int | None = None


class Holder:
    """Serves the packets of one runner until that runner is gone."""

    def __init__(self, control: socket.socket, scope: str, workspace: str) -> None:
        self._control = control
        self._scope = scope
        self._workspace = workspace
        self._task: _Task | None = None

    def serve(self) -> None:
        """Announce the sandbox, then do what comes; returns when the runner is gone."""
        child_ended, wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        workspace_fd = os.open(self._workspace, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        wire.send(self._control, Packet("ready", (sys.version.split()[0],)), (workspace_fd,))
        os.close(workspace_fd)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(child_ended, select.POLLIN)
        while True:
            readable = [fd for fd, _ in poll.poll()]
            if child_ended in readable:
                os.read(child_ended, 4096)
                self._reap()
            if self._control.fileno() in readable and not self._receive():
                return

    def _receive(self) -> bool:
        received = wire.receive(self._control)
        if received is None:
            return False
        packet, fds = received
        try:
            self._do(packet, fds)
        except (OSError, ValueError) as error:
            self._answer(
                Packet("refused", ("sandbox_unavailable", f"The sandbox cannot do this now: {error}."))
            )
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _do(self, packet: Packet, fds: list[int]) -> None:
        if packet.kind == "kill":
            if self._task:
                kill_all(self._scope)  # the task's end is reaped, and the rest ended with it
        elif packet.kind == "terminate":
            if self._task:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._task.pid, signal.SIGTERM)
        elif self._task:
            raise ValueError("another task is running in it")
        elif packet.kind == "extract":
            self._task = self._start_unpacking(packet.fields, fds[0])
        elif packet.kind == "run":
            self._task = _Task(_fork(lambda: self._command(packet.fields, fds)))

    def _start_unpacking(self, fields: tuple[str, ...], archive_fd: int) -> _Task:
        result_fd, answer_fd = os.pipe2(os.O_CLOEXEC)
        try:
            pid = _fork(lambda: self._unpack(fields, archive_fd, answer_fd))
        except OSError:
            os.close(result_fd)
            raise
        finally:
            os.close(answer_fd)
        return _Task(pid, result_fd)

    def _unpack(self, fields: tuple[str, ...], archive_fd: int, answer_fd: int) -> int:
        """In the child: unpack, and leave the answer in the pipe, which is large enough to hold it."""
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
            answer = Packet("extracted", (str(done.entries), str(done.size_bytes)))
        except ArchiveRefused as refusal:
            answer = Packet("refused", (refusal.reason, refusal.message))
        except OSError as error:
            answer = Packet(
                "refused", ("extraction_failed", f"The archive could not be read: {error.strerror}.")
            )
        os.write(answer_fd, wire.pack(answer))
        return 0

    def _command(self, fields: tuple[str, ...], fds: list[int]) -> int:
        """In the child: become the command."""
        processes_max, command, *variables = fields
        os.setsid()
        null_fd = os.open("/dev/null", os.O_RDONLY)
        for fd, number in ((null_fd, 0), (fds[0], 1), (fds[1], 2)):
            os.dup2(fd, number)
        if self._scope != "namespace":
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _prctl(_PR_SET_DUMPABLE, 1)  # our own /proc files are closed to us while it is 0
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as score:  # noqa: PTH123  # nothing to gain from a Path here
            score.write(b"%d" % _OOM_SCORE_OF_COMMANDS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._limit_processes(int(processes_max))
        for number in (
            signal.SIGPIPE,
            signal.SIGXFSZ,
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGHUP,
            signal.SIGCHLD,
        ):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(self._workspace)
        os.execve("/bin/sh", ["sh", "-c", command], dict(pair.split("=", 1) for pair in variables))  # noqa: S606  # the command is a shell line by contract

    def _limit_processes(self, processes_max: int) -> None:
        """The limit counts every process of the user in this user namespace.

        Where that is the server's own user, what runs already is added: no real limit then, but a bomb ends.
        """
        if self._scope == "tree":
            processes_max += proctable.tasks_of_user(os.getuid())
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        limit = processes_max if hard == resource.RLIM_INFINITY else min(processes_max, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))

    def _reap(self) -> None:
        """Bury the dead; when the task itself is among them, end what it left behind and answer."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._task and pid == self._task.pid:
                task, self._task = self._task, None
                end_all(self._scope)
                self._answer(_outcome(task, os.waitstatus_to_exitcode(status)))

    def _answer(self, packet: Packet) -> None:
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # the next receive tells that it is gone
            wire.send(self._control, packet)


def _outcome(task: _Task, exit_code: int) -> Packet:
    """What the runner is told: an exit code (128 + n for signal n), or the unpacking child's answer."""
    if task.result_fd is None:
        return Packet("exited", (str(128 - exit_code if exit_code < 0 else exit_code),))
    with os.fdopen(task.result_fd, "rb") as pipe:
        answer = pipe.read(_RESULT_BYTES_MAX)
    if exit_code == 0 and answer:
        return wire.unpack(answer)
    return Packet("refused", ("extraction_failed", f"Unpacking ended early ({exit_code}); is memory short?"))


def end_all(scope: str) -> None:
    """Kill everything in the sandbox but the holder, and bury it; returns when nothing is left."""
    while True:
        kill_all(scope)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(_REAP_PAUSE_S)


def kill_all(scope: str) -> None:
    """Send SIGKILL to everything in the sandbox but the holder.

    `kill(-1)` is one atomic step that no fork bomb outruns. Where the sandbox has the server's own user it
    would hit strangers, so there our descendants are looked for.
    """
    if scope == "tree":
        proctable.kill(lambda: proctable.descendants(os.getpid()))
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)


def _fork(child: Callable[[], int]) -> int:
    """Start a child that runs `child` and ends with what it returns; never returns in the child."""
    pid = os.fork()
    if pid:
        return pid
    code = 126
    try:
        signal.set_wakeup_fd(-1)
        code = child()
    except BaseException as error:  # noqa: BLE001  # whatever it is, the child must not run on as a second holder
        os.write(2, f"crownest: the command could not be started: {error}\n".encode())
    finally:
        os._exit(code)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def main(arguments: list[str]) -> NoReturn:
    """`holder <control fd> <scope> <workspace>`: set this process up and serve.

    The scope says how everything in the sandbox is found when it must end: `namespace` (it is a process
    namespace of its own), `user` (it has a user of its own), `tree` (it descends from us).
    """
    control_fd, scope, workspace = int(arguments[0]), arguments[1], arguments[2]
    wide = {
        "namespace": os.getpid() != 1,
        "user": os.getuid() < identity.EXCLUSIVE_UIDS.start,
        "tree": False,
    }
    if wide[scope]:  # kill(-1) would reach beyond the sandbox
        sys.exit(f"crownest holder: scope {scope} is not safe for pid {os.getpid()}, uid {os.getuid()}")
    os.closerange(3, control_fd)
    os.closerange(control_fd + 1, _FD_MAX)
    os.set_inheritable(control_fd, False)
    os.umask(0o022)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the runner ends us by closing the socket
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)  # commands have our uid: no ptrace, no /proc/1/fd, no /proc/1/mem
    if scope != "namespace":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    Holder(socket.socket(fileno=control_fd), scope, workspace).serve()
    if scope != "namespace":
        end_all(scope)  # in a namespace our own end does it
    os._exit(0)
