"""How long from an append to a live reader? One event at a time, with 1 and 100 subscribers over SSE."""

from __future__ import annotations

import os
import re
import socket
import statistics
import threading
import time
from typing import Any

from bench.common import machine, scratch, table
from bench.replay import server

EVENTS = int(os.environ.get("BENCH_TAIL_EVENTS", "300"))
PAUSE_S = 0.02
RECEIVE_BYTES = 65536
MARK_BYTES_MAX = 32
NUMBERED = re.compile(rb'"data":"tail (\d+)\\n')


class Subscriber(threading.Thread):
    """Follows the run and notes when each numbered line arrived."""

    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_connection(("127.0.0.1", about["port"]))
        path = f"/v1/workspace-runs/{about['runs'][-1]}/events?stream=true"
        head = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {about['key']}\r\n\r\n"
        self._socket.sendall(head.encode())
        self.arrived: dict[int, float] = {}

    def run(self) -> None:
        """Read until the socket is closed."""
        rest = b""
        while data := self._socket.recv(RECEIVE_BYTES):
            now = time.perf_counter()
            rest += data
            for match in NUMBERED.finditer(rest):
                self.arrived.setdefault(int(match[1]), now)
            rest = rest[-MARK_BYTES_MAX:]

    def close(self) -> None:
        """Hang up."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self.join()
        self._socket.close()


def measure(subscribers: int) -> tuple[float, float]:
    """p50 and p99 in milliseconds over all subscribers."""
    with scratch() as folder, server(folder, 10) as (about, process):
        readers = [Subscriber(about) for _ in range(subscribers)]
        for reader in readers:
            reader.start()
        time.sleep(1.0)
        assert process.stdin is not None
        sent = []
        for number in range(EVENTS):
            sent.append(time.perf_counter())
            process.stdin.write(f"tail {number}\n")
            process.stdin.flush()
            time.sleep(PAUSE_S)
        time.sleep(1.0)
        for reader in readers:
            reader.close()
    delays = sorted((reader.arrived[n] - sent[n]) * 1e3 for reader in readers for n in range(EVENTS))
    return statistics.median(delays), delays[int(len(delays) * 0.99)]


def main() -> None:
    """Print the table."""
    rows = [[count, *measure(count)] for count in (1, 100)]
    table(
        f"tail latency, append to arrival, fsync included, {EVENTS} events ({machine()})",
        ["subscribers", "p50 ms", "p99 ms"],
        rows,
    )


if __name__ == "__main__":
    main()
