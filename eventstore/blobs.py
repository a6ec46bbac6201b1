"""Owns content-addressed files: archives and artifacts, each under the SHA-256 of its bytes.

Layout: `<root>/<first two hex digits>/<64 hex digits>`, and `<root>/tmp/` for what is being written.
A blob is durable before any event names it (DESIGN §3). Crash windows, in the order of `commit`:

- before the rename: a temporary file is left, and swept when the store is next opened;
- between rename and the folder's fsync: the blob may or may not be there; nobody was told of it;
- after it, before the event: an unreferenced blob is left, harmless; a retry finds the same name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Callable, Generator
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ParamSpec, Self, TypeVar

from eventstore.durable import fsync_directory, make_directory
from eventstore.log import LogError, StorageUnavailable

COPY_BYTES = 1024 * 1024
"""How much of a source is held in memory at a time."""

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TEMPORARY = "tmp"
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

P = ParamSpec("P")
T = TypeVar("T")


class BlobTooLarge(LogError, ValueError):
    """The caller sent more than it may: nothing was kept. `size_bytes_max` is the limit.

    It is a ValueError too, for callers such as the runner that know no store.
    """

    def __init__(self, size_bytes_max: int) -> None:
        super().__init__(f"more than the {size_bytes_max} bytes that are allowed: send less")
        self.size_bytes_max = size_bytes_max


class UnknownBlob(LogError):
    """No blob with this digest is stored (or it was deleted)."""


def _storage_errors(method: Callable[P, T]) -> Callable[P, T]:
    """What the disk refuses becomes `StorageUnavailable`, whose message says what to do."""

    @wraps(method)
    def translated(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except OSError as error:
            what = errno.errorcode.get(error.errno or 0, "error")
            remedy = "let this user write there" if error.errno in _FORBIDDEN else "free space and try again"
            where = f" to {error.filename}" if error.filename else ""
            raise StorageUnavailable(
                f"the blob store cannot write{where} ({what}: {error.strerror}); {remedy}"
            ) from error

    return translated


class BlobWriter:
    """One blob on its way: `write` as often as needed, then `commit`, or `abort` to forget it.

    As a context manager it aborts unless it was committed. Any error aborts it. `abort` may come while
    another thread is writing (a caller that was cancelled): it waits for that write.
    """

    def __init__(self, store: BlobStore, file: BinaryIO, temporary: Path, size_bytes_max: int) -> None:
        self._store, self._file, self._temporary = store, file, temporary
        self._digest = hashlib.sha256()
        self._size_bytes_max = size_bytes_max
        self._open = True
        self._lock = threading.RLock()  # never close a descriptor that another thread writes to
        self.size_bytes = 0

    def __repr__(self) -> str:
        return f"BlobWriter(size_bytes={self.size_bytes}, {'open' if self._open else 'closed'})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    @property
    def sha256(self) -> str:
        """Lowercase hex digest of what was written so far: to be compared before `commit`."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Add bytes. Raises `BlobTooLarge` and `StorageUnavailable`; nothing is kept then."""
        with self._all_or_nothing():
            self.size_bytes += len(data)
            if self.size_bytes > self._size_bytes_max:
                raise BlobTooLarge(self._size_bytes_max)
            self._write(data)

    def commit(self) -> tuple[str, int]:
        """Make it durable under its name; answer lowercase hex SHA-256 and size in bytes.

        Raises `StorageUnavailable`; nothing is kept then.
        """
        with self._all_or_nothing():
            sha256 = self._digest.hexdigest()
            self._sync()
            self._store.adopt(self._temporary, sha256)
            self._open = False
            return sha256, self.size_bytes

    def abort(self) -> None:
        """Forget it; harmless after `commit` and when called twice."""
        with self._lock:
            if self._open:
                self._open = False
                self._temporary.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # nothing in it that we want to keep
                    self._file.close()

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Generator[None]:
        with self._lock:
            if not self._open:
                raise ValueError("this blob is committed or aborted: open another writer")
            try:
                yield
            except BaseException:
                self.abort()
                raise

    @_storage_errors
    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:  # an unbuffered write may take less than it was given
            view = view[self._file.write(view) :]
        self._digest.update(data)

    @_storage_errors
    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


class BlobStore:
    """The blobs below one folder. Every method blocks and may be called from any thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._temporary = root / _TEMPORARY
        self._naming = threading.Lock()
        self._prepare()

    def __repr__(self) -> str:
        return f"BlobStore({str(self._root)!r})"

    def writer(self, size_bytes_max: int) -> BlobWriter:
        """A writer that refuses more than `size_bytes_max` bytes."""
        file, path = self._create_temporary()
        return BlobWriter(self, file, path, size_bytes_max)

    def put(self, data: bytes) -> tuple[str, int]:
        """Store these bytes; answer digest and size."""
        with self.writer(len(data)) as writer:
            writer.write(data)
            return writer.commit()

    def put_file(self, source: BinaryIO, size_bytes_max: int) -> tuple[str, int]:
        """Store what is left to read of `source`, in bounded memory; answer digest and size."""
        with self.writer(size_bytes_max) as writer:
            while data := source.read(COPY_BYTES):
                writer.write(data)
            return writer.commit()

    def path(self, sha256: str) -> Path:
        """Where a blob of this digest lies or would lie. Raises ValueError for anything but 64 hex digits."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256[:80]!a} is no lowercase hex SHA-256")
        return self._root / sha256[:2] / sha256

    def open(self, sha256: str) -> BinaryIO:
        """The blob, open for reading. Raises `UnknownBlob`."""
        try:
            return self.path(sha256).open("rb")
        except FileNotFoundError:
            raise UnknownBlob(f"no blob {sha256} is stored") from None

    def exists(self, sha256: str) -> bool:
        """Whether the blob is stored."""
        return self.path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """Its size in bytes. Raises `UnknownBlob`."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            raise UnknownBlob(f"no blob {sha256} is stored") from None

    @_storage_errors
    def delete(self, sha256: str) -> None:
        """Remove the blob if it is there, durably. Whoever has it open reads on."""
        path = self.path(sha256)
        if path.exists():
            path.unlink(missing_ok=True)
            fsync_directory(path.parent)

    @_storage_errors
    def delete_unless_newer(self, sha256: str, time_s: float) -> bool:
        """Remove the blob unless it was stored (again) after this unix time; tell whether it is gone.

        Whoever stores the same bytes meanwhile is safe: they get a new file and time, under the same lock.
        """
        path = self.path(sha256)
        with self._naming:
            if not path.exists():
                return True
            if path.stat().st_mtime > time_s:
                return False
            path.unlink()
        fsync_directory(path.parent)
        return True

    @_storage_errors
    def adopt(self, temporary: Path, sha256: str) -> None:
        """Give a complete, fsynced file its name.

        A blob of that name is replaced by the same bytes, which heals one that a broken disk damaged.
        """
        path = self.path(sha256)
        make_directory(path.parent)
        with self._naming:
            temporary.rename(path)
        fsync_directory(path.parent)

    @_storage_errors
    def _prepare(self) -> None:
        """Sweep what a crash left half-written: one process owns the folder, so nobody is writing it now."""
        make_directory(self._temporary)
        for stale in self._temporary.iterdir():
            stale.unlink()

    @_storage_errors
    def _create_temporary(self) -> tuple[BinaryIO, Path]:
        fd, name = tempfile.mkstemp(dir=self._temporary)
        return os.fdopen(fd, "wb", buffering=0), Path(name)
