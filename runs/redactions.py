"""Redaction of a sealed run's output: asked for with a scope of its own, and recorded for ever (PROOF P7)."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.log import (
    Answer,
    ExpectedHeadMismatch,
    Redaction,
    RedactionRefused,
)
from eventstore.redacting import AlreadyRedacted
from eventstore.views import ViewRow
from evidence.canonical import encode
from runs.access import Principal
from runs.decide import TERMINAL
from runs.idempotency import IdempotentRequest
from runs.refusal import Refusal
from runs.service import RunService

REASON_CHARS_MAX = 512


class RedactionService:
    """Erases output of runs on behalf of a `Principal`."""

    def __init__(self, runs: RunService) -> None:
        self._runs = runs

    def __repr__(self) -> str:
        return "RedactionService()"

    async def redact(
        self,
        who: Principal,
        run_id: str,
        targets: Sequence[int],
        reason: str,
        idempotent: IdempotentRequest | None,
    ) -> Answer:
        """201 `{redaction: {workspaceRunId, seq, targets, reason, actor}}` once nothing holds the bytes.

        Only runs that have ended are redacted: behind their seal nothing else can follow (P4.1).
        """
        if not 1 <= len(reason) <= REASON_CHARS_MAX:
            raise Refusal(
                "invalid_request",
                f"reason must be 1 to {REASON_CHARS_MAX} characters. It is kept for ever: do not repeat what "
                "is to be erased.",
                {"field": "reason"},
            )
        async with self._runs.in_flight.one_at_a_time(idempotent):
            # A stored answer is given by the log alone: it says first whether the bytes are gone by now.
            row = await self._runs.get(who, run_id, "workspace_run:redact")
            if row.status not in TERMINAL:
                raise Refusal(
                    "conflict",
                    f"This run is {row.status}. Only runs that ended can be redacted: cancel it, or wait.",
                    {"status": row.status},
                )
            return await self._append(who, run_id, tuple(targets), reason, idempotent)

    async def _append(
        self,
        who: Principal,
        run_id: str,
        targets: tuple[int, ...],
        reason: str,
        idempotent: IdempotentRequest | None,
    ) -> Answer:
        store = self._runs.store
        for _ in range(self._runs.limits.append_attempts_max):
            head = await store.head(run_id)
            assert head is not None, "a run that ended has events"
            fields = {
                "workspaceRunId": run_id,
                "seq": head.size + 1,
                "targets": sorted(targets),
                "reason": reason,
                "actor": who.key_id,
            }
            answer = Answer(201, encode({"redaction": fields}))

            def answered(_: ViewRow | None, answer: Answer = answer) -> Answer:
                return answer

            claim = idempotent.claim(answered) if idempotent else None
            try:
                done = await store.redact(
                    Redaction(run_id, targets, reason, who.key_id, claim, expected_head=head.size)
                )
            except ExpectedHeadMismatch:
                continue
            except AlreadyRedacted as error:
                raise Refusal("conflict", f"{error}.", {"field": "targets"}) from error
            except RedactionRefused as error:
                raise Refusal("invalid_request", f"{error}.", {"field": "targets"}) from error
            return done.answer or answer
        raise Refusal("conflict", "This run is changing too quickly. Try again.")
