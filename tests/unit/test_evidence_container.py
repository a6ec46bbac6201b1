"""The container: a deterministic stored zip, and a reader that trusts nothing in it (PROOF P8, P9.3)."""

import io
import itertools
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from evidence.bundle import ATTESTATIONS, Bundle, BundleWriter, EntryChain, event_entry, split_entry
from evidence.canonical import FormatError
from evidence.container import BYTES_MAX, CHUNK_BYTES, MEMBERS_MAX, Container, ContainerWriter, MemberWriter
from evidence.feed import BLOCK_BYTES
from evidence.record import genesis
from evidence.verify import verify_bundle
from tests.evidence_samples import (
    HONEST,
    POLICY,
    RUN,
    event_of,
    example,
    example_rows,
    judge,
    members,
    numbered,
    repack,
    tamper,
    zip_header,
)


def packed(**contents: bytes) -> bytes:
    """A container written by us."""
    out = io.BytesIO()
    writer = ContainerWriter(out)
    for name, data in contents.items():
        writer.add(name, data)
    writer.close()
    return out.getvalue()


def container(data: bytes) -> Container:
    """A container read by us."""
    return Container(io.BytesIO(data))


def assert_unreadable(data: bytes, reason: str) -> None:
    """Neither the reader nor the verifier accepts it; the verdict is E_FORMAT with exit code 2."""
    with pytest.raises(FormatError, match=reason):
        Bundle(io.BytesIO(data))
    verdict = judge(data)
    assert (verdict.verdict, verdict.code, verdict.exit_code) == ("FAILED", "E_FORMAT", 2)


