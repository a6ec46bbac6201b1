"""The client's methods of project secrets; values go up and never come back (CONTRACT §2.1)."""

from __future__ import annotations

from typing import cast

from client.accounts import PROJECTS
from client.shapes import Page, Secret
from client.wire import Methods, at, given, idempotency, page_of, unwrapped


class SecretMethods(Methods):
    """What the commands of a project find in their environment."""

    def list_secrets(
        self, project_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[Secret]:
        """GET /v1/projects/{id}/secrets: names and times, newest first."""
        params = given(limit=limit, cursor=cursor)
        answer = self._transport.json("GET", at(PROJECTS, project_id, "secrets"), params=params)
        return cast("Page[Secret]", page_of(answer, cursor))

    def set_secret(
        self, project_id: str, name: str, value: str, *, idempotency_key: str | None = None
    ) -> Secret:
        """PUT /v1/projects/{id}/secrets/{name}: a new secret, or another value of a known one."""
        path = at(PROJECTS, project_id, at("secrets", name))
        headers = idempotency(idempotency_key)
        answer = self._transport.json("PUT", path, body={"value": value}, headers=headers)
        return cast("Secret", unwrapped(answer, "secret", "name", "projectId"))

    def delete_secret(self, project_id: str, name: str, *, idempotency_key: str | None = None) -> Secret:
        """DELETE /v1/projects/{id}/secrets/{name}: its value is gone."""
        path = at(PROJECTS, project_id, at("secrets", name))
        answer = self._transport.json("DELETE", path, headers=idempotency(idempotency_key))
        return cast("Secret", unwrapped(answer, "secret", "name", "projectId"))
