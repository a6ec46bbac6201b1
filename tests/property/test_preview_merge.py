"""A preview has one end, in whatever order its facts arrive."""

from itertools import permutations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evidence.canonical import decode
from evidence.record import format_time
from projections.organization import project_organization_event
from tests.unit.test_projections import ORG, Tables

TIMES = st.integers(1_790_000_000_000, 1_790_000_000_005).map(format_time)
CREATED = st.fixed_dictionaries(
    {
        "type": st.just("preview_created"),
        "previewId": st.just("prv_a"),
        "projectId": st.just("prj_a"),
        "sandboxId": st.just("sbx_a"),
        "port": st.just(80),
        "authMode": st.just("token"),
        "slug": st.just("a"),
        "expiresAt": TIMES,
        "createdAt": TIMES,
    }
)
ENDED = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["preview_revoked", "preview_expired"]),
        "previewId": st.just("prv_a"),
        "createdAt": TIMES,
    }
)


@given(CREATED, st.lists(ENDED, max_size=3))
def test_every_interleaving_gives_the_same_preview(
    created: dict[str, Any], ends: list[dict[str, Any]]
) -> None:
    """The row, its columns included; an end is final, and a revocation says more than an expiry."""
    rows = []
    for order in permutations([created, *ends]):
        tables = Tables()
        for event in order:
            project_organization_event(tables, ORG, event)
        rows.append(tables.rows["previews", "prv_a"])
    assert all(row == rows[0] for row in rows)
    types = {event["type"] for event in ends}
    expected = "revoked" if "preview_revoked" in types else "expired" if types else "live"
    assert rows[0].status == expected
    assert ("revokedAt" in decode(rows[0].doc)) == (expected == "revoked")
    assert (rows[0].parent, rows[0].project_id) == ("sbx_a", "prj_a")