def test_what_is_written_is_read_by_everyone() -> None:
    """Python's zipfile finds the same members, stored, dated 1980, readable by all."""
    contents = {"a": b"", "b": b"x" * 3 * CHUNK_BYTES, "artifacts/c": b"\x00\xff"}
    data = packed(**contents)
    assert members(data) == contents
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            assert (info.compress_type, info.date_time) == (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
            assert (info.external_attr >> 16) == 0o100644
    opened = container(data)
    assert {name: opened.open(name).read() for name in opened.members} == contents
    assert opened.damaged == []


def test_the_same_run_gives_the_same_bytes() -> None:
    """Nothing of the time or place of writing is in a bundle (P8)."""
    assert example().bundle() == HONEST


def test_packed_again_it_is_the_same_file_or_refused() -> None:
    """Another packer gives the same bytes or is told to leave it: there is one spelling (P9.3)."""
    assert repack(members(HONEST)) == HONEST
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members(HONEST).items():
            archive.writestr(zipfile.ZipInfo(name), content)
    assert_unreadable(out.getvalue(), "never packed again")


def test_members_stand_in_one_order() -> None:
    """Each pair exchanged is another file that says the same: refused, by the reader and by the writer."""
    whole = members(HONEST) | {"run.tlog-proof": b"", "artifacts/a": b"", "artifacts/b": b""}
    names = list(members(repack(whole)))
    for first, second in itertools.combinations(range(len(names)), 2):
        order = names.copy()
        order[first], order[second] = order[second], order[first]
        out = io.BytesIO()
        writer = ContainerWriter(out)
        for name in order:
            writer.add(name, whole[name])
        writer.close()
        assert_unreadable(out.getvalue(), "another order")
    bundle = BundleWriter(io.BytesIO(), checkpoint=b"c", anchor=b"", evidence=None)
    bundle.artifact("b", [])
    for write in (
        lambda: bundle.artifact("a", []),
        lambda: bundle.tlog_proof(b""),
        lambda: bundle.attestations({ATTESTATIONS[0]: b""}),
    ):
        with pytest.raises(ValueError, match="stands before"):
            write()


def test_a_member_is_written_once_and_by_a_plain_name() -> None:
    """The writer refuses what the reader would."""
    writer = ContainerWriter(io.BytesIO())
    writer.add("a", b"")
    for name in ("a", "", "é", "x" * 256):
        with pytest.raises(ValueError, match=r"member|name"):
            writer.add(name, b"")
    for number in range(MEMBERS_MAX - 1):
        writer.add(f"m{number}", b"")
    with pytest.raises(ValueError, match="members"):
        writer.add("one more", b"")


def test_a_bundle_ends_before_zip64_begins() -> None:
    """A member that does not fit, and a directory that does not, are refused while writing."""
    with pytest.raises(ValueError, match="zip64"):
        MemberWriter(io.BytesIO(), 3).write(b"four")
    writer = ContainerWriter(io.BytesIO())
    writer._position = BYTES_MAX
    with pytest.raises(ValueError, match="zip64"):
        writer.close()


@pytest.mark.parametrize("data", [b"", b"PK", b"\x00" * 100, b"not a zip at all, but long enough to be one"])
def test_what_is_no_zip_cannot_be_read(data: bytes) -> None:
    """Exit code 2, with a code all the same."""
    assert_unreadable(data, "cannot be|not a zip")


@pytest.mark.parametrize("cut", [1, 21, 22, 60, 200, 1000, 5000])
def test_a_cut_zip_cannot_be_read(cut: int) -> None:
    """Wherever a download stopped."""
    assert_unreadable(HONEST[:-cut], "zip|cut|bytes")


def test_nothing_may_stand_around_the_zip() -> None:
    """Bytes before, after, between, or a comment: other readers would see another zip."""
    assert_unreadable(b"x" + HONEST, "end record|back to back")
    assert_unreadable(HONEST + b"x", "not a zip|end record")
    with_comment = HONEST[:-2] + struct.pack("<H", 1) + b"!"
    assert_unreadable(with_comment, "comment|not a zip")
    out = io.BytesIO(HONEST)
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = b"hello"
    assert_unreadable(out.getvalue(), "not a zip|comment")


def with_directory(data: bytes, offset: int, patch: bytes, *, entry: int = 0) -> bytes:
    """The container with bytes of a central directory entry changed."""
    at = struct.unpack_from("<L", data, len(data) - 6)[0]
    for _ in range(entry):
        name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
        at += 46 + name + extra + comment
    return data[: at + offset] + patch + data[at + offset + len(patch) :]


@pytest.mark.parametrize(
    ("offset", "patch", "reason"),
    [
        (0, b"PK\x01\x03", "does not need"),
        (6, struct.pack("<H", 45), "does not need"),
        (8, struct.pack("<H", 1), "stored plainly"),  # encrypted
        (8, struct.pack("<H", 8), "stored plainly"),  # sizes after the data
        (10, struct.pack("<H", 8), "stored plainly"),  # deflated
        (16, b"\x00\x00\x00\x00", "local header says"),  # checksum
        (20, struct.pack("<L", 1), "stored plainly"),  # packed size
        (24, struct.pack("<L", 0xFFFFFFFF), "stored plainly"),  # zip64 marker
        (28, struct.pack("<H", 0), "member's name|directory"),
        (30, struct.pack("<H", 4), "does not need|directory"),
        (34, struct.pack("<H", 1), "does not need"),
        (42, struct.pack("<L", 1), "back to back"),
        (46, b"\xff", "member's name"),
        (46, b"\n", "member's name"),
        (46, b"E", "local header says"),
        (4, struct.pack("<H", 20), "never packed again"),  # made by another version
        (6, struct.pack("<H", 20), "never packed again"),  # for readers of another version
        (12, struct.pack("<H", 1), "never packed again"),  # time
        (14, struct.pack("<H", 0), "never packed again"),  # date
        (36, struct.pack("<H", 1), "never packed again"),  # "is a text"
        (38, struct.pack("<L", 0), "never packed again"),  # permissions
    ],
)
def test_the_directory_agrees_with_the_local_headers(offset: int, patch: bytes, reason: str) -> None:
    """Each field has one spelling, also those from which no reader takes content (P9.3)."""
    assert_unreadable(with_directory(HONEST, offset, patch), reason)


@pytest.mark.parametrize("offset", [0, 4, 6, 8, 10, 12, 14, 18, 22, 26, 28, 30])
def test_a_local_header_agrees_with_the_directory(offset: int) -> None:
    """The other side of the same comparison."""
    assert_unreadable(HONEST[:offset] + b"\xff" + HONEST[offset + 1 :], "local header")


@pytest.mark.parametrize(
    ("offset", "value"),
    [(4, 1), (6, 1), (8, 3), (10, 3), (12, 10), (16, 10), (10, 0xFFFF), (20, 1)],
)
def test_the_end_record_describes_what_stands_before_it(offset: int, value: int) -> None:
    """Disks, counts, size and start of the directory."""
    at = len(HONEST) - 22 + offset
    assert_unreadable(HONEST[:at] + struct.pack("<H", value) + HONEST[at + 2 :], "end record|belong|cut")


def test_no_bytes_lie_between_the_members_and_around_the_directory() -> None:
    """Offsets that agree with each other but leave room for what nobody reads."""
    length, start = struct.unpack_from("<LL", HONEST, len(HONEST) - 10)
    end = len(HONEST) - 22
    for at, fields in ((start, (length, start + 2)), (end, (length + 2, start))):
        data = HONEST[:at] + b"xx" + HONEST[at:]
        data = data[:-10] + struct.pack("<LL", *fields) + data[-2:]
        assert_unreadable(data, "belong to no member")


def test_too_many_or_too_few_members_are_found_in_the_directory() -> None:
    """Counts that agree with each other but not with the directory."""
    here = len(members(HONEST))
    for count, reason in ((here - 1, "no member"), (here + 1, "cut"), (MEMBERS_MAX + 1, "end record")):
        at = len(HONEST) - 22
        data = HONEST[: at + 8] + struct.pack("<HH", count, count) + HONEST[at + 12 :]
        assert_unreadable(data, reason)


def test_an_extra_field_or_an_entry_comment_is_refused() -> None:
    """Extra fields can rename members for some readers; a bundle needs none."""
    for attribute in ("extra", "comment"):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in members(HONEST).items():
                info = zip_header(name)
                setattr(info, attribute, b"\x75\x70\x00\x00")
                archive.writestr(info, content)
        assert_unreadable(out.getvalue(), "does not need")


def test_a_compressed_bundle_is_refused() -> None:
    """No bombs: the size of a member is the size that it takes in the file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members(HONEST).items():
            archive.writestr(name, content)
    assert_unreadable(out.getvalue(), "stored plainly")


def test_a_streamed_zip_is_refused() -> None:
    """Sizes behind the data would let two readers disagree about where a member ends."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, chunk: bytes) -> int:  # type: ignore[override]  # bytes are all that zipfile writes
            self.data += chunk
            return len(chunk)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        for name, content in members(HONEST).items():
            archive.writestr(name, content)
    assert_unreadable(bytes(pipe.data), "stored plainly")


def test_the_same_name_twice_is_refused() -> None:
    """Readers differ in which of the two they take."""
    twice = repack(members(HONEST) | {"eventz.log": b""}).replace(b"eventz.log", b"events.log")
    assert_unreadable(twice, "two members")


@pytest.mark.parametrize(
    "name",
    [
        "extra",
        "artifacts/",
        "artifacts/../x",
        "artifacts/a/b",
        "../events.log",
        "attestations/x.dsse.json",
        "attestations/test-result.json",
    ],
)
def test_the_zip_holds_no_other_member(name: str) -> None:
    """What the verifier does not know it does not ignore (P9.3)."""
    assert_unreadable(repack(members(HONEST) | {name: b""}), "no member of a proof bundle")


@pytest.mark.parametrize("name", ["x" * 256, "a\x1bb", "\u00e9"])
def test_a_name_is_short_and_plain(name: str) -> None:
    """Names that could confuse a terminal or another reader end the reading."""
    with pytest.raises(FormatError, match=r"cannot be a member's name|stored plainly"):
        container(repack({name: b""}))


@pytest.mark.parametrize("name", ["events.log", "run.checkpoint", "anchor.note"])
def test_a_required_member_must_be_there(name: str) -> None:
    """The anchor is always present, possibly empty (P8)."""
    contents = members(HONEST)
    del contents[name]
    assert_unreadable(repack(contents), f"lacks {name}")


@pytest.mark.parametrize(
    ("name", "size"), [("run.checkpoint", 65537), ("anchor.note", 65537), ("evidence.json", 4 << 20)]
)
def test_small_members_are_small(name: str, size: int) -> None:
    """What is read whole has a named limit."""
    assert_unreadable(tamper(HONEST, name, lambda data: data + b" " * size), "at most")


def test_a_wrong_checksum_is_told_when_all_else_holds() -> None:
    """The zip's checksum protects nothing, but other tools would call the file damaged."""
    data = bytearray(HONEST)
    first = struct.unpack_from("<L", data, len(data) - 6)[0]
    for at in (14, first + 16):
        data[at] ^= 1
    verdict = judge(bytes(data))
    assert (verdict.code, verdict.exit_code) == ("E_FORMAT", 2)
    assert "checksum of evidence.json" in verdict.message
    empty = bytearray(packed(a=b""))
    for at in (14, len(empty) - 22 - 47 + 16):
        empty[at] ^= 1
    opened = container(bytes(empty))
    opened.open("a")
    assert opened.damaged == ["a"]


def test_a_file_that_shrinks_while_it_is_read_is_cut() -> None:
    """The reader notices instead of reading zeros."""
    file = io.BytesIO(packed(a=b"x" * 10))
    opened = Container(file)
    file.truncate(33)
    with pytest.raises(FormatError, match="cut"):
        opened.open("a").read()

    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(size)[:-1]

    with pytest.raises(FormatError, match="cut"):
        Container(Shrinking(packed(a=b"x")))


def test_a_bundle_is_written_event_by_event_too() -> None:
    """The server appends entries as it reads them; events come before proofs, artifacts last."""
    out, chain = io.BytesIO(), EntryChain(RUN, genesis(RUN, b""))
    writer = BundleWriter(out, checkpoint=b"c", anchor=b"a", evidence=None)
    entries = [chain.add(item) for item in example_rows()]
    for entry in entries:
        writer.event(entry)
    writer.tlog_proof(b"proof")
    with pytest.raises(ValueError, match="attestations of a bundle"):
        writer.attestations({"attestations/x.dsse.json": b""})
    writer.attestations({name: name.encode() for name in reversed(ATTESTATIONS)})
    writer.artifact("art_1", [b"x", b"y"])
    writer.close()
    assert list(members(out.getvalue()))[-4:] == [*ATTESTATIONS, "artifacts/art_1"]
    assert members(out.getvalue()) == {
        "run.checkpoint": b"c",
        "anchor.note": b"a",
        "events.log": b"".join(entries),
        "artifacts/art_1": b"xy",
        "run.tlog-proof": b"proof",
        **{name: name.encode() for name in ATTESTATIONS},
    }
    bundle = Bundle(out)
    assert bundle.attestations == {name: name.encode() for name in ATTESTATIONS}
    assert (bundle.tlog_proof, bundle.artifact_ids) == (b"proof", ["art_1"])
    assert b"".join(bundle.artifact("art_1")) == b"xy"


def test_a_path_is_opened_and_a_missing_one_told_of(tmp_path: Path) -> None:
    """Paths work as files do; what cannot be opened is a verdict, not an exception."""
    path = tmp_path / "proof.zip"
    path.write_bytes(HONEST)
    assert verify_bundle(path, POLICY, expected_run=RUN, allow_unlogged=True).ok
    for missing in (tmp_path / "absent.zip", tmp_path):
        verdict = verify_bundle(missing, POLICY)
        assert (verdict.code, verdict.exit_code) == ("E_FORMAT", 2)


def test_a_large_log_is_never_in_memory() -> None:
    """Reading touches the file in chunks: the largest read is one chunk, whatever the member's size."""

    class Watched(io.BytesIO):
        largest = 0

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert size >= 0
            self.largest = max(self.largest, size)
            return super().read(size)

    out = event_of(example_rows()[6]) | {"data": "x" * 200}
    rows = [*example_rows()[:6], *(numbered(out, seq) for seq in range(7, 10_007))]
    file = Watched(example().bundle(rows=rows, open_prefix=True))
    seen: list[tuple[int, int]] = []
    verdict = verify_bundle(file, POLICY, allow_open=True, on_progress=lambda *at: seen.append(at))
    assert (verdict.verdict, verdict.size, verdict.exit_code) == ("OPEN_PREFIX", 10_006, 0)
    assert file.getbuffer().nbytes > 3 * BLOCK_BYTES
    assert {signed for _, signed in seen} == {10_006}
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(seen) > 3
    assert file.largest <= CHUNK_BYTES
    assert verify_bundle(file, POLICY, allow_open=True) == verdict


def test_an_entry_is_nine_lines_and_splits_again() -> None:
    """`event_entry` and `split_entry` are a pair; an entry without payload or commitment cannot be made."""
    item = example_rows()[7]
    entry = event_entry(RUN, item, b"p" * 32)
    lines, last = split_entry(entry)
    assert b"".join(lines) + last == entry
    assert last == b"+ Ey8yK9xG+OMmwRdWpxNhAw== " + (item.payload or b"") + b"\n"
    assert event_entry(RUN, item.redacted(), b"p" * 32) == b"".join(lines) + b"-\n"
    for broken in (entry[:-1], entry + b"\n", entry + b"x", b"", b"\n" * 8, b"".join(lines)):
        with pytest.raises(FormatError, match="nine lines"):
            split_entry(broken)

    for damaged in (replace(item, payload=None), replace(item, salt=None)):
        with pytest.raises(ValueError, match="damaged"):
            event_entry(RUN, damaged, b"p" * 32)
