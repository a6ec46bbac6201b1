"""The holder's connections to ports of its sandbox, until each is made and handed to the runner."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass

from runner.wire import Packet

ADDRESSES: tuple[tuple[socket.AddressFamily, str], ...] = (
    (socket.AF_INET, "127.0.0.1"),
    (socket.AF_INET6, "::1"),
)
"""A program that listens on `localhost` may mean either."""


@dataclass(slots=True)
class _Dial:
    task: str
    port: int
    connection: socket.socket
    tried: int = 1


class Dials:
    """Connections that are being made; nothing here waits."""

    def __init__(self, poll: select.poll, answer: Callable[[str, Packet, tuple[int, ...]], None]) -> None:
        self._poll = poll
        self._answer = answer
        self._by_fd: dict[int, _Dial] = {}

    def start(self, task: str, port: int) -> None:
        """Begin to connect; the answer is `dialed` with the descriptor, or `refused`."""
        self._try(_Dial(task, port, _socket(socket.AF_INET)), ADDRESSES[0][1])

    def stirred(self, fd: int) -> None:
        """The descriptor became writable: its connection is made or refused."""
        dial = self._by_fd.get(fd)
        if dial:
            self._forget(dial)
            self._tried(dial, dial.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def drop(self, task: str) -> None:
        """Nobody waits for this one any more."""
        for dial in [one for one in self._by_fd.values() if one.task == task]:
            self._forget(dial)
            dial.connection.close()

    def _try(self, dial: _Dial, host: str) -> None:
        code = dial.connection.connect_ex((host, dial.port))
        if code == errno.EINPROGRESS:
            self._by_fd[dial.connection.fileno()] = dial
            self._poll.register(dial.connection, select.POLLOUT)
        else:
            self._tried(dial, code)

    def _tried(self, dial: _Dial, code: int) -> None:
        """Hand the connection over, try the next address, or give up."""
        if code == 0:
            self._answer(dial.task, Packet("dialed"), (dial.connection.fileno(),))
            dial.connection.close()
            return
        dial.connection.close()
        if dial.tried < len(ADDRESSES):
            family, host = ADDRESSES[dial.tried]
            dial.tried += 1
            try:
                dial.connection = _socket(family)
            except OSError as error:  # no such family in this kernel
                code = error.errno or code
            else:
                self._try(dial, host)
                return
        what = f"Nothing accepts connections on port {dial.port} in the sandbox ({os.strerror(code)})."
        self._answer(dial.task, Packet("refused", ("port_closed", what)), ())

    def _forget(self, dial: _Dial) -> None:
        del self._by_fd[dial.connection.fileno()]
        self._poll.unregister(dial.connection)


def _socket(family: socket.AddressFamily) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
