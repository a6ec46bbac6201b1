"""Named limits of the HTTP edge (DESIGN §5, CONTRACT §11)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Bounds on bodies, pages and waits."""

    json_body_bytes_max: int = 1024 * 1024
    drain_bytes_max: int = 64 * 1024 * 1024
    """Read and dropped before a refusal, so that the client sees the answer and not a broken pipe."""
    head_s: float = 15.0
    """How long a connection may take for a request's head, and for what is left of a refused body."""
    head_bytes_max: int = 64 * 1024
    """Of a head that is not whole yet, and of trailers; what one read brings beyond that may pass."""
    body_idle_s: float = 60.0
    """How long a request body is waited for in vain, at one go or in many, before it is given up."""
    body_rate_min: int = 1024
    """Bytes of a body that make up for a second of waiting: a client that drips is as good as silent."""
    events_page_default: int = 100
    events_page_max: int = 500
    list_page_default: int = 50
    list_page_max: int = 500
    heartbeat_s: float = 10.0
    """Silence on a stream before a keepalive comment."""
    revocation_poll_s: float = 2.0
    """A stream of a revoked key is open no longer than this and one look at the database."""
    streams_per_key_max: int = 256
    """Open streams of one key or person: the rate limit does not count them, and each holds a connection."""
    session_batches_max: int = 64
    """Batches of one append session that wait to be durable; no more are read until one is."""
    session_idle_s: float = 900.0
    """An append session without a frame for so long is closed; a batch without events keeps it."""
    proof_bytes_max: int = 4 * 1024 * 1024
    """A window of events with its range proof ends at the first event past this."""
    bundle_bytes_max: int = 4 * 1024 * 1024 * 1024
    """A proof bundle with artifacts."""
    bundle_attempts_max: int = 5
    """Times that a bundle is made anew because its run was redacted meanwhile."""
    check_events_max: int = 20_000
    """Events of a sealed run that this server verifies by itself; longer ones when asked; 0: none."""
    check_backlog_max: int = 2_000
    """Entries of the global log that wait for that; older ones are passed over."""
    check_rest: float = 4.0
    """How many times as long as a verification took the next one waits, so that others get on."""
    check_retry_s: float = 5.0
    """How long verifying waits after the disk was full."""
    rows_searched_max: int = 5_000
    """Rows that a page of a list looks through for what no index answers."""
    rows_counted_max: int = 10_000
    """Rows that the counts over a list go up to."""
    monitor_stale_s: float = 3600.0
    """A monitor's report older than this is called stale: by default one looks every minute."""


@dataclass(frozen=True, slots=True)
class PreviewLimits:
    """Bounds on the proxy in front of previewed programs."""

    connections_max: int = 256
    """Open connections in total; one more is closed at once."""
    connections_per_address_max: int = 64
    """Of one client address, or IPv6 network of 64 bits; behind a trusted proxy, requests at a time."""
    connections_per_preview_max: int = 64
    """Requests and WebSockets of one preview at the same time."""
    head_bytes_max: int = 32 * 1024
    """Request line and headers, of either side."""
    head_s: float = 15.0
    """How long a connection may take for a whole request head, and stay open between two requests."""
    idle_s: float = 600.0
    """No byte in either direction for so long ends an exchange, a WebSocket too."""
    dial_s: float = 5.0
    """How long the sandbox may take to connect to the port."""
    buffer_bytes: int = 64 * 1024
    """Bytes that wait in each direction before the sender is held up."""
    linger_bytes_max: int = 1024 * 1024
    """Read and dropped after an answer that came before the end of the request, so that it is seen."""
    linger_s: float = 2.0
    check_s: float = 0.5
    """How often open connections are checked against revocation, expiry and destruction."""
