"""Owns the container of a bundle: a zip of stored members, read with distrust (PROOF P8, P9.3).

What is written is deterministic: fixed date, no extra fields, no comment. What is read must leave no
room for two opinions, nor for two spellings of one: members lie back to back from the first byte, their
headers and the central directory are, byte for byte, those that the writer would write, and the file ends
with its end record. Nothing is compressed, nothing is zip64 (so a bundle stays below 4 GiB), and no member
is loaded whole unless it is small.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from struct import Struct
from typing import BinaryIO

from evidence.canonical import FormatError

MEMBERS_MAX = 1024
NAME_BYTES_MAX = 255
BYTES_MAX = (1 << 32) - 2
"""Size of the container and of each member: what a zip without zip64 can say."""
DIRECTORY_BYTES_MAX = MEMBERS_MAX * (46 + NAME_BYTES_MAX)
CHUNK_BYTES = 256 * 1024

_LOCAL = Struct("<4sHHHHHLLLHH")
_CENTRAL = Struct("<4sHHHHHHLLLHHHHHLL")
_END = Struct("<4sHHHHLLH")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_VERSION = 10  # a stored member needs the oldest readers only
_UNIX = 3 << 8
_MODE = 0o100644 << 16
_DATE = 1 << 5 | 1  # 1980-01-01, the first day that the format knows
_STORED = 0


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member's bytes lie in the file."""

    name: str
    offset: int
    size: int
    crc: int


class ContainerWriter:
    """Writes stored members one after the other into a seekable file; finish with `close`."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._members: list[tuple[Member, int]] = []
        self._position = 0

    @contextmanager
    def member(self, name: str) -> Generator[MemberWriter, None, None]:
        """Write one member; its size and checksum go into the header when the block ends.

        Raises ValueError for a name that is not plain ASCII or was written already, and for a bundle
        that grows past `BYTES_MAX`.
        """
        if not name.isascii() or not 0 < len(name) <= NAME_BYTES_MAX:
            raise ValueError(f"{name!a} cannot be a member's name")
        if any(member.name == name for member, _ in self._members) or len(self._members) >= MEMBERS_MAX:
            raise ValueError(f"member {name} is there already, or there are {MEMBERS_MAX} members")
        start, offset = self._position, self._position + _LOCAL.size + len(name)
        self._out.write(_local_header(Member(name, offset, 0, 0)))
        body = MemberWriter(self._out, BYTES_MAX - offset)
        yield body
        member = Member(name, offset, body.size, body.crc)
        self._out.seek(start)
        self._out.write(_local_header(member))
        self._position = offset + body.size
        self._out.seek(self._position)
        self._members.append((member, start))

    def add(self, name: str, data: bytes) -> None:
        """Write a small member at once."""
        with self.member(name) as body:
            body.write(data)

    def close(self) -> None:
        """Write the central directory and the end record; the file itself stays open."""
        directory = b"".join(_central_header(member, start) for member, start in self._members)
        if self._position + len(directory) + _END.size > BYTES_MAX:
            raise ValueError("the bundle would be larger than a zip without zip64 can be")
        count = len(self._members)
        self._out.write(directory)
        self._out.write(_END.pack(_END_MAGIC, 0, 0, count, count, len(directory), self._position, 0))


class MemberWriter:
    """The body of the member being written."""

    def __init__(self, out: BinaryIO, room: int) -> None:
        self._out, self._room = out, room
        self.size = self.crc = 0

    def write(self, chunk: bytes) -> None:
        """Append bytes. Raises ValueError past the largest bundle."""
        self.size += len(chunk)
        if self.size > self._room:
            raise ValueError("the bundle would be larger than a zip without zip64 can be")
        self.crc = zlib.crc32(chunk, self.crc)
        self._out.write(chunk)


class Container:
    """A container open for reading. All methods raise `FormatError` for a file that is not one of ours."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        size = file.seek(0, io.SEEK_END)
        if not _END.size <= size <= BYTES_MAX:
            raise FormatError(f"{size} bytes cannot be a proof bundle")
        members = self._read_directory(size)
        self.members = {member.name: member for member in members}
        if len(self.members) != len(members):
            raise FormatError("the zip holds two members of the same name")
        self.damaged: list[str] = []
        """Members read to their end whose bytes do not fit their checksum."""

    def read(self, name: str, bytes_max: int) -> bytes:
        """A whole member that is small by its nature."""
        size = self.members[name].size
        if size > bytes_max:
            raise FormatError(f"{name} has {size} bytes; at most {bytes_max} are possible")
        return self.open(name).read()

    def open(self, name: str) -> io.BufferedReader:
        """A member as a stream that holds `CHUNK_BYTES` of it at a time."""
        return io.BufferedReader(_MemberReader(self._file, self.members[name], self.damaged), CHUNK_BYTES)

    def _read_directory(self, size: int) -> list[Member]:
        magic, disk, disk0, here, count, length, start, comment = _END.unpack(
            self._read_at(size - _END.size, _END.size)
        )
        if magic != _END_MAGIC or disk or disk0 or comment or here != count:
            raise FormatError("not a zip that ends with its end record, on one disk and without comment")
        if count > MEMBERS_MAX or length > DIRECTORY_BYTES_MAX or start + length + _END.size != size:
            raise FormatError("the zip's end record does not describe what stands before it")
        directory = self._read_at(start, length)
        members: list[Member] = []
        at = position = 0
        for _ in range(count):
            member, at = self._read_entry(directory, at, position)
            members.append(member)
            position = member.offset + member.size
        if at != len(directory) or position != start:
            raise FormatError("the zip has bytes that belong to no member")
        return members

    def _read_entry(self, directory: bytes, at: int, position: int) -> tuple[Member, int]:
        """One central entry, compared with the one spelling of it and of the local header at `position`."""
        if at + _CENTRAL.size > len(directory):
            raise FormatError("the zip's central directory is cut")
        fields = _CENTRAL.unpack_from(directory, at)
        flags, method, crc, packed, size, name_size, start = (*fields[3:5], *fields[7:11], fields[-1])
        after = at + _CENTRAL.size + name_size
        name = _member_name(directory[at + _CENTRAL.size : after])
        if flags or method != _STORED or packed != size:
            raise FormatError(f"{name}: members of a bundle are stored plainly")
        if start != position:
            raise FormatError(f"{name}: members of a bundle lie back to back, in the directory's order")
        member = Member(name, position + _LOCAL.size + name_size, size, crc)
        if directory[at:after] != _central_header(member, position):
            raise FormatError(
                f"{name}: the central directory has an entry that a bundle does not need: "
                "take the file as the server wrote it, never packed again"
            )
        if self._read_at(position, _LOCAL.size + name_size) != _local_header(member):
            raise FormatError(f"{name}: the local header says other things than the central directory")
        return member, after

    def _read_at(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) != size:
            raise FormatError("the zip is cut")
        return data


