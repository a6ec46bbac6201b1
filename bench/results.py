"""Owns what a run of the benches leaves: tables and ratios, and one file of both for the machine and day."""

from __future__ import annotations

import json
import os
import platform
import re
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import common, workload

FOLDER = Path(__file__).parent / "results"
SCHEMA = "crownest-bench/v1"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours in proportion to a peer; more is better for us when `better` is "more", else less is."""

    question: str
    ours: float
    peer: str
    peers: float
    unit: str
    better: str = "more"

    @property
    def ratio(self) -> float:
        """Ours divided by the peer's."""
        return self.ours / self.peers if self.peers else float("inf")


@dataclass(slots=True)
class Report:
    """All that was found out so far in this process."""

    ratios: list[Ratio] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each question took that was answered."""


REPORT = Report()


def note_missing(title: str, why: str) -> None:
    """Name a side that cannot be measured here."""
    if title not in REPORT.missing:
        progress(f"MISSING: {title}: {why}")
    REPORT.missing[title] = why


def note_version(title: str, version: str) -> None:
    """Keep what was measured."""
    REPORT.versions[title] = version


@contextmanager
def answering(question: str) -> Iterator[None]:
    """Say and keep how long the answer took; one that failed leaves no time."""
    began = time.perf_counter()
    yield
    REPORT.seconds[question] = round(time.perf_counter() - began, 1)
    progress(f"{question}: answered in {REPORT.seconds[question]:.0f} s")


def compare(question: str, ours: float, peers: Mapping[str, float], unit: str, better: str = "more") -> None:
    """Keep our ratio to each of these peers."""
    REPORT.ratios.extend(Ratio(question, ours, peer, figure, unit, better) for peer, figure in peers.items())


def progress(text: str) -> None:
    """Say on standard error what goes on; it is never part of the results."""
    print(text, file=sys.stderr, flush=True)


def show_ratios() -> None:
    """Print the table of ratios, medians against medians."""
    if REPORT.ratios:
        rows = [
            [each.question, each.unit, each.ours, each.peer, each.peers, each.ratio, each.better]
            for each in REPORT.ratios
        ]
        columns = ["question", "unit", "ours", "peer", "peer's", "ours/peer", "better is"]
        common.table("ours against the peers", columns, rows)
    if REPORT.missing:
        common.table("not measured here", ["side", "why"], [list(item) for item in REPORT.missing.items()])


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else []
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "cpu": models[0] if models else platform.processor(),
        "memoryGiB": round(pages / 2**30),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def document(started: str) -> dict[str, Any]:
    """The results file: `tables` as printed, `ratios`, and all that is needed to judge them."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=FOLDER.parent
    )
    return {
        "schema": SCHEMA,
        "started": started,
        "commit": commit.stdout.strip(),
        "machine": machine(),
        "rounds": common.ROUNDS,
        "cellSeconds": common.CELL_S,
        "short": common.SHORT,
        "workload": {
            "sha256": workload.sha256(),
            "texts": len(workload.texts()),
            "meanBytes": round(workload.mean_bytes(), 1),
        },
        "versions": REPORT.versions,
        "missing": REPORT.missing,
        "questionSeconds": REPORT.seconds,
        "tables": [asdict(table) for table in common.TABLES],
        "ratios": [{**asdict(each), "ratio": each.ratio} for each in REPORT.ratios],
    }


def write(started: str, folder: Path = FOLDER) -> Path:
    """Write the JSON and the same as Markdown; answers the JSON's path."""
    folder.mkdir(exist_ok=True)
    about = document(started)
    cores, model = about["machine"]["cores"], str(about["machine"]["architecture"])
    path = folder / f"{started[:10]}-{model}-{cores}-cores.json"
    path.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(about), encoding="utf-8")
    return path


def markdown(about: Mapping[str, Any]) -> str:
    """The results for people."""
    place = about["machine"]
    cpu = f"{place['cores']} cores of {place['cpu']}, {place['memoryGiB']} GiB, Linux {place['kernel']}"
    lines = [
        f"# Figures of {about['started'][:10]}",
        "",
        f"{cpu}, Python {place['python']}, SQLite {place['sqlite']}; median of {about['rounds']} rounds.",
        "",
        f"Workload: sha256 `{about['workload']['sha256']}`, {about['workload']['meanBytes']} bytes an event.",
        "",
        *(f"- {title}: {version}" for title, version in about["versions"].items()),
        f"- questions answered: {', '.join(about['questionSeconds'])}",
        *(f"- not measured: {title}: {why}" for title, why in about["missing"].items()),
    ]
    for table in about["tables"]:
        lines += ["", f"## {table['title']}", "", *_markdown_table(table["columns"], table["rows"])]
    return "\n".join(lines) + "\n"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(common.text_of(cell) for cell in row) + " |" for row in rows),
    ]


def today() -> str:
    """The present time, UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def median(values: Sequence[float]) -> float:
    """The median of figures of several rounds."""
    return statistics.median(values)
