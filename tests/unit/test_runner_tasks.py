"""Which exit code a command has whose keeper was killed: its own, in whatever order the two are buried."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from runner import wire
from runner.tasks import Task
from runner.wire import Packet

KEEPER_PID, COMMAND_PID = 70_001, 70_002
KILLED = int(signal.SIGKILL)
EXITED_3 = 3 << 8


@pytest.fixture
def task() -> Iterator[Task]:
    """A keeper that said it has started its command; neither is a process of this machine."""
    word_fd, write_fd = os.pipe()
    os.write(write_fd, wire.pack(Packet("started", (str(COMMAND_PID),))))
    os.close(write_fd)
    yield Task(KEEPER_PID, word_fd, is_command=True)
    os.close(word_fd)


def test_a_command_that_was_buried_before_its_keeper_keeps_its_exit_code(task: Task) -> None:
    """However long before: a dying keeper gives its command away before it can be buried itself."""
    task.orphan_ended(COMMAND_PID, EXITED_3)
    assert task.final_status(KILLED) == EXITED_3


def test_a_stranger_that_was_buried_before_is_not_the_command(task: Task) -> None:
    """Then nobody knows the command's own end, and the keeper's stands for it."""
    task.orphan_ended(COMMAND_PID + 1, EXITED_3)
    assert task.final_status(KILLED) == KILLED


def test_a_keeper_that_ended_in_order_tells_for_its_command(task: Task) -> None:
    """It waited for the command itself."""
    task.orphan_ended(COMMAND_PID, KILLED)
    assert task.final_status(EXITED_3) == EXITED_3


def test_a_task_that_was_to_be_killed_ended_by_that(task: Task) -> None:
    """What the command did meanwhile is not asked."""
    task.killed = True
    task.orphan_ended(COMMAND_PID, EXITED_3)
    assert task.final_status(KILLED) == KILLED


def test_an_orphan_that_ends_while_a_keeper_is_starting_keeps_nobody_waiting() -> None:
    """The holder asks without waiting; the word that comes later is heard."""
    word_fd, write_fd = os.pipe()
    task = Task(KEEPER_PID, word_fd, is_command=True)
    task.orphan_ended(COMMAND_PID, EXITED_3)
    os.write(write_fd, wire.pack(Packet("started", (str(COMMAND_PID),))))
    assert task.command_pid() == COMMAND_PID
    os.close(write_fd)
    os.close(word_fd)
