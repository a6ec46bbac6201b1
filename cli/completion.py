"""The command completion: prints the script that lets a shell complete crownest."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from cli import output
from cli.lazy import ExampleCommand


@click.command(
    cls=ExampleCommand,
    examples=(
        "crownest completion bash >> ~/.bashrc",
        "crownest completion zsh >> ~/.zshrc",
        "crownest completion fish > ~/.config/fish/completions/crownest.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print shell completion for bash, zsh or fish.

    Commands, options and their fixed values are completed, and file names where a file is wanted.
    """
    from cli.main import root

    found = get_completion_class(shell)
    assert found is not None, "the choices are the shells that click knows"
    # Not found.source(): for bash it starts a shell to learn its version, which nobody asked for.
    output.write_out(ShellComplete.source(found(root, {}, "crownest", "_CROWNEST_COMPLETE")) + "\n")
