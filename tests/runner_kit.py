"""What the runner's tests share: archives made in memory, jobs with defaults, a log that only remembers."""

import asyncio
import base64
import hashlib
import io
import os
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from runner.command import Ending
from runner.files import FileRefused
from runner.interactive import SandboxCommand
from runner.job import Job, Report, RequestedArtifact, Result, StoredBlob
from runner.limits import RunnerLimits
from runner.local import LocalRunner
from runs.host import CancelRequest
from tests.requires import need

NOW_MS = 1_795_356_180_000
SANDBOX_ID = "sbx_test1"
HOUR_MS = 3_600_000
SERVER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], int(sys.argv[2])), family=family) as listener:
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"hello " + connection.recv(100))
"""
"""Answers each connection and tells its port first; the kernel chooses it, for some sandboxes share ports."""


def member(name: str, content: bytes = b"", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One member of an archive, with any attribute of a header."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    header.mtime = 1_700_000_000
    for key, value in attributes.items():
        setattr(header, key, value)
    return header, content


def archive_of(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002  # as tarfile calls it
    """A gzipped tar archive of these members, honest or not."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=format, compresslevel=1) as tar:
        for header, content in members:
            tar.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def files_archive(files: Mapping[str, bytes]) -> bytes:
    """An archive of plain files."""
    return archive_of(*(member(name, content) for name, content in files.items()))


@dataclass
class Log:
    """Takes reports, and may be told to fail at one or to be slow."""

    reports: list[Report] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    fail_at: int | None = None
    """The number of the append, from 0, that fails."""
    gate: asyncio.Event | None = None
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: str | None = None

    async def emit(self, reports: Sequence[Report]) -> None:
        """Append."""
        if self.gate:
            await self.gate.wait()
        if self.fail_at is not None and len(self.batches) >= self.fail_at:
            raise StaleFence
        self.batches.append(len(reports))
        self.reports += reports
        if self.wanted in self.steps():
            self.seen.set()

    async def wait_for(self, step: str) -> None:
        """Return once a report of this type or status was appended."""
        self.wanted = step
        if step not in self.steps():
            async with asyncio.timeout(30):
                await self.seen.wait()
        self.seen.clear()

    def steps(self) -> list[str]:
        """Statuses, and types of the rest."""
        return [str(report.fields.get("status", report.type)) for report in self.reports]

    def order(self) -> list[str]:
        """The steps without output."""
        return [step for step in self.steps() if step not in ("stdout", "stderr")]

    def one(self, step: str) -> dict[str, Any]:
        """The fields of the only report of this type or status."""
        (found,) = self.all(step)
        return found

    def all(self, step: str) -> list[dict[str, Any]]:
        """The fields of every report of this type or status."""
        return [dict(r.fields) for r in self.reports if r.fields.get("status", r.type) == step]

    def output(self, stream: str = "stdout") -> bytes:
        """The bytes of a stream, put together from its events."""
        pieces = []
        for event in self.all(stream):
            raw = base64.b64decode(event["dataBase64"]) if "dataBase64" in event else event["data"].encode()
            assert raw.decode("utf-8", "replace") == event["data"]
            pieces.append(raw)
        return b"".join(pieces)


class StaleFence(Exception):
    """What a log raises to a producer that was replaced."""


@dataclass
class Run:
    """A run that has ended: what was reported, and the result."""

    log: Log
    result: Result
    blobs: dict[str, bytes]


class Bench:
    """One runner with the means to run jobs on it."""

    def __init__(self, runner: LocalRunner, folder: Path) -> None:
        self.runner = runner
        self.folder = folder
        self.blobs: dict[str, bytes] = {}
        self._ids = 0

    def store(self, source: BinaryIO, size_bytes_max: int) -> StoredBlob:
        """Keep an artifact in memory."""
        data = source.read(size_bytes_max + 1)
        if len(data) > size_bytes_max:
            raise ValueError("too long")
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return StoredBlob(digest, len(data))

    def new_id(self, prefix: str) -> str:
        """A fresh id."""
        self._ids += 1
        return f"{prefix}_t{self._ids}"

    def job(self, command: str, archive: bytes | None = None, **changes: Any) -> Job:
        """A job with defaults: an archive with one file, ten seconds, its own sandbox."""
        data = files_archive({"hello.txt": b"hello\n"}) if archive is None else archive
        path = self.folder / f"{hashlib.sha256(data).hexdigest()}.tgz"
        path.write_bytes(data)
        values: dict[str, Any] = {
            "run_id": "wsr_t1",
            "command_id": "cmd_t1",
            "sandbox_id": self.new_id("sbx").replace("_t", "_test"),
            "archive": path,
            "archive_sha256": hashlib.sha256(data).hexdigest(),
            "command": command,
            "template": "base",
            "timeout_ms": 20_000,
            "keep_sandbox": False,
            "reuse": False,
            "artifacts": [],
            "env": {},
        }
        return Job(**{**values, **changes})

    async def execute(self, job: Job, log: Log | None = None, cancel: asyncio.Event | None = None) -> Run:
        """Run a job to its end."""
        log = log or Log()
        result = await self.runner.execute(job, log.emit, self.store, self.new_id, cancel or asyncio.Event())
        return Run(log, result, self.blobs)

    async def run(self, command: str, archive: bytes | None = None, **changes: Any) -> Run:
        """Make a job and run it to its end."""
        return await self.execute(self.job(command, archive, **changes))


