"""A real server on loopback for tests: real folder, real database, real HTTP, in a thread of its own."""

import asyncio
import contextlib
import hashlib
import io
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
import uvloop

from api.limits import ApiLimits
from api.protocol import protocol_with
from api.session_protocol import SessionProtocol
from cli.listening import listen
from cli.settings import Settings
from cli.wiring import Server, open_server
from eventstore.sequencer import SequencerLimits
from runs.limits import RunLimits

START_S_MAX = 20.0
FINISH_S_MAX = 60.0
TERMINAL = {"succeeded", "failed", "canceled"}


@dataclass
class Running:
    """A server that answers, and a client that holds its first key."""

    http: httpx2.Client
    server: Server
    loop: asyncio.AbstractEventLoop
    url: str
    key: str
    data_dir: Path

    def create(self, command: str = "true", **fields: object) -> str:
        """A new run's id."""
        answer = self.http.post("/v1/workspace-runs", json={"command": command, **fields})
        assert answer.status_code == 201, answer.text
        run_id: str = answer.json()["workspaceRun"]["id"]
        return run_id

    def upload(self, run_id: str, data: bytes) -> httpx2.Response:
        """PUT the archive directly."""
        return self.http.put(
            f"/v1/workspace-runs/{run_id}/archive", content=data, headers=archive_headers(data)
        )

    def run(self, command: str, files: Mapping[str, bytes] | None = None, **fields: object) -> dict[str, Any]:
        """Run a command over files to its end; answer the run."""
        run_id = self.create(command, **fields)
        assert self.upload(run_id, archive(files or {"a.txt": b"a"})).status_code == 200
        assert self.http.post(f"/v1/workspace-runs/{run_id}/start").status_code == 200
        return self.finished(run_id)

    def get(self, run_id: str) -> dict[str, Any]:
        """The run as it stands."""
        run: dict[str, Any] = self.http.get(f"/v1/workspace-runs/{run_id}").json()["workspaceRun"]
        return run

    def wait_for_status(self, run_id: str, *statuses: str) -> dict[str, Any]:
        """Poll until the run is in one of the states."""
        deadline = time.monotonic() + FINISH_S_MAX
        while (run := self.get(run_id))["status"] not in statuses:
            assert time.monotonic() < deadline, f"{run_id} is still {run['status']}"
            time.sleep(0.02)
        return run

    def finished(self, run_id: str) -> dict[str, Any]:
        """Poll until the run is terminal."""
        return self.wait_for_status(run_id, *TERMINAL)

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """All public events."""
        text = self.http.get(
            f"/v1/workspace-runs/{run_id}/events", headers={"accept": "application/x-ndjson"}
        ).text
        import json

        return [json.loads(line) for line in text.splitlines()]


def archive(files: Mapping[str, bytes]) -> bytes:
    """A gzipped tar of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def archive_headers(data: bytes) -> dict[str, str]:
    """The headers of a direct upload (CONTRACT §4.1)."""
    return {
        "content-type": "application/gzip",
        "x-crownest-archive-sha256": hashlib.sha256(data).hexdigest(),
        "x-crownest-archive-size": str(len(data)),
    }


def settings(data_dir: Path, **overrides: Any) -> Settings:
    """Settings of a test server: the process provider unless told otherwise, quick heartbeats."""
    fields: dict[str, Any] = {
        "data_dir": data_dir,
        "provider": "process",
        "preview_port": 0,
        "api": ApiLimits(heartbeat_s=0.5),
        "runs": RunLimits(storage_retry_s=0.2),
        "sequencer": SequencerLimits(interval_s=0.02),  # bundles wait for the log: tests need not a second
        "rate_limit_per_minute": 0,
        "shutdown_s": 1,
    }
    return Settings(**{**fields, **overrides})


@contextlib.contextmanager
def serving(data_dir: Path, key: str = "", **overrides: Any) -> Iterator[Running]:
    """Serve the folder until the block ends. `key` is needed when the folder is not new."""
    thread = _ServerThread(settings(data_dir, **overrides))
    thread.start()
    try:
        running = thread.wait_until_serving(key)
        with running.http:
            yield running
    finally:
        thread.stop()


class _ServerThread(threading.Thread):
    def __init__(self, chosen: Settings) -> None:
        super().__init__(name="test server")
        self._settings = chosen
        self._listener = listen("127.0.0.1", 0)
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._http: uvicorn.Server | None = None
        self._server: Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> None:
        try:
            uvloop.run(self._serve())  # as `crownest serve` does
        except BaseException as error:  # noqa: BLE001 # told to the test that waits
            self._error = error
        finally:
            self._ready.set()
            self._listener.close()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with open_server(self._settings) as server:
            self._server = server
            config = uvicorn.Config(
                server.app,
                http=protocol_with(self._settings.api),
                ws=SessionProtocol,
                ws_per_message_deflate=False,
                log_level="error",
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
            self._http = uvicorn.Server(config)
            self._http.install_signal_handlers = lambda: None
            self._ready.set()
            await self._http.serve(sockets=[self._listener])

    def wait_until_serving(self, key: str) -> Running:
        assert self._ready.wait(START_S_MAX), "the test server did not start"
        if self._error is not None:
            raise self._error
        assert self._server is not None
        assert self._loop is not None
        port = self._listener.getsockname()[1]
        secret = self._server.first.secret if self._server.first else key
        url = f"http://127.0.0.1:{port}"
        client = httpx2.Client(
            base_url=url, headers={"authorization": f"Bearer {secret}"}, timeout=FINISH_S_MAX
        )
        return Running(client, self._server, self._loop, url, secret, self._settings.data_dir)

    def stop(self) -> None:
        if self._http is not None and self._server is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._server.services.closing.set)
            self._http.should_exit = True
        self.join(START_S_MAX)
        assert not self.is_alive(), "the test server did not stop"
        if self._error is not None:
            raise self._error
