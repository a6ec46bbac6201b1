"""The `eventsourcing` library on SQLite: domain events through its own event store, mapper and recorder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent


class Output(DomainEvent):
    """One event of a run's output."""

    type: str
    data: str


class Library:
    """One application on one database file, as the library sets it up: WAL, synchronous=FULL."""

    def __init__(self, file: Path) -> None:
        env = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(file)}
        self._application: Application = Application(env=env)

    def appender(self) -> Callable[[Sequence[str]], None]:
        """What appends to a new run: one transaction a call, without loading an aggregate first."""
        run = uuid4()
        head = 0

        def append(texts: Sequence[str]) -> None:
            nonlocal head
            now: datetime = Output.create_timestamp()
            self._application.events.put(
                [
                    Output(
                        originator_id=run, originator_version=number, timestamp=now, type="stdout", data=text
                    )
                    for number, text in enumerate(texts, head + 1)
                ]
            )
            head += len(texts)

        return append
