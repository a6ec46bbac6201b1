"""The runner's end of the socket to one holder: tasks, each with its own answer, and word of its end."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable

from runner import wire
from runner.wire import Packet

WAITING_MAX = 64
"""Packets that wait until the holder takes them, which is busy for moments only; past that no new task."""
Answer = tuple[Packet, list[int]]


class SandboxGone(Exception):
    """The holder ended, and everything in its sandbox with it."""


class SandboxUnavailable(Exception):
    """No sandbox can be had, or this one cannot do what was asked; the message is for the run's owner."""


class PortClosed(Exception):
    """Nothing in the sandbox accepts connections on this port."""


class HolderTask:
    """One thing that the holder was asked to do, from the asking to its answer."""

    def __init__(self, link: HolderLink, name: str, received: asyncio.Future[Answer | None]) -> None:
        self._link = link
        self._name = name
        self._received = received

    def __repr__(self) -> str:
        return f"HolderTask({self._name}, answered={self._received.done()})"

    async def answer(self) -> Answer:
        """The answer and its descriptors, which become the caller's; raises `SandboxGone`.

        A caller that is canceled may ask again, or must `abandon`.
        """
        received = await asyncio.shield(self._received)
        if received is None:
            raise SandboxGone("The sandbox ended.")
        return received

    def terminate(self) -> None:
        """Ask a command to end: SIGTERM to its process group."""
        self._link.tell("terminate", self._name)

    def kill(self) -> None:
        """End it and everything it started; the holder answers as for an ordinary end."""
        self._link.tell("kill", self._name)

    def abandon(self) -> None:
        """Nobody wants the answer any more: end it, and close what comes with the answer."""
        if not self._received.cancel():
            _close(self._received.result())
        self.kill()


class HolderLink:
    """Starts tasks and gives back the answers; must be made in the running event loop."""

    def __init__(self, control: socket.socket, tasks_max: int) -> None:
        control.setblocking(False)
        self._control = control
        self._tasks_max = tasks_max
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Answer | None] = self._loop.create_future()
        self._started = 0
        self._waiters: dict[str, asyncio.Future[Answer | None]] = {}
        self._outgoing: deque[tuple[bytes, list[int]]] = deque()
        self._gone = False
        self.died = False
        """True once the holder ended without being hung up on."""
        self.on_died: Callable[[], None] | None = None
        self._loop.add_reader(control, self._read)

    def __repr__(self) -> str:
        return f"HolderLink(fd={self._control.fileno()}, tasks={len(self._waiters)}, gone={self.gone})"

    @property
    def gone(self) -> bool:
        """True once the holder has ended or was hung up on."""
        return self._gone

    async def ready(self) -> int:
        """Wait until the holder serves: a descriptor of its workspace; raises `SandboxGone`."""
        received = await self._ready
        if received is None:
            raise SandboxGone("The sandbox ended.")
        return received[1][0]

    def begin(self, kind: str, fields: tuple[str, ...], fds: tuple[int, ...] = ()) -> HolderTask:
        """Start a task; the descriptors are duplicated.

        Raises ValueError when the packet is too long, `SandboxUnavailable` when the holder has enough to do.
        """
        name = f"t{self._started}"
        data = wire.pack(Packet(kind, (name, *fields)))
        if len(self._waiters) >= self._tasks_max:
            raise SandboxUnavailable(
                f"The sandbox does {self._tasks_max} things already. Wait for one to end."
            )
        if len(self._outgoing) >= WAITING_MAX:
            raise SandboxUnavailable("The sandbox does not keep up with what it is asked. Try again later.")
        self._started += 1
        received: asyncio.Future[Answer | None] = self._loop.create_future()
        if self._gone:
            received.set_result(None)
        else:
            self._waiters[name] = received
            self._send(data, fds)
        return HolderTask(self, name, received)

    def tell(self, kind: str, name: str) -> None:
        """Say something about a task; nothing happens when it has ended or the holder is gone."""
        if name in self._waiters:
            self._send(wire.pack(Packet(kind, (name,))), ())

    def close(self) -> None:
        """Hang up: the holder ends everything and itself."""
        if self._control.fileno() >= 0:
            self._loop.remove_reader(self._control)
            self._loop.remove_writer(self._control)
            self._control.close()
            self._end()

    def _send(self, data: bytes, fds: tuple[int, ...]) -> None:
        """Send now, or when the holder has taken what was sent before: a full socket loses nothing."""
        self._outgoing.append((data, [os.dup(fd) for fd in fds]))
        self._flush()

    def _flush(self) -> None:
        while self._outgoing:
            data, fds = self._outgoing[0]
            try:
                socket.send_fds(self._control, [data], fds)
            except BlockingIOError:
                self._loop.add_writer(self._control, self._flush)
                return
            except OSError:  # its end is reported by the reader, where everybody waits for it
                pass
            self._outgoing.popleft()
            _close_all(fds)
        self._loop.remove_writer(self._control)

    def _read(self) -> None:
        try:
            received = wire.receive(self._control)
        except BlockingIOError:
            return
        if received is None:
            self._loop.remove_reader(self._control)
            self._loop.remove_writer(self._control)
            self.died = True
            self._end()
            if self.on_died:
                self.on_died()
            return
        packet, fds = received
        if packet.kind == "ready" and not self._ready.done():
            self._ready.set_result(received)
            return
        name, *fields = packet.fields or ("",)
        waiter = self._waiters.pop(name, None)
        if waiter and not waiter.done():
            waiter.set_result((Packet(packet.kind, tuple(fields)), fds))
        else:
            _close_all(fds)

    def _end(self) -> None:
        """Nothing comes any more: tell everybody who waits."""
        self._gone = True
        while self._outgoing:
            _close_all(self._outgoing.popleft()[1])
        waiters = (self._ready, *self._waiters.values())
        self._waiters.clear()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _close(answer: Answer | None) -> None:
    if answer:
        _close_all(answer[1])


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
