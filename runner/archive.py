"""Reads a gzipped tar archive that nobody trusts, entry by entry, and refuses what is unsafe or damaged.

`tarfile` parses the headers (pax, GNU, ustar, v7); everything it would forgive is refused here, because a
workspace that silently lacks its last files is worse than an error (DESIGN §4). Nothing is written here.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import IO, BinaryIO, Self

from runner.archive_path import ArchiveRefused, Path, invalid, parse_path, parse_target, show, too_large

READ_BYTES = 256 * 1024
HEADER_BYTES_PER_ENTRY = 4 * 512
"""What an entry's headers and padding may add to the tar stream, on average, beside its content."""
EXTENSION_BYTES_MAX = 1024 * 1024
"""One pax or GNU extension header; the honest ones hold paths and extended attributes."""
HEADERS_PER_ENTRY_MAX = 4
MTIME_S_MAX = 1 << 33
VOLUME_LABEL_TYPE = b"V"
"""What `tar --label` writes first: a name for the volume, no file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """What an archive may unpack to; folders that are only implied count as entries too."""

    bytes_max: int = 512 * 1024 * 1024
    entries_max: int = 50_000
    depth_max: int = 64
    path_bytes_max: int = 1024
    ratio_max: int = 200
    ratio_free_bytes: int = 32 * 1024 * 1024
    """The ratio of bytes out to bytes in is judged only beyond this many bytes out."""

    @property
    def stream_bytes_max(self) -> int:
        """The longest tar stream that can hold `bytes_max` of content in `entries_max` entries."""
        return self.bytes_max + self.entries_max * HEADER_BYTES_PER_ENTRY + EXTENSION_BYTES_MAX


class Kind(Enum):
    """What an entry becomes in the workspace."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Entry:
    """One checked member: its path components (none for the workspace itself) and what it becomes."""

    kind: Kind
    path: Path
    size_bytes: int = 0
    executable: bool = False
    mtime_s: int = 0
    target: bytes = b""
    """Of a symbolic link: as it is written into the link; it cannot lead out of the workspace."""


class _Gunzip:
    """The uncompressed stream with its caps: a bomb ends while it is unpacked, not after."""

    def __init__(self, archive: BinaryIO, limits: ArchiveLimits) -> None:
        self._archive = archive
        self._gzip = gzip.GzipFile(fileobj=archive, mode="rb")
        self._limits = limits
        self._out_bytes = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes, fewer only at the end of the stream."""
        data = self._gzip.read(size)
        self._out_bytes += len(data)
        limits = self._limits
        if self._out_bytes > limits.stream_bytes_max:
            raise too_large(f"it unpacks to more than {limits.bytes_max} bytes. Leave out what is not needed")
        if (
            self._out_bytes > limits.ratio_free_bytes
            and self._out_bytes > limits.ratio_max * self._archive.tell()
        ):
            raise too_large(
                f"it unpacks to more than {limits.ratio_max} times its size. Leave out files that hold one "
                "value over and over, and make them in the command instead"
            )
        return data

    def drain(self) -> None:
        """Read to the end, so that the check sum and the length at the very end are checked too."""
        while self.read(READ_BYTES):
            pass


class _Headers:
    """What was seen of one archive's headers: how many there were, and whether the end marker came."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self._headers_max = limits.entries_max * HEADERS_PER_ENTRY_MAX
        self.seen = 0
        self.end_seen = False

    def check(self, header: tarfile.TarInfo) -> None:
        """Refuse a header that would make the parser seek backwards, or read too much into memory."""
        self.seen += 1
        if self.seen > self._headers_max:
            raise too_large("it has too many headers. Pack fewer files")
        if header.size < 0:
            raise invalid(f"{show(header.name)} has a negative size. Pack it again")
        extension = header.type in (*_EXTENSION_TYPES, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        if extension and header.size > EXTENSION_BYTES_MAX:
            raise invalid(f"an extended header of {header.size} bytes is too long. Pack without attributes")


_EXTENSION_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)


def _strict(headers: _Headers) -> type[tarfile.TarInfo]:
    """A header class that raises where `tarfile` would take damage for the end of the archive."""

    class StrictHeader(tarfile.TarInfo):
        """A header whose damage is an error wherever it stands."""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            """Parse one block of 512 bytes."""
            try:
                header = super().frombuf(buf, encoding, errors)
            except tarfile.HeaderError as damage:
                if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                    headers.end_seen = True
                    raise
                raise _damaged(len(buf), headers.seen) from damage
            headers.check(header)
            return header

    return StrictHeader


def _damaged(block_bytes: int, seen: int) -> ArchiveRefused:
    if seen == 0:
        return invalid("it is gzip, but what it holds is not a tar archive. Pack with `tar -czf repo.tgz .`")
    if block_bytes < tarfile.BLOCKSIZE:
        return invalid("it ends in the middle: it was cut off. Pack it again")
    return invalid("a header in it is damaged. Pack it again")