@asynccontextmanager
async def bench(provider: str, folder: Path, **limits: int) -> AsyncIterator[Bench]:
    """A runner of this provider, closed at the end; nothing may be left of it."""
    runner = await LocalRunner.start(
        folder / "work", now_ms=lambda: NOW_MS, limits=RunnerLimits(**limits), provider=provider
    )
    try:
        yield Bench(runner, folder)
    finally:
        await runner.close()
    assert not list((folder / "work" / "sandboxes").iterdir())


@dataclass
class Box:
    """One warm sandbox."""

    on: Bench
    id: str

    @property
    def runner(self) -> LocalRunner:
        """Where it lives."""
        return self.on.runner

    async def run(
        self, line: str, log: Log | None = None, cancel: CancelRequest | None = None, **changes: object
    ) -> Ending:
        """Run a command to its end."""
        values: dict[str, object] = {"timeout_ms": 20_000, **changes}
        command = SandboxCommand(self.on.new_id("cmd"), line, **values)  # type: ignore[arg-type]  # whatever the test asks for
        return await self.runner.run_command(self.id, command, (log or Log()).emit, cancel or CancelRequest())

    async def says(self, line: str, **changes: object) -> str:
        """The standard output of a command."""
        log = Log()
        await self.run(line, log, **changes)
        return log.output().decode()

    async def start(
        self, line: str, cancel: CancelRequest | None = None, **changes: object
    ) -> tuple[asyncio.Task[Ending], Log]:
        """Start a command, and wait until it said something."""
        log = Log()
        running = asyncio.create_task(self.run(line, log, cancel, **changes))
        await log.wait_for("stdout")
        return running, log

    async def serve(self, host: str = "127.0.0.1") -> tuple[asyncio.Task[Ending], int]:
        """Start a server: its command, and the port that it has."""
        await self.runner.write_file(self.id, "server.py", SERVER.encode())
        running, log = await self.start(f"exec python3 server.py {host} 0")
        return running, int(log.output())

    async def refused(self, operation: str, *arguments: object, **options: object) -> str:
        """The code that an operation on files is refused with."""
        with pytest.raises(FileRefused) as refusal:
            await getattr(self.runner, operation)(self.id, *arguments, **options)
        assert refusal.value.message.endswith(".")
        return refusal.value.code


@asynccontextmanager
async def warm_sandbox(on: Bench) -> AsyncIterator[Box]:
    """A fresh warm sandbox with Python, after which none of its commands may run."""
    box = Box(on, on.new_id("sbx").replace("_t", "_warm"))
    assert await on.runner.create_sandbox(box.id, "python", HOUR_MS) == NOW_MS + HOUR_MS
    try:
        yield box
    finally:
        await on.runner.destroy_sandbox(box.id)
    async with asyncio.timeout(20):
        while on.runner.statistics().commands_running:  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.01)


def requested(*paths: str) -> list[RequestedArtifact]:
    """Artifacts under their own names."""
    return [RequestedArtifact(path) for path in paths]


def living(word: str) -> list[int]:
    """Processes of this machine that have the word in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in line:
            found.append(int(entry.name))
    return found


def owner_of(pid: int) -> int:
    """The user that a process runs as, seen from the host."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1])


async def provided(
    request: pytest.FixtureRequest, factory: pytest.TempPathFactory, **limits: int
) -> AsyncIterator[Bench]:
    """A runner of the provider that the fixture's parameter names, skipped where that cannot be had."""
    if request.param == "bubblewrap":
        need("bubblewrap")
    folder = factory.mktemp(request.param)
    async with bench(request.param, folder, processes_max=64, terminate_grace_ms=300, **limits) as made:
        yield made
