"""The token bucket, on a clock that the test moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.rate_limit import MINUTE_NS, RateLimiter, Taken
from runs.refusal import Refusal

MS = 1_000_000


class Clock:
    """Monotonic nanoseconds, moved by hand."""

    def __init__(self) -> None:
        self.now_ns = 12_345

    def __call__(self) -> int:
        return self.now_ns


def _take(limiter: RateLimiter, key_id: str = "key_a") -> Taken:
    taken = limiter.take(key_id)
    assert taken is not None
    return taken


def test_a_bucket_holds_a_minutes_tokens_and_then_gives_one_each_interval() -> None:
    """120 at once; the next after half a second, and `retryAfterMs` says so exactly."""
    clock = Clock()
    limiter = RateLimiter(120, clock)
    assert [_take(limiter).remaining for _ in range(120)] == list(range(119, -1, -1))
    assert _take(limiter) == Taken(120, 0, 500)
    clock.now_ns += 499 * MS
    assert _take(limiter) == Taken(120, 0, 1)
    clock.now_ns += MS
    assert _take(limiter) == Taken(120, 0, 0)
    clock.now_ns += MINUTE_NS
    assert _take(limiter).remaining == 119


def test_keys_have_buckets_of_their_own_and_the_longest_unused_is_forgotten() -> None:
    """However many keys ask, no more buckets are kept than named."""
    limiter = RateLimiter(1, Clock(), buckets_max=2)
    assert [_take(limiter, key).retry_after_ms for key in ("a", "b", "a")] == [0, 0, 60_000]
    assert _take(limiter, "c").retry_after_ms == 0
    assert "buckets=2" in repr(limiter)
    assert _take(limiter, "a").retry_after_ms == 60_000
    assert _take(limiter, "b").retry_after_ms == 0


def test_no_limit_counts_nothing() -> None:
    """`CROWNEST_RATE_LIMIT_PER_MINUTE=0`."""
    limiter = RateLimiter(0, Clock())
    assert limiter.take("key_a") is None
    assert "buckets=0" in repr(limiter)


def test_a_refusal_names_the_wait() -> None:
    """429 `rate_limited` with `details.retryAfterMs` (CONTRACT §7.1)."""
    with pytest.raises(Refusal) as refused:
        Taken(120, 0, 500).require()
    assert (refused.value.code, refused.value.details) == ("rate_limited", {"retryAfterMs": 500})


@given(st.integers(1, 500), st.lists(st.integers(0, 2000), max_size=400))
def test_no_minute_ever_grants_more_than_two_buckets(per_minute: int, pauses_ms: list[int]) -> None:
    """One bucket that was full, and what filled up meanwhile; and a told wait always suffices."""
    clock = Clock()
    limiter = RateLimiter(per_minute, clock)
    granted: list[int] = []
    for pause_ms in pauses_ms:
        clock.now_ns += pause_ms * MS
        taken = _take(limiter)
        assert 0 <= taken.remaining < per_minute
        if taken.retry_after_ms:
            clock.now_ns += taken.retry_after_ms * MS
            assert _take(limiter).retry_after_ms == 0
        granted.append(clock.now_ns)
    for begin in granted:
        assert sum(begin <= at < begin + MINUTE_NS for at in granted) <= 2 * per_minute
