"""The server of the matrix, and which of the described operations it serves."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from api.limits import ApiLimits
from api.operations import OPERATIONS
from eventstore.log import LogLimits
from runs.limits import RunLimits
from tests.isolation.world import World, world
from tests.serving import Running, serving

PARAMETER = re.compile(r"\{[^}]*\}")
NEVER_S = 3600.0
HEARTBEAT_S = 0.2


@contextlib.contextmanager
def own_world(folder: Path) -> Iterator[World]:
    """A server with two organisations. Nothing is reaped meanwhile: only requests have effects."""
    limits = RunLimits(reap_interval_s=NEVER_S, key_use_interval_s=NEVER_S)
    log = LogLimits(compact_quiet_ms=int(NEVER_S * 1000))
    with (
        serving(folder, runs=limits, log=log, api=ApiLimits(heartbeat_s=HEARTBEAT_S)) as running,
        world(running) as made,
    ):
        assert running.http.post("/v1/signing-keys/rotate").status_code == 200  # so that there is a handover
        yield made


def served(running: Running) -> frozenset[str]:
    """Operations of the table that the application has a route for; the others are not built yet."""
    app: Any = running.server.app
    while not isinstance(app, Starlette):
        app = app._app
    routes = set(_routes(app.routes))
    return frozenset(o.id for o in OPERATIONS if (o.method, PARAMETER.sub("{}", o.path)) in routes)


def _routes(routes: list[Any]) -> Iterator[tuple[str, str]]:
    for route in routes:
        if isinstance(route, Route):
            for method in route.methods or ():
                yield method, PARAMETER.sub("{}", route.path)
        elif not isinstance(route, WebSocketRoute):  # FastAPI keeps a router that was included as one route
            yield from _routes(route.original_router.routes)