@contextmanager
def _translated() -> Generator[None]:
    """Every way in which the libraries report damage, as one refusal that says what to do."""
    try:
        yield
    except EOFError as cut:
        raise invalid("the gzip stream ends too early: it was cut off. Pack or upload it again") from cut
    except gzip.BadGzipFile as damage:
        raise invalid("it is not a gzip file. Pack with `tar -czf repo.tgz .`") from damage
    except zlib.error as damage:
        raise invalid(f"its gzip data is damaged ({damage}). Pack or upload it again") from damage
    except RecursionError as loop:
        raise invalid("it has a chain of extended headers without a file. Pack it again") from loop
    except (tarfile.TarError, ValueError, OverflowError, LookupError) as damage:
        raise invalid(f"it is not a sound tar archive ({damage}). Pack it again") from damage


def read_entries(archive: BinaryIO, limits: ArchiveLimits) -> Iterator[tuple[Entry, Callable[[], bytes]]]:
    """Each entry with a function that gives the next piece of its content, `b""` at its end.

    A piece must be read before the next entry is asked for. Raises `ArchiveRefused` (`archive_invalid`,
    `archive_too_large`) at the first thing that is wrong, which may be after entries that were fine.
    """
    stream = _Gunzip(archive, limits)
    headers = _Headers(limits)
    with _translated():
        tar = tarfile.open(  # noqa: SIM115  # closing it would only free a buffer; the file is the caller's
            fileobj=_as_file(stream),
            mode="r|",
            bufsize=READ_BYTES,
            tarinfo=_strict(headers),
            encoding="utf-8",
            errors="surrogateescape",
        )
    left_bytes = limits.bytes_max
    while True:
        with _translated():
            member = tar.next()
            tar.members.clear()  # type: ignore[attr-defined]  # the stub forgets it: headers need not pile up
            if member is None:
                break
            if member.type == VOLUME_LABEL_TYPE:
                continue
            entry = _entry(member, limits)
        if entry.size_bytes > left_bytes:
            raise too_large(
                f"{show(member.name)} brings it over {limits.bytes_max} bytes unpacked. Leave it out"
            )
        left_bytes -= entry.size_bytes
        yield entry, _content(tar, member)
    if not headers.end_seen:
        raise invalid("it has no end mark, so it was cut off or a header is damaged. Pack it again")
    with _translated():
        stream.drain()


def _as_file(stream: _Gunzip) -> IO[bytes]:
    """`tarfile` reads a stream by `read` alone, whatever its annotation says."""
    return stream  # type: ignore[return-value]  # structural: only read() is called in mode r|


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], bytes]:
    file = tar.extractfile(member) if member.isreg() else None

    def piece() -> bytes:
        if file is None:
            return b""
        with _translated():
            return file.read(READ_BYTES)

    return piece


def _entry(member: tarfile.TarInfo, limits: ArchiveLimits) -> Entry:
    """The checked entry of a parsed header; pure."""
    path = parse_path(member.name, depth_max=limits.depth_max, path_bytes_max=limits.path_bytes_max)
    if member.size < 0:
        raise invalid(f"{show(member.name)} has a negative size. Pack it again")
    if member.sparse is not None:
        raise invalid(
            f"{show(member.name)} is a sparse file. Pack without --sparse (bsdtar: --no-read-sparse)"
        )
    if member.isdir():
        return Entry(Kind.FOLDER, path)
    if not path:
        raise invalid(
            f"{show(member.name)} would replace the workspace itself. Pack with `tar -czf repo.tgz .`"
        )
    if member.issym():
        return Entry(Kind.LINK, path, target=parse_target(member.name, member.linkname, len(path) - 1))
    if not member.isreg():
        raise invalid(f"{show(member.name)} is {_name_of_type(member)}")
    return Entry(
        Kind.FILE,
        path,
        size_bytes=member.size,
        executable=bool(member.mode & 0o100),
        mtime_s=_mtime_s(member.mtime),
    )


def _mtime_s(mtime: float) -> int:
    """Whole seconds that a file system can hold; a pax header may say nan, infinity or 10^300."""
    return int(mtime) if 0 <= mtime < MTIME_S_MAX else 0


def _name_of_type(member: tarfile.TarInfo) -> str:
    if member.islnk():
        return (
            "a hard link, which archives may not hold. Pack with --hard-dereference, or from a fresh checkout"
        )
    if member.ischr() or member.isblk():
        return "a device, which archives may not hold. Leave it out"
    if member.isfifo():
        return "a named pipe, which archives may not hold. Leave it out"
    return f"of the unknown type {member.type!r}. Only files, folders and symbolic links are taken"
