"""All component schemas by name, and the pages of those that are listed."""

from __future__ import annotations

from collections.abc import Mapping

from api.schemas.accounts import ACCOUNT_SCHEMAS
from api.schemas.events import EVENT_SCHEMAS
from api.schemas.parts import Schema, page, ref, sequence_page
from api.schemas.proof import PROOF_SCHEMAS
from api.schemas.runs import RUN_SCHEMAS
from api.schemas.sandboxes import SANDBOX_SCHEMAS

_LISTED = (
    "WorkspaceRun", "Attestation", "SigningKey", "Sandbox", "Artifact", "Preview", "Project", "Secret",
    "ApiKey", "Organization", "User",
)  # fmt: skip
_REPLAYED = ("RunEvent", "OrganizationEvent", "CommandLog")

SCHEMAS: Mapping[str, Schema] = {
    **RUN_SCHEMAS,
    **EVENT_SCHEMAS,
    **PROOF_SCHEMAS,
    **SANDBOX_SCHEMAS,
    **ACCOUNT_SCHEMAS,
    **{f"{name}Page": page(ref(name)) for name in _LISTED},
    **{f"{name}Page": sequence_page(ref(name)) for name in _REPLAYED},
}
