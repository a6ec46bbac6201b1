"""Archives: the honest ones unpack whole, however odd; the hostile ones are refused and harm nothing."""

import gzip
import io
import os
import resource
import signal
import stat
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runner.archive import ArchiveLimits
from runner.archive_path import ArchiveRefused
from runner.extract import Extracted, check_archive, extract
from tests.requires import requires
from tests.runner_kit import archive_of, files_archive, member

LIMITS = ArchiveLimits(bytes_max=4 << 20, entries_max=200, ratio_free_bytes=1 << 20)
CANARY = "outside.txt"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A workspace with a neighbour that must never change."""
    (tmp_path / CANARY).write_text("untouched")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    yield workspace
    assert (tmp_path / CANARY).read_text() == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "made") == [CANARY, "workspace"]


def _extract(data: bytes, place: Path, limits: ArchiveLimits = LIMITS) -> Extracted:
    root_fd = os.open(place, os.O_PATH | os.O_DIRECTORY)
    try:
        return extract(io.BytesIO(data), root_fd, limits)
    finally:
        os.close(root_fd)


def _tree(place: Path) -> dict[str, bytes | str]:
    """Every file's content and every link's target (after an arrow)."""
    found: dict[str, bytes | str] = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_symlink():
            found[name] = "-> " + os.readlink(path)  # noqa: PTH115  # the text as it is
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


# --- honest -------------------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A small project with the things that real ones have."""
    source = tmp_path / "made" / "project"
    (source / "pkg" / "deep").mkdir(parents=True)
    (source / "pkg" / "__init__.py").write_text("x = 1\n")
    (source / "pkg" / "deep" / ("long" * 40 + ".txt")).write_text("long name\n")
    (source / "naïve ünïcode 名.txt").write_text("text\n")
    (source / "empty").write_bytes(b"")
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / "pkg" / "link.py").symlink_to("__init__.py")
    (source / "up").symlink_to("pkg/deep")
    (source / "pkg" / "deep" / "root").symlink_to("../../run.sh")
    return source


_TAR = {
    "gnu": ["tar", "--format=gnu"],
    "posix": ["tar", "--format=posix"],
    "ustar": ["tar", "--format=ustar", "--exclude=*long*"],
    "label": ["tar", "--label=volume one"],
    "owners": ["tar", "--numeric-owner", "--xattrs"],
}


