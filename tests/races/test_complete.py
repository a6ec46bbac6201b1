"""No operation that takes an idempotency key is left out of the races."""

from api.operations import OPERATIONS
from tests.races.race import operations


def test_every_operation_that_takes_a_key_is_raced() -> None:
    """A new one needs its effect named before it can be counted."""
    assert {one.id for one in OPERATIONS if one.is_idempotent} <= set(operations())
