"""Output of commands in warm sandboxes: one file of lines a command, beside the log and no part of it.

It is not fsynced and proves nothing (CONTRACT §6.7: not folded): whoever needs durable output makes a run. A
line is one JSON object, its seq is its number in the file.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

COMMAND_ID = re.compile(r"cmd_[A-Za-z0-9]{1,64}")
READ_BYTES_MAX = 4 * 1024 * 1024
"""One page of lines ends at the first line past this."""


class CommandLogs:
    """A folder of such files; one process owns it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._starts: dict[str, list[int]] = {}
        """Where each line of a command that writes begins: a follower reads on, not all again."""
        self._news: dict[str, asyncio.Event] = {}

    def __repr__(self) -> str:
        return f"CommandLogs(writing={len(self._starts)})"

    def begin(self, command_id: str) -> None:
        """A command starts to write."""
        path = self._path(command_id)
        self._starts[command_id] = [0]
        self._news[command_id] = asyncio.Event()
        try:
            path.touch(mode=0o600)
        except OSError:
            self.end(command_id)
            raise

    async def append(self, command_id: str, lines: Sequence[bytes]) -> None:
        """Add lines, whose seqs go on from `next_seq`."""
        data = b"".join([line + b"\n" for line in lines])
        await asyncio.to_thread(self._write, command_id, data)
        starts = self._starts[command_id]
        for line in lines:
            starts.append(starts[-1] + len(line) + 1)
        self._wake(command_id)

    def next_seq(self, command_id: str) -> int:
        """The seq of the next line of a command that writes."""
        return len(self._starts[command_id])

    def end(self, command_id: str) -> None:
        """The command has ended: followers look for its end, and nothing is kept in memory."""
        self._starts.pop(command_id, None)
        if news := self._news.pop(command_id, None):
            news.set()

    async def wait(self, command_id: str, timeout_s: float) -> bool:
        """Until there may be more or the command has ended; False when the time ran out."""
        news = self._news.get(command_id)
        if news is None:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await news.wait()
        except TimeoutError:
            return False
        return True

    async def read(self, command_id: str, after_seq: int, limit: int) -> list[bytes]:
        """Up to `limit` lines behind `after_seq`; none when the file is gone."""
        starts = self._starts.get(command_id)
        if starts is None:
            return await asyncio.to_thread(self._read, command_id, 0, after_seq, limit)
        if after_seq >= len(starts) - 1:
            return []
        count = min(limit, len(starts) - 1 - after_seq)  # what is being written just now is not read
        return await asyncio.to_thread(self._read, command_id, starts[after_seq], 0, count)

    def delete(self, command_id: str) -> None:
        """Remove the file if it is there."""
        self._path(command_id).unlink(missing_ok=True)

    def older_than(self, time_s: float) -> list[str]:
        """Ids of commands whose file was last written before this time."""
        return [
            path.stem
            for path in self._folder.glob("cmd_*.ndjson")
            if path.stem not in self._starts and path.stat().st_mtime < time_s
        ]

    def oldest_beyond(self, bytes_max: int) -> list[str]:
        """Ids of ended commands, those written longest ago, without whose files the others fit into this."""
        files = [(path, path.stat()) for path in self._folder.glob("cmd_*.ndjson")]
        over = sum(found.st_size for _, found in files) - bytes_max
        chosen: list[str] = []
        for path, found in sorted(files, key=lambda file: file[1].st_mtime_ns):
            if over > 0 and path.stem not in self._starts:
                chosen.append(path.stem)
                over -= found.st_size
        return chosen

    def _wake(self, command_id: str) -> None:
        self._news[command_id].set()
        self._news[command_id] = asyncio.Event()

    def _write(self, command_id: str, data: bytes) -> None:
        with self._path(command_id).open("ab") as file:
            file.write(data)

    def _read(self, command_id: str, offset: int, skipped: int, limit: int) -> list[bytes]:
        lines: list[bytes] = []
        size_bytes = 0
        try:
            with self._path(command_id).open("rb") as file:
                file.seek(offset)
                for number, line in enumerate(file):
                    if number < skipped or not line.endswith(b"\n"):
                        continue
                    lines.append(line[:-1])
                    size_bytes += len(line)
                    if len(lines) >= limit or size_bytes >= READ_BYTES_MAX:
                        break
        except FileNotFoundError:
            return []
        return lines

    def _path(self, command_id: str) -> Path:
        if not COMMAND_ID.fullmatch(command_id):
            raise ValueError(f"{command_id!r} is no command id.")
        return self._folder / f"{command_id}.ndjson"
