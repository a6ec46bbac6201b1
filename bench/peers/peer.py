"""Owns the protocol between the questions and whoever is asked: what a peer must be able to do."""

from __future__ import annotations

import importlib.util
import shutil
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from bench.counting import disk_bytes


class Writer(Protocol):
    """One writer of one stream."""

    async def append(self, texts: Sequence[str]) -> None:
        """Return when these events are acknowledged together; they were text before, encode them here."""
        ...

    async def close(self) -> None:
        """Let go of a connection."""
        ...


class Reader(Protocol):
    """One live reader of one stream."""

    def __aiter__(self) -> AsyncIterator[str]:
        """The text of each event, as it arrives."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


class Peer(ABC):
    """A log server on loopback, with its usual Python client, both as a competent user would set them up."""

    name: ClassVar[str]
    """What the command line calls it."""
    title: ClassVar[str]
    per_acknowledgement: ClassVar[str]
    """What one acknowledged append of several events is."""
    modules: ClassVar[tuple[str, ...]] = ()
    programs: ClassVar[Mapping[str, str]] = {}
    """The programs it needs, and how to get each."""
    ours: ClassVar[bool] = False
    batches_only: ClassVar[bool] = False
    """Whether it is left out where an acknowledgement is for one event: there another side is the same."""
    singles_only: ClassVar[bool] = False
    """Whether it is left out where an acknowledgement is for more than one event."""
    folder: Path
    """Where its data lies."""

    def takes(self, size: int) -> bool:
        """Whether it is measured with so many events for each acknowledgement."""
        return not (self.batches_only if size == 1 else self.singles_only)

    def missing(self) -> str | None:
        """What is not installed and how to get it; None when all is there."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"the Python package {module}: run make bench-setup"
        for program, how in self.programs.items():
            if shutil.which(program) is None:
                return f"{program}: {how}"
        return None

    @abstractmethod
    def version(self) -> str:
        """Versions of the server and of the client."""

    @abstractmethod
    async def start(self, folder: Path) -> None:
        """Start with an empty data folder below this one; answers requests when this returns."""

    @abstractmethod
    async def stop(self) -> None:
        """End the processes; a second call does nothing."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Roots of the server's process trees."""

    @abstractmethod
    async def writer(self, stream: str) -> Writer:
        """A writer of a new or existing stream."""

    async def replay_bytes(self, stream: str) -> int:
        """Read all events of the stream without looking into them; answers how many came."""
        raise NotImplementedError

    async def replay_objects(self, stream: str) -> int:
        """Read them as objects, their texts as `str`; answers how many came."""
        raise NotImplementedError

    async def reader(self, stream: str) -> Reader:
        """A live reader of what is appended after this returns; it may first read what was there before."""
        raise NotImplementedError

    async def flush(self) -> None:  # noqa: B027 # most have nothing to do
        """Let it bring its data files up to date before they are measured."""

    async def disk_bytes(self) -> int:
        """What its data takes on the disk, without journals that are used again."""
        return disk_bytes(self.folder)

    async def renew(self) -> None:  # noqa: B027 # most do not mind
        """Make room for new streams, now that nobody writes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one side: what was acknowledged, how fast, at which cost."""

    events: int
    text_bytes: int
    took_s: float
    latencies_s: Sequence[float]
    server_cpu_s: float
    client_cpu_s: float
