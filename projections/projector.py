"""Advances the synchronous views inside the append transaction, and rebuilds them the same way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import groupby

from eventstore.log import NewEvent, StoredEvent, ViewWriter
from eventstore.views import ViewRow
from evidence.canonical import decode
from evidence.fold import RunFold, raw_size
from evidence.record import format_time
from projections.organization import project_organization_event
from projections.run import OUTPUT_TYPES, project_run_event, run_row

FOLDS_CACHED_MAX = 256
"""Run folds kept in memory; a run beyond that is folded again from the log when it next appends."""


class Projections:
    """The projector that the composition root hands to the log (`eventstore.log.Projector`).

    Folds of runs are cached between appends, since a fold from seq 1 for every output line would be
    quadratic. A rolled-back transaction has already advanced them, so `forget` drops all.
    """

    def __init__(self) -> None:
        self._folds: OrderedDict[str, RunFold] = OrderedDict()

    def __repr__(self) -> str:
        return f"Projections(folds_cached={len(self._folds)})"

    def apply(
        self, views: ViewWriter, stream: str, events: Sequence[tuple[NewEvent, StoredEvent]]
    ) -> ViewRow | None:
        """Fold the events just appended; answer the run's row as it stands now.

        Of an organisation's events it is the row that the last one is about: the key, the sandbox, ….
        """
        if not stream.startswith("wsr_"):
            rows = [project_organization_event(views, stream, _event(new, stored)) for new, stored in events]
            return rows[-1] if rows else None
        kinds = {new.type for new, _ in events}
        if "redaction" in kinds:  # it changes no view: what was counted stays counted (P7)
            events = [pair for pair in events if pair[0].type != "redaction"]
        if not events:
            return views.get("runs", stream)
        if len(kinds) == 1 and kinds <= OUTPUT_TYPES:  # nearly every append
            _fold_output(self._fold_before(views, stream, events[0][1].seq), events[0][0].type, events)
            return None
        return self._apply_run(views, stream, events)

    def forget(self) -> None:
        """Drop every cached fold."""
        self._folds.clear()

    def _apply_run(
        self, views: ViewWriter, stream: str, events: Sequence[tuple[NewEvent, StoredEvent]]
    ) -> ViewRow | None:
        fold = self._fold_before(views, stream, events[0][1].seq)
        row: ViewRow | None = None
        for kind, consecutive in groupby(events, key=_type):
            if kind in OUTPUT_TYPES:
                _fold_output(fold, kind, list(consecutive))
                continue
            for new, stored in consecutive:
                event = _event(new, stored)
                fold.apply(event)
                project_run_event(views, fold, event)
                # Made here and not once behind the loop: the row must not depend on how events were
                # grouped into appends, or a rebuild would give another one.
                row = run_row(fold)
        if events[-1][0].type == "seal":
            self._folds.pop(stream, None)
        if row is not None:
            views.put("runs", row)
        return row

    def _fold_before(self, views: ViewWriter, stream: str, seq: int) -> RunFold:
        """The run's fold over the events before `seq`: from the cache, or from the log."""
        fold = self._folds.get(stream)
        if fold is None:
            fold = RunFold()
            if seq > 1:
                fold_payloads(fold, views, stream, seq)
            self._folds[stream] = fold
            while len(self._folds) > FOLDS_CACHED_MAX:
                self._folds.popitem(last=False)
        self._folds.move_to_end(stream)
        return fold


def fold_payloads(fold: RunFold, views: ViewWriter, stream: str, before_seq: int) -> None:
    """Apply the stored payloads with seq < `before_seq` in order; redacted ones carry no fact."""
    for seq, payload in enumerate(views.payloads(stream), 1):
        if seq >= before_seq:
            return
        if payload is not None:
            fold.apply(decode(payload))


def _type(pair: tuple[NewEvent, StoredEvent]) -> str:
    return pair[0].type


def _fold_output(fold: RunFold, kind: str, events: Sequence[tuple[NewEvent, StoredEvent]]) -> None:
    """What `fold.apply` does for each, at once: output is nearly all of a log, and only its size counts."""
    size = sum([raw_size(new.fields) for new, _ in events])
    last = events[-1][1]
    stdout_bytes, stderr_bytes = (size, 0) if kind == "stdout" else (0, size)
    fold.apply_output(stdout_bytes, stderr_bytes, last.seq, format_time(last.created_at_ms))


def _event(new: NewEvent, stored: StoredEvent) -> Mapping[str, object]:
    return {**new.fields, "type": new.type, "seq": stored.seq, "createdAt": format_time(stored.created_at_ms)}
