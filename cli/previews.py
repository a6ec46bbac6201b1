"""The group previews: open a port of a kept sandbox to a browser, list what is open, and close it."""

from __future__ import annotations

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.listing import Item, View, page_options, show_list, show_one, since, when
from cli.options import JSON, Id, WholeNumber, idempotency_key_option, session
from cli.sandboxes import REMEDIES, SANDBOX_ID
from evidence.visible import one_line


def _terminal_row(preview: Item, now_s: float) -> dict[str, object]:
    state, ends = _state(preview, now_s)
    return {
        "id": preview["id"],
        "state": state,
        "port": preview.get("port"),
        "opens with": {"authenticated": "API key"}.get(str(preview.get("authMode")), preview.get("authMode")),
        "created": since(preview.get("createdAt"), now_s),
        "ends": ends,
        "address": preview["url"],
    }


def _state(preview: Item, now_s: float) -> tuple[str, str]:
    """Whether it lets anybody in, and when that ended or will end."""
    if preview.get("revokedAt"):
        return "revoked", since(preview["revokedAt"], now_s)
    ends = when(preview.get("expiresAt"), now_s)
    return ("live" if ends.startswith("in ") else "over"), ends


VIEW = View(
    columns=("id", "port", "authMode", "createdAt", "expiresAt", "revokedAt", "url"),
    terminal=_terminal_row,
    drop_first=("created", "opens with", "ends", "port", "state"),
    colours={"live": "green", "revoked": "red", "over": "red"},
    last_whole=True,
    empty="No previews yet. Open one: crownest previews create SANDBOX-ID PORT",
)


@click.group("previews")
def previews() -> None:
    """Open a port of a kept sandbox to a browser.

    A preview has an address of its own, and lasts as long as its sandbox unless it is revoked.
    """


@previews.command(
    cls=ExampleCommand,
    examples=("crownest previews create sbx_abc123 8000", "crownest previews create sbx_abc123 8000 --token"),
)
@SANDBOX_ID
@click.argument("port", metavar="PORT", type=WholeNumber(1, 65535))
@click.option("--token", "with_token", is_flag=True, help="Let in whoever has a token, which is shown once.")
@idempotency_key_option("one preview")
@JSON
def create(
    *, sandbox_id: str, port: int, with_token: bool, idempotency_key: str | None, as_json: bool
) -> None:
    """Open a port of a sandbox and print its address.

    Requests then need an API key of the organisation, or with --token the token alone, so that a
    browser can open the address.
    """
    full = {"quota_exceeded": f"See which are live: crownest previews list {sandbox_id}"}
    with session(remedies=REMEDIES | full) as client:
        preview, token = client.create_preview(
            sandbox_id, port, auth_mode="token" if with_token else None, idempotency_key=idempotency_key
        )
    if as_json:
        output.json_data(preview, **({"previewToken": token} if token else {}))
        return
    address = preview["url"] + (f"/?crownest_preview_token={token}" if token else "")
    output.write_out(one_line(address) + "\n")
    if token:
        output.hint("The token is shown this once; whoever has the address gets in.")
    else:
        output.hint(f'With an API key: curl -H "Authorization: Bearer $CROWNEST_API_KEY" {address}')
        output.hint(
            f"For a browser open one with a token: crownest previews create {sandbox_id} {port} --token"
        )


@previews.command("list", cls=ExampleCommand, examples=("crownest previews list sbx_abc123",))
@SANDBOX_ID
@page_options
@JSON
def list_previews(*, sandbox_id: str, limit: int | None, cursor: str | None, as_json: bool) -> None:
    """List a sandbox's previews, newest first, ended ones too."""
    with session(
        remedies=REMEDIES | {"not_found": "Check the sandbox's id: crownest sandboxes list --all"}
    ) as client:
        page = client.list_previews(sandbox_id, limit=limit, cursor=cursor)
    show_list(page.items, VIEW, as_json=as_json, next_cursor=page.next_cursor, cursor=cursor)


@previews.command(cls=ExampleCommand, examples=("crownest previews revoke prv_abc123",))
@click.argument("preview_id", metavar="PREVIEW-ID", type=Id("prv", "a preview's id"))
@JSON
def revoke(*, preview_id: str, as_json: bool) -> None:
    """Close a preview; open connections end within two seconds."""
    with session(remedies={"not_found": "A sandbox's previews: crownest previews list SANDBOX-ID"}) as client:
        preview = client.revoke_preview(preview_id)
    show_one(preview, as_json=as_json, first=("id", "revokedAt", "expiresAt", "url"))
