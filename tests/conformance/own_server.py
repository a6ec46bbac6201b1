"""Our own server for the suite: real folder, real socket, keepalives quick enough to wait for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api.limits import ApiLimits
from cli.settings import Settings
from runner.limits import RunnerLimits
from runs.limits import RunLimits
from tests.conformance.target import Target, Violated
from tests.serving import serving

HEARTBEAT_S = 0.3
PATIENCE_S = 3.0
"""A stream that is silent for this long, or open this long after its end, breaks the rule."""


VARIANTS: dict[str, dict[str, Any]] = {
    "dev_headers": {"dev_headers": True},
    "limited": {"rate_limit_per_minute": 10},
    "free": {"plan_default": "free"},
    "hasty": {
        "runs": RunLimits(transfer_ms_max=1, awaiting_archive_ms_max=3000, reap_interval_s=0.05),
        "runner": RunnerLimits(output_bytes_max=8192),
    },
}
"""What a rule's `on` names: settings with which it can be seen."""


@contextlib.contextmanager
def own_server(folder: Path) -> Iterator[Target]:
    """Serve from below the folder while the block runs; variants are started when a rule asks for one."""
    with contextlib.ExitStack() as stack:

        def start(name: str) -> Target:
            if not VARIANTS.get(name, {}).keys() <= Settings.model_fields.keys():
                raise Violated(f"the server has no setting for {name}")
            running = stack.enter_context(
                serving(
                    folder / (name or "plain"),
                    api=ApiLimits(heartbeat_s=HEARTBEAT_S),
                    **VARIANTS.get(name, {}),
                )
            )
            return Target(running.url, running.key, PATIENCE_S, variants=start)

        yield start("")
