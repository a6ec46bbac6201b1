"""A log of runs served as C2SP tiles, with a server that has its runs, for the tests of the monitor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint, run_origin
from evidence.logentry import KeyChange
from evidence.note import Signer, Verifier
from evidence.tiles import TILE_WIDTH, pack_entries, parse_tile_path, tile_at
from tests.evidence_samples import ORIGIN
from tests.loopback import serving_http
from tests.witness_kit import GrowingLog

API_KEY = "cn_audit"


def run_entry(run: str, size: int, mark: str = "") -> bytes:
    """The entry of a run at a size; `mark` gives another root."""
    return stream_entry(f"wsr_{run}", size, mark)


def stream_entry(stream: str, size: int, mark: str = "", origin: str = ORIGIN) -> bytes:
    """The entry of any stream."""
    root = sha256(f"{stream} {size} {mark}".encode()).digest()
    return str(Checkpoint(run_origin(origin, stream), size, root)).encode()


def key_entry(signer: Signer, from_size: int) -> bytes:
    """The entry of a change of key."""
    return str(KeyChange(ORIGIN, Verifier.parse(signer.verifier_key), from_size)).encode()


@dataclass
class TileServer:
    """Serves `log` under /log/ and the runs that are not `gone` under /v1/; misbehaves as told."""

    log: GrowingLog
    url: str = ""
    gone: set[str] = field(default_factory=set[str])
    note: bytes | None = None
    """What to serve as checkpoint instead of the log's own."""
    replaced: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Paths below /log/ with the bytes to serve there."""
    refusals: list[int] = field(default_factory=list[int])
    """Statuses to answer the next questions for runs with."""
    keeps_partials: bool = True
    requests: list[str] = field(default_factory=list[str])

    def runs(self, *names: str) -> None:
        """Append creation and seal of these runs."""
        self.log.entries += [run_entry(name, 1) for name in names]
        self.log.entries += [run_entry(name, 9) for name in names]

    def answer(self, path: str, authorization: str) -> tuple[int, bytes]:
        """Status and body."""
        self.requests.append(path)
        if path.startswith("/log/"):
            return self._log(path.removeprefix("/log/"))
        if authorization != f"Bearer {API_KEY}":
            return 401, b""
        if self.refusals:
            return self.refusals.pop(0), b""
        return (404 if path.rpartition("/")[2] in self.gone else 200), b"{}"

    def _log(self, path: str) -> tuple[int, bytes]:
        if path in self.replaced:
            return 200, self.replaced[path]
        if path == "checkpoint":
            return 200, self.log.note() if self.note is None else self.note
        try:
            tile = parse_tile_path(path)
            present = tile_at(tile.level, tile.index, len(self.log.entries))
        except (FormatError, ValueError):
            return 404, b""
        is_dropped = tile.width < TILE_WIDTH == present.width and not self.keeps_partials
        if tile.width > present.width or is_dropped:
            return 404, b""
        first = tile.index * TILE_WIDTH
        if tile.level is None:
            return 200, pack_entries(self.log.entries[first : first + tile.width])
        level = 8 * tile.level
        return 200, b"".join(self.log.subtree(level, first + at) for at in range(tile.width))


@contextlib.contextmanager
def serving_tiles(log: GrowingLog) -> Iterator[TileServer]:
    """Serve on loopback until the block ends."""
    served = TileServer(log)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            status, body = served.answer(self.path, self.headers.get("authorization", ""))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            if status in {429, 503}:
                self.send_header("retry-after", "7")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving_http(Handler, "test tiles") as url:
        served.url = url
        yield served
