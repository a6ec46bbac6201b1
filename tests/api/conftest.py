"""One server for the tests that only read and write runs of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Running, serving


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server for this module, with the process provider."""
    data_dir: Path = tmp_path_factory.mktemp("data")
    with serving(data_dir) as server:
        yield server
