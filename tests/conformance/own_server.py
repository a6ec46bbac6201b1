"""Our own server for the suite: real folder, real socket, keepalives quick enough to wait for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from api.limits import ApiLimits
from tests.conformance.target import Target
from tests.serving import serving

HEARTBEAT_S = 0.3
PATIENCE_S = 4.0
"""A stream that is silent for this long, or open this long after its end, breaks the rule."""


@contextlib.contextmanager
def own_server(data_dir: Path) -> Iterator[Target]:
    """Serve the folder while the block runs."""
    with serving(data_dir, api=ApiLimits(heartbeat_s=HEARTBEAT_S)) as running:
        yield Target(running.url, running.key, PATIENCE_S)
