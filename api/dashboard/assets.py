"""Static files of the dashboard, under a path that holds a digest over all of them: kept for ever."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
PREFIX = "/dashboard/static"
DIGEST_CHARS = 16
MEDIA_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent."""

    media_type: str
    body: bytes


@cache
def assets() -> Mapping[str, Asset]:
    """Every file by its path below the folder."""
    found = sorted(path for path in FOLDER.rglob("*") if path.is_file())
    return {
        path.relative_to(FOLDER).as_posix(): Asset(_media_type(path), path.read_bytes()) for path in found
    }


@cache
def digest() -> str:
    """A digest over names and contents of all files: a module imports others by relative paths."""
    total = hashlib.sha256()
    for name, asset in assets().items():
        total.update(f"{name}\0{len(asset.body)}\0".encode() + asset.body)
    return total.hexdigest()[:DIGEST_CHARS]


def asset_path(name: str) -> str:
    """Where a page finds this file; `KeyError` for one that is not there."""
    if name not in assets():
        raise KeyError(f"there is no static file {name}")
    return f"{PREFIX}/{digest()}/{name}"


def module_paths(*folders: str) -> list[str]:
    """Where the modules of these folders are: a page that names them early need not find them one by one."""
    return [asset_path(name) for name in assets() if name.endswith(".js") and name.split("/")[0] in folders]


def _media_type(path: Path) -> str:
    return MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
