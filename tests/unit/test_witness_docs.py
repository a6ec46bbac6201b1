"""Every command line in docs/witness.md is one that the programs understand."""

import shlex
from pathlib import Path

import pytest

from cli.main import root
from witness.main import _parser

PAGE = Path(__file__).resolve().parents[2] / "docs" / "witness.md"
COMMANDS = [
    line[2:] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("$ crownest")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_is_understood(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed by the real parser, with the files that it names."""
    monkeypatch.chdir(tmp_path)
    Path("trust.policy").touch()
    program, *arguments = shlex.split(command.partition(" > ")[0])
    if program == "crownest-witness":
        assert _parser().parse_args(arguments).command == arguments[0]
        return
    context = root.make_context("crownest", arguments)
    name, found, rest = root.resolve_command(context, arguments)
    assert name == arguments[0]
    assert found is not None
    found.make_context(name, rest, parent=context)
