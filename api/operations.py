"""All operations of the HTTP interface, in the order in which the reference shows them."""

from __future__ import annotations

from collections.abc import Mapping

from api.operation_tables.accounts import (
    KEY_OPERATIONS,
    ORGANIZATION_OPERATIONS,
    PROJECT_OPERATIONS,
    USAGE_OPERATIONS,
)
from api.operation_tables.discovery import DISCOVERY_OPERATIONS
from api.operation_tables.files import FILE_OPERATIONS
from api.operation_tables.operation import Operation
from api.operation_tables.proof import PROOF_OPERATIONS
from api.operation_tables.runs import RUN_OPERATIONS
from api.operation_tables.sandboxes import SANDBOX_OPERATIONS

OPERATIONS: tuple[Operation, ...] = (
    *RUN_OPERATIONS,
    *PROOF_OPERATIONS,
    *SANDBOX_OPERATIONS,
    *FILE_OPERATIONS,
    *PROJECT_OPERATIONS,
    *KEY_OPERATIONS,
    *ORGANIZATION_OPERATIONS,
    *USAGE_OPERATIONS,
    *DISCOVERY_OPERATIONS,
)

BY_ID: Mapping[str, Operation] = {operation.id: operation for operation in OPERATIONS}


def tags() -> tuple[str, ...]:
    """The tags in use, in order."""
    return tuple(dict.fromkeys(operation.tag for operation in OPERATIONS))
