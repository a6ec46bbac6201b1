"""What every test has in common: hypothesis profiles, and the last lines that count passed and skipped."""

import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.targets import left_to_others

settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile(
    "ci", deadline=None, print_blob=True, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", deadline=None, print_blob=True, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

# Everything here is http on loopback. A client reads the certificates that it might trust when it is made,
# which takes 40 ms for those of a system; this folder holds none.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)

# A shell starts background jobs with SIGINT ignored, and what tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

NEEDS = re.compile(r"needs (\w+): ")


class Outcomes:
    """Counts every outcome once, and a skip by the part that it needed."""

    def __init__(self) -> None:
        self.outcomes, self.reasons = Counter[str](), Counter[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one phase of one test."""
        if report.skipped:
            self.outcomes["skipped"] += 1
            reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple | list) else "unknown"
            reason = getattr(report, "wasxfail", reason)
            named = NEEDS.search(reason)
            self.reasons[named[1] if named else reason.removeprefix("Skipped: ")] += 1
        elif report.failed or report.when == "call":
            self.outcomes[report.outcome] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file that could not be read as a failure: none of its tests ran."""
        self.outcomes["failed"] += report.failed

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Print the last line, unless nothing ran."""
        if not self.outcomes:
            return
        why = ", ".join(f"{reason}: {count}" for reason, count in sorted(self.reasons.items()))
        skipped = f"{self.outcomes['skipped']} skipped" + (f" ({why})" if why else "")
        print(f"{self.outcomes['passed']} passed, {self.outcomes['failed']} failed, {skipped}")


FIRST = ("simulation", "races", "cli", "verifier", "contract", "api")
"""Folders whose files mostly wait: begun first, they wait while others compute, and none of them is last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of these folders first, for runs of several at a time."""
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(FIRST)))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave to the other targets what is theirs, unless it is named."""
    return True if left_to_others(collection_path, config.args) else None


def pytest_configure(config: pytest.Config) -> None:
    """Start counting, where all reports arrive: not in the workers of a parallel run."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Outcomes())
