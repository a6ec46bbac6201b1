"""The holder's tasks: how a child is started for each, whose processes are its own, and how they end.

A command has a keeper: a child of the holder that is the reaper of whatever the command starts. No daemon
gets away from it, so what a command leaves behind can be ended while other commands live. A command that
kills its keeper, which has the same user, comes back to the holder itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from runner import proctable, wire
from runner.files import FileRefused
from runner.wire import Packet
from runner.workspace import Workspace

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
FD_MAX = 1 << 16
_OOM_SCORE_OF_COMMANDS = 500
"""When memory runs out the kernel ends the command before the holder and the keepers."""
_WORD_BYTES_MAX = 16 * 1024
_WORD_TIMEOUT_MS = 1_000
REAP_PAUSE_S = 0.001


@dataclass(slots=True)
class Task:
    """One task: the child to wait for, and the pipe through which it sends its word."""

    pid: int
    """The keeper of a command (the command itself once its keeper was killed), or the child that works."""
    word_fd: int
    is_command: bool
    killed: bool = False
    """True once the holder was told to end it."""
    _word: Packet | None = None
    _orphan_status: int | None = None
    """The wait status of the command, where the holder buried it before its keeper."""

    def word(self, timeout_ms: int = _WORD_TIMEOUT_MS) -> Packet | None:
        """What the child said: `started` and the command's pid, or the task's answer; None for nothing."""
        if self._word is None:
            poll = select.poll()
            poll.register(self.word_fd, select.POLLIN)
            data = os.read(self.word_fd, _WORD_BYTES_MAX) if poll.poll(timeout_ms) else b""
            self._word = wire.unpack(data) if data else None
        return self._word

    def command_pid(self, timeout_ms: int = _WORD_TIMEOUT_MS) -> int | None:
        """The pid of the command, which leads its process group; None when it was never started."""
        word = self.word(timeout_ms) if self.is_command else None
        return int(word.fields[0]) if word and word.kind == "started" else None

    def orphan_ended(self, pid: int, status: int) -> None:
        """A process that came back to the holder was buried: keep its wait status if it was the command.

        A keeper that dies gives its children away before it can be buried itself, so its dead command may be
        all that the holder finds at first. Whoever comes back has no keeper any more, so the word is there.
        """
        if self.command_pid(timeout_ms=0) == pid:
            self._orphan_status = status

    def final_status(self, status: int) -> int | None:
        """The wait status the task ended with, now that its child ended; None while its command lives.

        A keeper that was killed leaves its command to the holder, which waits for that from then on. The
        command may have ended too by now; it is buried before the keeper or after it.
        """
        pid = self.command_pid()
        if self.killed or not os.WIFSIGNALED(status) or pid is None or pid == self.pid:
            return status
        if self._orphan_status is not None:
            return self._orphan_status
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return status
        self.pid = pid
        return None

    def outcome(self, status: int) -> Packet:
        """What the runner is told at the end: an exit code (128 + n for signal n), or the child's answer."""
        word = self.word()
        os.close(self.word_fd)
        exit_code = os.waitstatus_to_exitcode(status)
        if self.is_command and (word is None or word.kind == "started"):
            return Packet("exited", (str(128 - exit_code if exit_code < 0 else exit_code),))
        if word is None or exit_code != 0:
            what = f"It ended early in the sandbox ({exit_code}); is memory short?"
            return Packet("refused", ("sandbox_unavailable", what))
        return word

    def terminate(self) -> None:
        """SIGTERM to the process group of the command."""
        pid = self.command_pid()
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGTERM)


def start_worker(work: Callable[[], Packet]) -> Task:
    """A child that does one piece of work, and whose word is the answer."""
    return _with_word(lambda word_fd: _work(work, word_fd), is_command=False)


def start_command(start: Command) -> Task:
    """A keeper and its command."""
    return _with_word(lambda word_fd: _keep(start, word_fd), is_command=True)


