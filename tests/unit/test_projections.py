"""The views of a run and of its organisation, folded from events."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from eventstore.log import NewEvent, StoredEvent
from eventstore.views import ViewRow
from evidence.canonical import decode, encode
from evidence.record import format_time
from projections.projector import Projections

RUN = "wsr_a"
ORG = "org_a"
START_MS = 1_790_000_000_000


class Tables:
    """View tables in dictionaries, and the payloads that were appended: what the projector is handed."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], ViewRow] = {}
        self.stored: dict[str, list[bytes | None]] = {}

    def get(self, view: str, row_id: str) -> ViewRow | None:
        return self.rows.get((view, row_id))

    def put(self, view: str, row: ViewRow) -> None:
        self.rows[view, row.id] = row

    def delete(self, view: str, row_id: str) -> None:
        self.rows.pop((view, row_id), None)

    def payloads(self, stream: str) -> Iterator[bytes | None]:
        return iter(self.stored[stream])

    def append(self, projections: Projections, stream: str, *events: NewEvent) -> ViewRow | None:
        """What the log does around the projector: number, store, project."""
        stored = self.stored.setdefault(stream, [])
        pairs: list[tuple[NewEvent, StoredEvent]] = []
        for event in events:
            at = START_MS + len(stored)
            fields = {
                **event.fields,
                "type": event.type,
                "seq": len(stored) + 1,
                "createdAt": format_time(at),
            }
            payload = encode(fields)
            stored.append(payload)
            pairs.append((event, StoredEvent(len(stored), event.type, at, payload, bytes(16), len(payload))))
        return projections.apply(self, stream, pairs)

    def doc(self, view: str, row_id: str) -> dict[str, Any]:
        return decode(self.rows[view, row_id].doc)


def status(name: str, **fields: object) -> NewEvent:
    """A status event."""
    return NewEvent("status", {"status": name, **fields})


TEMPLATE = {"id": "tpl_x", "slug": "base", "version": "sha256-1", "versionId": "tplv_1"}
REQUEST = {
    "command": "true",
    "projectId": "prj_a",
    "template": "base",
    "timeoutMs": 1000,
    "keepSandbox": True,
    "metadata": {"agent.id": "7"},
    "sourceMetadata": {},
    "artifacts": [],
}
CREATED = status(
    "awaiting_archive",
    runId=RUN,
    orgId=ORG,
    actor="key_a",
    envKeys=[],
    schema="events/v1",
    request=REQUEST,
    template=TEMPLATE,
)
STEPS: Sequence[NewEvent] = (
    CREATED,
    status("archive_uploaded", archive={"sha256": "ab" * 32, "sizeBytes": 1}, actor="key_a"),
    status("starting", sandboxId="sbx_a", actor="key_a"),
    status("extracting", provider="process", isolation="none", limits={}, template=TEMPLATE, runner="local"),
    status("running", commandId="cmd_a", entries=1, bytes=1),
    NewEvent("stdout", {"data": "hello"}),
    status("collecting", durationMs=5, exitCode=0),
    NewEvent(
        "artifact_collected",
        {
            "artifactId": "art_a",
            "name": "r.txt",
            "path": "out/r.txt",
            "sha256": "cd" * 32,
            "sizeBytes": 3,
            "contentType": "application/octet-stream",
        },
    ),
    NewEvent(
        "cleanup",
        {"cleanupStatus": "not_requested", "reason": "kept", "expiresAt": format_time(START_MS + 3_600_000)},
    ),
)


@pytest.fixture
def tables() -> Tables:
    """Empty tables."""
    return Tables()


def test_a_run_is_selected_by_its_columns_and_read_from_its_document(tables: Tables) -> None:
    """The row's columns repeat what listings filter by; the document is the wire object."""
    row = tables.append(Projections(), RUN, *STEPS)
    assert row is not None
    assert (row.org_id, row.project_id, row.status, row.labels) == (
        ORG,
        "prj_a",
        "collecting",
        {"agent.id": "7"},
    )
    assert tables.doc("runs", RUN)["output"] == {"stdoutBytes": 5, "stderrBytes": 0, "truncated": False}


