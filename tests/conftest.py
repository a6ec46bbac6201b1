"""What every test has in common: hypothesis profiles, and the last lines that count passed and skipped."""

import os
import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile(
    "ci", deadline=None, print_blob=True, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", deadline=None, print_blob=True, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

NEEDS = re.compile(r"needs (\w+): ")
OUTCOMES = pytest.StashKey[Counter[str]]()
REASONS = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start counting."""
    config.stash[OUTCOMES] = Counter()
    config.stash[REASONS] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # noqa: ANN201 # pytest's own type
    """Count every outcome once, and a skip by the part that it needed."""
    report: pytest.TestReport = yield
    outcomes = item.config.stash[OUTCOMES]
    if report.skipped:
        outcomes["skipped"] += 1
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else "unknown"
        named = NEEDS.search(reason)
        item.config.stash[REASONS][named[1] if named else reason.removeprefix("Skipped: ")] += 1
    elif report.failed or report.when == "call":
        outcomes[report.outcome] += 1
    return report


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Print the last line, unless nothing ran."""
    outcomes, reasons = config.stash[OUTCOMES], config.stash[REASONS]
    if not outcomes:
        return
    why = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
    skipped = f"{outcomes['skipped']} skipped" + (f" ({why})" if why else "")
    print(f"{outcomes['passed']} passed, {outcomes['failed']} failed, {skipped}")