def _with_word(child: Callable[[int], int], *, is_command: bool) -> Task:
    word_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        pid = fork(lambda: child(write_fd))
    except OSError:
        os.close(word_fd)
        raise
    finally:
        os.close(write_fd)
    return Task(pid, word_fd, is_command)


def _work(work: Callable[[], Packet], word_fd: int) -> int:
    os.write(word_fd, wire.pack(work()))
    return 0


@dataclass(frozen=True, slots=True)
class Command:
    """A command to start, as the `run` packet has it."""

    scope: str
    workspace: str
    folder: str
    """Where to start it: a path of the workspace."""
    processes_max: int
    line: str
    variables: tuple[str, ...]
    out_fd: int
    err_fd: int

    def become(self, word_fd: int) -> int:
        """In the command's own process: never returns but by an exception.

        It says itself that it is started: a keeper that is slow to say so may be dead by then, since what
        the command does first may be to kill it, and nobody would know whose exit code counts.
        """
        os.setsid()
        null_fd = os.open("/dev/null", os.O_RDONLY)
        for fd, number in ((null_fd, 0), (self.out_fd, 1), (self.err_fd, 2)):
            os.dup2(fd, number)
        if self.scope != "namespace":
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(PR_SET_DUMPABLE, 1)  # our own /proc files are closed to us while it is 0
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as score:  # noqa: PTH123  # nothing to gain from a Path here
            score.write(b"%d" % _OOM_SCORE_OF_COMMANDS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._limit_processes()
        os.write(word_fd, wire.pack(Packet("started", (str(os.getpid()),))))
        for number in (
            signal.SIGPIPE,
            signal.SIGXFSZ,
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGHUP,
            signal.SIGCHLD,
        ):
            signal.signal(number, signal.SIG_DFL)
        os.execve("/bin/sh", ["sh", "-c", self.line], dict(pair.split("=", 1) for pair in self.variables))  # noqa: S606  # the command is a shell line by contract

    def _limit_processes(self) -> None:
        """The limit counts every process of the user in this user namespace.

        Where that is the server's own user, what runs already is added: no real limit then, but a bomb ends.
        """
        processes_max = self.processes_max
        if self.scope == "tree":
            processes_max += proctable.tasks_of_user(os.getuid())
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        limit = processes_max if hard == resource.RLIM_INFINITY else min(processes_max, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))


def _keep(command: Command, word_fd: int) -> int:
    """In the keeper: start the command, outlive it until nothing of it is left; its exit code.

    The dead command is buried last, so that its process group cannot become another's meanwhile.
    """
    if command.scope != "namespace":
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        Workspace(command.workspace).enter(command.folder)
        pid = fork(lambda: command.become(word_fd))
    except FileRefused as refusal:
        os.write(word_fd, wire.pack(Packet("refused", (refusal.code, refusal.message))))
        return 0
    except OSError as error:
        what = f"The command could not be started: {error.strerror}."
        os.write(word_fd, wire.pack(Packet("refused", ("sandbox_unavailable", what))))
        return 0
    os.closerange(3, FD_MAX)  # above all the control socket, whose end tells the runner of the holder's
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)) and ended.si_pid != pid:
        os.waitpid(ended.si_pid, 0)
    while bury():
        kill_all("tree")
        time.sleep(REAP_PAUSE_S)
    if ended is None:  # only said of waits that do not wait
        return 126
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status


def bury() -> bool:
    """Bury every dead child, whoever it was; False when there is no child left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def end_all(scope: str) -> None:
    """Kill everything in the sandbox but the holder, and bury it; returns when nothing is left."""
    kill_all(scope)
    while bury():
        time.sleep(REAP_PAUSE_S)
        kill_all(scope)


def kill_all(scope: str) -> None:
    """Send SIGKILL to everything in the sandbox but us.

    `kill(-1)` is one atomic step that no fork bomb outruns. Where the sandbox has the server's own user it
    would hit strangers, so there our descendants are looked for.
    """
    if scope == "tree":
        proctable.kill(lambda: proctable.descendants(os.getpid()))
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)


def fork(child: Callable[[], int]) -> int:
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


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; raises OSError."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
