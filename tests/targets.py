"""Which tests `make test` leaves to a target of their own, which runs the long programme as well."""

from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
TARGETS = {
    "browser": ("browser",),
    "conformance": ("conformance/test_rules.py", "conformance/test_mutants.py", "cli/test_smoke_sabotage.py"),
    "crash": ("simulation/test_crash.py", "simulation/test_recording_crash.py"),
    "matrix": ("isolation/test_matrix.py",),
    "races": ("races/test_races.py",),
}
LEFT = {HERE / path for paths in TARGETS.values() for path in paths}


def left_to_others(path: Path, arguments: Iterable[str]) -> bool:
    """Whether this is another target's, and neither it nor a folder that it is in was asked for."""
    if path not in LEFT:
        return False
    asked = {Path(argument.partition("::")[0]).resolve() for argument in arguments} - {HERE, HERE.parent}
    return not any(one.is_relative_to(path) or path.is_relative_to(one) for one in asked)
