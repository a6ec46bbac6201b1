"""The run's own views: its status object, its evidence, its artifacts and the sandbox it used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventstore.log import ViewWriter
from eventstore.views import ViewRow
from evidence.canonical import encode
from evidence.fold import RunFold
from projections.artifact import merge_collected
from projections.sandbox import merge_run_sandbox
from projections.usage import meter_run_event

OUTPUT_TYPES = frozenset({"stdout", "stderr"})
"""They change no view but the output counts, which the row takes up with its next other event."""


def run_row(fold: RunFold) -> ViewRow:
    """The row of the view `runs`: its doc is the wire object (fold `run/v1`), byte for byte."""
    view = fold.run_view()
    return ViewRow(
        id=view["id"],
        org_id=view["orgId"],
        project_id=view["projectId"],
        parent=view.get("sandboxId", ""),
        status=view["status"],
        sort_key=view["createdAt"],
        labels=view["metadata"],
        doc=encode(view),
    )


def project_run_event(views: ViewWriter, fold: RunFold, event: Mapping[str, Any]) -> None:
    """Advance the views beside `runs` by one event that `fold` has already taken in."""
    kind = event["type"]
    meter_run_event(views, fold, event)
    if kind == "artifact_collected":
        run = fold.run_view()
        merge_collected(views, event, org_id=run["orgId"], run=run)
    elif kind == "cleanup" or (kind == "status" and event["status"] in {"starting", "extracting", "running"}):
        merge_run_sandbox(views, fold.run_view(), event, reused="sandboxId" in fold.request)
    elif kind == "seal":
        # What is counted here, and what was counted before the output was redacted (P7).
        fold.stdout_bytes, fold.stderr_bytes = event["stdoutBytes"], event["stderrBytes"]
        _put_evidence(views, fold, event)


def _put_evidence(views: ViewWriter, fold: RunFold, seal: Mapping[str, Any]) -> None:
    evidence = fold.evidence()
    views.put(
        "evidence",
        ViewRow(
            id=evidence["workspaceRunId"],
            org_id=evidence["orgId"],
            project_id=evidence["projectId"],
            status=evidence["status"],
            sort_key=evidence["createdAt"],
            labels={"evidenceSha256": seal["evidenceSha256"], "lastPublicSeq": str(seal["lastPublicSeq"])},
            doc=encode(evidence),
        ),
    )
