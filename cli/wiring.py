"""The composition root: names the backends, joins rules, runner and HTTP, and starts them in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from starlette.types import ASGIApp

from api.app import create_app
from api.checking import Checker
from api.rate_limit import RateLimiter
from api.revocation import KeyWatch
from api.services import Services
from api.sessions import SignIn
from cli.execution import Execution, TemplateNames
from cli.hosting import Hosting
from cli.keys import Keyring, load_or_make_keyring, load_or_make_secrets_key
from cli.monitors import load_monitors
from cli.oidc import open_oidc
from cli.previewing import PreviewPlace, serving_previews
from cli.settings import Settings
from cli.witnesses import Panel, load_witnesses, server_policy
from eventstore.blobs import BlobStore
from eventstore.command_logs import CommandLogs
from eventstore.compactor import Compactor
from eventstore.high_water import HighWater
from eventstore.sequencer import Published, Sequencer
from eventstore.sqlite.folder import DataFolder
from eventstore.sqlite.log import SqliteLog
from projections.projector import Projections
from runner.local import LocalRunner
from runs.accounts import AccountService
from runs.artifacts import ArtifactService
from runs.commands import CommandService
from runs.credentials import Authenticator
from runs.dispatch import Dispatcher
from runs.files import FileService
from runs.keys import KeyService, KeyUse
from runs.organization import Founded, first_start
from runs.previews import PreviewService
from runs.quotas import QuotaService
from runs.reap import Reaper
from runs.recordings import RecordingService
from runs.redactions import RedactionService
from runs.retention import Retention
from runs.sandboxes import SandboxService
from runs.secretbox import SecretBox
from runs.secrets import SecretService, any_secret
from runs.service import RunService
from runs.sessions import SessionService
from runs.signing_keys import SigningKeyService
from runs.uploads import UploadService
from runs.usage import UsageService
from runs.verdicts import Verdicts


def now_ms() -> int:
    """The wall clock in unix milliseconds: every clock of the server is this one."""
    return time.time_ns() // 1_000_000


def log_path(data_dir: Path) -> Path:
    """The database of a data folder."""
    return data_dir / "log.sqlite"


@dataclass(frozen=True, slots=True)
class Server:
    """An opened data folder with everything that works on it."""

    app: ASGIApp
    keyring: Keyring
    runner: LocalRunner
    services: Services
    quotas: QuotaService
    first: Founded | None
    """What the first start made; None on later ones."""
    recovered: dict[str, int]
    place: PreviewPlace
    """Where its previews are."""


@contextlib.asynccontextmanager
async def open_server(settings: Settings, previews_on: socket.socket | None = None) -> AsyncGenerator[Server]:
    """Open the data folder, recover what a crash left, and serve until the block ends.

    Order matters: the lock first; the keys before the database that they sign; the global log checked
    before anything is signed; the runner's start, which ends a crashed predecessor's sandboxes, before
    any run is ended as recovered, so that nothing of it still runs when its log says so.
    """
    with DataFolder(settings.data_dir):
        async with contextlib.AsyncExitStack() as stack:
            place = stack.enter_context(PreviewPlace.opened(settings, previews_on))
            keyring = load_or_make_keyring(settings.data_dir, settings.origin)
            blobs = BlobStore(settings.data_dir / "blobs")
            runner = await _start_runner(settings)
            stack.push_async_callback(runner.close)
            published = Published()
            store = await _open_log(stack, settings, keyring, published)
            proof = await _open_proof(stack, settings, keyring, store, published)
            sign_in = _open_sign_in(stack, settings, store)
            first = await first_start(store, plan=settings.plan_default)
            quotas = QuotaService(store, now_ms)
            secrets = await _open_secrets(settings, store)
            execution = Execution(store, blobs, runner, quotas, secrets.values)
            dispatcher = Dispatcher(store, execution, settings.runs, now_ms)
            stack.push_async_callback(dispatcher.close)
            logs = CommandLogs(settings.data_dir / "commands")
            reaper = _reaper(settings, store, blobs, runner, logs)
            await reaper.recover()
            recovered = await dispatcher.recover()
            services = _services(
                settings=settings,
                keyring=keyring,
                store=store,
                proof=proof,
                blobs=blobs,
                runner=runner,
                dispatcher=dispatcher,
                logs=logs,
                quotas=quotas,
                secrets=secrets,
                sign_in=sign_in,
                previews=PreviewService(store, settings.runs, now_ms, place.url_of),
            )
            await services.commands.recover()
            stack.push_async_callback(services.commands.close)
            runner.tell_expired(reaper.record_expired)
            await stack.enter_async_context(serving_previews(settings, services, runner, now_ms, place))
            _run_forever(stack, reaper, proof.sequencer, Compactor(store, now_ms, settings.log))
            _run_forever(stack, *_workers(services))
            yield Server(create_app(services), keyring, runner, services, quotas, first, recovered, place)
            services.closing.set()


async def _start_runner(settings: Settings) -> LocalRunner:
    return await LocalRunner.start(
        settings.data_dir / "work",
        now_ms=now_ms,
        limits=replace(settings.runner, concurrent_runs_max=settings.runs.executing_max),
        provider=settings.provider,
        search_path=[Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder],
    )


def _reaper(
    settings: Settings, store: SqliteLog, blobs: BlobStore, runner: LocalRunner, logs: CommandLogs
) -> Reaper:
    return Reaper(
        store,
        runner.destroy_sandbox,
        retention=Retention(store, blobs.delete_unless_newer, settings.runs, now_ms),
        logs=logs,
        limits=settings.runs,
        now_ms=now_ms,
    )


async def _open_log(
    stack: contextlib.AsyncExitStack, settings: Settings, keyring: Keyring, anchor: Published
) -> SqliteLog:
    store = await SqliteLog.open(
        log_path(settings.data_dir),
        signer=keyring.signer,
        projector=Projections(),
        clock_ms=now_ms,
        anchor=anchor,
        limits=settings.log,
    )
    stack.push_async_callback(store.aclose)
    return store


def _open_sign_in(stack: contextlib.AsyncExitStack, settings: Settings, store: SqliteLog) -> SignIn:
    """Sign-in with a key or a link, and with a provider where there is one."""
    sessions = SessionService(store, settings.sign_in, now_ms)
    oidc = open_oidc(stack, settings.oidc, store, sessions, settings.sign_in)
    attempts = RateLimiter(settings.sign_in.attempts_per_minute, time.monotonic_ns)
    return SignIn(sessions, attempts, settings.public_url or (oidc.public_url if oidc else None), oidc)


async def _open_secrets(settings: Settings, store: SqliteLog) -> SecretService:
    key = load_or_make_secrets_key(settings.data_dir, needed=await any_secret(store))
    return SecretService(store, SecretBox(key), settings.runs)


@dataclass(frozen=True, slots=True)
class _Proof:
    """What stands behind the proofs: the publisher of the global log, its keys, the policy of this server."""

    sequencer: Sequencer
    keys: SigningKeyService
    policy: Callable[[], bytes]


async def _open_proof(
    stack: contextlib.AsyncExitStack, settings: Settings, keyring: Keyring, store: SqliteLog,
    published: Published,
) -> _Proof:  # fmt: skip
    """Check the global log against what was signed, and finish a rotation of keys that was interrupted."""
    witnesses = load_witnesses(settings.witnesses, keyring)
    panel = Panel(witnesses)
    stack.push_async_callback(panel.aclose)
    sequencer = Sequencer(
        store.global_log,
        published,
        HighWater(keyring.high_water_path, keyring.origin),
        keyring.log_signers,
        cosign=panel.cosign,
        clock_ms=now_ms,
        limits=settings.sequencer,
    )
    policy = partial(server_policy, keyring, witnesses)
    keys = SigningKeyService(store, keyring, sequencer, await sequencer.start(), policy)
    await keys.recover()
    keys.refuse_older_key()
    return _Proof(sequencer, keys, policy)


def _hosting(
    settings: Settings, runner: LocalRunner, blobs: BlobStore, quotas: QuotaService, secrets: SecretService
) -> Hosting:
    return Hosting(
        runner,
        blobs,
        quotas=quotas,
        secrets=secrets.values,
        output_bytes_max=settings.runs.command_output_bytes_max,
    )


def _services(
    *,
    settings: Settings, keyring: Keyring, store: SqliteLog, blobs: BlobStore, runner: LocalRunner,
    dispatcher: Dispatcher, proof: _Proof, logs: CommandLogs, quotas: QuotaService, secrets: SecretService,
    sign_in: SignIn, previews: PreviewService,
) -> Services:  # fmt: skip
    templates = TemplateNames(runner.templates, recorded=False)
    creatable = TemplateNames(runner.templates, recorded=True)
    runs = RunService(store, dispatcher, creatable, settings.runs, now_ms, quotas=quotas)
    host = _hosting(settings, runner, blobs, quotas, secrets)
    sandboxes = SandboxService(store, host, templates, settings.runs, quotas=quotas)
    closing = asyncio.Event()
    key_use = KeyUse(store, settings.runs, now_ms)
    return Services(
        store=store,
        runs=runs,
        uploads=UploadService(runs, blobs.writer),
        recordings=RecordingService(runs),
        redactions=RedactionService(runs),
        sandboxes=sandboxes,
        commands=CommandService(
            store, host, sandboxes=sandboxes, quotas=quotas, logs=logs, limits=settings.runs, now_ms=now_ms
        ),
        files=FileService(store, host, sandboxes, settings.runs),
        artifacts=ArtifactService(store, host, sandboxes, settings.runs, now_ms),
        accounts=AccountService(store),
        secrets=secrets,
        api_keys=KeyService(store, key_use),
        authenticate=Authenticator(store),
        key_use=key_use,
        watch=KeyWatch(store, closing, settings.api, sign_in.sessions.is_open),
        usage=UsageService(store, now_ms),
        verdicts=Verdicts(store, now_ms),
        rate=RateLimiter(settings.rate_limit_per_minute, time.monotonic_ns),
        previews=previews,
        blob_path=blobs.path,
        temporary_dir=_emptied(settings.data_dir / "tmp"),
        sequencer=proof.sequencer,
        global_log=store.global_log,
        keys=proof.keys,
        attestation_signer=keyring.attestation,
        policy=proof.policy,
        monitors=load_monitors(settings.monitors),
        origin=keyring.origin,
        plan_default=settings.plan_default,
        dev_headers=settings.dev_headers,
        limits=settings.api,
        closing=closing,
        sign_in=sign_in,
    )


def _emptied(folder: Path) -> Path:
    """The folder without the bundles that a crash left half-written."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for left in folder.iterdir():
        if left.is_file():
            left.unlink()
    return folder


class _Background(Protocol):
    def run_forever(self) -> Coroutine[object, object, None]: ...


def _workers(services: Services) -> tuple[_Background, ...]:
    """Those of the services that have something to do by themselves."""
    return (services.key_use, services.watch, services.previews, services.recordings, Checker(services))


def _run_forever(stack: contextlib.AsyncExitStack, *workers: _Background) -> None:
    """Let these work until the stack ends."""
    for worker in workers:
        task = asyncio.create_task(worker.run_forever(), name=f"{type(worker).__name__}.run_forever")
        stack.push_async_callback(_stop, task)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
