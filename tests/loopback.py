"""HTTP handlers served on loopback for as long as a test needs them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.witness_kit import POLL_S


@contextlib.contextmanager
def serving_http(handler: type[BaseHTTPRequestHandler], name: str) -> Iterator[str]:
    """Serve until the block ends; gives the address without a path. `name` is the thread's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, args=(POLL_S,), name=name)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join()
