"""Commands that end in `-- COMMAND…`: everything after the first `--` belongs to somebody else."""

from __future__ import annotations

from typing import Any

import click

from cli.lazy import ExampleCommand


class TrailingCommand(ExampleCommand):
    """Takes everything after the first `--` as `argv`, untouched; `like` is shown to who forgets it."""

    def __init__(self, *args: Any, like: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.like = like

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show the command in the usage line."""
        return [*super().collect_usage_pieces(ctx), "--", "COMMAND…"]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split at `--`, then let click parse what is ours."""
        own, argv = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
        asks_help = any(arg in ctx.help_option_names for arg in own)
        if not argv and not asks_help and not ctx.resilient_parsing:
            raise click.UsageError(f"Put the command after --, like: {self.like}", ctx)
        rest = super().parse_args(ctx, own)
        ctx.params["argv"] = tuple(argv)
        return rest
