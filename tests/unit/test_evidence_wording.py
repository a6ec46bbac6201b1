"""How numbers of things are said."""

import pytest

from evidence.wording import counted


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (1024, "1,024 events")]
)
def test_one_of_a_thing_is_never_several(number: int, said: str) -> None:
    """And large numbers are grouped."""
    assert counted(number, "event") == said


def test_what_has_a_plural_of_its_own_names_it() -> None:
    """As entries do."""
    assert [counted(number, "entry", "entries") for number in (1, 2)] == ["1 entry", "2 entries"]
