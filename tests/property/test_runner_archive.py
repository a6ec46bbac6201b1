"""Whatever is done to an archive, it unpacks inside the workspace or is refused; parsers fit printers."""

import errno
import gzip
import io
import os
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.archive import ArchiveLimits
from runner.archive_path import ArchiveRefused, parse_path, parse_target
from runner.extract import extract
from runner.remains import Remains, parse_remains, print_remains
from runner.wire import Packet, pack, unpack
from tests.runner_kit import archive_of, member

LIMITS = ArchiveLimits(bytes_max=1 << 20, entries_max=100)
NAME = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", "c\\", "é", "x" * 300]), min_size=1, max_size=6
).map("/".join)


def _whole() -> bytes:
    header, content = member("naïve" * 30, b"pax")
    header.pax_headers = {"comment": "c" * 300}
    return gzip.decompress(
        archive_of(
            (header, content),
            member("d/", type=tarfile.DIRTYPE),
            member("d/f", b"f" * 700),
            member("l", type=tarfile.SYMTYPE, linkname="d/f"),
            member("last", b"1"),
        )
    )


PLAIN = _whole()


def _extract_safely(data: bytes) -> None:
    """Unpack into a fresh folder; only a refusal may be raised, and nothing may lie beside it."""
    with tempfile.TemporaryDirectory() as top:
        place = Path(top) / "workspace"
        place.mkdir()
        root_fd = os.open(place, os.O_PATH | os.O_DIRECTORY)
        try:
            extract(io.BytesIO(data), root_fd, LIMITS)
        except ArchiveRefused as refusal:
            refusal.message.encode()
            reason = refusal.reason
        else:
            reason = "archive_invalid"
        finally:
            os.close(root_fd)
        assert reason in {"archive_invalid", "archive_too_large", "extraction_failed"}
        assert [path.name for path in Path(top).iterdir()] == ["workspace"]
        for path in place.rglob("*"):
            if not _leads_in_a_circle(path):
                assert Path(os.path.realpath(path)).is_relative_to(place.resolve())


def _leads_in_a_circle(path: Path) -> bool:
    """A link to itself leads nowhere for the kernel; `realpath` makes a path outside of `a -> a//a`."""
    try:
        os.path.realpath(path, strict=True)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


@settings(max_examples=70, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.binary(min_size=1, max_size=20)), max_size=4),
    st.integers(0, 3),
)
def test_a_damaged_tar_never_does_more_than_be_refused(damages: list[tuple[int, bytes]], fix: int) -> None:
    """Bytes changed anywhere, with the check sum of some header made right again."""
    data = bytearray(PLAIN)
    for offset, value in damages:
        data[offset : offset + len(value)] = value
    for start in range(0, len(data) - 511, 512):
        if fix and data[start + 257 : start + 262] == b"ustar":
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    _extract_safely(gzip.compress(bytes(data), 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=8), st.integers(0, 2000))
def test_a_damaged_gzip_never_does_more_than_be_refused(offset: int, value: bytes, length: int) -> None:
    """Bytes changed, or the end cut off."""
    data = bytearray(gzip.compress(PLAIN))
    data[offset : offset + len(value)] = value
    _extract_safely(bytes(data[: len(data) - length]))


@settings(max_examples=70, deadline=None)
@given(st.lists(st.tuples(NAME, st.sampled_from(["file", "folder", "link"]), NAME), max_size=8))
def test_any_mix_of_files_folders_and_links_stays_inside(members: list[tuple[str, str, str]]) -> None:
    """Whatever they are called, wherever they lead, in any order."""
    kinds = {"file": tarfile.REGTYPE, "folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}
    entries = []
    for name, kind, target in members:
        content = b"x" if kind == "file" else b""
        entries.append(member(name, content, type=kinds[kind], linkname=target if kind == "link" else ""))
    _extract_safely(archive_of(*entries))


@given(NAME)
def test_a_path_that_passes_is_made_of_plain_components(name: str) -> None:
    """No component means anything but itself."""
    try:
        path = parse_path(name, depth_max=64, path_bytes_max=1024)
    except ArchiveRefused:
        return
    assert not {b"", b".", b".."} & set(path)
    assert not any(b"/" in part or b"\\" in part for part in path)


@given(NAME, st.integers(0, 4))
def test_a_target_that_passes_never_climbs_above_the_workspace(target: str, depth: int) -> None:
    """Walked component by component from the link's folder."""
    try:
        parse_target("link", target, depth)
    except ArchiveRefused:
        return
    here = depth
    for part in target.split("/"):
        here += {"..": -1, ".": 0, "": 0}.get(part, 1)
        assert here >= 0


TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=30)


@given(st.text("abc", min_size=1), st.lists(TEXT, max_size=5))
def test_a_packet_comes_back(kind: str, fields: list[str]) -> None:
    """Parser and printer are a pair."""
    packet = Packet(kind, tuple(fields))
    assert unpack(pack(packet)) == packet


LINE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(LINE, LINE, LINE)
def test_a_note_comes_back(token: str, folder: str, cgroups: str) -> None:
    """Parser and printer are a pair."""
    remains = Remains(sandbox_id="sbx_1", token=token, scope="tree", folder=folder, cgroups=cgroups)
    assert parse_remains(print_remains(remains)) == remains
