"""The client's methods of previews (CONTRACT §2, §8)."""

from __future__ import annotations

from typing import cast

from client.shapes import Page, Preview
from client.wire import Methods, at, given, idempotency, page_of, set_fields, unwrapped

SANDBOXES = "/v1/sandboxes"
PREVIEWS = "/v1/previews"


class PreviewMethods(Methods):
    """Ports of sandboxes at addresses of their own."""

    def create_preview(
        self,
        sandbox_id: str,
        port: int,
        *,
        auth_mode: str | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[Preview, str | None]:
        """POST /v1/sandboxes/{id}/previews: the preview, and in mode `token` its token, shown this once."""
        answer = self._transport.json(
            "POST",
            at(SANDBOXES, sandbox_id, "previews"),
            body=set_fields(port=port, authMode=auth_mode),
            headers=idempotency(idempotency_key),
        )
        token = answer.get("previewToken")
        preview = cast("Preview", unwrapped(answer, "preview", "id", "url"))
        return preview, token if isinstance(token, str) else None

    def list_previews(
        self, sandbox_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[Preview]:
        """GET /v1/sandboxes/{id}/previews: newest first, ended ones too."""
        params = given(limit=limit, cursor=cursor)
        answer = self._transport.json("GET", at(SANDBOXES, sandbox_id, "previews"), params=params)
        return cast("Page[Preview]", page_of(answer, cursor))

    def revoke_preview(self, preview_id: str) -> Preview:
        """DELETE /v1/previews/{id}; revoking twice is harmless."""
        answer = self._transport.json("DELETE", at(PREVIEWS, preview_id))
        return cast("Preview", unwrapped(answer, "preview", "id", "url"))
