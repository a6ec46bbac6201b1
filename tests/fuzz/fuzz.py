"""`make fuzz`: changes a sound bundle in every way it knows, and counts what became of it."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from evidence.canonical import FormatError
from evidence.verdict import CODES, FAILED, Verdict, VerificationError
from tests.fuzz.lies import lies
from tests.fuzz.mutants import SHARE, Mutant, Mutants
from tests.fuzz.readers import READERS, Reader
from tests.whole_proof import WHOLE, judge_whole

MUTATIONS = 10_000
"""Changed bytes in members, and again in the file; the other families follow from it."""
FINDS_SHOWN = 20
PROGRESS_EVERY = 100

Judge = Callable[[bytes], Verdict]
Tell = Callable[[str], object]


@dataclass
class Report:
    """What a run of the fuzzer saw; `finds` must be empty."""

    seed: int
    families: Counter[str] = field(default_factory=Counter[str])
    codes: Counter[str] = field(default_factory=Counter[str])
    finds: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """The name of an input, and what was wrong with its treatment."""
    seconds: float = 0.0

    @property
    def inputs(self) -> int:
        """Inputs of all families together."""
        return self.families.total()


class Fuzzer:
    """One run: `only` leaves out all inputs but the one of that name."""

    def __init__(self, seed: int, mutations: int, *, only: str | None = None, tell: Tell = str) -> None:
        self._mutations, self._only, self._tell = mutations, only, tell
        self.report = Report(seed)

    def run(self, judge: Judge = judge_whole, readers: tuple[Reader, ...] = READERS) -> Report:
        """Everything, the bundle's mutants first. `judge` and `readers` are what is put to the test."""
        started = time.perf_counter()
        assert judge(WHOLE).verdict == "COMPLETE", "the bundle is sound before it is changed"
        report = self.report
        for mutant in self._wanted(Mutants(WHOLE, report.seed, self._mutations)):
            self._judge(mutant, judge, may_pass=False)
        for mutant in self._wanted(lies(report.seed, self._mutations // SHARE)):
            self._judge(mutant, judge, may_pass=True)
        for reader in readers:
            self._read(reader)
        report.seconds = time.perf_counter() - started
        return report

    def _wanted(self, mutants: Iterator[Mutant] | Mutants) -> Iterator[Mutant]:
        return (mutant for mutant in mutants if self._only in {None, mutant.name})

    def _judge(self, mutant: Mutant, judge: Judge, *, may_pass: bool) -> None:
        """A lie of the server may pass for what it says; a change by anyone else never."""
        self._count(mutant.name)
        try:
            verdict = judge(mutant.bundle)
        except Exception as error:  # noqa: BLE001 # whatever it is, it is the find
            self._found(mutant.name, f"{mutant.what}: raised {error!r}")
            return
        wrong = None if may_pass and verdict.ok else _what_is_wrong(verdict)
        if wrong:
            self._found(mutant.name, f"{mutant.what}: {wrong}")
        self.report.codes[verdict.code or verdict.verdict] += 1

    def _read(self, reader: Reader) -> None:
        for name, data in reader.inputs(self.report.seed, self._mutations // SHARE):
            if self._only not in {None, name} or data in reader.samples:
                continue
            self._count(name)
            try:
                reader.read(data)
            except (FormatError, VerificationError) as error:
                self.report.codes[getattr(error, "code", "refused by a reader")] += 1
            except Exception as error:  # noqa: BLE001 # whatever it is, it is the find
                self._found(name, f"{data[:200]!r}: raised {error!r}")
            else:
                self.report.codes["read, and in its one spelling"] += 1

    def _count(self, name: str) -> None:
        self.report.families[name.partition(":")[0]] += 1
        if self.report.inputs % PROGRESS_EVERY == 0:
            self._tell(f"{self.report.inputs:,} inputs, now {name}")

    def _found(self, name: str, what: str) -> None:
        self.report.finds.append((name, what))


def _what_is_wrong(verdict: Verdict) -> str | None:
    """Whether a verdict over a changed bundle is other than a failure with a code and a message."""
    if verdict.ok or verdict.verdict != FAILED:
        return f"accepted as {verdict.verdict}"
    if verdict.code not in CODES:
        return f"no code: {verdict.code}"
    code = CODES[verdict.code]
    if verdict.clause != code.clause or not verdict.message.startswith(f"{code.meaning} "):
        return f"{verdict.code} without its clause or message: {verdict.message!a}"
    return None


def main() -> int:
    """Fuzz and print; 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--mutations", type=int, default=MUTATIONS, help="changed bytes of each family")
    parser.add_argument("--seed", type=int, help="decides every change; printed when not given")
    parser.add_argument("--only", help="the one input to try again, by the name that a find has")
    options = parser.parse_args()
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    console = Console(stderr=True, highlight=False)
    console.print(f"fuzz: {options.mutations:,} mutations, seed {seed}")
    with console.status("starting") as status:
        fuzzer = Fuzzer(seed, options.mutations, only=options.only, tell=status.update)
        report = fuzzer.run()
    _print(report, options.mutations, Console(highlight=False))
    return 1 if report.finds or not report.inputs else 0


def _print(report: Report, mutations: int, console: Console) -> None:
    rate = report.inputs / report.seconds
    table = Table("what")
    table.add_column("number", justify="right")
    for name, count in report.families.items():
        table.add_row(name, f"{count:,}")
    table.add_section()
    for code, count in report.codes.most_common():
        table.add_row(code, f"{count:,}")
    table.add_section()
    table.add_row("finds", f"{len(report.finds):,}", style="bold red" if report.finds else "green")
    console.print(table)
    console.print(
        f"seed {report.seed}: {report.inputs:,} inputs in {report.seconds:.0f} s, {rate:,.0f} a second"
    )
    for name, what in report.finds[:FINDS_SHOWN]:
        again = f"python -m tests.fuzz.fuzz --seed {report.seed} --mutations {mutations} --only '{name}'"
        console.print(f"{what}\n  again: {again}", style="red", markup=False, soft_wrap=True)
    if len(report.finds) > FINDS_SHOWN:
        console.print(f"… and {len(report.finds) - FINDS_SHOWN} more")


if __name__ == "__main__":
    sys.exit(main())
