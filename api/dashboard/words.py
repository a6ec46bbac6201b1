"""What states, sizes, durations and ids are called on the pages: one vocabulary for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KIB = 1024
SIZE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
SECOND_MS, MINUTE_MS, HOUR_MS = 1000, 60_000, 3_600_000
TENTHS_FROM_MS = 100
"""Shorter than this is shown in milliseconds, longer in tenths of a second."""
ID_END_CHARS, DIGEST_START_CHARS, DIGEST_END_CHARS = 8, 12, 8


@dataclass(frozen=True, slots=True)
class Status:
    """A state of a run in words: `tone` is its colour (`st--…`), `glyph` its picture (`i-…`)."""

    word: str
    tone: str
    glyph: str
    is_moving: bool = False


STATUSES: Mapping[str, Status] = {
    "awaiting_archive": Status("Waiting for archive", "idle", "wait"),
    "archive_uploaded": Status("Ready to start", "idle", "wait"),
    "starting": Status("Starting", "run", "run", is_moving=True),
    "extracting": Status("Unpacking", "run", "run", is_moving=True),
    "running": Status("Running", "run", "run", is_moving=True),
    "collecting": Status("Collecting", "run", "run", is_moving=True),
    "succeeded": Status("Succeeded", "ok", "ok"),
    "failed": Status("Failed", "bad", "bad"),
    "canceled": Status("Canceled", "idle", "stop"),
}
TIMED_OUT = Status("Failed", "bad", "late")

REASONS: Mapping[str, str] = {
    "upload_missing": "no archive arrived in time",
    "archive_invalid": "the archive could not be unpacked safely",
    "archive_too_large": "the archive is larger than this server allows",
    "extraction_failed": "unpacking the archive failed on the server",
    "command_exit": "the exit code is not 0",
    "timeout": "the command ran into its time limit and was stopped",
    "sandbox_conflict": "the sandbox that was asked for could not be used",
    "sandbox_unavailable": "no sandbox could be started",
    "internal_error": "the server failed while the run was going on",
}
"""`failureReason` (CONTRACT §3.4) as half a sentence."""

CLASSES: Mapping[str, str] = {
    "user_command": "of the command",
    "user_input": "of what was handed in",
    "platform": "of the server",
    "canceled": "canceled",
}
"""`failureClass` (CONTRACT §3.4): whose doing it was."""


def status_of(run: Mapping[str, Any]) -> Status:
    """The state of a Workspace Run object in words."""
    if run.get("failureReason") == "timeout":
        return TIMED_OUT
    return STATUSES[run["status"]]


def size_text(size_bytes: int) -> str:
    """Bytes with a unit and three digits: `512 B`, `84.2 KiB`, `211 KiB`, `2 GiB`."""
    size, unit = float(size_bytes), 0
    while round(size, 1) >= 1000 and unit < len(SIZE_UNITS) - 1:
        size, unit = size / KIB, unit + 1
    text = f"{size:.0f}" if unit == 0 or size >= 100 else f"{size:.1f}".removesuffix(".0")
    return f"{text} {SIZE_UNITS[unit]}"


def duration_text(duration_ms: int) -> str:
    """A duration inside a sentence: `35 ms`, `57.7 s`, `3 min 51 s`, `1 h 5 min`."""
    if 0 < duration_ms < TENTHS_FROM_MS:
        return f"{duration_ms} ms"
    if duration_ms < MINUTE_MS:
        tenths = duration_ms // TENTHS_FROM_MS
        return f"{tenths // 10}.{tenths % 10} s".replace(".0 s", " s")
    hours, rest = divmod(duration_ms, HOUR_MS)
    minutes, rest = divmod(rest, MINUTE_MS)
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest // SECOND_MS, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def clock_text(duration_ms: int) -> str:
    """A duration in a column or beside a running clock: `0:48`, `1:02:03`."""
    minutes, seconds = divmod(duration_ms // SECOND_MS, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def short_id(text: str) -> str:
    """An id shortened from the front, because ids differ at their ends: `sbx_…xvgrecs8`."""
    prefix, underscore, rest = text.partition("_")
    if not underscore or len(rest) <= ID_END_CHARS:
        return text
    return f"{prefix}_…{rest[-ID_END_CHARS:]}"


def short_digest(text: str) -> str:
    """A digest by its two ends: `b7820dfd0eff…14095d78`."""
    if len(text) <= DIGEST_START_CHARS + DIGEST_END_CHARS:
        return text
    return f"{text[:DIGEST_START_CHARS]}…{text[-DIGEST_END_CHARS:]}"
