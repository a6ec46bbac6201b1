"""A progress bar for uploads, drawn on stderr when a person is watching."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli import output

if TYPE_CHECKING:
    from client.archive import Progress

SIZE_SHOWN_BYTES_MIN = 128 * 1024
"""Smaller archives are there before an eye could follow."""


@contextmanager
def upload_progress(size_bytes: int) -> Generator[Progress | None]:
    """Draw while the block runs, and leave nothing behind; None where there is nothing to draw on."""
    if not output.is_terminal(sys.stderr) or size_bytes < SIZE_SHOWN_BYTES_MIN:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True, no_color=not output.uses_colour(sys.stderr))
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("uploading", total=size_bytes)

        def on_progress(sent_bytes: int, total_bytes: int) -> None:
            done = sent_bytes == total_bytes
            bar.update(task, completed=sent_bytes, description="checking" if done else "uploading")

        yield on_progress
