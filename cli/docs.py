"""Writes docs/cli.md from the help of every command: `python -m cli.docs > docs/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from cli.main import root

WIDTH_CHARS = 96

INTRODUCTION = """\
# The command line

Written by `python -m cli.docs > docs/cli.md` from what `--help` prints; a test compares the two.

## Which server, which key

| | first | then | then | else |
|---|---|---|---|---|
| address | `CROWNEST_API_URL` | `apiUrl` in the config file | | `https://api.crownest.dev` |
| key | `CROWNEST_BEARER_TOKEN` | `CROWNEST_API_KEY` | `credential`, `apiKey` in the config file | none |

The config file is `CROWNEST_CONFIG_PATH`, else `$XDG_CONFIG_HOME/crownest/config.json`, else
`~/.config/crownest/config.json`. `crownest serve` and `crownest login` write it, with mode 0600.

`crownest keys` also asks as a person, without any key: where none is in the environment and
`CROWNEST_ORG_ID`, `CROWNEST_USER_ID` and `CROWNEST_ROLE` are all set (decision 0862).

## Output and exit status

Results go to stdout, everything said beside them to stderr. With `--json` a result is one line
`{"data": …}` on stdout, each event of a stream likewise, and an error is one line
`{"error": {"code", "details", "message", "remediation", "retryable", "status"}}` on stderr.
Colour, tables and progress bars appear on a terminal only; `NO_COLOR` turns colour off. What a run
wrote is passed on byte for byte to files and pipes; on a terminal, control sequences other than
colours are made visible (decision 0101).

| status | meaning |
|---|---|
| 0 | ok |
| 1 | the server refused, or something failed on the way |
| 2 | the command line was not understood; for `verify` and `monitor`: something cannot be read |
| any | `run-archive` exits as the command did; without an exit code 0 if it succeeded, else 1 |
| any | `record` exits as the command did; 127 where there is no such command here |
| any | `sandboxes exec` exits as the command did; without an exit code 1 |
| 130 | stopped by Ctrl-C; a run that was started goes on, what `exec` started is canceled (decision 0861) |
| 141 | the reader of the output went away |

`CROWNEST_DEBUG=1` shows where a mistake of crownest itself happened.
"""


def pages(group: click.Group, ctx: click.Context) -> Iterator[tuple[str, str]]:
    """The command line and the help of a group and, in its order, of all that it holds."""
    yield ctx.command_path, ctx.get_help()
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None, f"{name} is listed and must load"
        child = click.Context(command, info_name=name, parent=ctx, terminal_width=WIDTH_CHARS)
        if isinstance(command, click.Group):
            yield from pages(command, child)
        else:
            yield child.command_path, child.get_help()


def every_help() -> Iterator[tuple[str, str]]:
    """`pages` of the whole command line."""
    settings: dict[str, Any] = {**root.context_settings, "terminal_width": WIDTH_CHARS}
    return pages(root, click.Context(root, info_name="crownest", **settings))


def document() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for path, text in every_help():
        shown = "\n".join(line.rstrip() for line in click.unstyle(text).splitlines())
        parts.append(f"## `{path}`\n\n```text\n{shown}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(document())
