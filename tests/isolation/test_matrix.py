"""The tenant matrix, each row with few malformed ids; and that a server which leaks would be found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from api.operation_tables.operation import Operation
from api.operations import BY_ID, OPERATIONS
from tests.isolation.__main__ import totals_of
from tests.isolation.matrix import COLUMNS, Cell, row
from tests.isolation.server import own_world, served
from tests.isolation.world import Tenant, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server with two organisations for all rows."""
    with own_world(tmp_path_factory.mktemp("data")) as made:
        yield made


@pytest.mark.parametrize("operation", [pytest.param(one, id=one.id) for one in OPERATIONS])
def test_every_cell_of_an_operation_is_right(world: World, operation: Operation) -> None:
    """Each cell was tried with some request, or says why it does not apply."""
    if operation.id not in served(world.running):
        pytest.skip("described and not built yet")
    cells = row(world, operation, brief=True)
    assert [cell.name for cell in cells] == list(COLUMNS)
    assert not [(cell.name, cell.wrong) for cell in cells if cell.wrong]
    assert all(bool(cell.probes) != bool(cell.reason) for cell in cells)


def test_an_operation_that_nobody_said_how_to_ask_for_fails(world: World) -> None:
    """A new route cannot stay outside of the matrix unseen."""
    new = replace(BY_ID["getUsage"], id="getSomethingNew", path="/v1/something-new")
    cells = row(world, new)
    assert totals_of(cells, 0, 0)["wrong"] == 1
    assert "no fixture" in cells[0].wrong[0]


def _leaking(world: World) -> World:
    """The world as it is on a server that takes another tenant's key for one of this tenant."""
    stranger = world.stranger
    return replace(
        world,
        stranger=Tenant(stranger.org_id, world.second, stranger.here, stranger.there),
        restricted=world.second,
        revoked=world.second,
    )


def _wrong(cells: list[Cell]) -> set[str]:
    return {cell.name for cell in cells if cell.wrong}


@pytest.mark.parametrize(
    ("operation", "wrong"),
    [
        ("getWorkspaceRun", {"other project", "other organisation", "revoked key", "no oracle"}),
        ("listSandboxes", {"other project", "other organisation", "revoked key", "foreign projectId"}),
        (
            "cancelWorkspaceRun",
            {"other project", "other organisation", "revoked key", "no oracle", "same idempotency key"},
        ),
        ("createWorkspaceRun", {"other project", "other organisation", "revoked key", "foreign projectId",
                                "same idempotency key"}),
    ],
    ids=["getWorkspaceRun", "listSandboxes", "cancelWorkspaceRun", "createWorkspaceRun"],
)  # fmt: skip
def test_a_server_that_confuses_tenants_is_found(world: World, operation: str, wrong: set[str]) -> None:
    """The control: what is answered to the wrong key makes these cells wrong, and no others."""
    assert world.home.here.ended
    assert _wrong(row(_leaking(world), BY_ID[operation], brief=True)) == wrong
