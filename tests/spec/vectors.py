"""Writes docs/spec/vectors, the same bytes each time: seeds and salts are no secret."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from evidence.record import encode_base64
from evidence.tiles import Tile, bundles, hash_tiles, pack_entries
from evidence.verdict import CODES, FAILED
from tests.spec.vector_bundles import Case, cases, shown_files
from tests.spec.vector_parts import PARTS
from tests.spec.vector_world import (
    KEYS,
    LOG_SIZE,
    NEW_LOG,
    POLICIES,
    SEEN_S,
    W1,
    W2,
    WITNESSES,
    entries,
    log_note,
    log_tree,
)

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "spec" / "vectors"
PAGE = "README.md"
"""Written by hand."""
INDEX = "vectors.json"
FORMAT = "crownest/vectors/v1"
DEFAULTS = {
    "run": None,
    "allowOpen": False,
    "allowWithheld": False,
    "allowUnlogged": False,
    "allowUnattested": False,
    "strictTime": False,
    "pin": None,
    "evidenceFile": None,
}
"""The options of a case that are not in it."""


def build() -> dict[str, bytes]:
    """Every file but the page, by its path in the folder."""
    found = cases()
    files = {f"bundles/{case.name}.zip": case.bundle for case in found if case.of is None}
    files |= {f"policies/{name}": data for name, data in POLICIES.items()}
    files |= shown_files() | _log_files()
    files |= {name: _json(make()) for name, make in PARTS.items()}
    listed = {path: sha256(data).hexdigest() for path, data in sorted(files.items())}
    told = [_told(case, files) for case in found]
    index = {"format": FORMAT, "keys": _keys(), "defaults": DEFAULTS, "bundles": told, "sha256": listed}
    return files | {INDEX: _json(index)}


def write(folder: Path = FOLDER) -> None:
    """Make the folder hold these files and no other but its page."""
    files = build()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and str(path.relative_to(folder)) not in {*files, PAGE}:
            path.unlink()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _keys() -> list[dict[str, str]]:
    return [
        {
            "secret": secret,
            "seed": sha256(secret.encode()).hexdigest(),
            "name": key.name,
            "verifierKey": WITNESSES.get(secret, key.verifier_key),
        }
        for secret, key in KEYS.items()
    ]


def _told(case: Case, files: dict[str, bytes]) -> dict[str, Any]:
    path = f"bundles/{case.of or case.name}.zip"
    assert files[path] == case.bundle, f"{case.name} is not the bundle of {case.of}"
    expected: dict[str, Any] = {
        "verdict": case.verdict,
        "exitCode": case.exit_code,
        "code": case.code,
        "clause": CODES[case.code].clause if case.code else None,
        "seq": case.seq,
    }
    if case.verdict != FAILED:
        expected |= {"notBefore": case.times[0], "notAfter": case.times[1]}
    return {
        "name": case.name,
        "what": case.what,
        "bundle": path,
        "policy": f"policies/{case.policy}",
        "options": case.options,
        "expected": expected,
    }


def _log_files() -> dict[str, bytes]:
    """The log as a server serves it, cosigned by two witnesses."""
    tree, all_entries = log_tree(), entries()
    files = {"log/checkpoint": log_note(LOG_SIZE, NEW_LOG, seen=[(W1, SEEN_S), (W2, SEEN_S + 10)])}
    for tile in hash_tiles(LOG_SIZE):
        files[f"log/{tile.path()}"] = _hashes(tile)
    for tile in bundles(0, LOG_SIZE):
        start = tile.index * 256
        files[f"log/{tile.path()}"] = pack_entries(all_entries[start : start + tile.width])
    assert encode_base64(tree.root()).encode() in files["log/checkpoint"]
    return files


def _hashes(tile: Tile) -> bytes:
    level, first = 8 * (tile.level or 0), tile.index * 256
    return b"".join(log_tree().subtree(level, first + at) for at in range(tile.width))


if __name__ == "__main__":
    write()
