"""What was redacted is in no file of the log: neither where it was, nor where SQLite had moved it from."""

import random
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from eventstore.log import Append, NewEvent, Redaction, StorageUnavailable
from eventstore.sqlite.connection import open_reader
from tests.log_kit import World, event, opened

STREAMS = [f"wsr_{letter}" for letter in "abcdef"]
ERASED = STREAMS[::2]
TARGETS_AT_ONCE = 40


async def fill(world: World, seed: int, sizes: list[int]) -> dict[str, list[int]]:
    """Runs that write at the same time, so that rows come to lie between others; answers their output."""
    chance, output = random.Random(seed), {stream: list[int]() for stream in STREAMS}
    for stream in STREAMS:
        await world.create(stream)
    for _ in range(150):
        stream = chance.choice(STREAMS)
        first = len(output[stream]) + 2
        seqs = range(first, first + chance.randint(1, 6))
        await world.log.append(
            Append(
                stream,
                None,
                [
                    NewEvent("stdout", {"data": f"<{stream}{seq}{'.' * chance.choice(sizes)}{stream}{seq}>"})
                    for seq in seqs
                ],
            )
        )
        output[stream] += seqs
    return output


async def erase(world: World, output: dict[str, list[int]]) -> None:
    """All output of every other run."""
    for stream in ERASED:
        seqs = output[stream]
        for at in range(0, len(seqs), TARGETS_AT_ONCE):
            targets = tuple(seqs[at : at + TARGETS_AT_ONCE])
            await world.log.redact(Redaction(stream, targets, "leaked", "key_1"))


def left_in(folder: Path) -> set[bytes]:
    """What the files still hold of it, wherever in them."""
    mark = re.compile(rf"<(?:{'|'.join(ERASED)})\d+|(?:{'|'.join(ERASED)})\d+>".encode())
    return {found for file in folder.iterdir() for found in mark.findall(file.read_bytes())}


@pytest.mark.parametrize(
    ("seed", "sizes"),
    [(1, [20]), (0, [100, 300, 700]), (4, [20, 200, 1500, 3900]), (2, [5000, 60000, 100])],
)
async def test_what_was_erased_is_nowhere_also_where_rows_had_moved(
    tmp_path: Path, seed: int, sizes: list[int]
) -> None:
    """Rows of runs side by side are moved when pages are split, with and without overflow pages."""
    async with opened("sqlite", tmp_path) as world:
        output = await fill(world, seed, sizes)
        await erase(world, output)
        assert left_in(tmp_path) == set()
        for stream in STREAMS:
            kept = [stored.payload is not None for stored in await world.log.read(stream, 1, 10)]
            assert kept == [stream not in ERASED] * 10
        await world.add(5, stream=STREAMS[0])


async def test_an_erasure_that_a_crash_interrupted_is_finished_at_the_next_start(tmp_path: Path) -> None:
    """Committed and not purged: the mark says so, until the file was rewritten."""
    live, crashed = tmp_path / "live", tmp_path / "crashed"
    live.mkdir()
    async with opened("sqlite", live) as world:
        output = await fill(world, 2, [100, 300, 700])
        reader = open_reader(live / "log.sqlite")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()  # holds on to the file as it was
        with pytest.raises(StorageUnavailable, match="erased bytes may still be in the database"):
            await erase(world, output)
        shutil.copytree(live, crashed)
        reader.close()
    assert left_in(crashed)
    async with opened("sqlite", crashed) as world:
        await world.log.append(Append("wsr_z", 0, [event()]))
        first = (await world.log.read(ERASED[0], 1, TARGETS_AT_ONCE))[-1]
        assert first.payload is None
        erased = [f"<{ERASED[0]}{seq}.".encode() for seq in output[ERASED[0]][:TARGETS_AT_ONCE]]
        held = b"".join(file.read_bytes() for file in crashed.iterdir())
        assert not [mark for mark in erased if mark in held]
    database = sqlite3.connect(crashed / "log.sqlite")
    assert database.execute("SELECT count(*) FROM records WHERE kind = 'erasure'").fetchone() == (0,)
    database.close()
