"""Who is asking and what they may do: principals, scopes, project restriction (CONTRACT §1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runs.refusal import Refusal

SCOPES = (
    "sandbox:create", "sandbox:read", "sandbox:kill", "sandbox:extend",
    "command:run", "command:read", "command:cancel", "code:run", "file:read", "file:write",
    "artifact:create", "artifact:read", "artifact:delete",
    "preview:create", "preview:read", "preview:revoke",
    "workspace_run:create", "workspace_run:read", "workspace_run:cancel",
    "backup:create", "backup:read", "backup:restore", "backup:delete",
    "usage:read", "api_key:read", "api_key:revoke", "project:create",
)  # fmt: skip
"""The contract's 27 scopes."""

OWN_SCOPES = (
    "api_key:create", "audit:read", "org:create", "org:update", "secret:read", "secret:write",
    "signing_key:rotate", "user:read", "user:write", "workspace_run:append", "workspace_run:redact",
)  # fmt: skip
"""Scopes of our own routes (CONTRACT §2.1, decision 0901). The server's first key holds every scope."""

OPERATOR_SCOPES = frozenset({"org:create", "signing_key:rotate"})
"""What concerns the whole server: keys of organisations that were made later do not get these."""

ALL_SCOPES = frozenset((*SCOPES, *OWN_SCOPES))

_MEMBER_SCOPES = frozenset(
    scope for scope in SCOPES if scope.partition(":")[0] not in {"api_key", "project", "backup"}
) | {"secret:read", "user:read", "workspace_run:append"}

ROLE_SCOPES: Mapping[str, frozenset[str]] = {
    "owner": ALL_SCOPES - OPERATOR_SCOPES,
    "admin": ALL_SCOPES - OPERATOR_SCOPES - {"org:update", "workspace_run:redact"},
    "member": _MEMBER_SCOPES,
}
"""What a person may do (docs/sign-in.md): who starts runs records them too (decision 1211). An owner alone
renames the organisation, sets limits and erases output."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated API key or person. `project_ids` None means every project of the organisation.

    `key_id` is what events name as `actor`: the key's id, or the person's. `user_id` is the person, or who
    made the key. `role` is None for keys. `session_id` is the browser's session, when that is how it came.
    """

    org_id: str
    key_id: str
    scopes: frozenset[str]
    project_ids: frozenset[str] | None = None
    user_id: str = ""
    role: str | None = None
    session_id: str = ""

    def require(self, scope: str) -> None:
        """Refuse with `forbidden` unless the key holds the scope."""
        if scope not in self.scopes:
            raise Refusal(
                "forbidden",
                f"This needs the scope {scope}. Use a key that has it, or ask an owner for one.",
                {"requiredScope": scope},
            )

    def require_every_project(self) -> None:
        """Refuse with `forbidden` a key of some projects: what it asks for concerns all (decision 0881)."""
        if self.project_ids is not None:
            raise Refusal(
                "forbidden",
                "This key is restricted to some projects, and this concerns the whole organisation. "
                "Use a key without projectIds.",
            )

    def sees(self, org_id: str, project_id: str) -> bool:
        """Whether an object of this organisation and project is visible to the key."""
        return org_id == self.org_id and (self.project_ids is None or project_id in self.project_ids)
