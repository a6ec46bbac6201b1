"""Reads the wheel's dependencies from runtime.in, so that the bounds stand in one place."""

from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class RuntimeRequirements(MetadataHookInterface):
    """Hatch calls `update` while it builds the metadata."""

    def update(self, metadata: dict[str, object]) -> None:
        """Fill in `dependencies`: one requirement a line, comments and blanks skipped."""
        text = Path(self.root, "requirements", "runtime.in").read_text(encoding="utf-8")
        lines = (line.strip() for line in text.splitlines())
        metadata["dependencies"] = [line for line in lines if line and not line.startswith("#")]
