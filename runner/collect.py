"""Collects requested artifacts from a workspace that an untrusted command filled (DESIGN §4).

Every component is opened with O_NOFOLLOW and only regular files of the command's own are taken: no kind of
link must make the server store one of its own files as evidence, and a named pipe must not make it wait.
"""

from __future__ import annotations

import asyncio
import errno
import os
import posixpath
import stat
from collections.abc import Callable
from contextlib import ExitStack

from runner.archive_path import show
from runner.job import ArtifactRefused, Report, RequestedArtifact, StoreArtifact, StoredBlob
from runner.sandbox import Sandbox
from runner.uninterrupted import uninterrupted

CONTENT_TYPE = "application/octet-stream"
DEPTH_MAX = 256
_FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class _Refused(Exception):
    """One of the three codes of CONTRACT §3.5, and what to tell after the path."""

    def __init__(self, code: str, what: str, link: tuple[str, str] | None = None) -> None:
        super().__init__(code, what)
        self.code = code
        self.what = what
        self.link = link
        """Folder and target of a link, named behind `what`. The command chose it: it may hold a secret."""


async def collect_from(
    sandbox: Sandbox,
    requested: RequestedArtifact,
    store: StoreArtifact,
    bytes_max: int,
    new_id: Callable[[str], str],
    *,
    masked: Callable[[str], str] = str,
) -> Report:
    """As `collect`, in a thread; the sandbox may be destroyed meanwhile. Raises `SandboxGone`."""
    workspace_fd = sandbox.open_workspace()
    try:
        collecting = asyncio.to_thread(
            collect, requested, workspace_fd, store, bytes_max, new_id, masked=masked
        )
        return await uninterrupted(collecting)  # the thread uses the descriptor to its end
    finally:
        os.close(workspace_fd)


def collect(
    requested: RequestedArtifact,
    workspace_fd: int,
    store: StoreArtifact,
    bytes_max: int,
    new_id: Callable[[str], str],
    *,
    masked: Callable[[str], str] = str,
) -> Report:
    """Store one file: `artifact_collected`, or `artifact_error` when it cannot be. Blocking.

    Commands may run in the workspace meanwhile and change what is read, but not make us read anything else.
    An error here never fails the run. `masked` takes the secrets out of a text.
    """
    try:
        blob = _store(requested.path, workspace_fd, store, bytes_max)
    except _Refused as refusal:
        what = refusal.what
        if refusal.link:
            folder, target = refusal.link
            what += f" {show(posixpath.normpath(posixpath.join(folder, masked(target))))}."
        return artifact_error(requested.path, refusal.code, what)
    return Report(
        "artifact_collected",
        {
            "artifactId": new_id("art"),
            "name": requested.name or requested.path,
            "path": requested.path,
            "sha256": blob.sha256,
            "sizeBytes": blob.size_bytes,
            "contentType": CONTENT_TYPE,
        },
    )


def artifact_error(path: str, code: str, what: str) -> Report:
    """The event for a file that was not kept."""
    return Report(
        "artifact_error", {"error": {"code": code, "message": f"{show(path)}: {what}", "path": path}}
    )


def _store(path: str, workspace_fd: int, store: StoreArtifact, bytes_max: int) -> StoredBlob:
    try:
        with ExitStack() as opened:
            fd = _open(path, workspace_fd, opened)
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise _Refused(
                    "artifact_collect_failed", f"is {_kind(found.st_mode)}; only files can be kept."
                )
            if found.st_uid != os.fstat(workspace_fd).st_uid:
                # A hard link to a file of somebody else: root could read it, the command could not.
                raise _Refused("artifact_collect_failed", "does not belong to the command.")
            with os.fdopen(os.dup(fd), "rb") as file:
                return store(file, bytes_max)
    except ArtifactRefused as refused:
        raise _Refused("artifact_collect_failed", str(refused)) from refused
    except ValueError as too_long:
        raise _Refused(
            "artifact_collect_failed", f"is larger than the limit of {bytes_max} bytes. Pack or split it."
        ) from too_long
    except OSError as error:
        raise _Refused(
            "artifact_collect_failed", f"could not be read or stored: {error.strerror}."
        ) from error


def _open(path: str, workspace_fd: int, opened: ExitStack) -> int:
    """A descriptor of the last component, by way of real folders only; closed with the stack."""
    parts = _parts(path)
    folder_fd = workspace_fd
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        try:
            fd = os.open(part, _FILE_FLAGS if last else _FOLDER_FLAGS, dir_fd=folder_fd)
        except FileNotFoundError as missing:
            raise _Refused("file_not_found", "no such file in the workspace.") from missing
        except OSError as error:
            _explain_link(parts[: index + 1], folder_fd)
            if error.errno == errno.ENOTDIR:
                raise _Refused("file_not_found", "no such file in the workspace.") from error
            raise
        opened.callback(os.close, fd)
        folder_fd = fd
    return folder_fd


def _parts(path: str) -> list[str]:
    """The components of a literal path relative to the workspace."""
    if path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise _Refused(
            "path_outside_workspace", "lies outside the workspace. Give a path relative to it, without '..'."
        )
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or len(parts) > DEPTH_MAX:
        raise _Refused("artifact_collect_failed", "names no file.")
    return parts


def _explain_link(parts: list[str], folder_fd: int) -> None:
    """When the component that would not open is a symbolic link: refuse it, by where it leads."""
    try:
        target = os.readlink(parts[-1], dir_fd=folder_fd)
    except OSError:
        return
    joined = posixpath.normpath(posixpath.join(*parts[:-1], target))
    if joined.startswith(("/", "../")) or joined == "..":
        raise _Refused("path_outside_workspace", "is a symbolic link that leads outside the workspace.")
    what = "is a symbolic link; name what it leads to instead:"
    raise _Refused("artifact_collect_failed", what, ("/".join(parts[:-1]), target))


def _kind(mode: int) -> str:
    names = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in names if test(mode)), "a device")
