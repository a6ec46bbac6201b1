"""Events of an organisation's stream with everything that the contract says they carry (CONTRACT §6.7)."""

from __future__ import annotations

from typing import Any

from eventstore.log import NewEvent

_LATER = "2099-01-01T00:00:00.000Z"
_ALWAYS: dict[str, dict[str, Any]] = {
    "sandbox_created": {
        "template": {"id": "tpl_base", "slug": "base", "version": "v", "versionId": "tplv_v"},
        "ttlMs": 60_000,
        "expiresAt": _LATER,
        "metadata": {},
    },
    "command_started": {
        "commandId": "cmd_a",
        "sandboxId": "sbx_w",
        "command": "true",
        "cwd": "/workspace",
        "envKeys": [],
        "timeoutMs": 60_000,
    },
    "command_finished": {"commandId": "cmd_a", "sandboxId": "sbx_w", "status": "exited", "durationMs": 1},
    "preview_created": {
        "sandboxId": "sbx_w",
        "port": 80,
        "authMode": "token",
        "slug": "slug",
        "expiresAt": _LATER,
    },
}


def organization_event(kind: str, **fields: object) -> NewEvent:
    """The event; what a test does not name is filled in."""
    return NewEvent(kind, {"actor": "system", **_ALWAYS.get(kind, {}), **fields})
