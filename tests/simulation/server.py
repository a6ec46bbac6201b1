"""The real server as a process of its own: started, watched, killed by its pid alone."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

START_S_MAX = 60.0
STOP_S_MAX = 30.0
REBUILD_S_MAX = 300.0
POLL_S = 0.01
LOG_TAIL_BYTES = 4000
PR_SET_PDEATHSIG = 1
ROOT = Path(__file__).resolve().parents[2]
CROWNEST = (str(Path(sys.executable).with_name("crownest")), "serve")
ENVIRONMENT: Mapping[str, str] = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "LANG": "C.UTF-8",
    "PYTHONPATH": str(ROOT),
    "CROWNEST_RUNS__EXECUTING_MAX": "14",
    "CROWNEST_RUNNER__CONCURRENT_RUNS_MAX": "14",
    "CROWNEST_RATE_LIMIT_PER_MINUTE": "0",
    "CROWNEST_LOG__COMPACT_QUIET_MS": "0",
    "CROWNEST_LOG__COMPACT_IDLE_S": "0.02",
    "CROWNEST_LOG__PACK_BYTES": "1500",
    "CROWNEST_LOG__COMPACT_STEP_BYTES": "4000",
}
"""All that the server gets: the code beside this file, more runs at once than have to stream, and compaction
at once and in many small steps, so that hits meet it.
"""


class ServerDidNotStart(Exception):
    """The server ended, or said nothing, before it served; the text holds what it printed."""


@dataclass
class ServerProcess:
    """One data folder and the server on it. `prefix` is what runs the command elsewhere (`nsenter …`)."""

    data_dir: Path
    home: Path
    """Outside of the data folder: the command line's configuration and the server's output."""
    prefix: Sequence[str] = ()
    program: Sequence[str] = CROWNEST
    environment: Mapping[str, str] = field(default_factory=dict)
    seen_from_here: Path | None = None
    """The data folder as this process sees it, where that is another path."""
    url: str = ""
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0

    @property
    def config(self) -> Path:
        """The command line's configuration, which the first start fills."""
        return self.home / "config.json"

    @property
    def output(self) -> Path:
        """What the server printed, of all its lives."""
        return self.home / "server.log"

    def start(self) -> None:
        """Start the process; `wait_ready` waits until it serves."""
        assert self.process is None, "the last one was not buried"
        self.home.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self._output_start = output.tell()
            self.process = subprocess.Popen(
                [*self.prefix, *self.program, "--port", "0", "--data", str(self.data_dir)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment(),
                cwd=self.home,
                preexec_fn=die_with_parent,  # noqa: PLW1509 # one libc call, so that nothing outlives us
            )
        self.started_at = time.monotonic()

    async def wait_ready(self) -> float:
        """Wait until it has said all six lines; answer how many seconds the start took."""
        process = self._running()
        deadline = self.started_at + START_S_MAX
        while time.monotonic() < deadline:
            said = self._said()
            if b"\nstop " in said:
                base = next(line for line in said.splitlines() if line.startswith(b"API base"))
                self.url = base.split()[-1].decode()
                return time.monotonic() - self.started_at
            if process.poll() is not None:
                break
            await asyncio.sleep(POLL_S)
        ended = process.poll()
        self.kill()
        how = "did not serve in time" if ended is None else f"ended with {ended}"
        raise ServerDidNotStart(
            f"The server {how}: {self._said()[-LOG_TAIL_BYTES:].decode(errors='replace')}"
        )

    def strike(self) -> None:
        """Kill -9 of the server's process, and of nothing else."""
        self._running().send_signal(signal.SIGKILL)

    def bury(self) -> None:
        """Wait for the process that was struck."""
        self._running().wait(STOP_S_MAX)
        self.process = None

    def kill(self) -> None:
        """End it in whatever state it is; harmless when there is none."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_S_MAX)
            self.process = None

    async def stop(self) -> int:
        """Stop it as Ctrl-C does; answer its exit status."""
        process = self._running()
        process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_S_MAX
        while process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110 # no event tells
            await asyncio.sleep(POLL_S)
        status = process.poll()
        self.kill()
        return -signal.SIGKILL if status is None else status

    def rebuild_check(self) -> str | None:
        """`crownest rebuild --check` of the stopped server's folder: None, or what it found to differ."""
        done = subprocess.run(
            [*self.prefix, CROWNEST[0], "rebuild", "--check", "--data", str(self.data_dir)],
            capture_output=True,
            check=False,
            env=self._environment(),
            timeout=REBUILD_S_MAX,
        )
        return None if done.returncode == 0 else (done.stdout + done.stderr).decode(errors="replace")

    def compacted(self) -> tuple[int, int]:
        """Of the stopped server's database: packs, and events in them."""
        copy = self.home / "stopped.sqlite"  # SQLite itself cannot follow a path into another namespace
        shutil.copyfile((self.seen_from_here or self.data_dir) / "log.sqlite", copy)
        with contextlib.closing(sqlite3.connect(copy)) as database:
            packs, events = database.execute(
                "SELECT count(*), coalesce(sum(events), 0) FROM packs"
            ).fetchone()
        return packs, events

    def footprint(self) -> set[Path]:
        """Control groups and folders outside of the data folder that the runner has noted for sandboxes."""
        found: set[Path] = set()
        for note in (self.seen_from_here or self.data_dir).glob("work/sandboxes/sbx_*"):
            with contextlib.suppress(OSError):
                for line in note.read_text().splitlines():
                    name, _, value = line.partition(" ")
                    if name in {"cgroups", "folder"}:
                        found.update(Path(path) for path in value.split(":") if path)
        return found

    def pid(self) -> int:
        """Of the server itself."""
        return self._running().pid

    def _environment(self) -> dict[str, str]:
        paths = {"HOME": str(self.home), "CROWNEST_CONFIG_PATH": str(self.config)}
        return {**ENVIRONMENT, **paths, **self.environment}

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "the server is not running"
        return self.process

    def _said(self) -> bytes:
        with self.output.open("rb") as output:
            output.seek(self._output_start)
            return output.read()


def die_with_parent() -> None:
    """Between fork and exec: the kernel kills this process when ours is gone, however that happened."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
