"""Static files of the dashboard, under a path that holds a digest over all of them: kept for ever."""

from __future__ import annotations

import hashlib
import mimetypes
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
PREFIX = "/dashboard/static"
DIGEST_CHARS = 16
SHEETS: Mapping[str, tuple[str, ...]] = {
    "css/frame.css": ("tokens", "base", "shell", "controls", "state", "page", "notices"),
    "css/run-page.css": ("run", "log", "panel", "proof", "replay"),
}
"""Style sheets that are sent as one: each is a request, and a page is painted when the last one is there."""
IMPORT = re.compile(r"""^(?:import|export)\b(?:[^"';]*\bfrom)?\s*["'](\.[^"']+)["']""", re.MULTILINE)
"""What a module names at its top; not `import(…)`, which is asked for when it is needed."""
MEDIA_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent."""

    media_type: str
    body: bytes


@cache
def assets() -> Mapping[str, Asset]:
    """Every file by its path below the folder, and every sheet of several."""
    found = sorted(path for path in FOLDER.rglob("*") if path.is_file())
    files = {
        path.relative_to(FOLDER).as_posix(): Asset(_media_type(path), path.read_bytes()) for path in found
    }
    for name, parts in SHEETS.items():
        body = b"".join(files[f"css/{part}.css"].body for part in parts)
        files[name] = Asset(MEDIA_TYPES[".css"], body)
    return files


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


@cache
def module_graph(*entries: str) -> tuple[str, ...]:
    """Where these modules are and all that they import, the nearest first.

    A page that names them in its head gets them at once; a browser alone finds the next ones in each of them.
    """
    names = list(entries)
    for name in names:  # grows while it is read
        text = assets()[name].body.decode()
        found = (
            posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) for path in IMPORT.findall(text)
        )
        names.extend(one for one in dict.fromkeys(found) if one not in names)
    return tuple(asset_path(name) for name in names)


def _media_type(path: Path) -> str:
    return MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
