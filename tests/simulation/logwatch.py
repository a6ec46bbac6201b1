"""A stranger who follows the global log over all lives of a server: it may only ever grow."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from evidence.policy import parse_policy
from tests.simulation.ledger import Ledger
from witness.asking import Asker
from witness.fetching import Web
from witness.following import open_following
from witness.monitor import Monitor, Report
from witness.tilelog import TileLog

KINDS = {"E_RUN_MISSING": "lost", "E_LOG_FORK": "changed", "E_DOUBLE_SEAL": "duplicated"}


class LogWatch:
    """The monitor as an auditor runs it; its folder is its own and never loses power."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="crownest-followed-")

    def look(self, url: str, key: str, policy: bytes, ledger: Ledger) -> None:
        """Follow what the log gained, ask for its runs, and add whatever is off."""
        report = self._round(url, key, policy)
        for finding in report.findings:
            ledger.findings.add(KINDS[finding.code], finding.message)
        for text in report.unreadable:
            ledger.findings.add("unproven", f"the global log: {text}")
        ledger.counts["looks at the global log"] += 1
        ledger.counts["entries of the global log"] += report.new_entries

    def close(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()

    def _round(self, url: str, key: str, policy: bytes) -> Report:
        web = Web()
        with open_following(Path(self._folder.name, "followed")) as following:
            log, asker = TileLog(web, f"{url}/log"), Asker(web, url, key)
            return Monitor(log, following, parse_policy(policy), asker=asker).round(int(time.time()))
