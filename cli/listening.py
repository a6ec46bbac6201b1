"""The sockets that the server listens on."""

from __future__ import annotations

import socket

from cli.problems import failure

BACKLOG = 2048


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """Bind before anything else, so that a taken port changes nothing; `option` is what sets the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named asyncio sets TCP_NODELAY; without, every answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise failure(
            f"Cannot listen on {host} port {port}: {error.strerror}.",
            f"Stop what listens there, or pass {option}.",
        ) from error
    listener.listen(BACKLOG)
    return listener
