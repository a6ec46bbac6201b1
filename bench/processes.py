"""Owns the processes that a bench starts: each has an id, ends with the bench, and is ended by that id."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

START_S_MAX = 60.0
"""A server that has not answered by then is a failure of the bench."""
STOP_S_MAX = 20.0
"""A server that has not ended by then is killed."""
PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Run in the child before it becomes the server: a bench that is killed leaves nothing behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A server process of the bench; what it prints goes to `log`, or is read through `stdout` if `piped`."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        piped: bool = False,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self._log, self._stop_signal = log, stop_signal
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                user=user,
                env={**os.environ, **(env or {})},
                cwd=None if user is None else "/",
                start_new_session=True,  # Ctrl-C reaches the bench alone, which then ends what it started
                preexec_fn=_die_with_parent,  # noqa: PLW1509 # one prctl, before any thread exists here
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def wait_for_port(self, port: int) -> None:
        """Return once something listens there."""
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.process.args!r} did not start: {self.tail()}")

    def tail(self) -> str:
        """The last that it wrote about itself."""
        return self._log.read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """End it and wait for that; a second call does nothing."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        if self.process.poll() is None:
            self.process.send_signal(self._stop_signal)
            try:
                self.process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
