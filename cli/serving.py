"""Runs a server until it is stopped: opens the data folder, listens, and says in nine lines where it is."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import time
from pathlib import Path
from types import FrameType

import click
import uvicorn
import uvloop

from api.protocol import protocol_with
from api.session_protocol import SessionProtocol
from api.session_routes import link_url
from cli import config_file, output
from cli.execution import describe_limits
from cli.listening import listen
from cli.previewing import port_of_previews
from cli.problems import failure
from cli.settings import Settings, mistyped
from cli.wiring import Server, open_server
from eventstore.log import LogError
from runner.link import SandboxUnavailable
from runs.credentials import principal_of_key
from runs.organization import first_key

logger = logging.getLogger(__name__)

GARBAGE_SEARCHED_EVERY = 20_000
"""Objects made and not gone, between two searches for garbage among the young; Python's own is 700."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
LOOPBACK_ADVICE = "Install bubblewrap, or listen on 127.0.0.1."


def run_server(settings: Settings) -> None:
    """Serve until Ctrl-C. Raises `CliError` where these settings cannot be served."""
    if settings.provider == "process" and settings.host not in LOOPBACK:
        raise failure(
            "The process provider isolates nothing: it is allowed on loopback only.", LOOPBACK_ADVICE
        )
    if settings.dev_headers and settings.host not in LOOPBACK:
        raise failure(
            "CROWNEST_DEV_HEADERS lets anybody be anybody: it is allowed on loopback only.",
            "Unset it, or listen on 127.0.0.1.",
        )
    log_to_stderr()
    for name, meant in mistyped(settings, os.environ):
        logger.warning("%s sets nothing: is %s meant? All variables: crownest config", name, meant)
    try:
        with (
            listen(settings.host, settings.port, "--port") as listener,
            listen(settings.host, port_of_previews(settings), "--preview-port") as previews,
        ):
            uvloop.run(_serve(settings, listener, previews))
    except KeyboardInterrupt:
        return
    except (LogError, SandboxUnavailable) as error:
        raise failure(str(error)) from error
    except OSError as error:
        if error.filename is None or not Path(error.filename).is_relative_to(settings.data_dir):
            raise
        raise failure(
            f"{error.filename}: {error.strerror}.",
            f"The user who serves must read and write all of {settings.data_dir}: see owner and mount.",
        ) from error


def log_to_stderr() -> None:
    """Warnings and errors, each with its UTC time, level and logger: who looks for one run has only those.

    A program that embeds the server and set up logging of its own keeps that.
    """
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    formatter.converter = time.gmtime
    formatter.default_time_format, formatter.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


async def _serve(settings: Settings, listener: socket.socket, previews: socket.socket) -> None:
    async with open_server(settings, previews) as server:
        if server.runner.provider == "process" and settings.host not in LOOPBACK:
            raise failure(
                "bubblewrap does not work here, and the process provider isolates nothing.", LOOPBACK_ADVICE
            )
        http = HttpServer(server, settings)
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        announced = asyncio.create_task(_announce(http, server, settings, url))
        await http.serve(sockets=[listener])
        await announced


class HttpServer(uvicorn.Server):
    """uvicorn, with open streams told to end when it stops."""

    def __init__(self, server: Server, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                server.app,
                http=protocol_with(settings.api),
                ws=SessionProtocol,
                log_config=None,  # what it has to say goes where our own messages go
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=settings.shutdown_s,
                ws_max_size=settings.api.json_body_bytes_max,
                ws_per_message_deflate=False,  # output compresses well, and costs more time than it saves
            )
        )
        self._closing = server.services.closing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then take what is there out of every later search for garbage, and search less often.

        Nearly all that a request makes goes when nobody refers to it any more; to look for the few circles
        among everything took a tenth of the time of small appends.
        """
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_SEARCHED_EVERY)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: let the followers of streams go first, then stop as uvicorn does."""
        self._closing.set()
        super().handle_exit(sig, frame)


async def _announce(http: HttpServer, server: Server, settings: Settings, url: str) -> None:
    """The nine lines, once the first request would be answered."""
    while not http.started:
        if http.should_exit:
            return
        await asyncio.sleep(0.01)
    lines = (
        ("API base", url),
        ("dashboard", await _dashboard(server, url)),
        ("reference", f"{url}/docs"),
        ("API key", await _remember(server, url)),
        ("data folder", f"{settings.data_dir.resolve()} (kept; {_recovered(server)})"),
        ("sandbox", _sandbox(server)),
        ("limits", describe_limits(server.runner.limits)),
        ("previews", server.place.url_of("…")),
        ("stop", "Ctrl-C (what is recorded is on disk; runs that execute are ended as failed)"),
    )
    for name, text in lines:
        click.echo(f"{output.paint(f'{name:<12}', sys.stdout, bold=True)} {text}")
    sys.stdout.flush()


async def _remember(server: Server, url: str) -> str:
    """Write address and key to the CLI configuration, unless that belongs to another server.

    It belongs to us when its key is one of ours: then a later start on another port changes the address
    only. A key of somebody else is never overwritten, since it may be shown nowhere else any more.
    """
    known = config_file.read()
    if server.first is not None:
        secret = server.first.secret
        if known.credential is None:
            return f"{secret} (shown once; written to {config_file.write(api_url=url, api_key=secret)})"
        return (
            f"crownest login --api-url {url} --api-key {secret} "
            f"(shown once; {config_file.path()} holds another server's key and was left alone)"
        )
    if known.credential is not None and await server.services.authenticate(known.credential):
        return f"as before, in {config_file.write(api_url=url)}"
    return f"shown at first start; use it with: crownest login --api-url {url} --api-key cn_live_…"


async def _dashboard(server: Server, url: str) -> str:
    """A one-time link of the first key: who reads this terminal is the operator."""
    services = server.services
    origin = services.sign_in.public_url or url
    key = await first_key(services.store)
    if key is None:
        return f"{origin}/sign-in (with an API key; or type: crownest dashboard)"
    token = await services.sign_in.sessions.make_link(principal_of_key(key))
    minutes = services.sign_in.sessions.limits.link_ms // 60_000
    return f"{link_url(origin, token)} (works once, within {minutes} min; again: crownest dashboard)"


def _recovered(server: Server) -> str:
    if server.first is not None:
        return "new"
    return "interrupted runs: {ended} ended, {queued} queued again".format_map(server.recovered)


def _sandbox(server: Server) -> str:
    if server.runner.provider == "bubblewrap":
        return "bubblewrap: namespaces, read-only system, no network"
    return f"process: {server.runner.warning}"
