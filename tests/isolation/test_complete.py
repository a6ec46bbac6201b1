"""No operation is left out of the tenant matrix."""

from api.operations import OPERATIONS
from tests.isolation.fixtures import FIXTURES


def test_every_operation_is_in_the_matrix() -> None:
    """A new route needs a line that says how it is asked for, before others can be refused it."""
    assert [one.id for one in OPERATIONS if one.id not in FIXTURES] == []
