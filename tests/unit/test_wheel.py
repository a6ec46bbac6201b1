"""What is installed holds what pages are made of."""

from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "api" / "dashboard"


def test_the_wheel_holds_every_template_module_and_style() -> None:
    """A server from a package index has the same pages as one from the repository."""
    packed = {one.distribution_path for one in WheelBuilder(str(ROOT)).recurse_included_files()}
    there = [path for kind in ("html", "js", "css", "svg") for path in FOLDER.rglob(f"*.{kind}")]
    assert len(there) > 50
    assert {str(path.relative_to(ROOT)) for path in there} <= packed
