"""What this server found when it verified a run itself, kept for lists (decision 1141).

A kept verdict is no view: it follows from the log and from this server's word. It is a record beside it, made
anew whenever somebody asks for a verification, and right for the size that it names alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from eventstore.log import EventLog, Record
from evidence.canonical import decode, encode
from evidence.record import format_time
from evidence.verdict import FAILED
from runs.locks import NamedLocks

VERDICT = "verdict"
"""The record kind of verdicts, by run."""
FAILED_RUNS = "verdicts_failed"
"""The record kind of the runs of an organisation whose newest verdict is a failure."""
LATE = frozenset({"E_WITNESS_QUORUM", "E_INCLUSION"})
"""What may be missing only for a while: it is no sign that anything was changed."""
FAILED_KEPT_MAX = 500
"""Failed runs that an organisation's list holds; there should be none, and the oldest ones go first."""


@dataclass(frozen=True, slots=True)
class KeptVerdict:
    """The verdict over the first `size` events; `seq` is the event at fault, `code` the reason (P10)."""

    verdict: str
    size: int
    checked_at: str
    code: str | None = None
    seq: int | None = None

    @property
    def failed(self) -> bool:
        """Whether the record was found not to be as it was signed."""
        return _is_failure(self.verdict, self.code)


class Verdicts:
    """Keeps and shows verdicts. One process owns the data folder, so a lock in memory is enough."""

    def __init__(self, log: EventLog, now_ms: Callable[[], int]) -> None:
        self._log = log
        self._now_ms = now_ms
        self._organization = NamedLocks()

    def __repr__(self) -> str:
        return "Verdicts()"

    async def keep(self, org_id: str, run_id: str, size: int, verdict: Mapping[str, Any]) -> None:
        """Remember the verdict (the JSON object of P9.2) over the first `size` events of the run.

        Crash window: the organisation's list comes first, so a failure is never kept without being listed;
        one that is listed and not kept is dropped by `failed_runs`.
        """
        kept = {key: verdict[key] for key in ("verdict", "code", "seq") if verdict[key] is not None}
        await self._list(org_id, run_id, failed=_is_failure(verdict["verdict"], verdict["code"]))
        doc = encode({**kept, "size": size, "checkedAt": format_time(self._now_ms())})
        await self._log.put_record(Record(VERDICT, run_id, doc))

    async def of(self, run_ids: Iterable[str]) -> dict[str, KeptVerdict]:
        """The newest verdict of each of these runs that has one."""
        names = list(run_ids)
        records = await asyncio.gather(*(self._log.get_record(VERDICT, name) for name in names))
        return {record.id: _parsed(record) for record in records if record is not None}

    async def failed_runs(self, org_id: str) -> list[str]:
        """The runs whose newest verdict is a failure, the newest one first."""
        listed = await self._listed(org_id)
        verdicts = await self.of(listed)
        return [run_id for run_id in listed if run_id in verdicts and verdicts[run_id].failed]

    async def _listed(self, org_id: str) -> list[str]:
        record = await self._log.get_record(FAILED_RUNS, org_id)
        runs: list[str] = decode(record.doc)["runs"] if record else []
        return runs

    async def _list(self, org_id: str, run_id: str, *, failed: bool) -> None:
        async with self._organization(org_id):
            listed = await self._listed(org_id)
            others = [one for one in listed if one != run_id]
            wanted = [run_id, *others][:FAILED_KEPT_MAX] if failed else others
            if wanted != listed:
                await self._log.put_record(Record(FAILED_RUNS, org_id, encode({"runs": wanted})))


def _is_failure(verdict: str, code: str | None) -> bool:
    return verdict == FAILED and code not in LATE


def _parsed(record: Record) -> KeptVerdict:
    doc = decode(record.doc)
    return KeptVerdict(doc["verdict"], doc["size"], doc["checkedAt"], doc.get("code"), doc.get("seq"))
