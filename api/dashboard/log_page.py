"""The global log: its head, its growth, its latest entries, its witnesses, and how to watch it (`/log`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.days import short_day
from api.dashboard.forest import Tree, forest_of
from api.dashboard.monitor_rows import monitor_rows
from api.dashboard.pages import page
from api.dashboard.plots import LABELS_NARROW, LABELS_WIDE, Frame, Plot, Series, bars
from api.dashboard.visitors import visitor
from api.queries import SEQ_MAX, integer
from api.services import Services, services_of
from eventstore.global_log import LogEntry, LogHead
from evidence.canonical import FormatError
from evidence.checkpoint import parse_checkpoint
from evidence.logentry import KeyChange, parse_entry
from evidence.note import NoteError, split_note
from evidence.policy import Policy, parse_policy
from evidence.record import encode_base64, format_time
from evidence.tlog import LogCheckpoint, open_log_checkpoint
from evidence.verdict import VerificationError
from runs.access import Principal

router = APIRouter()
PATH = "/log"
ENTRIES_SHOWN = 20
HEADS_LOOKED_MAX = 200
"""Published checkpoints in which the last cosignature of a witness is looked for."""
GROWTH_ENTRIES_MAX = 20_000
"""The newest entries whose growth is shown."""
HOUR_MS, DAY_MS = 60 * 60 * 1000, 24 * 60 * 60 * 1000
HOURS_SHOWN, DAYS_SHOWN = 24, 30
ROOT_CHARS = 12
WIDE, NARROW = (1000.0, 150.0), (300.0, 130.0)


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry. `stream` is empty where the visitor does not see it: the log is public, this page is not."""

    index: int
    kind: str
    tone: str
    glyph: str
    stream: str
    is_run: bool
    size: int
    root: str
    created_at: str


@dataclass(frozen=True, slots=True)
class WitnessRow:
    """A witness of the policy, and the newest checkpoint that it cosigned: its size, 0 for none."""

    name: str
    key: str
    size: int
    cosigned_at: str
    behind: int
    complaint: str


@dataclass(frozen=True, slots=True)
class Growth:
    """Entries per hour or per day; `whole` unless older ones were left out."""

    words: str
    wide: Plot
    narrow: Plot
    whole: bool


@dataclass(frozen=True, slots=True)
class Head:
    """The newest published checkpoint. `root` is base64, `trees` are what its tree consists of."""

    size: int
    root: str
    origin: str
    keys: Sequence[str]
    note: str
    trees: Sequence[Tree]


@router.get(PATH)
async def get_log_page(request: Request) -> Response:
    """The log as it is published; `before` is the index that the entries shown come before."""
    who, services = await visitor(request), services_of(request)
    published = services.sequencer.published
    size, note = published.size, published.note
    before = integer(request, ("before",), size, 0, SEQ_MAX)
    end = min(before, size)
    start = max(0, end - ENTRIES_SHOWN)
    entries = await services.global_log.logged(start, end)
    policy = parse_policy(services.policy())
    head = _head(note) if note else None
    return page(
        request,
        "log.html",
        head=head,
        entries=await _entries(services, who, entries, start),
        older=start or None,
        newer=min(end + ENTRIES_SHOWN, size) if end < size else None,
        growth=await _growth(services, size) if size else None,
        witnesses=await _witnesses(services, who, policy, size),
        needed=_needed(policy),
        monitors=await monitor_rows(services, who, head.origin) if head else [],
        now=format_time(services.runs.now_ms()),
        origin=services.origin,
    )


def _head(note: bytes) -> Head:
    text, lines = split_note(note)
    checkpoint = parse_checkpoint(text)
    own = [line for line in lines if line.name == checkpoint.origin_line]
    return Head(
        checkpoint.size,
        encode_base64(checkpoint.root),
        checkpoint.origin_line,
        [line.key_id.hex() for line in own],
        note.decode(),
        forest_of(checkpoint.size),
    )


async def _entries(
    services: Services, who: Principal, entries: Sequence[LogEntry], start: int
) -> list[EntryRow]:
    rows = await asyncio.gather(
        *(_entry(services, who, entry, start + at) for at, entry in enumerate(entries))
    )
    return list(reversed(rows))


