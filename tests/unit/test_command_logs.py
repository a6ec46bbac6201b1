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


async def test_old_output_is_found_and_deleted_but_not_what_is_written(tmp_path: Path) -> None:
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
