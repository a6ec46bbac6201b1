"""The group files: what lies in a sandbox's workspace, copied in and out."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.event_output import StreamWriter
from cli.files import STDOUT, replacing
from cli.lazy import ExampleCommand
from cli.listing import Item, View, show_list, show_one, since, size
from cli.options import JSON, session
from cli.problems import failure, usage
from evidence.visible import one_line

WORKSPACE = "/workspace"
WRITE_BYTES_MAX = 768 * 1024
"""What surely does not fit into one request is not even read; the server's own limit is lower."""
REMEDIES = {
    "not_found": "Check the sandbox's id: crownest sandboxes list",
    "file_not_found": "See what is there: crownest files ls SANDBOX-ID:PATH",
    "file_too_large": "Put larger files into the archive of a run that uses the sandbox: "
    "crownest workspace-runs run-archive repo.tgz --sandbox SBX_ID --keep-sandbox -- COMMAND",
    "sandbox_destroyed": "Its files are gone with it. Make another one: crownest sandboxes create",
}
NEEDS_PARENTS = {"file_not_found": "Is the folder above it there? To make it as well, add --parents."}
REPLACES = {"conflict": "To replace what is there, add --overwrite."}
_PLACE = re.compile(r"(sbx_[A-Za-z0-9][A-Za-z0-9_-]{0,120})(?::(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a sandbox's workspace."""

    sandbox_id: str
    path: str


class PlaceType(click.ParamType[Place]):
    """`SANDBOX-ID:PATH`; without a path, the workspace itself."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """Check the form only."""
        if isinstance(value, Place):
            return value
        found = _PLACE.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no place in a sandbox; they look like sbx_abc123:src/a.py.", param, ctx)
        return Place(found[1], found[2] or WORKSPACE)


PLACE = click.argument("place", metavar="SANDBOX-ID:PATH", type=PlaceType())


@click.group("files")
def files() -> None:
    """List, read, copy and change files in a sandbox's workspace.

    A place is written SANDBOX-ID:PATH; the path is relative to the workspace.
    """


@files.command(
    cls=ExampleCommand, examples=("crownest files ls sbx_abc123", "crownest files ls sbx_abc123:src")
)
@PLACE
@JSON
def ls(*, place: Place, as_json: bool) -> None:
    """List what a folder holds."""
    with session(remedies=REMEDIES) as client:
        entries = client.list_files(place.sandbox_id, place.path)
    show_list(entries, _VIEW, as_json=as_json)


@files.command(cls=ExampleCommand, examples=("crownest files stat sbx_abc123:out.xml --json",))
@PLACE
@JSON
def stat(*, place: Place, as_json: bool) -> None:
    """Show size, type and time of a file or folder."""
    with session(remedies=REMEDIES) as client:
        entry = client.stat_file(place.sandbox_id, place.path)
    show_one(entry, as_json=as_json, first=("path", "type", "sizeBytes", "modifiedAt"))


@files.command(cls=ExampleCommand, examples=("crownest files cat sbx_abc123:out.xml",))
@PLACE
@click.option("--base64", "in_base64", is_flag=True, help="With --json: the content as base64.")
@JSON
def cat(*, place: Place, in_base64: bool, as_json: bool) -> None:
    """Print a file.

    Files and pipes get its bytes; a terminal sees no control sequences. With --json, small files only,
    as { "content": …, "encoding": … }.
    """
    with session(remedies=REMEDIES) as client:
        if as_json:
            content = client.read_file(
                place.sandbox_id, place.path, encoding="base64" if in_base64 else "utf8"
            )
            output.json_data(content)
            return
        writer = StreamWriter(sys.stdout)
        try:
            client.download_file(place.sandbox_id, place.path, writer)
        finally:
            writer.finish()


@files.command(
    cls=ExampleCommand,
    examples=(
        "crownest files cp notes.txt sbx_abc123:docs/ --parents",
        "crownest files cp sbx_abc123:out.xml .",
        "date | crownest files cp - sbx_abc123:now.txt",
    ),
)
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option("--parents", is_flag=True, help="Make the folders above the file in the sandbox.")
@click.option("--no-clobber", is_flag=True, help="Refuse to replace a file.")
@JSON
def cp(*, source: str, target: str, parents: bool, no_clobber: bool, as_json: bool) -> None:
    """Copy one file into a sandbox, or out of one.

    One of the two is SANDBOX-ID:PATH, the other a file here, or - for stdin or stdout. A target that is a
    folder, or ends in /, gets the source's name. Into a sandbox go small files only; larger ones come in
    the archive of a run.
    """
    inside = [bool(_PLACE.fullmatch(text)) and ":" in text for text in (source, target)]
    if inside == [False, True]:
        place = PlaceType().convert(target, None, None)
        _copy_in(source, place, parents=parents, no_clobber=no_clobber, as_json=as_json)
    elif inside == [True, False]:
        if parents:
            raise usage("--parents is for copies into a sandbox.")
        _copy_out(PlaceType().convert(source, None, None), target, no_clobber=no_clobber, as_json=as_json)
    else:
        raise usage(
            "One of the two must be a place in a sandbox, the other one here.",
            "crownest files cp notes.txt sbx_abc123:notes.txt",
        )


def _copy_in(source: str, place: Place, *, parents: bool, no_clobber: bool, as_json: bool) -> None:
    path = place.path
    if path.endswith("/") or path == WORKSPACE:
        if source == "-":
            raise usage("Name the file in the sandbox: stdin has no name.")
        path = f"{path.rstrip('/')}/{Path(source).name}"
    if source == "-":
        content = sys.stdin.buffer.read(WRITE_BYTES_MAX + 1)
    else:
        with Path(source).open("rb") as file:
            content = file.read(WRITE_BYTES_MAX + 1)
    if len(content) > WRITE_BYTES_MAX:
        raise failure(
            f"{source} is too large to be copied.", REMEDIES["file_too_large"], reason="file_too_large"
        )
    with session(remedies=REMEDIES if parents else REMEDIES | NEEDS_PARENTS) as client:
        entry = client.write_file(
            place.sandbox_id, path, content, create_parents=parents, overwrite=not no_clobber
        )
    if as_json:
        output.json_data(entry)
    else:
        output.note(one_line(f"wrote {entry['path']} ({size(entry.get('sizeBytes'))})"))


def _copy_out(place: Place, target: str, *, no_clobber: bool, as_json: bool) -> None:
    final = Path(target)
    if final != STDOUT and (target.endswith("/") or final.is_dir()):
        final /= Path(place.path).name
    if no_clobber and final.exists():
        raise failure(f"{final} exists.", "Leave out --no-clobber to replace it.", reason="file_exists")
    with session(remedies=REMEDIES) as client, replacing(final) as out:
        size_bytes = client.download_file(place.sandbox_id, place.path, out)
    if as_json:
        output.json_data({"path": str(final), "sizeBytes": size_bytes})
    elif final != STDOUT:
        output.note(f"wrote {final} ({size(size_bytes)})")


@files.command(cls=ExampleCommand, examples=("crownest files rm sbx_abc123:out.xml",))
@PLACE
@JSON
def rm(*, place: Place, as_json: bool) -> None:
    """Remove a file, or an empty folder.

    It does not ask.
    """
    with session(remedies=REMEDIES) as client:
        answer = client.delete_file(place.sandbox_id, place.path)
    if as_json:
        output.json_data(answer)


@files.command(cls=ExampleCommand, examples=("crownest files mkdir sbx_abc123:a/b --parents",))
@PLACE
@click.option("--parents", is_flag=True, help="Also those above it; no error if it is there.")
@JSON
def mkdir(*, place: Place, parents: bool, as_json: bool) -> None:
    """Make a folder."""
    with session(remedies=REMEDIES if parents else REMEDIES | NEEDS_PARENTS) as client:
        entry = client.make_folder(place.sandbox_id, place.path, parents=parents)
    if as_json:
        output.json_data(entry)


@files.command(cls=ExampleCommand, examples=("crownest files mv sbx_abc123:a.txt b.txt",))
@PLACE
@click.argument("to", metavar="PATH")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@JSON
def mv(*, place: Place, to: str, overwrite: bool, as_json: bool) -> None:
    """Move or rename a file or folder within its sandbox."""
    with session(remedies=REMEDIES if overwrite else REMEDIES | REPLACES) as client:
        entry = client.move_file(place.sandbox_id, place.path, to, overwrite=overwrite)
    if as_json:
        output.json_data(entry)


def _terminal_row(entry: Item, now_s: float) -> dict[str, object]:
    folder = entry.get("type") == "directory"
    return {
        "size": "" if folder else size(entry.get("sizeBytes")),
        "modified": since(entry.get("modifiedAt"), now_s),
        "name": f"{entry.get('name', entry['path'])}{'/' if folder else ''}",
    }


_VIEW = View(("name", "type", "sizeBytes", "modifiedAt", "path"), _terminal_row, empty="Nothing is there.")
