"""Reads the wheel's dependencies and extras from requirements/*.in, so that the bounds stand in one place."""

from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

EXTRAS = ("oidc", "tsa")
"""Each has a file of its name."""


class Requirements(MetadataHookInterface):
    """Hatch calls `update` while it builds the metadata."""

    def update(self, metadata: dict[str, object]) -> None:
        """Fill in `dependencies` and `optional-dependencies`."""
        metadata["dependencies"] = self._read("runtime")
        metadata["optional-dependencies"] = {extra: self._read(extra) for extra in EXTRAS}

    def _read(self, name: str) -> list[str]:
        """One requirement a line, comments and blanks skipped."""
        text = Path(self.root, "requirements", f"{name}.in").read_text(encoding="utf-8")
        lines = (line.strip() for line in text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]