async def _entry(services: Services, who: Principal, entry: LogEntry, index: int) -> EntryRow:
    created_at = format_time(entry.created_at_ms)
    parsed = parse_entry(entry.data)
    if isinstance(parsed, KeyChange):
        return EntryRow(index, "Signing key", "warn", "key", "", False, 0, "", created_at)
    seen = await _sees(services, who, parsed.stream, is_run=parsed.is_run)
    if not seen:
        return EntryRow(index, "Entry", "open", "wait", "", parsed.is_run, 0, "", created_at)
    root = encode_base64(parsed.checkpoint.root)[:ROOT_CHARS]
    size = parsed.checkpoint.size
    kind, tone, glyph = await _kind(services, parsed.stream, size, is_run=parsed.is_run)
    return EntryRow(index, kind, tone, glyph, parsed.stream, parsed.is_run, size, root, created_at)


async def _sees(services: Services, who: Principal, stream: str, *, is_run: bool) -> bool:
    if not is_run:
        return stream == who.org_id and who.project_ids is None
    row = await services.store.get_view("runs", stream)
    may_read = bool({"workspace_run:read", "audit:read"} & who.scopes)
    return row is not None and may_read and who.sees(row.org_id, row.project_id)


async def _kind(services: Services, stream: str, size: int, *, is_run: bool) -> tuple[str, str, str]:
    """Word, tone and glyph of what the entry shows."""
    if not is_run:
        return "Organisation", "open", "wait"
    evidence = await services.store.get_view("evidence", stream)
    sealed = int(evidence.labels["lastPublicSeq"]) + 1 if evidence else None
    if sealed is None or size < sealed:
        return "Created", "open", "wait"
    return ("Sealed", "seal", "hex-ok") if size == sealed else ("Redacted", "seal", "hex-red")


async def _growth(services: Services, size: int) -> Growth:
    """Entries per hour while the log is young, else per day, of the newest ones."""
    start = max(0, size - GROWTH_ENTRIES_MAX)
    now_ms = services.runs.now_ms()
    (first,) = await services.global_log.logged(start, start + 1)
    hourly = now_ms - first.created_at_ms < 2 * DAY_MS
    span_ms, count = (HOUR_MS, HOURS_SHOWN) if hourly else (DAY_MS, DAYS_SHOWN)
    found = dict(await services.global_log.growth(start, span_ms))
    last = now_ms // span_ms * span_ms
    begins = [last - span_ms * number for number in reversed(range(count))]
    values = [found.get(begin, 0) for begin in begins]
    times = [datetime.fromtimestamp(begin / 1000, UTC) for begin in begins]
    names = [f"{time:%H:%M}" if hourly else short_day(time.date()) for time in times]
    series = [Series("entries", "solid", values)]
    unit = "hour" if hourly else "day"
    words = f"Entries per {unit}: {sum(values):,} in {count} {unit}s."
    wide = bars(Frame(*WIDE, names, LABELS_WIDE, partial=True), series, whole=True)
    narrow = bars(Frame(*NARROW, names, LABELS_NARROW, partial=True), series, whole=True)
    return Growth(words, wide, narrow, whole=not start or first.created_at_ms <= begins[0])


async def _witnesses(services: Services, who: Principal, policy: Policy, size: int) -> list[WitnessRow]:
    last = await _last_cosigned(services, policy)
    # What a witness answered is for those who run this server's log, and for its auditors.
    complaints: Mapping[str, str] = services.sequencer.refusals if "audit:read" in who.scopes else {}
    return [
        WitnessRow(
            name,
            key.key_id.hex(),
            last[name][0] if name in last else 0,
            format_time(last[name][1] * 1000) if name in last else "",
            size - last[name][0] if name in last else size,
            complaints.get(key.name, ""),
        )
        for name, key in policy.witnesses.items()
    ]


async def _last_cosigned(services: Services, policy: Policy) -> Mapping[str, tuple[int, int]]:
    """Of each witness the size that it cosigned last, and the unix second of that."""
    found: dict[str, tuple[int, int]] = {}
    if not policy.witnesses:
        return found
    for head in await services.global_log.heads(HEADS_LOOKED_MAX):
        opened = _opened(head, policy)
        for name, at_s in opened.cosigned.items() if opened else ():
            found.setdefault(name, (head.size, at_s))
        if len(found) == len(policy.witnesses):
            break
    return found


def _opened(head: LogHead, policy: Policy) -> LogCheckpoint | None:
    """The checkpoint with its signatures checked; None for one that does not bear that."""
    try:
        return open_log_checkpoint(head.note or b"", policy)
    except (NoteError, FormatError, VerificationError):
        return None


def _needed(policy: Policy) -> str:
    """How many witnesses the policy demands, in words."""
    if policy.quorum is None:
        return "none demanded"
    group = policy.groups.get(policy.quorum)
    return f"{group.threshold} of {len(group.members)} needed" if group else "1 needed"