def test_output_alone_rewrites_no_row(tables: Tables) -> None:
    """A line of output must not cost a write of the whole run object."""
    projections = Projections()
    tables.append(projections, RUN, *STEPS[:5])
    before = tables.rows["runs", RUN]
    tables.append(projections, RUN, STEPS[5])
    assert tables.rows["runs", RUN] is before


@pytest.mark.parametrize("cut", range(1, len(STEPS)))
def test_a_forgotten_fold_is_folded_again_from_the_log(tables: Tables, cut: int) -> None:
    """After a rollback or a restart the next append gives the same row."""
    whole = Tables()
    expected = whole.append(Projections(), RUN, *STEPS)
    projections = Projections()
    tables.append(projections, RUN, *STEPS[:cut])
    projections.forget()
    for step in STEPS[cut:]:
        row = tables.append(projections, RUN, step)
    # The clock in these tests moves with the seq, so both logs are the same.
    assert row == expected
    assert tables.rows == whole.rows


def test_an_artifact_is_found_under_its_sandbox(tables: Tables) -> None:
    """`GET /v1/sandboxes/{id}/artifacts` selects by parent."""
    tables.append(Projections(), RUN, *STEPS)
    row = tables.rows["artifacts", "art_a"]
    assert (row.parent, row.status) == ("sbx_a", "stored")
    assert tables.doc("artifacts", "art_a")["objectKey"] == "org_a/art_a"


def test_a_deleted_artifact_keeps_its_record(tables: Tables) -> None:
    """Deletion is a fact of the organisation's stream, and final in either order."""
    projections = Projections()
    tables.append(projections, ORG, NewEvent("artifact_deleted", {"actor": "key_a", "artifactId": "art_a"}))
    tables.append(projections, RUN, *STEPS)
    assert tables.rows["artifacts", "art_a"].status == "deleted"
    assert tables.doc("artifacts", "art_a")["name"] == "r.txt"


def test_a_kept_sandbox_is_ready_until_it_is_killed(tables: Tables) -> None:
    """Kept means live in listings; `sandbox_destroyed` ends it for good."""
    projections = Projections()
    tables.append(projections, RUN, *STEPS)
    assert tables.rows["sandboxes", "sbx_a"].status == "ready"
    killed = {"actor": "key_a", "sandboxId": "sbx_a", "destroyedReason": "user_killed"}
    tables.append(projections, ORG, NewEvent("sandbox_destroyed", killed))
    assert tables.doc("sandboxes", "sbx_a")["destroyedReason"] == "user_killed"
    assert tables.rows["sandboxes", "sbx_a"].status == "destroyed"


def test_the_organisation_is_folded_from_its_own_stream(tables: Tables) -> None:
    """Projects, users and keys are views like any other."""
    key = {"id": "key_a", "name": "k", "prefix": "cn_live_", "last4": "abcd", "scopes": []}
    tables.append(
        Projections(),
        ORG,
        NewEvent(
            "organization_created",
            {"actor": "system", "orgId": ORG, "name": "N", "plan": "free", "schema": "events/v1"},
        ),
        NewEvent("user_added", {"actor": "system", "userId": "usr_a", "name": "O", "role": "owner"}),
        NewEvent("project_created", {"actor": "system", "projectId": "prj_a", "name": "p", "limits": {}}),
        NewEvent("api_key_created", {"actor": "system", "apiKey": key}),
        NewEvent("api_key_revoked", {"actor": "system", "apiKeyId": "key_a"}),
        NewEvent("organization_updated", {"actor": "system", "plan": "scale"}),
        NewEvent("something_from_later", {"actor": "system"}),
    )
    assert tables.doc("organizations", ORG)["plan"] == "scale"
    assert tables.rows["projects", "prj_a"].project_id == "prj_a"
    assert tables.rows["api_keys", "key_a"].status == "revoked"
    assert tables.doc("users", "usr_a")["role"] == "owner"
