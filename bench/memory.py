"""How much memory does the server take? At its start, with idle and stalled readers, after long replays.

The server is a process of its own with the usual settings; its resident memory is read from /proc.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from bench import results
from bench.common import SHORT, line, machine, scratch, table
from bench.stores import create_run, now_ms
from cli.listening import listen
from cli.settings import Settings
from cli.wiring import Server, open_server
from eventstore.log import Append, NewEvent
from runs.decide import status_event
from runs.limits import RunLimits
from runs.session import load_session

EVENTS = int(os.environ.get("BENCH_MEMORY_EVENTS", "20000" if SHORT else "1000000"))
SUBSCRIBERS = int(os.environ.get("BENCH_MEMORY_SUBSCRIBERS", "100" if SHORT else "1000"))
STALLED_EVENTS = 20_000 if SHORT else 100_000
BATCH = 1_000
READ_BYTES = 1024 * 1024
ANSWER_S_MAX = 600.0
STOP_S_MAX = 60.0
STREAMS_VARIABLE = "CROWNEST_API__STREAMS_PER_KEY_MAX"
"""One key opens all streams here; a server lets it open a quarter as many."""
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Child:
    """The server, and what it does when it is told so on its standard input."""

    process: subprocess.Popen[str]
    port: int
    key: str

    def tell(self, *words: object) -> str:
        """Have it do something; answers what it says of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def resident_mib(self) -> float:
        """What it occupies now."""
        return status_mib(self.process.pid, "VmRSS")

    def peak_mib(self) -> float:
        """The most that it has occupied."""
        return status_mib(self.process.pid, "VmHWM")

    def subscribe(self, run_id: str) -> socket.socket:
        """A follower of the run's events; it reads nothing by itself."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        path = f"/v1/workspace-runs/{run_id}/events?stream=true"
        head = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {self.key}\r\n\r\n"
        connection.sendall(head.encode())
        return connection

    def ask(self, method: str, path: str, into: Path | None = None) -> None:
        """One request, read to its end, kept in a file or nowhere."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S_MAX)
        headers = {"authorization": f"Bearer {self.key}", "accept": "application/x-ndjson, */*"}
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        assert answer.status == http.client.OK, answer.read()
        with (into or Path(os.devnull)).open("wb") as kept:
            while piece := answer.read(READ_BYTES):
                kept.write(piece)
        connection.close()


