"""How fast is replay over HTTP, and does a late `after_seq` cost more than an early one?

The yardstick is the same bytes as a plain file, streamed by the same server in the same run.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.common import interleaved, machine, scratch, table

REPLAYED = int(os.environ.get("BENCH_REPLAYED", "100000"))
LONG = int(os.environ.get("BENCH_LONG", "1000000"))
NDJSON = {"accept": "application/x-ndjson"}
READ_BYTES = 1024 * 1024
PAGES = 200


@contextmanager
def server(folder: Path, *sizes: int) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """A bench server with runs of these sizes; it stops when the block ends."""
    command = [sys.executable, "-m", "bench.server", str(folder), *map(str, sizes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline()), process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)


def get(about: Mapping[str, Any], path: str, headers: Mapping[str, str] | None = None) -> tuple[int, float]:
    """Bytes and seconds of one GET, read to its end."""
    connection = http.client.HTTPConnection("127.0.0.1", about["port"])
    began = time.perf_counter()
    connection.request("GET", path, headers={"authorization": f"Bearer {about['key']}", **(headers or {})})
    answer = connection.getresponse()
    assert answer.status == http.client.OK, answer.read()
    size = 0
    buffer = bytearray(READ_BYTES)
    while count := answer.readinto(buffer):
        size += count
    took = time.perf_counter() - began
    connection.close()
    return size, took


def pages(about: Mapping[str, Any], run_id: str, after: int) -> float:
    """Microseconds a page of 100 events behind `after`, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", about["port"])
    headers = {"authorization": f"Bearer {about['key']}"}
    began = time.perf_counter()
    for _ in range(PAGES):
        connection.request(
            "GET", f"/v1/workspace-runs/{run_id}/events?afterSeq={after}&limit=100", headers=headers
        )
        connection.getresponse().read()
    took = time.perf_counter() - began
    connection.close()
    return took / PAGES * 1e6


def main() -> None:
    """Print both tables."""
    with scratch() as folder, server(folder, REPLAYED, LONG) as (about, _):
        events = f"/v1/workspace-runs/{about['runs'][0]}/events"

        def rate(path: str, headers: Mapping[str, str] | None = None) -> float:
            size, took = get(about, path, headers)
            return size / took / 1e6

        figures = interleaved(
            {
                "raw file": lambda: rate("/raw"),
                "NDJSON": lambda: rate(events, NDJSON),
                "SSE": lambda: rate(f"{events}?stream=true"),
            }
        )
        table(
            f"full replay of {REPLAYED:,} events over HTTP ({machine()})",
            ["side", "MB/s", "of the raw file"],
            [[name, figure, f"{figure / figures['raw file']:.0%}"] for name, figure in figures.items()],
        )
        long = about["runs"][1]
        late = interleaved(
            {
                "at the start": lambda: pages(about, long, 0),
                "at the end": lambda: pages(about, long, LONG - 100),
            }
        )
        table(
            f"a page of 100 events of a run of {LONG:,}",
            ["after_seq", "us/page", "of the start"],
            [[name, figure, figure / late["at the start"]] for name, figure in late.items()],
        )


if __name__ == "__main__":
    main()
