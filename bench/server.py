"""The server that the HTTP benches measure: a real one, filled runs, and the same bytes as a plain file."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

from bench.stores import create_run, fill, now_ms
from cli.listening import listen
from cli.settings import Settings
from cli.wiring import Server, open_server
from eventstore.log import Append, Framing, NewEvent
from runs.decide import status_event
from runs.limits import RunLimits
from runs.session import load_session


async def _filled_run(server: Server, events: int) -> str:
    first = server.first
    assert first is not None
    run_id = await create_run(server.services.store, first.org_id, first.project_id)
    await fill(server.services.store, run_id, events)
    return run_id


async def _end(server: Server, run_id: str) -> None:
    """Seal the run, so that an SSE replay of it ends."""
    session = await load_session(server.services.store, run_id, RunLimits(), now_ms)
    await session.append([status_event("collecting", {"durationMs": 1, "exitCode": 0})])
    cleanup = NewEvent("cleanup", {"cleanupStatus": "succeeded", "reason": "finished"})
    await session.finish(failure_reason=None, cleanup=cleanup)


async def _write_file(server: Server, run_id: str, path: Path) -> None:
    """The run's NDJSON answer as a plain file."""
    after = 0
    with path.open("wb") as out:
        while chunk := await server.services.store.read_framed(run_id, after, Framing.NDJSON):
            out.write(chunk.data)
            after = chunk.last_seq


async def _append_when_asked(server: Server, run_id: str) -> None:
    """Append one event for every line on standard input (the tail bench drives the writer this way)."""
    loop = asyncio.get_running_loop()
    while text := await loop.run_in_executor(None, sys.stdin.readline):
        await server.services.store.append(Append(run_id, None, [NewEvent("stdout", {"data": text})]))


async def serve(folder: Path, sizes: list[int]) -> None:
    """Fill the runs, print one JSON line about them, then answer until standard input ends."""
    settings = Settings(
        data_dir=folder, provider="process", preview_port=0, rate_limit_per_minute=0, shutdown_s=1
    )
    async with open_server(settings) as server:
        runs = [await _filled_run(server, size) for size in sizes]
        if len(runs) > 1:
            await _end(server, runs[0])
        raw = folder / "raw.ndjson"
        await _write_file(server, runs[0], raw)
        app = Starlette(routes=[Route("/raw", lambda _: FileResponse(raw)), Mount("/", server.app)])
        with listen("127.0.0.1", 0) as listener:
            http = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False))
            task = asyncio.create_task(http.serve(sockets=[listener]))
            assert server.first is not None
            about = {"port": listener.getsockname()[1], "key": server.first.secret, "runs": runs}
            print(json.dumps(about), flush=True)
            await _append_when_asked(server, runs[-1])
            server.services.closing.set()
            http.should_exit = True
            await task


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]]))
