"""The packets between the runner and the holder process of a sandbox: a kind and its fields.

One packet is one datagram of a SOCK_SEQPACKET socket pair; file descriptors ride beside it (SCM_RIGHTS).
Fields are UTF-8 text divided by NUL, which no command, path or environment value can hold.
"""

from __future__ import annotations

import socket
from array import array
from dataclasses import dataclass, field

PACKET_BYTES_MAX = 192 * 1024
"""What the default socket buffer of Linux carries in one packet, with room to spare."""
FDS_MAX = 4


@dataclass(frozen=True, slots=True)
class Packet:
    """To the holder: extract, run, file, dial, and terminate or kill; the first field names the task.

    From it: ready, once; then extracted, exited, done, dialed or refused, one for each task, with its name.
    """

    kind: str
    fields: tuple[str, ...] = field(default=(), repr=False)
    """Not in its repr: a command's environment holds secrets."""


def pack(packet: Packet) -> bytes:
    """The packet as bytes; ValueError when a part holds NUL or the whole is longer than one packet may be."""
    parts = (packet.kind, *packet.fields)
    if any("\0" in part for part in parts):
        raise ValueError("A part of the packet holds a NUL character, which no command or variable may hold.")
    data = "\0".join(parts).encode("utf-8", "surrogateescape")
    if len(data) > PACKET_BYTES_MAX:
        raise ValueError(
            f"The command and its environment take {len(data)} bytes; at most {PACKET_BYTES_MAX} fit."
        )
    return data


def unpack(data: bytes) -> Packet:
    """The packet that `pack` made these bytes from."""
    kind, *fields = data.decode("utf-8", "surrogateescape").split("\0")
    return Packet(kind, tuple(fields))


def send(control: socket.socket, packet: Packet, fds: tuple[int, ...] = ()) -> None:
    """Send one packet; the descriptors are duplicated into the receiver, the sender keeps its own."""
    socket.send_fds(control, [pack(packet)], fds)


def receive(control: socket.socket) -> tuple[Packet, list[int]] | None:
    """The next packet and its descriptors (close-on-exec), or None when the other side is gone."""
    fds = array("i")
    # socket.recv_fds would not pass the flag on, and every command would inherit the descriptors.
    space, flag = socket.CMSG_SPACE(FDS_MAX * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    try:
        data, ancillary, _, _ = control.recvmsg(PACKET_BYTES_MAX, space, flag)
    except ConnectionResetError:  # it left with a packet of ours unread
        return None
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return (unpack(data), fds.tolist()) if data else None
