"""The rate limit: a token bucket per API key (CONTRACT §1, §7.2, §11)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from runs.refusal import Refusal

MINUTE_NS = 60 * 1_000_000_000
NS_PER_MS = 1_000_000
RATE_HEADERS = "rate_headers"
"""The entry of a request's state under which `api.edge` finds the headers to add."""
BUCKETS_MAX = 10_000
"""Keys whose bucket is remembered; past that the one unused for longest is forgotten, and so is full."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a request found in its key's bucket; `retry_after_ms` is 0 when it got a token."""

    limit: int
    remaining: int
    retry_after_ms: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of every answer to a counted request, refusals included (CONTRACT §1)."""
        return [
            (b"x-ratelimit-limit", b"%d" % self.limit),
            (b"x-ratelimit-remaining", b"%d" % self.remaining),
        ]

    def require(self) -> None:
        """Refuse with `rate_limited` (429) unless there was a token."""
        if self.retry_after_ms:
            raise Refusal(
                "rate_limited",
                f"This API key may make {self.limit} requests per minute. Wait {self.retry_after_ms} ms, and "
                "follow runs with stream=true, which is not counted, instead of polling.",
                {"retryAfterMs": self.retry_after_ms},
            )


class RateLimiter:
    """Buckets of `per_minute` tokens that fill up within a minute; 0 turns the limit off.

    A bucket is one number, the time at which it will be full again (the generic cell rate algorithm):
    nothing has to be refilled, and a bucket that is full need not be kept.
    """

    def __init__(
        self, per_minute: int, clock_ns: Callable[[], int], *, buckets_max: int = BUCKETS_MAX
    ) -> None:
        """`clock_ns` is monotonic."""
        self._per_minute = per_minute
        self._token_ns = MINUTE_NS // per_minute if per_minute else 0
        self._clock_ns = clock_ns
        self._buckets_max = buckets_max
        self._full_at_ns: OrderedDict[str, int] = OrderedDict()

    def __repr__(self) -> str:
        return f"RateLimiter(per_minute={self._per_minute}, buckets={len(self._full_at_ns)})"

    def take(self, key_id: str) -> Taken | None:
        """Take a token of the key; None when nothing is limited."""
        if not self._per_minute:
            return None
        now_ns = self._clock_ns()
        full_at_ns = max(self._full_at_ns.get(key_id, 0), now_ns)
        room_ns = self._per_minute * self._token_ns - (full_at_ns + self._token_ns - now_ns)
        granted = room_ns >= 0
        self._full_at_ns[key_id] = full_at_ns + self._token_ns if granted else full_at_ns
        self._full_at_ns.move_to_end(key_id)
        while len(self._full_at_ns) > self._buckets_max:
            self._full_at_ns.popitem(last=False)
        if granted:
            return Taken(self._per_minute, room_ns // self._token_ns, 0)
        return Taken(self._per_minute, 0, -(room_ns // NS_PER_MS))
