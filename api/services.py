"""What the routes are built from, and how a request finds who is asking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from starlette.requests import HTTPConnection, Request

from api.bodies import RECHECK
from api.limits import ApiLimits
from api.monitors import MonitorFile
from api.people import person_of
from api.rate_limit import RATE_HEADERS, RateLimiter
from api.revocation import KeyWatch
from api.sessions import SignIn, signed_in
from eventstore.global_log import GlobalLog
from eventstore.sequencer import Sequencer
from evidence.note import Signer
from runs.access import Principal
from runs.accounts import AccountService
from runs.artifacts import ArtifactService
from runs.commands import CommandService
from runs.credentials import Authenticator
from runs.dispatch import Store
from runs.files import FileService
from runs.idempotency import IdempotentRequest, identify
from runs.keys import KeyService, KeyUse
from runs.previews import PreviewService
from runs.recordings import RecordingService
from runs.redactions import RedactionService
from runs.refusal import Refusal
from runs.sandboxes import SandboxService
from runs.secrets import SecretService
from runs.service import RunService
from runs.signing_keys import SigningKeyService
from runs.uploads import UploadService
from runs.usage import UsageService
from runs.verdicts import Verdicts

IDEMPOTENCY_KEY_CHARS_MAX = 255


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route may use; made once by `cli.wiring`."""

    store: Store
    runs: RunService
    uploads: UploadService
    recordings: RecordingService
    redactions: RedactionService
    sandboxes: SandboxService
    commands: CommandService
    files: FileService
    artifacts: ArtifactService
    accounts: AccountService
    secrets: SecretService
    api_keys: KeyService
    authenticate: Authenticator
    key_use: KeyUse
    watch: KeyWatch
    usage: UsageService
    verdicts: Verdicts
    rate: RateLimiter
    previews: PreviewService
    blob_path: Callable[[str], Path]
    temporary_dir: Path
    sequencer: Sequencer
    global_log: GlobalLog
    keys: SigningKeyService
    attestation_signer: Signer
    policy: Callable[[], bytes]
    """The policy file as it stands: keys are rotated while the server runs."""
    monitors: Sequence[MonitorFile]
    """Whose reports the operator lets be shown."""
    origin: str
    plan_default: str
    dev_headers: bool
    """Whether the spoofable `x-crownest-*` headers count (loopback only, `api.people`)."""
    limits: ApiLimits
    closing: asyncio.Event
    """Set when the server stops: open streams end."""
    sign_in: SignIn


def services_of(request: HTTPConnection) -> Services:
    """The services of the application that serves this request."""
    services: Services = request.app.state.services
    return services


async def principal_of(request: Request, *, counted: bool = True) -> Principal:
    """Who asks, by `Authorization: Bearer …`, else by a browser's session; 401 `unauthorized` otherwise.

    A counted request takes a token of its key, or is refused with `rate_limited`; streams and producer
    routes are not counted (CONTRACT §11).
    """
    who = await authenticated(request)
    setattr(request.state, RECHECK, partial(_require_still, request, who))
    if counted:
        _count(request, who.session_id or who.key_id)
    return who


async def _require_still(request: Request, who: Principal) -> None:
    """Refuse unless the caller still is who they were: a body may take long, its key be revoked meanwhile."""
    if await authenticated(request) != who:
        raise Refusal(
            "forbidden", "What this caller may do has changed while the request was sent. Send it again."
        )


async def authenticated(request: HTTPConnection) -> Principal:
    """Who asks at this moment; 401 `unauthorized` for nobody."""
    services = services_of(request)
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credential.strip():
        principal = await services.authenticate(credential.strip())
        if principal is None:
            raise Refusal("unauthorized", "This API key is unknown or revoked. Log in with a valid key.")
        services.key_use.note(principal.key_id)
        return principal
    if (one := await signed_in(request, services.sign_in)) is not None:
        return one
    if services.dev_headers and (person := await person_of(request, services.store)):
        return person
    raise Refusal("unauthorized", "Send an API key: Authorization: Bearer cn_live_…")


def _count(request: Request, key_id: str) -> None:
    taken = services_of(request).rate.take(key_id)
    if taken is not None:
        setattr(request.state, RATE_HEADERS, taken.headers())
        taken.require()


def idempotent_request(request: Request, who: Principal, body: bytes) -> IdempotentRequest | None:
    """The request's idempotency key, or None; `body` is what makes the request itself."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_CHARS_MAX:
        raise Refusal(
            "invalid_request",
            f"Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_CHARS_MAX} characters.",
            {"field": "Idempotency-Key"},
        )
    runs = services_of(request).runs
    expires_at_ms = runs.now_ms() + runs.limits.idempotency_ms
    route = f"{request.method} {request.url.path}"
    return identify((who.org_id, who.key_id, route, key), body, expires_at_ms)
