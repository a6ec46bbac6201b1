"""Which secrets a project has, by name."""

from __future__ import annotations

from eventstore.views import ViewQuery
from runs.dispatch import Store

ACTIVE = "active"
LISTED_MAX = 500
"""More than any project has (`RunLimits.secrets_max`)."""


async def secret_names(store: Store, org_id: str, project_id: str) -> list[str]:
    """The names of the project's secrets, sorted."""
    query = ViewQuery(org_id, project_ids=[project_id], statuses=[ACTIVE], limit=LISTED_MAX)
    return sorted(row.id.partition("/")[2] for row in await store.list_view("secrets", query))
