"""The runner's end of the socket to a holder, with the other end in the test's hands."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from runner import wire
from runner.link import WAITING_MAX, HolderLink, HolderTask, SandboxGone, SandboxUnavailable
from runner.wire import Packet

pytestmark = pytest.mark.asyncio
TASKS_MAX = 100


@pytest_asyncio.fixture
async def ends() -> AsyncIterator[tuple[HolderLink, socket.socket]]:
    """The link, and the holder's end of its socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link = HolderLink(ours, TASKS_MAX)
    theirs.setblocking(False)
    with theirs:
        yield link, theirs
        link.close()


async def _received(theirs: socket.socket) -> tuple[Packet, list[int]]:
    """What the holder is sent next."""
    async with asyncio.timeout(20):
        while True:
            try:
                received = wire.receive(theirs)
            except BlockingIOError:
                await asyncio.sleep(0)
            else:
                assert received
                return received


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names are all it takes


async def test_answers_reach_whoever_asked(ends: tuple[HolderLink, socket.socket]) -> None:
    """In any order, without the name that they travel under."""
    link, theirs = ends
    tasks = [link.begin("run", (str(n),)) for n in range(3)]
    names = [(await _received(theirs))[0].fields for _ in tasks]
    for name, number in reversed(names):
        wire.send(theirs, Packet("exited", (name, number * 2)))
    answers = [(await task.answer())[0] for task in tasks]
    assert answers == [Packet("exited", (text,)) for text in ("00", "11", "22")]


async def test_a_holder_that_does_not_read_loses_nothing(ends: tuple[HolderLink, socket.socket]) -> None:
    """Packets and their descriptors wait in order; past a limit no task is taken, but one can be killed."""
    link, theirs = ends
    before, long = _open_descriptors(), "x" * 150_000
    with open("/dev/null", "rb") as file:  # noqa: ASYNC230, PTH123  # any descriptor will do
        tasks = _begun(link, (long,), file.fileno())
    assert WAITING_MAX <= len(tasks) < TASKS_MAX
    tasks[0].kill()
    for number in range(len(tasks)):
        packet, (fd,) = await _received(theirs)
        os.close(fd)
        assert packet == Packet("file", (f"t{number}", long))
    assert (await _received(theirs))[0] == Packet("kill", ("t0",))
    assert _open_descriptors() == before


def _begun(link: HolderLink, fields: tuple[str, ...], fd: int) -> list[HolderTask]:
    """Tasks until one is refused."""
    tasks: list[HolderTask] = []
    while len(tasks) < TASKS_MAX:
        try:
            tasks.append(link.begin("file", fields, (fd,)))
        except SandboxUnavailable as refusal:
            assert "keep up" in str(refusal)  # noqa: PT017  # the tasks from before are what is wanted
            break
    return tasks


async def test_a_packet_that_is_too_long_is_no_task(ends: tuple[HolderLink, socket.socket]) -> None:
    """Nothing waits for it then, and a kill of what has ended says nothing."""
    link, theirs = ends
    with pytest.raises(ValueError, match="at most"):
        link.begin("run", ("x" * 300_000,))
    with pytest.raises(ValueError, match="NUL"):
        link.begin("run", ("a\0b",))
    task = link.begin("run", ())
    wire.send(theirs, Packet("exited", ("t0", "0")))
    await task.answer()
    task.kill()
    link.begin("run", ("last",))
    assert [(await _received(theirs))[0].fields for _ in range(2)] == [("t0",), ("t1", "last")]


async def test_tasks_at_once_have_a_limit() -> None:
    """The one too many is refused before anything is sent."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        link = HolderLink(ours, 2)
        first, _ = link.begin("run", ()), link.begin("run", ())
        with pytest.raises(SandboxUnavailable, match="2 things"):
            link.begin("run", ())
        wire.send(theirs, Packet("exited", ("t0", "0")))
        await first.answer()
        assert repr(link.begin("run", ())) == "HolderTask(t2, answered=False)"
        link.close()


@pytest.mark.parametrize("early", [True, False])
async def test_an_abandoned_answer_leaves_no_descriptor(
    ends: tuple[HolderLink, socket.socket],
    early: bool,  # noqa: FBT001  # a case of the test
) -> None:
    """Whether it comes before or after its asker has gone; the holder is told in time."""
    link, theirs = ends
    before = _open_descriptors()
    task, other = link.begin("dial", ("80",)), link.begin("run", ())
    if early:
        task.abandon()
    with open("/dev/null", "rb") as file:  # noqa: ASYNC230, PTH123  # any descriptor will do
        wire.send(theirs, Packet("dialed", ("t0",)), (file.fileno(),))
    wire.send(theirs, Packet("exited", ("t1", "0")))
    await other.answer()
    if not early:
        task.abandon()
    assert _open_descriptors() == before
    kinds = [(await _received(theirs))[0].kind for _ in range(3 if early else 2)]
    assert kinds == ["dial", "run", "kill"][: len(kinds)]


async def test_everybody_who_waits_is_told_of_the_end(ends: tuple[HolderLink, socket.socket]) -> None:
    """And so is whoever asks later; only an end that nobody asked for is a death."""
    link, theirs = ends
    died: list[bool] = []
    link.on_died = lambda: died.append(link.died)
    waiting = [asyncio.create_task(link.begin("run", ()).answer()) for _ in range(3)]
    await asyncio.sleep(0)
    theirs.close()
    for answer in waiting:
        with pytest.raises(SandboxGone):
            await answer
    with pytest.raises(SandboxGone):
        await link.begin("run", ()).answer()
    assert (link.gone, died) == (True, [True])


async def test_hanging_up_is_no_death(ends: tuple[HolderLink, socket.socket]) -> None:
    """It was asked for."""
    link, _ = ends
    link.on_died = pytest.fail
    task = link.begin("run", ())
    link.close()
    with pytest.raises(SandboxGone):
        await task.answer()
    assert (link.gone, link.died) == (True, False)
