"""The file that keeps the API address and key between commands (CONTRACT §9).

JSON `{"apiKey", "apiUrl"}`, mode 0600, replaced as a whole. Keys that this program does not know stay.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cli.problems import failure

CONFIG_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says; None where it says nothing. `credential` is the one that counts (§9's order)."""

    api_url: str | None = None
    credential: str | None = None

    def __repr__(self) -> str:
        return f"Config(api_url={self.api_url!r}, credential={'set' if self.credential else None})"


def path(env: Mapping[str, str] | None = None) -> Path:
    """CROWNEST_CONFIG_PATH, else $XDG_CONFIG_HOME/crownest/config.json, else below ~/.config."""
    env = os.environ if env is None else env
    if named := env.get("CROWNEST_CONFIG_PATH"):
        return Path(named).expanduser()
    base = env.get("XDG_CONFIG_HOME", "")
    # The XDG rules: a relative path there counts as unset.
    folder = Path(base) if Path(base).is_absolute() else _home(env) / ".config"
    return folder / "crownest" / "config.json"


def _home(env: Mapping[str, str]) -> Path:
    if home := env.get("HOME"):
        return Path(home)
    try:
        return Path.home()
    except RuntimeError:
        raise failure(
            "There is no home folder to keep the configuration in.",
            "Set CROWNEST_CONFIG_PATH to a file, or pass CROWNEST_API_URL and CROWNEST_API_KEY.",
            reason="no_home",
        ) from None


def read(env: Mapping[str, str] | None = None) -> Config:
    """What is stored; a missing file is an empty configuration, a broken one an error that says so."""
    file = path(env)
    content = _load(file)
    for key in ("apiUrl", "credential", "apiKey"):
        if not isinstance(content.get(key), str | None):
            raise _broken(file, f"{key} is not a text")
    return Config(content.get("apiUrl") or None, content.get("credential") or content.get("apiKey") or None)


def write(
    *, api_url: str | None = None, api_key: str | None = None, env: Mapping[str, str] | None = None
) -> Path:
    """Store the address, the key, or both; what is not given stays. Answers the file's path.

    A new key also removes an old `credential`, which would win over it. Crash windows: before the
    rename the old file stands; after it the new one does, complete and already mode 0600.
    """
    from eventstore.durable import replace_file

    file = Path(os.path.realpath(path(env)))  # through a symlink, as dotfile managers make them
    content = _load_or_nothing(file)
    if api_url is not None:
        content["apiUrl"] = api_url
    if api_key is not None:
        content["apiKey"] = api_key
        content.pop("credential", None)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(file, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())
    except OSError as exc:
        raise failure(
            f"Cannot write {file}: {exc.strerror}.",
            "Set CROWNEST_CONFIG_PATH to a file that you may write.",
            reason="config_not_writable",
        ) from exc
    return file


def _load(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as source:
            data = source.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise failure(
            f"Cannot read {file}: {exc.strerror}.",
            f"Correct its permissions: chmod 600 {file}",
            reason="config_broken",
        ) from exc
    try:
        content: object = json.loads(data) if len(data) <= CONFIG_BYTES_MAX else None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise _broken(file, "it is not a JSON object")
    return cast("dict[str, Any]", content)


def _load_or_nothing(file: Path) -> dict[str, Any]:
    """A broken file is replaced: writing is how it gets repaired."""
    from cli.problems import CliError

    try:
        return _load(file)
    except CliError:
        return {}


def _broken(file: Path, why: str) -> Exception:
    return failure(
        f"{file} cannot be used: {why}.",
        "Repair it, or write it anew: crownest login --api-url URL --api-key KEY",
        reason="config_broken",
    )
