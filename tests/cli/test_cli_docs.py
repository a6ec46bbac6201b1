"""docs/cli.md is what the help says, and the groups' lines are what their commands say."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from cli.docs import document
from cli.lazy import LazyGroup
from cli.main import root
from cli.workspace_runs import workspace_runs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
SEED_FLAGS = {
    "create": "--command --project --template --sandbox --keep-sandbox --timeout-ms --metadata --json",
    "upload": "--sha256 --json",
    "start": "--json",
    "run-archive": "--project --template --sandbox --keep-sandbox --timeout-ms --metadata --json",
    "status": "--json",
    "list": "--project --status --json",
    "logs": "--after-seq --json",
    "cancel": "--json",
    "evidence": "--output --json",
}
"""The product page's flags of each command."""


def test_the_page_is_what_the_help_prints() -> None:
    """Write it anew with: python -m cli.docs > docs/cli.md."""
    assert PAGE.read_text(encoding="utf-8") == document()


@pytest.mark.parametrize("group", [root, workspace_runs], ids=lambda group: group.name)
def test_each_line_of_a_group_is_the_first_sentence_of_its_command(group: LazyGroup) -> None:
    """The lines are written twice so that help needs no imports; this keeps them one."""
    for name, place in group.lazy.items():
        command = place.load(name)
        first = click.unstyle(command.help or "").partition("\n\n")[0].replace("\n", " ")
        assert place.short_help == first, name


@pytest.mark.parametrize("name", SEED_FLAGS)
def test_every_flag_of_the_product_page_exists_and_every_other_is_marked(name: str) -> None:
    """What is ours says so in its help."""
    command = workspace_runs.lazy[name].load(name)
    options = {flag: p for p in command.params if isinstance(p, click.Option) for flag in p.opts}
    promised = set(SEED_FLAGS[name].split())
    assert promised <= set(options)
    for flag in set(options) - promised:
        assert "(addition)" in (options[flag].help or ""), flag


def test_every_command_explains_itself() -> None:
    """A help text, and a help text for each option."""
    ctx = click.Context(root, info_name="crownest")
    left: list[tuple[str, click.Command]] = [("crownest", root)]
    while left:
        path, command = left.pop()
        assert command.help, path
        assert all(p.help for p in command.params if isinstance(p, click.Option)), path
        if isinstance(command, click.Group):
            for name in command.list_commands(ctx):
                inner = command.get_command(ctx, name)
                assert inner is not None
                left.append((f"{path} {name}", inner))
