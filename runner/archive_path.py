"""Which paths and link targets an archive may name: pure rules, and the refusal that breaking one raises."""

from __future__ import annotations

COMPONENT_BYTES_MAX = 255
TARGET_BYTES_MAX = 1024
SHOWN_CHARS_MAX = 200

Path = tuple[bytes, ...]
"""The components of a path below the workspace; empty for the workspace itself."""


class ArchiveRefused(Exception):
    """The archive cannot be unpacked: `reason` is one of CONTRACT §3.4, `message` tells what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def invalid(what: str) -> ArchiveRefused:
    """`archive_invalid`: the archive's owner must pack it differently."""
    return ArchiveRefused("archive_invalid", f"The archive cannot be used: {what}.")


def too_large(what: str) -> ArchiveRefused:
    """`archive_too_large`: a limit was passed while unpacking."""
    return ArchiveRefused("archive_too_large", f"The archive is too large: {what}.")


def show(name: str) -> str:
    """A name fit for a message: bytes that are not text and control characters escaped, not endless."""
    escaped = name.encode("utf-8", "backslashreplace").decode()
    printable = "".join(char if char.isprintable() else repr(char)[1:-1] for char in escaped)
    return printable if len(printable) <= SHOWN_CHARS_MAX else printable[:SHOWN_CHARS_MAX] + "…"


def parse_path(name: str, *, depth_max: int, path_bytes_max: int) -> Path:
    """The components of a member's name without `.` and empty ones; raises `ArchiveRefused` otherwise.

    `..` is refused even where it would stay inside: no honest packer writes it.
    """
    refusal = _path_refusal(name)
    if refusal:
        raise invalid(f"{show(name)} {refusal}. Pack with `tar -czf repo.tgz .`")
    raw = name.encode("utf-8", "surrogateescape")
    path = tuple(part for part in raw.split(b"/") if part not in (b"", b"."))
    if b".." in path:
        raise invalid(
            f"{show(name)} has '..' in its path. Pack from inside the folder with `tar -czf repo.tgz .`"
        )
    if len(path) > depth_max:
        raise too_large(f"{show(name)} lies more than {depth_max} folders deep. Leave it out")
    if len(raw) > path_bytes_max:
        raise too_large(f"{show(name)} is longer than {path_bytes_max} bytes. Shorten the path")
    if any(len(part) > COMPONENT_BYTES_MAX for part in path):
        raise too_large(f"{show(name)} has a name longer than {COMPONENT_BYTES_MAX} bytes. Shorten it")
    return path


def _path_refusal(name: str) -> str | None:
    if not name:
        return "(an empty name) names no file"
    if name.startswith("/"):
        return "is an absolute path"
    if "\0" in name:
        return "has a NUL character in its name"
    if "\\" in name:
        return "has a backslash in its name"
    return None


def parse_target(name: str, target: str, depth: int) -> bytes:
    """The target of the symbolic link `name`, whose folder lies `depth` folders deep.

    `..` may only lead, and at most `depth` times. Every link in the tree keeps this rule and every folder is
    a real one, so following any chain of links stays inside: each hop goes up first, at most to the
    workspace, and then only down.
    """
    if "\0" in target or "\\" in target:
        raise invalid(f"the symbolic link {show(name)} has a NUL or a backslash in its target. Leave it out")
    if not target or target.startswith("/"):
        raise invalid(
            f"the symbolic link {show(name)} leads to {show(target) or 'nothing'}, outside the workspace. "
            "Make it relative, or pack what it leads to (tar -h)"
        )
    raw = target.encode("utf-8", "surrogateescape")
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    ups = next((index for index, part in enumerate(parts) if part != b".."), len(parts))
    if ups > depth or b".." in parts[ups:]:
        raise invalid(
            f"the symbolic link {show(name)} leads to {show(target)}: '..' may only come first, and not "
            "lead out of the workspace. Pack what it leads to (tar -h)"
        )
    if len(raw) > TARGET_BYTES_MAX or any(len(part) > COMPONENT_BYTES_MAX for part in parts):
        raise invalid(f"the symbolic link {show(name)} has too long a target. Leave it out")
    return raw
