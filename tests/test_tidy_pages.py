"""Style is a test for what browsers get as well: modules, styles and templates of the dashboard."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STATIC = ROOT / "api" / "dashboard" / "static"
TEMPLATES = ROOT / "api" / "dashboard" / "templates"
SCRIPTS = sorted(STATIC.rglob("*.js"))
STYLES = sorted(STATIC.rglob("*.css"))
PAGES = sorted(TEMPLATES.rglob("*.html"))
LINES_MAX = 400
FUNCTION_LINES_MAX = 50
MARKUP_FROM_TEXT = re.compile(
    r"\b(inner|outer)HTML\b|insertAdjacentHTML|document\.write|createContextualFragment|\bsetHTML|srcdoc"
)
CODE_FROM_TEXT = re.compile(r"\beval\(|new Function\(|setTimeout\(\s*[\"'`]|setInterval\(\s*[\"'`]")
ATTRIBUTE_THAT_RUNS = re.compile(
    r"""setAttribute\(\s*["'`](style|on\w+)["'`]|[{,]\s*(style|on[a-z]+):\s*["'`]"""
)
FOREIGN = re.compile(
    r"(?:\bfetch\(|\bimport\(?|\bfrom|\bsrc=|\bhref=|\baction=|new Worker\(|new WebSocket\()"
    r"""\s*["'`](https?:|wss?:)?//"""
)
FUNCTION = re.compile(
    r"^(?P<indent> *)(?:export )?(?:default )?(?:async )?"
    r"(?:function\b|(?:static |get |set )*(?:async )?\*?#?\w+\([^()]*(?:\([^()]*\)[^()]*)*\) \{$).*\{$"
)
CONTROL = re.compile(r"^ *(if|for|while|switch|catch|return|with)\b")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT / "api" / "dashboard"))


def _function_lengths(lines: list[str]) -> Iterator[tuple[str, int]]:
    for start, line in enumerate(lines):
        begun = FUNCTION.match(line)
        if begun is None or CONTROL.match(line):
            continue
        end = next(i for i in range(start, len(lines)) if lines[i].rstrip(";,)") == begun["indent"] + "}")
        yield line.strip(), end - start + 1


@pytest.mark.parametrize("path", SCRIPTS, ids=_name)
def test_a_module_says_what_it_is_and_stays_small(path: Path) -> None:
    """As Python modules do; nothing is left that only its author needed."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(("// ", "/**")), "a module opens with what it owns"
    assert len(lines) <= LINES_MAX
    for begun, length in _function_lengths(lines):
        assert length <= FUNCTION_LINES_MAX, f"{begun} has {length} lines"
    assert not [line for line in lines if re.search(r"\bconsole\.|\bdebugger\b|\t", line)]


@pytest.mark.parametrize("path", SCRIPTS, ids=_name)
def test_a_module_makes_no_markup_and_no_code_from_text(path: Path) -> None:
    """Elements are made one by one, so that text is only ever text."""
    text = path.read_text(encoding="utf-8")
    for rule in (MARKUP_FROM_TEXT, CODE_FROM_TEXT, ATTRIBUTE_THAT_RUNS, FOREIGN):
        assert rule.search(text) is None, rule.search(text)
    for imported in re.findall(r"""(?:from|import)\s*\(?["']([^"']+)["']""", text):
        assert (path.parent / imported).resolve().is_file(), f"{imported} is not there"


@pytest.mark.parametrize("path", STYLES, ids=_name)
def test_a_style_sheet_is_small_and_stays_here(path: Path) -> None:
    """Nothing is fetched from elsewhere, and colours are tokens."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("/* ")
    assert text.count("\n") <= LINES_MAX
    assert "@import" not in text
    assert "url(" not in text


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_a_template_has_nothing_inline(path: Path) -> None:
    """Neither script nor style nor handler, and nothing is exempt from escaping."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LINES_MAX
    assert re.search(r"""\s(style|on[a-z]{4,})\s*=\s*["'{]""", text) is None
    assert re.search(r"<script(?![^>]*\ssrc=)|<style|javascript:", text) is None
    assert re.search(r"\|\s*safe\b|autoescape|Markup", text) is None
    assert FOREIGN.search(text) is None


def test_the_rules_see_what_they_forbid() -> None:
    """Each pattern finds an example of its own."""
    assert MARKUP_FROM_TEXT.search("one.innerHTML = text")
    assert CODE_FROM_TEXT.search('setTimeout("x()")')
    assert ATTRIBUTE_THAT_RUNS.search('one.setAttribute("onclick", x)')
    assert FOREIGN.search('import "https://cdn.example.org/x.js"')
    body = ["export function long() {", *["  x();"] * 60, "}"]
    assert list(_function_lengths(body)) == [("export function long() {", 62)]
