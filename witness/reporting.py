"""Keeps the newest report of a monitor as a file, signed by a key of its own, for others to show."""

from __future__ import annotations

from pathlib import Path

from evidence.monitor_report import Found, MonitorReport
from evidence.note import Ed25519Signer, is_key_name
from evidence.record import decode_base64
from witness.durable import PUBLIC_FILE, replace_file
from witness.monitor import Report
from witness.state import StateError

_NAME, _KEY = "report.name", "report.pem"


class Reporting:
    """Writes each look to a file. Made beside the folder of a monitor that is locked already."""

    def __init__(self, folder: Path, file: Path, name: str | None) -> None:
        """`name` is needed the first time and makes the key. Raises `StateError`."""
        self._file = file
        known = _read_name(folder)
        if known is None:
            known = _make_key(folder, name)
        if name not in {None, known}:
            raise StateError(f"{folder} reports as {known}. For another name use another folder.")
        try:
            self.signer = Ed25519Signer.from_pem(known, (folder / _KEY).read_bytes())
        except (OSError, ValueError) as error:
            raise StateError(f"{folder / _KEY}: {error}; bring it back from a backup") from error

    def __repr__(self) -> str:
        return f"Reporting({str(self._file)!r}, {self.signer!r})"

    @property
    def line(self) -> str:
        """What the operator of a server puts into the file that CROWNEST_MONITORS names, but for the path."""
        return f"monitor {self.signer.name} {self.signer.verifier_key}"

    def write(self, report: Report, now_s: int) -> None:
        """Put the report in the place of the one before, whole or not at all. Raises OSError."""
        replace_file(self._file, _signed(report, now_s).to_note(self.signer), mode=PUBLIC_FILE)


def _read_name(folder: Path) -> str | None:
    try:
        name = (folder / _NAME).read_text(encoding="utf-8").removesuffix("\n")
    except FileNotFoundError:
        return None
    # Crash window: a name without a key; the next start makes both anew.
    return name if (folder / _KEY).exists() else None


def _make_key(folder: Path, name: str | None) -> str:
    if name is None or not is_key_name(name):
        raise StateError(
            "A report is signed in the monitor's name: give one with --name, without spaces and '+', like "
            "monitor.example.org/alice."
        )
    replace_file(folder / _NAME, f"{name}\n".encode())
    replace_file(folder / _KEY, Ed25519Signer.generate(name).to_pem())
    return name


def _signed(report: Report, now_s: int) -> MonitorReport:
    return MonitorReport(
        looked_s=now_s,
        origin=report.origin,
        size=report.size,
        root=decode_base64(report.root),
        cosigned=report.cosigned,
        quorum_met=report.quorum_met,
        findings_count=len(report.findings),
        findings=[Found(one.code, one.detail, one.stream, one.entry) for one in report.findings],
        notices=report.notices,
        unreadable=report.unreadable,
    )
