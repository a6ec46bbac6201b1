"""The group artifacts: files that are kept after their sandbox, listed, downloaded and deleted."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

import click

from cli import output
from cli.files import STDOUT, replacing
from cli.lazy import ExampleCommand
from cli.listing import Item, View, page_options, show_list, show_one, since, size
from cli.options import JSON, YES, Id, agreed, idempotency_key_option, session
from cli.problems import EXIT_ERROR, EXIT_OK, failure, usage
from evidence.visible import one_line

if TYPE_CHECKING:
    from client.shapes import Artifact

ARTIFACT_ID = click.argument("artifact_id", metavar="ARTIFACT-ID", type=Id("art", "an artifact's id"))
SANDBOX_ID = click.argument("sandbox_id", metavar="SANDBOX-ID", type=Id("sbx", "a sandbox's id"))
FIRST_FIELDS = ("id", "name", "sizeBytes", "sha256", "sandboxId")
REMEDIES = {
    "not_found": "Check the id, and that it was not deleted. A sandbox's artifacts: "
    "crownest artifacts list SANDBOX-ID",
    "sandbox_destroyed": "Its files are gone with it; what was kept before is still there: "
    "crownest artifacts list SANDBOX-ID",
}


@click.group("artifacts")
def artifacts() -> None:
    """Keep, list, download and delete artifacts.

    Runs keep what --artifact names; from a sandbox that lives, crownest artifacts collect keeps more.
    """


@artifacts.command("list", cls=ExampleCommand, examples=("crownest artifacts list sbx_abc123",))
@SANDBOX_ID
@page_options
@JSON
def list_artifacts(*, sandbox_id: str, limit: int | None, cursor: str | None, as_json: bool) -> None:
    """List a sandbox's artifacts, newest first, also when it is gone."""
    with session(remedies={"not_found": "Check the sandbox's id: crownest sandboxes list --all"}) as client:
        page = client.list_artifacts(sandbox_id, limit=limit, cursor=cursor)
    show_list(page.items, _VIEW, as_json=as_json, next_cursor=page.next_cursor, cursor=cursor)


@artifacts.command(cls=ExampleCommand, examples=("crownest artifacts get art_abc123",))
@ARTIFACT_ID
@JSON
def get(*, artifact_id: str, as_json: bool) -> None:
    """Show an artifact's record, also of a deleted one."""
    with session(remedies=REMEDIES) as client:
        artifact = client.get_artifact(artifact_id)
    show_one(artifact, as_json=as_json, first=FIRST_FIELDS)


@artifacts.command(
    cls=ExampleCommand, examples=("crownest artifacts collect sbx_abc123 out.xml --name report",)
)
@SANDBOX_ID
@click.argument("path", metavar="PATH")
@click.option("--name", metavar="NAME", help="What it is called.  [default: its path]")
@idempotency_key_option("one artifact")
@JSON
def collect(
    *, sandbox_id: str, path: str, name: str | None, idempotency_key: str | None, as_json: bool
) -> None:
    """Keep a file of a sandbox that lives."""
    remedies = {"not_found": "Check the sandbox's id: crownest sandboxes list"}
    with session(remedies=REMEDIES | remedies) as client:
        artifact = client.collect_artifact(sandbox_id, path, name=name, idempotency_key=idempotency_key)
    show_one(artifact, as_json=as_json, first=FIRST_FIELDS)
    if not as_json:
        output.hint(f"next: crownest artifacts download {artifact['id']}")


class _Hashing:
    """Passes bytes on to a file and digests them."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.digest = hashlib.sha256()

    def write(self, data: bytes, /) -> None:
        self.digest.update(data)
        self._out.write(data)


@artifacts.command(
    cls=ExampleCommand,
    examples=(
        "crownest artifacts download art_abc123",
        "crownest artifacts download art_abc123 --output - | less",
    ),
)
@ARTIFACT_ID
@click.option(
    "--output",
    "target",
    metavar="PATH",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write, - for stdout.  [default: its name, in this folder]",
)
@JSON
def download(*, artifact_id: str, target: Path | None, as_json: bool) -> None:
    """Download an artifact and check its digest.

    The file appears whole or not at all, and only if its SHA-256 is the one in the artifact's record.
    Without --output a file that exists is not replaced.
    """
    with session(remedies=REMEDIES) as client:
        artifact = client.get_artifact(artifact_id)
        final = target or _own_name(artifact)
        with replacing(final, durable=True) as out:
            hashing = _Hashing(out)
            size_bytes = client.download_artifact(artifact_id, hashing)
            _check(artifact, hashing.digest.hexdigest())
    if as_json:
        output.json_data({"path": str(final), "sizeBytes": size_bytes, "sha256": hashing.digest.hexdigest()})
    elif final != STDOUT:
        output.note(f"wrote {final} ({size(size_bytes)}, SHA-256 {hashing.digest.hexdigest()})")


def _own_name(artifact: Artifact) -> Path:
    """The last part of the artifact's name, as a new file here: the name is somebody else's choice."""
    name = PurePosixPath(artifact.get("name", "")).name
    if not name or name.startswith((".", "-")) or not name.isprintable():
        raise usage(f"{artifact['id']} has no name that a file can have here.", "Name it: --output PATH")
    path = Path(name)
    if path.exists():
        raise failure(
            f"{name} exists.", f"Write it elsewhere or replace it: --output {name}", reason="file_exists"
        )
    return path


def _check(artifact: Artifact, digest: str) -> None:
    """Refuse bytes that are not what the record says."""
    recorded = artifact.get("sha256")
    if recorded is None:
        output.warn("the server's record has no SHA-256: nothing was checked.")
    elif recorded.lower() != digest:
        raise failure(
            f"{artifact['id']} was recorded with SHA-256 {recorded}, and came with {digest}.",
            "No file was written. If it stays so, what the server keeps was changed: ask its operator.",
            reason="digest_mismatch",
        )


@artifacts.command(cls=ExampleCommand, examples=("crownest artifacts delete art_abc123 --yes",))
@ARTIFACT_ID
@YES
@JSON
def delete(*, artifact_id: str, yes: bool, as_json: bool) -> int:
    """Delete an artifact's content for good.

    Its record stays, and so does its digest in the evidence.
    """
    if not agreed(f"Delete the content of {artifact_id} for good?", yes=yes, as_json=as_json):
        output.note("Nothing was changed.")
        return EXIT_ERROR
    with session(remedies=REMEDIES) as client:
        artifact = client.delete_artifact(artifact_id)
    if as_json:
        output.json_data(artifact)
    else:
        output.note(
            one_line(f"deleted {artifact['id']} ({artifact.get('name')}) at {artifact.get('deletedAt')}")
        )
    return EXIT_OK


def _terminal_row(artifact: Item, now_s: float) -> dict[str, object]:
    return {
        "id": artifact["id"],
        "state": "deleted" if "deletedAt" in artifact else "kept",
        "size": size(artifact.get("sizeBytes")),
        "created": since(artifact.get("createdAt"), now_s),
        "name": artifact.get("name"),
    }


_VIEW = View(
    ("id", "name", "sizeBytes", "sha256", "createdAt", "deletedAt", "sourcePath"),
    _terminal_row,
    drop_first=("created", "size"),
    colours={"kept": "green", "deleted": "red"},
    empty="Nothing was kept.",
)
