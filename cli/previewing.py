"""Joins previews and the runner: where previews are served, under which addresses, and who dials."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from api.client_places import TRUSTED_DEFAULT
from api.preview_proxy import PreviewProxy
from api.services import Services
from cli.listening import listen
from cli.settings import Settings
from runner import link
from runner.local import LocalRunner
from runner.registry import SandboxConflict
from runs.access import Principal
from runs.previews import Dial, PortClosed, SandboxGone

PORT_MAX = 65535


def port_of_previews(settings: Settings) -> int:
    """The port that is set, or the one after the API's, so that two servers can stand side by side."""
    if settings.preview_port is not None:
        return settings.preview_port
    return settings.port + 1 if 0 < settings.port < PORT_MAX else 0


@dataclass(frozen=True, slots=True)
class PreviewPlace:
    """Where previews are served: the listening socket, and what makes an address of a slug."""

    listener: socket.socket
    url_of: Callable[[str], str]

    @classmethod
    @contextmanager
    def opened(cls, settings: Settings, listener: socket.socket | None) -> Generator[PreviewPlace]:
        """On this socket, or on one that is opened as the settings say; closed when the block ends."""
        with listener or listen(settings.host, port_of_previews(settings), "--preview-port") as listening:
            port = listening.getsockname()[1]
            yield cls(listening, partial(_url_of, settings.preview_url, port))


def _url_of(template: str, port: int, slug: str) -> str:
    return template.format(slug=slug, port=port)


def serving_previews(
    settings: Settings,
    services: Services,
    runner: LocalRunner,
    now_ms: Callable[[], int],
    place: PreviewPlace,
) -> AbstractAsyncContextManager[None]:
    """The proxy over the server's keys and the runner's sandboxes, while the block runs."""

    async def admit(secret: str) -> Principal | None:
        who = await services.authenticate(secret)
        if who is not None:
            services.key_use.note(who.key_id)
        return who

    scheme = settings.preview_url.partition(":")[0]
    trusted = os.environ.get("FORWARDED_ALLOW_IPS", TRUSTED_DEFAULT)  # as uvicorn reads it for the API
    proxy = PreviewProxy(
        services.previews, admit, dial_of(runner), settings.previews, now_ms, scheme=scheme, trusted=trusted
    )
    return proxy.serving(place.listener)


def dial_of(runner: LocalRunner) -> Dial:
    """The runner's dial, with what it raises in the words of `runs.previews`."""

    async def dial(sandbox_id: str, port: int) -> socket.socket:
        try:
            return await runner.dial(sandbox_id, port)
        except link.PortClosed as closed:
            raise PortClosed from closed
        except (link.SandboxUnavailable, SandboxConflict) as gone:
            raise SandboxGone from gone

    return dial
