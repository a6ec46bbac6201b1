"""The server of these tests, and what a test is made of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.own_server import own_server
from tests.conformance.target import Target


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One real server for all rules and all mutants of a module."""
    with own_server(tmp_path_factory.mktemp("data")) as target:
        yield target
