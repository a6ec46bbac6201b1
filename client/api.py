"""The client: one method per route of the contract that the command line and other callers use.

Every method raises a `client.errors.ClientError`. Methods that change something send an
`Idempotency-Key`, a fresh UUID v4 unless the caller gives one, where the contract has one (CONTRACT §2, §5).
The methods stand in one module per kind of resource.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from client.accounts import AccountMethods
from client.files import FileMethods
from client.previews import PreviewMethods
from client.proof import ProofMethods
from client.runs import RunMethods
from client.sandboxes import SandboxMethods
from client.secrets import SecretMethods
from client.transport import BodyLimits, Person, Timeouts, Transport


class CrownestClient(
    RunMethods, ProofMethods, SandboxMethods, FileMethods, PreviewMethods, AccountMethods, SecretMethods
):
    """A synchronous client of one server; close it, or use it as a context manager."""

    def __init__(
        self,
        api_url: str,
        credential: str | None,
        *,
        person: Person | None = None,
        trust_env: bool = False,
        timeouts: Timeouts | None = None,
        limits: BodyLimits | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`person` is named where there is no credential: only a development server listens to that."""
        self._transport = Transport(
            api_url,
            credential,
            person=person,
            trust_env=trust_env,
            timeouts=timeouts,
            limits=limits,
            wait=wait,
        )

    def __repr__(self) -> str:
        return f"CrownestClient({self._transport!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()