@pytest.mark.parametrize("flavour", _TAR)
def test_archives_of_gnu_tar_unpack_whole(flavour: str, made: Path, place: Path) -> None:
    """Every format that it writes, with `./` in front of every member."""
    data = subprocess.run(
        [*_TAR[flavour], "-czf", "-", "."], cwd=made, check=True, capture_output=True
    ).stdout
    for path in made.rglob("*long*") if flavour == "ustar" else ():
        path.unlink()  # a name that this format cannot hold
    done = _extract(data, place)
    assert _tree(place) == _tree(made)
    assert done.size_bytes == sum(
        len(content) for content in _tree(made).values() if isinstance(content, bytes)
    )
    assert (place / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (place / "empty").stat().st_mode & 0o777 == 0o644
    assert int((place / "run.sh").stat().st_mtime) == int((made / "run.sh").stat().st_mtime)


@requires("bsdtar")
@pytest.mark.parametrize("format_name", ["pax", "gnutar", "ustar", "v7"])
def test_archives_of_bsdtar_unpack_whole(format_name: str, made: Path, place: Path) -> None:
    """Libarchive is what macOS has; version 7 knows no long names, so those stay out."""
    left_out = ["--exclude", "*long*", "--exclude", "*ü*"] if format_name in ("v7", "ustar") else []
    command = ["bsdtar", *left_out, f"--format={format_name}", "-czf", "-", "."]
    done = _extract(subprocess.run(command, cwd=made, check=True, capture_output=True).stdout, place)
    assert done.entries >= 8
    expected = _tree(made)
    if left_out:
        expected = {
            name: content for name, content in expected.items() if "long" not in name and "ü" not in name
        }
    assert _tree(place) == expected


def test_archives_of_git_unpack_whole(made: Path, place: Path) -> None:
    """`git archive` writes a global header with the commit as a comment."""
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=made, check=True, capture_output=True)
    command = ["git", "archive", "--format=tar.gz", "--prefix=repo/", "HEAD"]
    data = subprocess.run(command, cwd=made, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert "comment" in tar.pax_headers
    _extract(data, place)
    expected = {
        f"repo/{name}": content for name, content in _tree(made).items() if not name.startswith(".git/")
    }
    assert _tree(place) == expected


def test_archives_of_macos_unpack_with_their_companion_files(place: Path) -> None:
    """`._name` members carry attributes of the file before them; they are ordinary files here."""
    headers = {
        "LIBARCHIVE.xattr.com.apple.provenance": "AQIA",
        "SCHILY.xattr.com.apple.provenance": "\x01\x02",
    }
    header, content = member("./._a.txt", b"\x00\x05\x16\x07")
    header.pax_headers = headers
    _extract(archive_of((header, content), member("./a.txt", b"a")), place)
    assert _tree(place) == {"._a.txt": b"\x00\x05\x16\x07", "a.txt": b"a"}


def test_odd_but_honest_members_pass(place: Path) -> None:
    """Repeated folders, a repeated file (the later one wins), odd slashes, latin-1 names, old types."""
    data = archive_of(
        member("./", type=tarfile.DIRTYPE),
        member("d/", type=tarfile.DIRTYPE, mode=0o000),
        member("d/", type=tarfile.DIRTYPE),
        member("d//./x", b"old and longer"),
        member("d/x", b"new"),
        member("then-file", type=tarfile.SYMTYPE, linkname="d/x"),
        member("then-file", b"file", mtime=-5),
        member("then-link", b"file"),
        member("then-link", type=tarfile.SYMTYPE, linkname="./d/x"),
        member("caf\udce9", b"latin"),
        member("old-style", b"v7", type=tarfile.AREGTYPE),
        member("contiguous", b"c", type=tarfile.CONTTYPE),
        member("dangling", type=tarfile.SYMTYPE, linkname="nowhere/at all"),
        member("self", type=tarfile.SYMTYPE, linkname="."),
        format=tarfile.GNU_FORMAT,
    )
    done = _extract(data, place)
    assert done.entries == 14
    assert _tree(place) == {
        "caf\udce9": b"latin",
        "contiguous": b"c",
        "d/x": b"new",
        "dangling": "-> nowhere/at all",
        "old-style": b"v7",
        "self": "-> .",
        "then-file": b"file",
        "then-link": "-> ./d/x",
    }


def test_an_empty_archive_is_an_empty_workspace(place: Path) -> None:
    """`tar -T /dev/null` writes one; there is nothing wrong with it."""
    assert _extract(archive_of(), place) == Extracted(0, 0)


def test_gzip_in_several_members_is_one_stream(place: Path) -> None:
    """Parallel packers write so."""
    plain = gzip.decompress(files_archive({"a": b"1" * 5000}))
    data = gzip.compress(plain[:3000]) + gzip.compress(plain[3000:]) + b"\0" * 100
    assert _extract(data, place) == Extracted(1, 5000)


def test_special_bits_are_stripped(place: Path) -> None:
    """No set-user-id, no sticky bit, nothing for others to write."""
    _extract(archive_of(member("s", b"", mode=0o7777), member("d", type=tarfile.DIRTYPE, mode=0o7777)), place)
    assert stat.S_IMODE((place / "s").stat().st_mode) == 0o755
    assert stat.S_IMODE((place / "d").stat().st_mode) == 0o755


def test_an_older_workspace_is_written_over_and_never_through(place: Path) -> None:
    """Links that an earlier command left are replaced, wherever they lead."""
    outside = place.parent / CANARY
    (place / "file").symlink_to(outside)
    (place / "folder").symlink_to(place.parent)
    (place / "link").symlink_to("elsewhere")
    (place / "kept").write_text("kept")
    data = archive_of(
        member("file", b"new"),
        member(f"folder/{CANARY}", b"new"),
        member("link", type=tarfile.SYMTYPE, linkname="file"),
    )
    _extract(data, place)
    assert _tree(place) == {"file": b"new", f"folder/{CANARY}": b"new", "link": "-> file", "kept": b"kept"}


# --- hostile ------------------------------------------------------------------------------------------------


def _sparse() -> bytes:
    header, content = member("s", b"")
    header.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,5,999999,1",
        "GNU.sparse.size": "1000000",
    }
    return archive_of((header, content))


