"""Style is a test: what the house promises about its own files."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "evidence",
    "eventstore",
    "projections",
    "runs",
    "runner",
    "api",
    "cli",
    "client",
    "witness",
    "verifier",
)
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
# Spelled in pieces so that this file does not contain what it forbids.
FOREIGN = re.compile(
    "|".join(
        [
            "/" + "work/main",
            "/" + "root/",
            "pypi" + r"\.org",
            "pythonhosted" + r"\.org",
            "npmjs" + r"\.(org|com)",
        ]
    )
)
BARE_EXCEPTION_TO_A_RULE = re.compile(
    r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore)\b(?!:?\s*\[?[\w\-, ]+\]?.*\s#\s*\S)"
)


def _tracked() -> list[Path]:
    out = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [ROOT / name for name in out.split("\0") if name and (ROOT / name).is_file()]


TRACKED = _tracked()
SOURCES = [path for path in TRACKED if path.suffix == ".py"]
OURS = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in ROOMS]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", OURS, ids=_name)
def test_a_module_opens_with_one_sentence_and_stays_small(path: Path) -> None:
    """A module says what it owns, and no file or function hides a second job."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    docstring = ast.get_docstring(tree)
    assert docstring, "a module opens with one sentence saying what it owns"
    assert docstring.split("\n\n")[0].rstrip().endswith((".", "?", "!"))
    assert text.count("\n") <= FILE_LINES_MAX
    for function in _functions(tree):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        assert length <= FUNCTION_LINES_MAX, f"{function.name} has {length} lines"


@pytest.mark.parametrize("room", ROOMS)
def test_the_sign_on_the_door_is_one_docstring(room: str) -> None:
    """An `__init__.py` re-exports nothing, and every package is typed."""
    for path in (ROOT / room).rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1
        assert isinstance(body[0], ast.Expr)
    assert (ROOT / room / "py.typed").is_file()


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_every_exception_to_a_rule_carries_its_reason(path: Path) -> None:
    """`noqa` and `type: ignore` name the rule and say why on the same line."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        assert not BARE_EXCEPTION_TO_A_RULE.search(line), f"line {number}: {line.strip()}"


@pytest.mark.parametrize("path", TRACKED, ids=_name)
def test_a_tracked_file_is_clean(path: Path) -> None:
    """No leftovers, no foreign paths or hosts, no CRLF, no trailing blanks."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    assert "\r\n" not in text
    if path.suffix in {".py", ".md", ".toml", ".sql", ".sh"} and path.name != "LICENSE":
        assert not text or text.endswith("\n")
        assert not re.search(r"[ \t]+$", text, re.MULTILINE)
    if path != Path(__file__).resolve():
        assert not LEFTOVERS.search(text)
        assert not FOREIGN.search(text)


def test_no_package_takes_a_name_that_belongs_to_others() -> None:
    """`crownest` and `mcp` are other distributions' import packages (DESIGN §1)."""
    assert not [path for path in ROOT.iterdir() if path.name in {"crownest", "mcp", "crownest.py", "mcp.py"}]
