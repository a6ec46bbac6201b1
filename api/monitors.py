"""Reads what monitors report of this server's log: files that its operator named, signed by keys named there.

A monitor belongs to those who do not trust this server. So nothing is fetched, and nothing unsigned is shown.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from evidence.canonical import FormatError
from evidence.monitor_report import MonitorReport, open_report
from evidence.note import NOTE_BYTES_MAX, BadSignature, UnknownKey, Verifier


class ReportUnreadable(Exception):
    """There is no report that can be shown; the message says why, as the rest of a sentence."""


@dataclass(frozen=True, slots=True)
class MonitorFile:
    """A monitor that the operator named: its name, its key, and where its newest report lies."""

    name: str
    key: Verifier
    path: Path

    def read(self) -> MonitorReport:
        """The newest report, its signature checked. Raises `ReportUnreadable`."""
        try:
            return open_report(_bounded(self.path), self.key)
        except FileNotFoundError:
            raise ReportUnreadable("has not reported yet: its file is not there") from None
        except OSError as error:
            raise ReportUnreadable(
                f"has a report that cannot be read: {os.strerror(error.errno or 0)}"
            ) from error
        except BadSignature:
            raise ReportUnreadable("has a report whose signature does not fit: it was changed") from None
        except UnknownKey:
            raise ReportUnreadable("has a report that another key signed") from None
        except FormatError as error:
            raise ReportUnreadable(f"has a report that is none: {error}") from error


def _bounded(path: Path) -> bytes:
    """The whole file. A pipe is not waited for, and a large file not read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ReportUnreadable("has a report that is no file")
        data = file.read(NOTE_BYTES_MAX + 1)
    if len(data) > NOTE_BYTES_MAX:
        raise ReportUnreadable(f"has a report of more than {NOTE_BYTES_MAX:,} bytes")
    return data