def status_mib(pid: int, name: str) -> float:
    """A figure of a process, from its line in /proc."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = [text for text in lines if text.startswith(f"{name}:")]
    return int(found.split()[1]) / 1024


@contextmanager
def child(folder: Path) -> Generator[Child]:
    """A server of its own, until the block ends."""
    command = [sys.executable, "-m", "bench.memory", str(folder)]
    env = {**os.environ, STREAMS_VARIABLE: str(2 * SUBSCRIBERS)}
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            about = json.loads(process.stdout.readline())
            yield Child(process, about["port"], about["key"])
        finally:
            process.stdin.close()
            process.wait(STOP_S_MAX)


async def _append(server: Server, run_id: str, count: int) -> None:
    for start in range(0, count, BATCH):
        batch = [NewEvent("stdout", line(number)) for number in range(start, min(start + BATCH, count))]
        await server.services.store.append(Append(run_id, None, batch))


async def _seal(server: Server, run_id: str) -> None:
    session = await load_session(server.services.store, run_id, RunLimits(), now_ms)
    await session.append([status_event("collecting", {"durationMs": 1, "exitCode": 0})])
    cleanup = NewEvent("cleanup", {"cleanupStatus": "succeeded", "reason": "finished"})
    await session.finish(failure_reason=None, cleanup=cleanup)


async def _obey(server: Server) -> None:
    """`run`, `append RUN COUNT` and `seal RUN`, a line each, until standard input ends."""
    assert server.first is not None
    loop = asyncio.get_running_loop()
    while text := await loop.run_in_executor(None, sys.stdin.readline):
        done = "done"
        match text.split():
            case ["run"]:
                done = await create_run(server.services.store, server.first.org_id, server.first.project_id)
            case ["append", run_id, count]:
                await _append(server, run_id, int(count))
            case ["seal", run_id]:
                await _seal(server, run_id)
            case words:
                raise ValueError(f"not understood: {words}")
        print(done, flush=True)


async def serve(folder: Path) -> None:
    """Print one JSON line, answer, and obey."""
    os.environ.setdefault("CROWNEST_RATE_LIMIT_PER_MINUTE", "0")
    settings = Settings(data_dir=folder, provider="process", preview_port=0, shutdown_s=1)
    async with open_server(settings) as server:
        assert server.first is not None
        with listen("127.0.0.1", 0) as listener:
            config = uvicorn.Config(server.app, log_level="error", lifespan="off", access_log=False)
            web = uvicorn.Server(config)
            task = asyncio.create_task(web.serve(sockets=[listener]))
            print(json.dumps({"port": listener.getsockname()[1], "key": server.first.secret}), flush=True)
            await _obey(server)
            server.services.closing.set()
            web.should_exit = True
            await task


class Table:
    """What the server occupies, step by step."""

    def __init__(self, server: Child) -> None:
        self._server = server
        self.rows: list[list[object]] = []

    def step(self, name: str, work: Callable[[], object]) -> None:
        """Do it, and write down what is occupied then."""
        results.progress(f"memory: {name}")
        began = time.perf_counter()
        before = self._server.resident_mib() if self.rows else 0.0
        work()
        now, took_s = self._server.resident_mib(), time.perf_counter() - began
        self.rows.append([name, now, f"{now - before:+.1f}", self._server.peak_mib(), took_s])


def verify(bundle: Path, policy: Path) -> float:
    """MiB that `crownest verify` occupies at most, as it says itself: a process starts with its parent's."""
    program = (
        "import sys; from pathlib import Path; from cli.main import run; assert run(sys.argv[1:]) == 0\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "verify", str(bundle), "--policy", str(policy)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=ANSWER_S_MAX)
    return int(done.stderr.splitlines()[-1]) / 1024


def readers(server: Child, steps: Table, stack: ExitStack) -> None:
    """Idle subscribers, and one that stalls while events are appended."""
    idle, busy = server.tell("run"), server.tell("run")

    def subscribe() -> None:
        opened = [stack.enter_context(server.subscribe(idle)) for _ in range(SUBSCRIBERS)]
        for connection in opened:
            connection.recv(READ_BYTES)

    steps.step(f"{SUBSCRIBERS:,} idle subscribers", subscribe)
    steps.step("one more that stalls", lambda: stack.enter_context(server.subscribe(busy)))
    steps.step(
        f"{STALLED_EVENTS:,} events that it does not read",
        lambda: server.tell("append", busy, STALLED_EVENTS),
    )


def replays(server: Child, steps: Table, folder: Path) -> None:
    """A long run: appended, replayed, proved and judged."""
    run_id = server.tell("run")
    run = f"/v1/workspace-runs/{run_id}"
    steps.step(f"{EVENTS:,} events appended", lambda: server.tell("append", run_id, EVENTS))
    steps.step("and replayed", lambda: server.ask("GET", f"{run}/events"))
    server.tell("seal", run_id)
    steps.step("and verified by the server", lambda: server.ask("POST", f"{run}/verify"))
    steps.step("and sent as a bundle", lambda: server.ask("GET", f"{run}/proof/bundle", folder / "proof.zip"))
    server.ask("GET", "/v1/proof/policy", folder / "trust.policy")


def main() -> None:
    """Print the tables."""
    with scratch() as folder:
        with child(folder / "data") as server, ExitStack() as stack:
            steps = Table(server)
            steps.step("at the start", lambda: server.ask("GET", "/healthz"))
            readers(server, steps, stack)
            replays(server, steps, folder)
        peak_mib = verify(folder / "proof.zip", folder / "trust.policy")
        size_mib = (folder / "proof.zip").stat().st_size / MIB
    table(f"memory of the server ({machine(1)})", ["step", "MiB", "more", "peak MiB", "s"], steps.rows)
    table(
        f"crownest verify of a bundle of {EVENTS:,} events",
        ["bundle MiB", "peak MiB"],
        [[size_mib, peak_mib]],
    )


def _main(arguments: Sequence[str]) -> None:
    if arguments and not arguments[0].startswith("-"):
        asyncio.run(serve(Path(arguments[0])))
    else:
        main()


if __name__ == "__main__":
    _main(sys.argv[1:])
