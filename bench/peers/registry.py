"""Owns the list of peers: who there is, who was asked for, who is missing here and why."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench import results
from bench.common import scratch
from bench.peers.durable_streams import DurableStreams
from bench.peers.nats_jetstream import NatsAlways, NatsDefault
from bench.peers.peer import Peer
from bench.peers.postgres import Postgres, PostgresBatch
from bench.peers.redis_always import RedisAlways, RedisLean

PEERS: tuple[type[Peer], ...] = (
    RedisAlways,
    RedisLean,
    Postgres,
    PostgresBatch,
    NatsDefault,
    NatsAlways,
    DurableStreams,
)


def wanted(name: str) -> bool:
    """Whether BENCH_PEERS (names with commas) asks for this one; all are wanted when it is not set."""
    names = os.environ.get("BENCH_PEERS", "")
    return not names or name in names.split(",")


def present(kinds: Sequence[type[Peer]]) -> list[Peer]:
    """Those that were asked for and are installed; the others are named in the results."""
    found = []
    for peer in (kind() for kind in kinds if kind.ours or wanted(kind.name)):
        if (lack := peer.missing()) is not None:
            results.note_missing(peer.title, lack)
        else:
            results.note_version(peer.title, peer.version())
            found.append(peer)
    return found


@asynccontextmanager
async def running(kinds: Sequence[type[Peer]]) -> AsyncIterator[tuple[Path, list[Peer]]]:
    """Start the peers in a scratch folder; all are ended and the folder is gone when the block ends."""
    with scratch() as name:
        folder = name.resolve()
        folder.chmod(0o711)  # a server that runs as a user of its own must reach its data
        async with AsyncExitStack() as stack:
            alive: list[Peer] = []
            for peer in present(kinds):
                stack.push_async_callback(peer.stop)
                if await _started(peer, folder):
                    alive.append(peer)
            yield folder, alive


async def _started(peer: Peer, folder: Path) -> bool:
    """Start it; one that does not start is named like one that is not installed."""
    try:
        await peer.start(folder)
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        if peer.ours:
            raise
        results.note_missing(peer.title, f"it does not start here: {error}")
        return False
    return True


def emptied(folder: Path) -> Path:
    """A new folder in place of what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