def _gnu_sparse(tmp: Path) -> bytes:
    with (tmp / "made" / "hole").open("wb") as file:
        file.truncate(1 << 20)
    return subprocess.run(
        ["tar", "-czSf", "-", "hole"], cwd=tmp / "made", check=True, capture_output=True
    ).stdout


def _pax(**headers: str) -> bytes:
    header, content = member("f", b"x")
    header.pax_headers = headers
    return archive_of((header, content))


def _raw(blocks: bytes) -> bytes:
    return gzip.compress(blocks + b"\0" * 1024)


def _broken_pax() -> bytes:
    info = {**tarfile.TarInfo("x").get_info(), "type": tarfile.XHDTYPE, "size": 512}
    header = tarfile.TarInfo("x")._create_header(info, tarfile.USTAR_FORMAT, "utf-8", "strict")
    return header + b"0 a=b\n".ljust(512, b"\0")


def _patched(offset: int, value: bytes) -> bytes:
    """One file's archive with bytes of its header changed and the check sum made right again."""
    plain = bytearray(gzip.decompress(archive_of(member("f", b"x"), format=tarfile.GNU_FORMAT)))
    plain[offset : offset + len(value)] = value
    plain[148:156] = b" " * 8
    plain[148:156] = b"%06o\0 " % sum(plain[:512])
    return gzip.compress(bytes(plain))


