"""Packs `evidence/` and this room into the single file `crownest-verify`: `python -m verifier.pack FILE`.

It holds the sources as they are and nothing of the day or the machine, so the same sources give the same
bytes: stored and not compressed, in the order of their names, dated 1980, all with the same mode.
"""

from __future__ import annotations

import io
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHEBANG = b"#!/usr/bin/env python3\n"
START = Path("verifier/__main__.py")
DATE = (1980, 1, 1, 0, 0, 0)
FILE_MODE = 0o100644 << 16
EXECUTABLE = 0o755


def sources() -> dict[str, bytes]:
    """What is in the file, by its name there: both rooms but this module, and what Python starts."""
    paths = [path for room in ("evidence", "verifier") for path in (ROOT / room).glob("*.py")]
    names = {path.relative_to(ROOT) for path in paths if path != Path(__file__).resolve()} - {START}
    return {
        "__main__.py": (ROOT / START).read_bytes(),
        **{str(n): (ROOT / n).read_bytes() for n in sorted(names)},
    }


def packed() -> bytes:
    """The bytes of `crownest-verify`."""
    out = io.BytesIO()
    out.write(SHEBANG)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sources().items():
            info = zipfile.ZipInfo(name, DATE)
            info.create_system, info.external_attr = 3, FILE_MODE  # Unix, wherever it is packed
            archive.writestr(info, data)
    return out.getvalue()


def main() -> None:
    """Write the file and print its digest, as sha256sum does."""
    target, data = Path(sys.argv[1]), packed()
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)
    target.chmod(EXECUTABLE)
    sys.stdout.write(f"{sha256(data).hexdigest()}  {target}\n")


if __name__ == "__main__":
    main()
