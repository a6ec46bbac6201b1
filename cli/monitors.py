"""The monitors whose reports a server shows on the page of its log (PROOF P5.6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from api.monitors import MonitorFile
from cli.problems import failure
from evidence.canonical import FormatError
from evidence.note import ED25519, Verifier

MONITORS_MAX = 32
FILE_BYTES_MAX = 64 * 1024


def load_monitors(path: Path | None) -> Sequence[MonitorFile]:
    """Read the file that `CROWNEST_MONITORS` names: lines `monitor <name> <key> <report file>`.

    `crownest monitor --report` prints the first three words. A relative path is one beside the file itself.
    """
    if path is None:
        return []
    advice = "CROWNEST_MONITORS names a file of lines 'monitor <name> <key> <report file>', # for remarks."
    try:
        with path.open("rb") as source:
            data = source.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise failure(f"{path} is larger than a file of monitors can be.", advice)
        lines = [line.strip() for line in data.decode().splitlines()]
        found = [_parsed(line, path.parent) for line in lines if line and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        raise failure(f"{path} cannot be read: {error}.", advice) from error
    except FormatError as error:
        raise failure(f"{path} is no file of monitors: {error}.", advice) from error
    if len(found) > MONITORS_MAX:
        raise failure(f"{path} names more than {MONITORS_MAX} monitors.", advice)
    if len({one.name for one in found}) != len(found):
        raise failure(f"{path} names a monitor twice.", advice)
    return found


def _parsed(line: str, folder: Path) -> MonitorFile:
    words = line.split(maxsplit=3)
    if len(words) != 4 or words[0] != "monitor":
        raise FormatError(f"'{line[:80]}' is not 'monitor <name> <key> <report file>'")
    key = Verifier.parse(words[2])
    if key.name != words[1] or key.type != ED25519:
        raise FormatError(f"the key of {words[1]} is not the one that it prints")
    return MonitorFile(key.name, key, folder / words[3])