class _MemberReader(io.RawIOBase):
    """Reads one member and notes at its end whether the checksum fits."""

    def __init__(self, file: BinaryIO, member: Member, damaged: list[str]) -> None:
        super().__init__()
        self._file, self._member, self._damaged = file, member, damaged
        self._done = self._crc = 0
        if not member.size and member.crc:
            damaged.append(member.name)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader passes exactly this
        wanted = min(len(buffer), self._member.size - self._done)
        if not wanted:
            return 0
        self._file.seek(self._member.offset + self._done)
        data = self._file.read(wanted)
        if not data:
            raise FormatError(f"{self._member.name}: the zip is cut")
        buffer[: len(data)] = data
        self._done += len(data)
        self._crc = zlib.crc32(data, self._crc)
        if self._done == self._member.size and self._crc != self._member.crc:
            self._damaged.append(self._member.name)
        return len(data)


def _local_header(member: Member) -> bytes:
    sizes = (member.crc, member.size, member.size, len(member.name), 0)
    return _LOCAL.pack(_LOCAL_MAGIC, _VERSION, 0, _STORED, 0, _DATE, *sizes) + member.name.encode()


def _central_header(member: Member, start: int) -> bytes:
    sizes = (member.crc, member.size, member.size, len(member.name), 0, 0)
    made_by = _UNIX | _VERSION
    fixed = (_CENTRAL_MAGIC, made_by, _VERSION, 0, _STORED, 0, _DATE)
    return _CENTRAL.pack(*fixed, *sizes, 0, 0, _MODE, start) + member.name.encode()


def _member_name(raw: bytes) -> str:
    if not 0 < len(raw) <= NAME_BYTES_MAX or not raw.isascii() or not raw.decode("ascii").isprintable():
        raise FormatError(f"{raw[:40]!r} cannot be a member's name")
    return raw.decode("ascii")
