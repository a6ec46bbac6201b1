"""Command groups whose commands are imported when they are used, so that help and completion start fast."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from cli.problems import failure

GROUPS_NAMED_MAX = 3
"""How many groups are named that have a command of a name that was typed without one."""


@dataclass(frozen=True, slots=True)
class Lazy:
    """Where a command lives (`module:attribute`), its line in the group's help, and under which heading.

    A test compares `short_help` with the first sentence of the command itself.
    """

    target: str
    short_help: str
    heading: str = "Commands"

    def load(self, name: str) -> click.Command:
        """Import the command; in an installation without that part, a command that says so."""
        module_name, attribute = self.target.split(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as exc:
            if exc.name != module_name:
                raise
            return _absent(name)
        command: object = getattr(module, attribute)
        assert isinstance(command, click.Command), f"{self.target} is not a command"
        return command


def _absent(name: str) -> click.Command:
    def refuse() -> None:
        raise failure(
            f"This installation has no {name!r}.",
            "Install crownest-server completely.",
            reason="not_installed",
        )

    return click.Command(name, callback=refuse, short_help="Not in this installation.")


class LazyGroup(click.Group):
    """A group that knows its commands by name, help line and place only."""

    def __init__(
        self, *args: Any, lazy: Mapping[str, Lazy], examples: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a newcomer needs them."""
        del ctx
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command now."""
        del ctx
        place = self.lazy.get(cmd_name)
        return place.load(cmd_name) if place else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the near misses taken from the lazy names, and those of the groups in it."""
        name = args[0]
        if name not in self.lazy and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.NoSuchCommand(name, self._in_groups(ctx, name), possibilities=self.lazy, ctx=ctx)
        return super().resolve_command(ctx, args)

    def _in_groups(self, ctx: click.Context, name: str) -> str | None:
        """What to say when groups of this one have a command of that name: somebody left the group out."""
        groups = {group: place.load(group) for group, place in self.lazy.items()}
        found = [
            f"'{ctx.command_path} {group} {name}'"
            for group, command in groups.items()
            if isinstance(command, click.Group) and name in command.list_commands(ctx)
        ]
        return (
            f"No such command {name!r}. Did you mean {' or '.join(found[:GROUPS_NAMED_MAX])}?"
            if found
            else None
        )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete names without importing any command."""
        from click.shell_completion import CompletionItem

        names = [name for name in self.lazy if name.startswith(incomplete)]
        items = [CompletionItem(name, help=self.lazy[name].short_help) for name in names]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under their headings, then the examples."""
        del ctx
        width = max(len(name) for name in self.lazy)
        for heading in dict.fromkeys(place.heading for place in self.lazy.values()):
            with formatter.section(heading):
                formatter.write_dl(
                    [(n.ljust(width), p.short_help) for n, p in self.lazy.items() if p.heading == heading]
                )
        write_examples(formatter, self.examples)


class ExampleCommand(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples come last, where the eye is when the help has scrolled by."""
        super().format_epilog(ctx, formatter)
        write_examples(formatter, self.examples)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write lines that are never wrapped, so that they can be copied."""
    if examples:
        with formatter.section("Examples"):
            for line in examples:
                formatter.write(" " * formatter.current_indent + line + "\n")
