"""Every setting and every named limit in one place, read from CROWNEST_* variables (DESIGN §5)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.limits import ApiLimits, PreviewLimits
from cli.oidc import OidcSettings
from cli.problems import failure
from eventstore.log import LogLimits
from eventstore.sequencer import SequencerLimits
from runner.limits import RunnerLimits
from runs.limits import RunLimits, SignInLimits

NOTHING_GOES_ON_WITHOUT = frozenset(
    {
        "CROWNEST_LOG__APPEND_EVENTS_MAX", "CROWNEST_LOG__APPEND_QUEUE_MAX", "CROWNEST_LOG__CHUNK_BYTES",
        "CROWNEST_LOG__GROUP_COMMIT_APPENDS_MAX", "CROWNEST_LOG__READERS",
        "CROWNEST_RUNS__APPEND_ATTEMPTS_MAX", "CROWNEST_RUNS__EXECUTING_MAX",
    }
)  # fmt: skip
"""Limits that are at least 1; with 0 a start, or every run, would wait for ever."""
LIKENESS_MIN = 0.9
"""From which likeness on a name counts as a slip of another one; 1 is the same."""


def default_data_dir() -> Path:
    """$XDG_DATA_HOME/crownest, or ~/.local/share/crownest."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "crownest"


class Settings(BaseSettings):
    """Settings of a server. `CROWNEST_RUNS__TIMEOUT_MS_MAX=…` sets the limit `runs.timeout_ms_max`."""

    # Empty is unset, as in `CROWNEST_HOST=$UNKNOWN`: an empty host would be every address of the machine,
    # an empty data folder whichever one the server is started in.
    model_config = SettingsConfigDict(
        env_prefix="CROWNEST_", env_nested_delimiter="__", env_ignore_empty=True, frozen=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8787, ge=0, le=65535)
    data_dir: Path = Field(default_factory=default_data_dir)
    preview_port: int | None = Field(default=None, ge=0, le=65535)
    """Where previews are served: 0 for a free port; the one after `port` when not given."""
    preview_url: str = Field(
        default="http://{slug}.localhost:{port}",
        pattern=r"^https?://\{slug\}\.[A-Za-z0-9.-]+(:(\{port\}|[0-9]+))?$",
    )
    """How browsers reach a preview: every one has a host name, and so an origin, of its own."""
    provider: Literal["auto", "bubblewrap", "process"] = "auto"
    origin: str | None = None
    """The log's name in checkpoints; made once at first start when not given (PROOF P4.3)."""
    witnesses: Path | None = None
    """A file of `witness <name> <key> <url>`, `group` and `quorum` lines: who is asked to cosign the log."""
    monitors: Path | None = None
    """A file of `monitor <name> <key> <report file>` lines: whose reports the page of the log shows."""
    plan_default: Literal["free", "builder", "scale", "enterprise"] = "enterprise"
    dev_headers: bool = False
    """Let `x-crownest-org-id`, `-user-id` and `-role` name a person without proof: only on loopback."""
    rate_limit_per_minute: int = Field(default=120, ge=0, le=1_000_000)
    """Requests per API key and minute; 0 turns the limit off. Streams are not counted (CONTRACT §11)."""
    shutdown_s: int = Field(default=3, ge=0)
    """How long open streams may take to end when the server stops."""
    public_url: str | None = Field(default=None, pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$")
    """Where browsers reach this server, for example https://runs.example.org behind a proxy that ends TLS."""
    oidc: OidcSettings = OidcSettings()

    runs: RunLimits = RunLimits()
    runner: RunnerLimits = RunnerLimits()
    api: ApiLimits = ApiLimits()
    previews: PreviewLimits = PreviewLimits()
    log: LogLimits = LogLimits()
    sequencer: SequencerLimits = SequencerLimits()
    sign_in: SignInLimits = SignInLimits()


def load_settings(**given: Any) -> Settings:
    """The settings of the environment, with what the command line gives; a bad one is named."""
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "CROWNEST_" + "__".join(str(part) for part in first["loc"]).upper()
        raise failure(
            f"{name}: {first['msg']}.", "Correct or unset the variable; see: crownest config"
        ) from error
    _refuse_dead_limits(settings)
    return settings.model_copy(update={name: value for name, value in given.items() if value is not None})


def _refuse_dead_limits(settings: Settings) -> None:
    """No limit is below 0: a limit is a number that is set under a group."""
    for name, value in variables(settings):
        least = 1 if name in NOTHING_GOES_ON_WITHOUT else 0
        if "__" in name and isinstance(value, int | float) and value < least:
            raise failure(
                f"{name}: Input should be at least {least}.",
                "Correct or unset the variable; see: crownest config",
            )


def variables(settings: Settings) -> Iterator[tuple[str, Any]]:
    """The name of each variable that sets something, with its value; limits under their group."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if is_dataclass(value) and not isinstance(value, type):
            for field in fields(value):
                yield f"CROWNEST_{name}__{field.name}".upper(), getattr(value, field.name)
        else:
            yield f"CROWNEST_{name}".upper(), value


def mistyped(settings: Settings, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Of these names of variables each that sets nothing and is a slip of one that does, with that one.

    A data folder that is set by such a slip would be the default one without a word.
    """
    known = [name for name, _ in variables(settings)]
    for name in sorted(names):
        if name.upper().startswith("CROWNEST_") and name.upper() not in known:
            for meant in get_close_matches(name.upper(), known, n=1, cutoff=LIKENESS_MIN):
                yield name, meant
