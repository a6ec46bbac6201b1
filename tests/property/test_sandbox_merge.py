"""A view over several streams must not depend on the order in which their facts arrive."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from evidence.record import format_time
from projections.sandbox import STATUS_RANK, merged

TIMES = st.integers(1_790_000_000_000, 1_790_000_000_005).map(format_time)


def _facts_of(number: int) -> st.SearchStrategy[dict[str, object]]:
    expiry = {"expirySetAt": TIMES, "expiresAt": TIMES, "ttlMs": st.integers(1, 3)}
    run = {
        "id": st.just("sbx_a"),
        "status": st.sampled_from([status for status in STATUS_RANK if status != "destroyed"]),
        "createdAt": TIMES,
        "workspaceRunId": st.just(f"wsr_{number}"),
        "metadata": st.just({"run": str(number)}),
        **expiry,
    }
    kept = {**run, "status": st.just("ready")}
    extended = {"id": st.just("sbx_a"), **expiry}
    destroyed = {
        "id": st.just("sbx_a"),
        "status": st.just("destroyed"),
        "destroyedAt": TIMES,
        "destroyedReason": st.sampled_from(["ttl_expired", "user_killed"]),
    }
    kinds = (run, kept, extended, destroyed)
    return st.one_of([st.fixed_dictionaries(kind) for kind in kinds])


@given(st.tuples(*(_facts_of(number) for number in range(4))))
def test_every_interleaving_gives_the_same_sandbox(facts: tuple[dict[str, object], ...]) -> None:
    """Merging commutes and associates, so rebuild and live projection agree."""
    results = []
    for order in permutations(facts):
        doc: dict[str, object] = {}
        for one in order:
            doc = merged(doc, one)
        results.append(doc)
    assert all(result == results[0] for result in results)


@given(_facts_of(1))
def test_a_fact_told_twice_changes_nothing(facts: dict[str, object]) -> None:
    """Merging is idempotent."""
    assert merged(merged({}, facts), facts) == merged({}, facts)
