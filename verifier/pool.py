"""Owns the processes that look at blocks of a log, so that a large proof is verified on several cores.

They are handed blocks and answer spans (`evidence.feed.Each`); what they answer can make a verdict sooner
there, and no verdict other. See docs/decisions/0402-processes-that-verify.md.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the processes import this module too, and start sooner without those
    from evidence.feed import Each, Look
    from evidence.spans import Span

BLOCKS_PER_JOB = 3
"""Blocks that are on their way for each of them; this bounds the memory that they take."""


@contextmanager
def looking(jobs: int) -> Generator[Each]:
    """Has blocks looked at in so many other processes, which end with the block."""
    # Started anew instead of forked: they hold none of our files, locks and threads, on every system.
    executor = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin)
    try:
        yield partial(_each, executor, jobs * BLOCKS_PER_JOB)
    finally:
        executor.shutdown(cancel_futures=True)


def _each(
    executor: ProcessPoolExecutor, waiting_max: int, look: Look, blocks: Iterable[bytes]
) -> Iterator[tuple[bytes, list[Span]]]:
    """`Each` over the processes; where they are killed or cannot be started, this one does the work."""
    waiting: deque[tuple[bytes, Future[list[Span]] | None]] = deque()
    for block in blocks:
        waiting.append((block, _ask(executor, look, block)))
        if len(waiting) == waiting_max:
            yield _answer(look, *waiting.popleft())
    while waiting:
        yield _answer(look, *waiting.popleft())


def _ask(executor: ProcessPoolExecutor, look: Look, block: bytes) -> Future[list[Span]] | None:
    # Asking may start a process, which inherits what is blocked here: Ctrl-C is for this one alone.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return executor.submit(look, block)
    except (BrokenExecutor, OSError):  # OSError: no process more can be started
        return None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _answer(look: Look, block: bytes, found: Future[list[Span]] | None) -> tuple[bytes, list[Span]]:
    try:
        return block, look(block) if found is None else found.result()
    except BrokenExecutor:
        return block, look(block)


def _begin() -> None:
    """In a new process: end with the one that started it, however that one ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "only processes of the pool begin here"
    parent.join()
    os._exit(1)
