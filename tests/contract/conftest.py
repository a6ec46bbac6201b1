"""Every contract test runs once for each backend."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.log_kit import BACKENDS, World, opened


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The backend's name."""
    name: str = request.param
    return name


@pytest.fixture
async def world(backend: str, tmp_path: Path) -> AsyncGenerator[World]:
    """An empty log of this backend."""
    async with opened(backend, tmp_path) as one:
        yield one