WHOLE = files_archive({"a.txt": os.urandom(40_000), "b.txt": b"b" * 40_000})
PLAIN = gzip.decompress(WHOLE)
HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "text": lambda: b"hello",
    "zip": lambda: b"PK\x03\x04" + b"\0" * 100,
    "tar without gzip": lambda: PLAIN,
    "gzip of no tar": lambda: gzip.compress(b"hello" * 1000),
    "gzip of nothing": lambda: gzip.compress(b""),
    "gzip cut in the middle": lambda: WHOLE[: len(WHOLE) // 2],
    "gzip trailer cut": lambda: WHOLE[:-3],
    "gzip trailer missing": lambda: WHOLE[:-8],
    "gzip check sum wrong": lambda: WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:],
    "gzip data damaged": lambda: WHOLE[:500] + b"\xff\xff\xff\xff" + WHOLE[504:],
    "gzip followed by rubbish": lambda: WHOLE + b"rubbish",
    "tar cut in a file": lambda: gzip.compress(PLAIN[:20_000]),
    "tar cut in a header": lambda: gzip.compress(PLAIN[:100]),
    "tar cut between files": lambda: gzip.compress(PLAIN[: 512 + 40_448]),
    "tar header damaged": lambda: gzip.compress(PLAIN[: 512 + 40_448] + b"x" * 512 + PLAIN[512 + 40_448 :]),
    "parent": lambda: archive_of(member("../evil", b"x")),
    "parent inside": lambda: archive_of(member("a/../b", b"x")),
    "parent at the end": lambda: archive_of(member("a/..", type=b"5")),
    "absolute": lambda: archive_of(member("/tmp/evil", b"x")),
    "absolute by pax": lambda: _pax(path="/tmp/evil"),
    "backslash": lambda: archive_of(member("..\\evil", b"x")),
    "NUL by pax": lambda: _pax(path="a\0b"),
    "empty name": lambda: _patched(0, b"\0" * 100),
    "workspace as a file": lambda: archive_of(member(".", b"x")),
    "link to the root": lambda: archive_of(member("l", type=b"2", linkname="/")),
    "link to a file outside": lambda: archive_of(member("l", type=b"2", linkname=f"../{CANARY}")),
    "link up from a folder": lambda: archive_of(member("a/l", type=b"2", linkname="../../x")),
    "link down and up": lambda: archive_of(member("a/l", type=b"2", linkname="b/../../../x")),
    "link with a backslash": lambda: archive_of(member("l", type=b"2", linkname="..\\x")),
    "link to nothing": lambda: archive_of(member("l", type=b"2", linkname="")),
    "link and then through it": lambda: archive_of(
        member("l", type=b"2", linkname="."), member("l/evil", b"x")
    ),
    "link chain": lambda: archive_of(
        member("a", type=b"2", linkname="."),
        member("a/b", type=b"2", linkname=".."),
        member(f"a/b/{CANARY}", b"x"),
    ),
    "link and folder": lambda: archive_of(member("d/f", b"x"), member("d", type=b"2", linkname="e")),
    "file where a folder is": lambda: archive_of(member("d/f", b"x"), member("d", b"x")),
    "hard link": lambda: archive_of(member("a", b"x"), member("b", type=b"1", linkname="a")),
    "hard link outside": lambda: archive_of(member("b", type=b"1", linkname="/etc/passwd")),
    "device": lambda: archive_of(member("null", type=b"3", devmajor=1, devminor=3)),
    "disk": lambda: archive_of(member("sda", type=b"4", devmajor=8)),
    "pipe": lambda: archive_of(member("p", type=b"6")),
    "unknown type": lambda: archive_of(member("u", type=b"Z")),
    "sparse by pax": _sparse,
    "negative size": lambda: _patched(124, b"\xff" * 12),
    "negative size by pax": lambda: _pax(size="-512"),
    "pax that is no number": lambda: _pax(size="many"),
    "pax that is no pax": lambda: _raw(_broken_pax()),
    "pax that is no pax, later": lambda: _raw(PLAIN[: 512 + 40_448] + _broken_pax()),
    "endless long names": lambda: _raw(
        tarfile.TarInfo._create_gnu_long_header("n" * 100, tarfile.GNUTYPE_LONGNAME, "utf-8", "strict") * 2000
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_with_a_reason(what: str, place: Path) -> None:
    """`archive_invalid`, in words for its owner, and nothing outside the workspace changes."""
    data = HOSTILE[what]()
    with pytest.raises(ArchiveRefused) as refusal:
        _extract(data, place)
    assert refusal.value.reason == "archive_invalid"
    assert refusal.value.message.startswith("The archive cannot be used: ")
    assert refusal.value.message.isprintable()
    assert len(refusal.value.message) < 500
    for path in place.rglob("*"):
        assert not path.is_symlink() or path.resolve().is_relative_to(place)


def test_a_sparse_file_of_gnu_tar_is_refused_with_the_option_that_helps(
    made: Path, place: Path, tmp_path: Path
) -> None:
    """Its old format has a type of its own."""
    with pytest.raises(ArchiveRefused, match="sparse") as refusal:
        _extract(_gnu_sparse(tmp_path), place)
    assert refusal.value.reason == "archive_invalid"


TOO_LARGE: dict[str, tuple[bytes, ArchiveLimits]] = {
    "one large file": (files_archive({"big": os.urandom(1000)}), replace(LIMITS, bytes_max=999)),
    "two files": (files_archive({"a": b"1" * 600, "b": b"2" * 600}), replace(LIMITS, bytes_max=1000)),
    "a bomb": (gzip.compress(gzip.decompress(files_archive({"zeros": b"\0" * (3 << 20)}))), LIMITS),
    "a bomb after the end mark": (
        gzip.compress(gzip.decompress(files_archive({"a": b"a"})) + b"\0" * (6 << 20)),
        replace(LIMITS, ratio_max=1 << 30),
    ),
    "a nest of folders": (archive_of(member("/".join("d" * 65), b"x")), LIMITS),
    "a long path": (archive_of(member("/".join(["p" * 200] * 6), b"x")), LIMITS),
    "a long name": (archive_of(member("n" * 256, b"x")), LIMITS),
    "many files": (archive_of(*(member(f"f{i}") for i in range(201))), LIMITS),
    "many folders that are implied": (archive_of(*(member(f"{i}/a/b/c/f") for i in range(60))), LIMITS),
    "many links": (archive_of(*(member(f"l{i}", type=b"2", linkname="x") for i in range(201))), LIMITS),
}


@pytest.mark.parametrize("what", TOO_LARGE)
def test_an_archive_that_is_too_large_is_refused_while_it_unpacks(what: str, place: Path) -> None:
    """Each cap, just passed; and what was written by then stays below it."""
    data, limits = TOO_LARGE[what]
    with pytest.raises(ArchiveRefused) as refusal:
        _extract(data, place, limits)
    assert refusal.value.reason == "archive_too_large"
    written = sum(
        path.stat().st_size for path in place.rglob("*") if path.is_file() and not path.is_symlink()
    )
    assert written <= limits.bytes_max


def test_one_file_over_and_over_ends_at_the_limit_too(place: Path) -> None:
    """It makes no new inode each time, but every member is counted."""
    one = gzip.decompress(archive_of(member("f")))[:512]
    data = gzip.compress(one * 20_000 + b"\0" * 1024)
    with pytest.raises(ArchiveRefused) as refusal:
        _extract(data, place, replace(LIMITS, ratio_max=1 << 30, entries_max=1000))
    assert refusal.value.reason == "archive_too_large"


def test_a_header_of_many_megabytes_is_not_read_into_memory(place: Path) -> None:
    """A pax header may claim any length."""
    info = {**tarfile.TarInfo("x").get_info(), "type": tarfile.XHDTYPE, "size": 1 << 31}
    header = tarfile.TarInfo("x")._create_header(info, tarfile.USTAR_FORMAT, "utf-8", "strict")
    with pytest.raises(ArchiveRefused, match="too long"):
        _extract(_raw(header), place)


LATE = ("link and then through it", "link chain", "link and folder", "file where a folder is")


@pytest.mark.parametrize("what", [name for name in HOSTILE if name not in LATE])
def test_checking_refuses_the_same_and_writes_nothing(what: str, place: Path) -> None:
    """A warm workspace is checked first; only what depends on the workspace shows when it is written."""
    check_archive(io.BytesIO(WHOLE), LIMITS)
    with pytest.raises(ArchiveRefused):
        check_archive(io.BytesIO(HOSTILE[what]()), LIMITS)
    assert list(place.iterdir()) == []


def test_a_full_disk_is_the_machines_failure(place: Path) -> None:
    """`extraction_failed`, which is of the class platform, names the entry."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ArchiveRefused, match=r"big\.txt could not be written") as refusal:
            _extract(files_archive({"big.txt": b"x" * 5000}), place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert refusal.value.reason == "extraction_failed"


def test_the_error_names_bytes_that_are_not_text_without_being_such_bytes(place: Path) -> None:
    """The message becomes part of an event, whose text is valid Unicode."""
    with pytest.raises(ArchiveRefused) as refusal:
        _extract(archive_of(member("/caf\udce9\x1b[31m\n", b"x"), format=tarfile.GNU_FORMAT), place)
    refusal.value.message.encode()
    assert "caf\\udce9" in refusal.value.message
    assert "\x1b" not in refusal.value.message


def test_deflate_at_its_best_meets_the_ratio() -> None:
    """The ratio that a bomb reaches is far above the limit, and that of text far below."""
    assert len(zlib.compress(b"\0" * (1 << 20), 9)) * ArchiveLimits().ratio_max < 1 << 20
    text = Path(tarfile.__file__).read_bytes()
    assert len(zlib.compress(text, 9)) * 20 > len(text)
