"""What the documents claim is looked up in the code."""

import importlib
import re
from pathlib import Path

import pytest

from eventstore.views import VIEWS
from tests.targets import TARGETS
from tests.test_tidy import ROOMS

ROOT = Path(__file__).resolve().parents[2]
ANY_ROOM = "|".join(ROOMS)
NAME = re.compile(rf"`((?:{ANY_ROOM})(?:\.\w+)+)`")
FILE = re.compile(rf"`((?:{ANY_ROOM}|docs|tests|examples)/[\w./-]+)`")
LINK = re.compile(r"\]\(([\w./-]+)\)")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def _exists(dotted: str) -> bool:
    """Whether a module, a class, a function or a method of this name exists."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        return all((found := getattr(found, part, None)) is not None for part in parts[cut:])
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_name_file_and_link_in_a_page_exists(page: Path) -> None:
    """A page that names code names real code."""
    text = page.read_text(encoding="utf-8")
    for dotted in NAME.findall(text):
        assert _exists(dotted), dotted
    for name in FILE.findall(text):
        assert (ROOT / name).exists(), name
    for target in LINK.findall(text):
        assert (page.parent / target).exists() or target.startswith("http"), target


def test_the_architecture_names_every_view() -> None:
    """The list of views in ARCHITECTURE.md is the list in the code."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert f"`{'`, `'.join(VIEWS)}`" in text.replace("\n", " ")


def test_every_decision_has_a_number_of_its_own() -> None:
    """`docs/decisions/NNNN-title.md`, each number once."""
    numbers = [path.name[:4] for path in (ROOT / "docs" / "decisions").glob("*.md")]
    assert len(set(numbers)) == len(numbers)
    assert all(number.isdigit() for number in numbers)


def test_every_make_command_in_a_page_is_a_target() -> None:
    """What README, CONTRIBUTING and the others tell to type exists."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"(?:^\$ |`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: make {target}"


def test_what_the_suite_leaves_to_another_target_is_run_by_it_and_in_ci() -> None:
    """Nothing falls between two targets: the recipe names the tests or their folder, and CI makes it."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for target, paths in TARGETS.items():
        assert re.search(rf"^make {target}\b", ci, re.MULTILINE), target
        recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
        assert recipe, target
        for path in paths:
            assert (ROOT / "tests" / path).exists()
            named = {f"tests/{path}", f"tests/{Path(path).parts[0]}"}
            assert named & set(re.split(r"[\s()]+", recipe[1])), f"make {target} does not run {path}"
