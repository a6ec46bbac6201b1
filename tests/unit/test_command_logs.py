"""Output of commands beside runs: lines by seq, while they are written and afterwards."""

import asyncio
import os
from pathlib import Path

import pytest

from eventstore.command_logs import CommandLogs


async def written(logs: CommandLogs, count: int) -> list[bytes]:
    """So many lines of a command that still writes."""
    logs.begin("cmd_a")
    lines = [b"line %d" % number for number in range(1, count + 1)]
    for start in range(0, count, 7):
        assert logs.next_seq("cmd_a") == start + 1
        await logs.append("cmd_a", lines[start : start + 7])
    return lines


async def test_lines_are_read_behind_any_seq_live_and_ended(tmp_path: Path) -> None:
    """Pages join to the whole; behind the end there is nothing."""
    logs = CommandLogs(tmp_path)
    lines = await written(logs, 50)
    for _ in range(2):
        for after in range(52):
            assert await logs.read("cmd_a", after, 5) == lines[after : after + 5]
        logs.end("cmd_a")
    assert await CommandLogs(tmp_path).read("cmd_a", 48, 500) == lines[48:]
    assert await logs.read("cmd_unknown", 0, 5) == []


async def test_a_line_that_a_crash_cut_is_not_shown(tmp_path: Path) -> None:
    """The last bytes before a power cut may be half a line."""
    logs = CommandLogs(tmp_path)
    lines = await written(logs, 3)
    with (tmp_path / "cmd_a.ndjson").open("ab") as file:
        file.write(b"half")
    assert await CommandLogs(tmp_path).read("cmd_a", 0, 10) == lines


async def test_a_follower_is_woken_by_lines_and_by_the_end(tmp_path: Path) -> None:
    """Without either it waits as long as it said."""
    logs = CommandLogs(tmp_path)
    await written(logs, 1)
    assert not await logs.wait("cmd_a", 0.01)
    waiting = asyncio.create_task(logs.wait("cmd_a", 30))
    await asyncio.sleep(0)
    await logs.append("cmd_a", [b"more"])
    assert await waiting
    waiting = asyncio.create_task(logs.wait("cmd_a", 30))
    await asyncio.sleep(0)
    logs.end("cmd_a")
    assert await waiting
    assert await logs.wait("cmd_a", 30)


async def test_old_output_is_found_and_deleted_but_not_what_is_ended(tmp_path: Path) -> None:
    """By when it was last written to."""
    logs = CommandLogs(tmp_path)
    await written(logs, 1)
    os.utime(tmp_path / "cmd_a.ndjson", (1, 1))
    assert logs.older_than(2) == []
    logs.end("cmd_a")
    assert logs.older_than(2) == ["cmd_a"]
    logs.delete("cmd_a")
    logs.delete("cmd_a")
    assert await logs.read("cmd_a", 0, 5) == []


async def test_an_id_leads_to_no_other_file(tmp_path: Path) -> None:
    """Whatever a caller sends as id."""
    with pytest.raises(ValueError, match="is no command id"):
        await CommandLogs(tmp_path).read("../log", 0, 1)


async def _ended(logs: CommandLogs, folder: Path, command_id: str, size_bytes: int, mtime_s: int) -> None:
    """An ended command with so much output, last written then."""
    logs.begin(command_id)
    await logs.append(command_id, [b"x" * (size_bytes - 1)])
    logs.end(command_id)
    os.utime(folder / f"{command_id}.ndjson", (mtime_s, mtime_s))


async def test_what_is_too_much_goes_oldest_first_and_never_what_runs(tmp_path: Path) -> None:
    """As few files as it takes, so that what stays fits."""
    logs = CommandLogs(tmp_path)
    for number in range(4):
        await _ended(logs, tmp_path, f"cmd_{number}", 100, 1000 + number)
    logs.begin("cmd_0")
    assert logs.oldest_beyond(400) == []
    assert logs.oldest_beyond(399) == ["cmd_1"]
    assert logs.oldest_beyond(150) == ["cmd_1", "cmd_2", "cmd_3"]
    logs.end("cmd_0")
    os.utime(tmp_path / "cmd_0.ndjson", (1000, 1000))
    assert logs.oldest_beyond(150) == ["cmd_0", "cmd_1", "cmd_2"]


async def test_a_command_whose_file_cannot_be_made_does_not_write(tmp_path: Path) -> None:
    """The folder is gone, say: nothing of it stays in memory, and whoever asked is told."""
    logs = CommandLogs(tmp_path / "logs")
    (tmp_path / "logs").rmdir()
    with pytest.raises(FileNotFoundError):
        logs.begin("cmd_1")
    assert repr(logs) == "CommandLogs(writing=0)"
