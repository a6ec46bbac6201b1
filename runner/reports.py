"""The reports of a run from `extracting` to `cleanup`, as CONTRACT §6.6 has them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from evidence.record import format_time
from runner.extract import Extracted
from runner.job import Limit, Report

RUNNER = "local"


def extracting(
    provider: str, isolation: str, limits: Mapping[str, Limit], template: Mapping[str, str]
) -> Report:
    """What the run is executed in."""
    return _status(
        "extracting",
        provider=provider,
        isolation=isolation,
        limits={name: {"value": limit.value, "enforced": limit.enforced} for name, limit in limits.items()},
        template=dict(template),
        runner=RUNNER,
    )


def running(command_id: str, extracted: Extracted) -> Report:
    """The command starts now."""
    return _status("running", commandId=command_id, entries=extracted.entries, bytes=extracted.size_bytes)


def collecting(ending: Mapping[str, object], duration_ms: int, dropped_bytes: Mapping[str, int]) -> Report:
    """The command has ended; `ending` is one of exitCode, timedOut, canceled."""
    dropped = {"droppedBytes": dict(dropped_bytes)} if any(dropped_bytes.values()) else {}
    return _status("collecting", durationMs=duration_ms, **ending, **dropped)


def cleaned_up(*, removed: bool) -> Report:
    """The sandbox is gone, or something of it could not be removed."""
    return Report("cleanup", {"cleanupStatus": "succeeded" if removed else "failed", "reason": "finished"})


def kept(expires_at_ms: int) -> Report:
    """The sandbox stays, until somebody ends it or its time is over."""
    return Report(
        "cleanup",
        {"cleanupStatus": "not_requested", "reason": "kept", "expiresAt": format_time(expires_at_ms)},
    )


def never_started() -> Report:
    """The run ended before there was a sandbox."""
    return Report("cleanup", {"cleanupStatus": "not_requested", "reason": "never_started"})


def _status(status: str, **fields: object) -> Report:
    return Report("status", {"status": status, **fields})
