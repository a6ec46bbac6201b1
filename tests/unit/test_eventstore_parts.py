"""The small parts of the log: frames, bounded memory, wake-ups, the folder lock, durable folders."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eventstore.durable import make_directory
from eventstore.framing import join_frames, shown_payload
from eventstore.log import Framing, StoredEvent
from eventstore.recent import Recent
from eventstore.sqlite.folder import DataFolder, DataFolderInUse
from eventstore.wakeups import Wakeups

ROOT = Path(__file__).resolve().parents[2]
PAYLOAD = StoredEvent(7, "stdout", 0, b'{"seq":7}', bytes(16), 9)
REDACTED = StoredEvent(8, "stderr", 1_700_000_000_123, None, None, 99, bytes(32))


def test_frames_end_with_line_feeds_alone() -> None:
    """`id`, `event`, `data` in that order; one line an event (CONTRACT §6.2)."""
    assert join_frames(Framing.SSE, [PAYLOAD]) == b'id: 7\nevent: stdout\ndata: {"seq":7}\n\n'
    assert join_frames(Framing.NDJSON, [PAYLOAD, PAYLOAD]) == b'{"seq":7}\n{"seq":7}\n'


def test_a_redacted_event_is_shown_as_a_placeholder() -> None:
    """Same type, seq and time, and it says that it is not the proof bytes (P7)."""
    placeholder = (
        b'{"createdAt":"2023-11-14T22:13:20.123Z","data":"","redacted":true,"seq":8,"type":"stderr"}'
    )
    assert shown_payload(REDACTED) == placeholder
    assert join_frames(Framing.SSE, [REDACTED]) == b"id: 8\nevent: stderr\ndata: " + placeholder + b"\n\n"


def test_a_bounded_memory_forgets_what_was_unused_longest() -> None:
    """Reading counts as use."""
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)
    assert repr(recent) == "Recent(2/2)"
    recent.clear()
    assert len(recent) == 0


async def test_a_size_read_late_does_not_hide_a_wake_up() -> None:
    """The disk answered before the commit, the answer came after it."""
    wakeups = Wakeups(10)

    async def slow_size(_: str) -> int:
        wakeups.grown("s", 5)
        await asyncio.sleep(0)
        return 4

    assert await wakeups.wait("s", 4, 0, slow_size)
    assert await wakeups.wait("s", 4, 0, slow_size)


async def test_a_stream_heard_of_lately_costs_no_read() -> None:
    """The sizes are remembered, the topics are not."""
    wakeups, reads = Wakeups(1), 0

    async def size(_: str) -> int:
        nonlocal reads
        reads += 1
        return 3

    assert await wakeups.wait("s", 2, 0, size)
    assert not await wakeups.wait("s", 3, 0, size)
    assert reads == 1
    wakeups.grown("other", 1)  # the memory has room for one: the size of s is read again
    assert not await wakeups.wait("s", 3, 0, size)
    assert reads == 2
    assert repr(wakeups) == "Wakeups(streams=0, waiters=0)"


def test_a_data_folder_has_one_owner(tmp_path: Path) -> None:
    """A second process is refused and told the pid of the first; a lock left by a dead one is free."""
    folder = tmp_path / "new" / "data"
    with DataFolder(folder):
        with pytest.raises(DataFolderInUse, match=rf"pid {os.getpid()}: stop that one"), DataFolder(folder):
            pass
        code = "import sys; from pathlib import Path; from eventstore.sqlite.folder import DataFolder\n"
        code += "with DataFolder(Path(sys.argv[1])): pass"
        other = subprocess.run(
            [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert f"in use by the process with pid {os.getpid()}" in other.stderr
    with DataFolder(folder) as again:
        assert again.path == folder
    assert folder.stat().st_mode & 0o077 == 0


def test_a_killed_owner_leaves_the_folder_free(tmp_path: Path) -> None:
    """The kernel lets go of the lock."""
    code = "import os, sys; from pathlib import Path; from eventstore.sqlite.folder import DataFolder\n"
    code += "DataFolder(Path(sys.argv[1])).__enter__(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, cwd=ROOT)
    assert (tmp_path / "lock").read_text().strip().isdigit()
    with DataFolder(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_new_folder_and_every_one_above_it_become_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each parent that got a new name is fsynced; an existing folder costs nothing."""
    synced: list[str] = []
    fsync = os.fsync

    def recording(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink().relative_to(tmp_path)))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", recording)
    make_directory(tmp_path / "a" / "b" / "c")
    make_directory(tmp_path / "a" / "b" / "c")
    assert synced == [".", "a", "a/b"]
