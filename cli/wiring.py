"""The composition root: names the backends, joins rules, runner and HTTP, and starts them in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp

from api.app import create_app
from api.services import Services
from cli.execution import Execution
from cli.keys import Identity, load_or_make_identity
from cli.settings import Settings
from eventstore.blobs import BlobStore
from eventstore.sqlite.folder import DataFolder
from eventstore.sqlite.log import SqliteLog
from evidence.policy import format_policy
from projections.projector import Projections
from runner.local import LocalRunner
from runs.dispatch import Dispatcher
from runs.organization import FirstStart, first_start
from runs.reap import Reaper
from runs.resources import ResourceService
from runs.service import RunService
from runs.uploads import UploadService


def now_ms() -> int:
    """The wall clock in unix milliseconds: every clock of the server is this one."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Server:
    """An opened data folder with everything that works on it."""

    app: ASGIApp
    identity: Identity
    runner: LocalRunner
    first: FirstStart | None
    """What the first start made, on the first start only."""
    recovered: dict[str, int]
    closing: asyncio.Event


def log_path(data_dir: Path) -> Path:
    """The database of a data folder."""
    return data_dir / "log.sqlite"
