"""What every blob store promises: whole, durable, under the digest of its bytes, or not there at all."""

import asyncio
import contextlib
import io
import os
import resource
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from eventstore import blobs as blobs_module
from eventstore.blobs import BlobStore, BlobTooLarge, UnknownBlob
from eventstore.log import StorageUnavailable

DATA = b"some bytes\n" * 1000
DIGEST = sha256(DATA).hexdigest()


@pytest.fixture(params=["files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """An empty store; further backends join this list."""
    return BlobStore(tmp_path / "blobs")


def files_in(root: Path) -> list[str]:
    """Every file below, by relative path."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_blob_comes_back_under_its_digest(store: BlobStore, tmp_path: Path) -> None:
    """By bytes, from an open file and in pieces: the same blob."""
    assert store.put(DATA) == (DIGEST, len(DATA))
    assert store.put_file(io.BytesIO(DATA), len(DATA)) == (DIGEST, len(DATA))
    writer = store.writer(len(DATA))
    for start in range(0, len(DATA), 777):
        writer.write(DATA[start : start + 777])
    assert not store.path(DIGEST).with_name("x").exists()
    assert writer.commit() == (DIGEST, len(DATA))
    with store.open(DIGEST) as file:
        assert file.read() == DATA
    assert store.exists(DIGEST)
    assert store.size(DIGEST) == len(DATA)
    assert store.path(DIGEST).read_bytes() == DATA
    assert files_in(tmp_path / "blobs") == [f"{DIGEST[:2]}/{DIGEST}"]


def test_an_empty_blob_is_a_blob(store: BlobStore) -> None:
    """Zero bytes have a digest too."""
    digest, size = store.put(b"")
    assert (digest, size) == (sha256(b"").hexdigest(), 0)
    assert store.size(digest) == 0


def test_a_blob_is_readable_by_its_owner_alone(store: BlobStore) -> None:
    """Archives and artifacts are nobody else's business."""
    store.put(DATA)
    assert store.path(DIGEST).stat().st_mode & 0o077 == 0
    assert store.path(DIGEST).parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "digest",
    ["", "..", "../../etc/passwd", DIGEST[:-1], DIGEST + "0", DIGEST.upper(), "/" + DIGEST, "\0" * 64],
)
def test_a_malformed_digest_is_no_path(store: BlobStore, digest: str) -> None:
    """Whatever is not 64 lowercase hex digits never reaches the file system."""
    for method in (store.path, store.open, store.exists, store.size, store.delete):
        with pytest.raises(ValueError, match="no lowercase hex SHA-256"):
            method(digest)


def test_an_unknown_blob_is_said_to_be_unknown(store: BlobStore) -> None:
    """Reading raises, asking answers no, deleting is harmless."""
    assert not store.exists(DIGEST)
    for method in (store.open, store.size):
        with pytest.raises(UnknownBlob):
            method(DIGEST)
    store.delete(DIGEST)


def test_a_deleted_blob_is_gone_but_whoever_has_it_open_reads_on(store: BlobStore) -> None:
    """A download that has begun is not torn."""
    store.put(DATA)
    with store.open(DIGEST) as file:
        store.delete(DIGEST)
        assert not store.exists(DIGEST)
        assert file.read() == DATA


def test_more_than_the_limit_is_refused_and_nothing_is_kept(store: BlobStore, tmp_path: Path) -> None:
    """Neither under its name nor as a temporary file; the limit itself fits."""
    with pytest.raises(BlobTooLarge) as refused:
        store.put_file(io.BytesIO(DATA), len(DATA) - 1)
    assert refused.value.size_bytes_max == len(DATA) - 1
    writer = store.writer(10)
    writer.write(b"0123456789")
    with pytest.raises(BlobTooLarge):
        writer.write(b"a")
    with pytest.raises(ValueError, match="open another writer"):
        writer.commit()
    assert files_in(tmp_path / "blobs") == []
    assert store.put_file(io.BytesIO(DATA), len(DATA)) == (DIGEST, len(DATA))


def test_an_aborted_or_abandoned_blob_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    """By `abort`, by leaving the block, by an exception; aborting twice or after commit is harmless."""
    writer = store.writer(100)
    writer.write(b"a")
    writer.abort()
    writer.abort()
    with store.writer(100) as writer:
        writer.write(b"b")
    with contextlib.suppress(RuntimeError), store.writer(100) as writer:
        writer.write(b"c")
        raise RuntimeError
    assert files_in(tmp_path / "blobs") == []
    with store.writer(100) as writer:
        writer.write(b"d")
        digest, _ = writer.commit()
    writer.abort()
    assert store.exists(digest)


def test_a_source_that_fails_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    """The error is the source's own."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise ConnectionResetError
            return super().read(10)

    with pytest.raises(ConnectionResetError):
        store.put_file(Broken(DATA), len(DATA))
    assert files_in(tmp_path / "blobs") == []


def test_what_a_crash_left_half_written_is_swept_at_the_next_start(store: BlobStore, tmp_path: Path) -> None:
    """Complete blobs stay."""
    store.put(DATA)
    half = store.writer(100)
    half.write(b"half")
    assert len(files_in(tmp_path / "blobs")) == 2
    again = BlobStore(tmp_path / "blobs")
    half.abort()
    assert files_in(tmp_path / "blobs") == [f"{DIGEST[:2]}/{DIGEST}"]
    assert again.exists(DIGEST)


def test_a_damaged_blob_is_healed_by_putting_it_again(store: BlobStore) -> None:
    """A blob replaces the one of its name."""
    store.put(DATA)
    store.path(DIGEST).write_bytes(b"bad sector")
    store.put(DATA)
    assert store.path(DIGEST).read_bytes() == DATA


def test_names_are_durable_before_the_blob_is_acknowledged(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes before the rename; the new folder's name and the blob's name after it (DESIGN §3)."""
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def recording_fsync(fd: int) -> None:
        target = Path(f"/proc/self/fd/{fd}").readlink()
        steps.append("bytes" if target.is_file() else str(target.relative_to(tmp_path)))
        fsync(fd)

    def recording_rename(self: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(Path, "rename", recording_rename)
    store.put(DATA)
    assert steps == ["bytes", "blobs", "rename", f"blobs/{DIGEST[:2]}"]
    steps.clear()
    store.put(DATA)
    assert steps == ["bytes", "rename", f"blobs/{DIGEST[:2]}"]


def test_writers_in_many_threads_do_not_disturb_each_other(store: BlobStore, tmp_path: Path) -> None:
    """The same bytes and different ones, at once."""
    contents = [bytes([n % 7]) * 50_000 for n in range(28)]
    results: list[tuple[str, int]] = []
    threads = [threading.Thread(target=lambda c=c: results.append(store.put(c))) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted((sha256(c).hexdigest(), 50_000) for c in contents)
    assert len(files_in(tmp_path / "blobs")) == 7


async def test_an_abort_waits_for_the_write_of_a_cancelled_caller(store: BlobStore, tmp_path: Path) -> None:
    """An upload whose client left: the thread that still writes must not hit a closed descriptor."""
    writer = store.writer(1 << 30)
    writing = asyncio.create_task(asyncio.to_thread(writer.write, b"x" * (32 << 20)))
    await asyncio.sleep(0.001)
    writing.cancel()
    writer.abort()
    await asyncio.wait([writing])
    with pytest.raises(ValueError, match="open another writer"):
        writer.write(b"more")
    assert files_in(tmp_path / "blobs") == []


DISK_FULL = """
import resource, sys
from pathlib import Path
from eventstore.blobs import BlobStore
from eventstore.log import StorageUnavailable

root = Path(sys.argv[1])
store = BlobStore(root)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
try:
    store.put(b"x" * 300_000)
except StorageUnavailable as refused:
    assert "free space" in str(refused), refused
else:
    raise SystemExit("a full disk went unnoticed")
assert [path for path in root.rglob("*") if path.is_file()] == []
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(store.put(b"x" * 300_000)[1])
"""


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Failed and lost: the writer is told to free space, and the store works on when there is some."""
    assert hasattr(resource, "RLIMIT_FSIZE")
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(tmp_path / "blobs")],
        capture_output=True, text=True, check=False, cwd=Path(blobs_module.__file__).parents[1],
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "300000\n"), done.stderr


def test_a_rename_that_fails_leaves_no_temporary_file(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault after the bytes were written."""

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(blobs_module, "make_directory", no_space)
    with pytest.raises(StorageUnavailable, match="ENOSPC"):
        store.put(DATA)
    assert files_in(tmp_path / "blobs") == []
    monkeypatch.undo()
    store.put(DATA)


def test_a_fault_after_the_rename_is_told_though_the_blob_may_stay(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed but stored: putting it again makes it durable."""

    def broken(_: Path) -> None:
        raise OSError(5, "Input/output error")

    store.path(DIGEST).parent.mkdir()
    monkeypatch.setattr(blobs_module, "fsync_directory", broken)
    with pytest.raises(StorageUnavailable, match="EIO"):
        store.put(DATA)
    assert store.exists(DIGEST)
    monkeypatch.undo()
    assert store.put(DATA) == (DIGEST, len(DATA))
