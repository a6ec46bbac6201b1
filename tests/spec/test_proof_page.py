"""The page of the proof format says what the code does: clauses, codes and limits."""

import importlib
import re
from itertools import chain
from pathlib import Path

from evidence.verdict import CODES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "spec" / "proof.md").read_text(encoding="utf-8")
CITED = re.compile(r"(?<![\w/+.\-])P\d{1,2}(?:\.\d+[a-z]?)?\b")
DEFINED = re.compile(r"^(?:## |(?:- )?\*\*)(P\d{1,2}(?:\.\d+[a-z]?)?)\b", re.MULTILINE)
ROOMS = (
    "evidence", "eventstore", "projections", "runs", "runner", "api", "cli", "client", "witness", "tests",
    "bench", "docs",
)  # fmt: skip
MONITORED = "P5.6"


def cells(line: str) -> list[str]:
    """The cells of a row of a table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def sources() -> list[Path]:
    """Every file of ours that may cite a clause, pages too."""
    folders = chain.from_iterable((ROOT / room).rglob("*.*") for room in ROOMS)
    return [path for path in (*folders, *ROOT.glob("*.md")) if path.suffix in {".py", ".md", ".sql"}]


def test_every_clause_that_is_cited_exists() -> None:
    """Code, tests, verdicts and pages cite clauses that a reader can look up."""
    defined = set(DEFINED.findall(PAGE))
    assert {f"P{number}" for number in range(13)} <= defined
    lost = {
        (str(path.relative_to(ROOT)), clause)
        for path in sources()
        for clause in CITED.findall(path.read_text(encoding="utf-8"))
        if clause not in defined
    }
    assert not lost


def test_every_clause_is_defined_once() -> None:
    """A number never means two things."""
    defined = DEFINED.findall(PAGE)
    assert len(set(defined)) == len(defined)


def test_the_table_of_codes_is_the_one_in_the_code() -> None:
    """Each code, its clause and meaning, in the order in which a verifier looks; a monitor's come last."""
    rows = [cells(line) for line in PAGE.splitlines() if line.startswith("| E_")]
    told = [(code, clause, meaning) for code, clause, meaning, _ in rows]
    coded = [(name, code.clause, code.meaning) for name, code in CODES.items()]
    assert [row for row in told if row[1] != MONITORED] == [row for row in coded if row[1] != MONITORED]
    assert {row for row in coded if row[1] == MONITORED} <= set(told)
    assert all(example for *_, example in rows)


def test_every_code_in_the_text_is_a_row_of_the_table() -> None:
    """No clause demands a code that no verdict can have."""
    rows = {cells(line)[0] for line in PAGE.splitlines() if line.startswith("| E_")}
    assert set(re.findall(r"\bE_[A-Z]+(?:_[A-Z]+)*\b", PAGE)) == rows


def test_the_limits_are_those_of_the_code() -> None:
    """Each limit names its constant and tells its value."""
    rows = [cells(line) for line in PAGE.split("## Limits")[1].splitlines() if line.endswith("` |")]
    assert len(rows) == PAGE.split("## Limits")[1].count("\n| ") - 1
    for what, most, constant in rows:
        module, _, name = constant.strip("`").rpartition(".")
        assert int(most.split()[0]) == getattr(importlib.import_module(module), name), what
