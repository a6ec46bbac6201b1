"""The runner's end of the socket to one holder: a request at a time, and word of its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from runner import wire
from runner.wire import Packet

ANSWERS_MAX = 4
"""One request runs at a time, so one answer is waited for; more would be noise."""


class SandboxGone(Exception):
    """The holder ended, and everything in its sandbox with it."""


class SandboxUnavailable(Exception):
    """No sandbox can be had, or this one cannot do what was asked; the message is for the run's owner."""


class HolderLink:
    """Sends packets and gives back the answers; must be made in the running event loop."""

    def __init__(self, control: socket.socket) -> None:
        control.setblocking(False)
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._answers: asyncio.Queue[tuple[Packet, list[int]]] = asyncio.Queue(ANSWERS_MAX)
        self._gone = asyncio.Event()
        self._loop.add_reader(control, self._read)

    def __repr__(self) -> str:
        return f"HolderLink(fd={self._control.fileno()}, gone={self.gone})"

    @property
    def gone(self) -> bool:
        """True once the holder has ended or was hung up on."""
        return self._gone.is_set()

    async def receive(self) -> tuple[Packet, list[int]]:
        """The next answer and its descriptors, which become the caller's; raises `SandboxGone`."""
        answer = asyncio.ensure_future(self._answers.get())
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise SandboxGone("The sandbox ended.")
        finally:
            answer.cancel()
            gone.cancel()

    async def request(self, packet: Packet, fds: tuple[int, ...] = ()) -> Packet:
        """Send, and wait for the answer; raises `SandboxGone`, ValueError when the packet is too long."""
        self.tell(packet, fds)
        answer, received = await self.receive()
        _close(received)
        return answer

    def tell(self, packet: Packet, fds: tuple[int, ...] = ()) -> None:
        """Send a packet that has no answer of its own; nothing happens when the holder is gone."""
        data = wire.pack(packet)
        with contextlib.suppress(OSError):  # its end is reported by the reader, where everybody waits for it
            socket.send_fds(self._control, [data], fds)

    def close(self) -> None:
        """Hang up: the holder ends everything and itself."""
        if self._control.fileno() >= 0:
            self._loop.remove_reader(self._control)
            self._control.close()
            self._gone.set()

    def _read(self) -> None:
        try:
            received = wire.receive(self._control)
        except BlockingIOError:
            return
        if received is None:
            self._loop.remove_reader(self._control)
            self._gone.set()
        elif self._answers.full():
            _close(received[1])
        else:
            self._answers.put_nowait(received)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
