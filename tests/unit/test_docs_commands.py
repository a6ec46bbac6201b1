"""Every command line in README and the pages is one that the programs understand."""

import shlex
from pathlib import Path

import click
import pytest

from cli.main import root
from witness.main import _parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
COMMANDS = sorted(
    {
        line[2:]
        for page in PAGES
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("$ crownest")
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_a_page_is_understood(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed by the real parsers, down to the last subcommand, with the files that it names."""
    monkeypatch.chdir(tmp_path)
    words = command.partition(" > ")[0].partition(" < ")[0].replace("…", "abc123")
    program, *arguments = shlex.split(words, comments=True)
    for name in arguments:
        if name.endswith((".policy", ".tgz", ".zip", ".pem", ".tsr")):
            Path(name).touch()
    if program == "crownest-witness":
        assert _parser().parse_args(arguments).command == arguments[0]
        return
    context, rest = root.make_context("crownest", arguments), arguments
    group: click.Command = root
    while isinstance(group, click.Group):
        name, found, rest = group.resolve_command(context, rest)
        assert found is not None
        context, group = found.make_context(name, list(rest), parent=context), found
