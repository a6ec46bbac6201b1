"""The command policy: whose signatures a server's proofs carry."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli import output
from cli.files import replacing
from cli.lazy import ExampleCommand
from cli.target import connect
from cli.terminal import harmless


@click.command(
    cls=ExampleCommand,
    examples=("crownest policy > trust.policy", "crownest policy --output trust.policy"),
)
@click.option(
    "--output",
    "target",
    metavar="PATH",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to a file.",
)
def policy(target: Path | None) -> None:
    """Print whose signatures the server's proofs carry.

    This file is all that crownest verify trusts. Fetch it once, compare it with what others hold, and
    keep it apart from the proofs: whoever can change both can forge both.
    """
    with connect(anonymous=True) as client:
        text = client.policy()
    if target is None:
        output.write_out(harmless(text) if output.is_terminal(sys.stdout) else text)
        return
    with replacing(target) as out:
        out.write(text.encode())
    output.note(f"policy written to {target}; keep it apart from the proofs")
