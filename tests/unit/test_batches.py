"""Batches of producers: the usual one is looked at as a whole, and that changes nothing of what it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import batches
from api.batches import parse_batch
from runs.refusal import Refusal

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
USUAL = st.fixed_dictionaries({"type": st.sampled_from(["stdout", "stderr"]), "data": TEXT})


@given(st.lists(USUAL, max_size=6), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_the_usual_batch_is_what_looking_at_each_event_makes_of_it(
    items: list[dict[str, Any]], separators: tuple[str, str]
) -> None:
    """The same events, bytes and numbers, however the JSON is spelled."""
    mark = {"id": "p", "number": 7}
    whole = batches._text_batch(mark, 3, items)
    assert whole is not None
    assert whole == batches._any_batch(mark, 3, items)
    body = {"producerId": "p", "number": 7, "expectedHead": 3, "events": items}
    spelled = json.dumps(body, separators=separators)
    assert parse_batch(spelled.encode()) == whole


@pytest.mark.parametrize("levels", [10, 254, 255, 300])
def test_an_unknown_key_may_be_nested_as_deeply_as_is_read(levels: int) -> None:
    """What is written back is less deep than what is read: found when one answered 500."""
    deep = b'{"producerId":"p","number":1,"events":[],"x":' + b"[" * levels + b"]" * levels + b"}"
    assert parse_batch(deep).number == 1


@pytest.mark.parametrize("levels", [300, 20_000])
def test_a_key_that_stands_twice_is_refused_beside_deep_nesting(levels: int) -> None:
    """Whatever else is in the body (CONTRACT §11)."""
    nested = b"[" * levels + b"]" * levels
    with pytest.raises(Refusal):
        parse_batch(b'{"producerId":"p","number":1,"number":2,"events":[],"x":' + nested + b"}")
