"""Features that the contract has and the server does not have yet: rules that need them must fail."""

from __future__ import annotations

from collections.abc import Mapping

AWAITED: Mapping[str, str] = {}
