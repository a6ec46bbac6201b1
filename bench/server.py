"""The server that the HTTP benches measure: the one of `crownest serve`, and runs as plain files beside it.

Started as `python -m bench.server FOLDER`; prints one JSON line, and stops when its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api.limits import ApiLimits
from cli.listening import listen
from cli.serving import HttpServer
from cli.settings import Settings
from cli.wiring import Server, open_server
from eventstore.log import EventLog, Framing


async def _write_file(log: EventLog, run_id: str, path: Path) -> None:
    """The run's NDJSON answer as a plain file."""
    after = 0
    with path.open("wb") as out:
        while chunk := await log.read_framed(run_id, after, Framing.NDJSON):
            out.write(chunk.data)
            after = chunk.last_seq


def _with_files(server: Server, folder: Path) -> ASGIApp:
    """The application, untouched, and `/raw/RUN`: the run as a file, written when it is asked for first."""

    async def raw(request: Request) -> FileResponse:
        run_id = request.path_params["run_id"]
        path = folder / f"{run_id}.ndjson"
        if not path.exists():
            await _write_file(server.services.store, run_id, path)
        return FileResponse(path)

    files = Starlette(routes=[Route("/raw/{run_id}", raw)])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (files if scope["path"].startswith("/raw/") else server.app)(scope, receive, send)

    return app


async def serve(folder: Path) -> None:
    """Answer until standard input ends."""
    settings = Settings(
        data_dir=folder,
        provider="process",
        preview_port=0,
        rate_limit_per_minute=0,
        shutdown_s=1,
        api=replace(ApiLimits(), streams_per_key_max=4096),  # a thousand readers have one key here
    )
    files = folder.with_name(folder.name + "-files")
    files.mkdir()
    async with open_server(settings) as server:
        http = HttpServer(replace(server, app=_with_files(server, files)), settings)
        with listen("127.0.0.1", 0, "--port") as listener:
            task = asyncio.create_task(http.serve(sockets=[listener]))
            assert server.first is not None
            about = {"port": listener.getsockname()[1], "key": server.first.secret}
            print(json.dumps(about), flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            server.services.closing.set()
            http.should_exit = True
            await task


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
