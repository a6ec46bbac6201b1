"""What the benches make of their measurements: percentiles, ratios, counted syncs, and the results file."""

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import common, counting, fsyncs, results


@pytest.fixture(autouse=True)
def _nothing_found_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "REPORT", results.Report())
    monkeypatch.setattr(common, "TABLES", [])


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (50.5, 51), (99, 99), (99.5, 100), (100, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: int) -> None:
    """Nearest rank: the smallest value that so many of all do not exceed."""
    assert counting.percentile(list(range(100, 0, -1)), percent) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    """A side that acknowledged nothing has no latency, and 0 would look like a good one."""
    with pytest.raises(ValueError, match="percentile of nothing"):
        counting.percentile([], 99)


def test_a_ratio_is_ours_divided_by_the_peers() -> None:
    """Medians against medians, and which way is better stands beside them."""
    results.compare("append", 300.0, {"slow": 100.0, "fast": 600.0}, "events/s")
    results.compare("tail", 2.0, {"slow": 4.0}, "ms", "less")
    assert [each.ratio for each in results.REPORT.ratios] == [3.0, 0.5, 0.5]
    assert results.median([5.0, 1.0, 2.0]) == 2.0


def test_cpu_of_a_process_tree_grows_with_its_work() -> None:
    """User and system time from /proc, of this process here."""
    before = counting.cpu_s([os.getpid()])
    while counting.cpu_s([os.getpid()]) == before:
        sum(range(100_000))
    assert counting.tree([os.getpid()])[0] == os.getpid()
    assert counting.rss_bytes([os.getpid()]) > 2**20


def test_bytes_on_disk_leave_out_journals_that_are_used_again(tmp_path: Path) -> None:
    """A write-ahead log is overwritten, so it is no cost of an event."""
    (tmp_path / "pg_wal").mkdir()
    for name in ("log.sqlite-wal", "log.sqlite-shm", "pg_wal/000000010000000000000001"):
        (tmp_path / name).write_bytes(b"x" * 100_000)
    assert counting.disk_bytes(tmp_path) == 0
    (tmp_path / "log.sqlite").write_bytes(b"x" * 100_000)
    assert counting.disk_bytes(tmp_path) >= 100_000


TRACE = """\
7 fdatasync(5) = 0
7 write(9, ""..., 10) = 10
8 fsync(6 <unfinished ...>
7 write(4, ""..., 10) = 10
8 <... fsync resumed>) = 0
8 pwrite64(9, ""..., 10, 0) = 10
"""


def test_syncs_are_counted_once_and_writes_to_synced_files_are_syncs() -> None:
    """A call that was interrupted in the trace is one call; O_SYNC makes each write a sync."""
    nobody = 2**22 + 7  # more than any process id, so its threads are looked up in vain
    trace = TRACE.replace("\n7 ", f"\n{nobody} ").replace("7 fdata", f"{nobody} fdata")
    assert fsyncs.counted(trace, set()) == {"fdatasync": 1, "fsync": 1}
    assert fsyncs.counted(trace, {(nobody, 9)}) == {"fdatasync": 1, "fsync": 1, "O_SYNC write": 1}


def test_files_opened_for_synchronous_writing_are_found(tmp_path: Path) -> None:
    """By the flags that the kernel tells of an open file."""
    plain = os.open(tmp_path / "plain", os.O_CREAT | os.O_WRONLY)
    synced = os.open(tmp_path / "synced", os.O_CREAT | os.O_WRONLY | os.O_DSYNC)
    try:
        found = fsyncs.synced_files([os.getpid()])
        assert (os.getpid(), synced) in found
        assert (os.getpid(), plain) not in found
    finally:
        os.close(plain)
        os.close(synced)


def test_a_sign_in_a_trace_is_recognised() -> None:
    """Between two of them lies the measurement."""
    trace = '1 fsync(3) = 0\n1 write(-1, "", 0) = -1 EBADF (Bad file descriptor)\n1 fsync(3) = 0\n' * 2
    assert [part.count("fsync") for part in fsyncs.MARK.split(trace)] == [1, 2, 1]


def test_the_results_file_holds_what_judging_them_needs(tmp_path: Path) -> None:
    """Tables and ratios with machine, day, versions, workload, and who is missing."""
    results.note_version("Redis", "7")
    results.note_missing("NATS", "the package: install it")
    common.table("append", ["side", "events/s"], [["ours", 1234.5], ["redis", None]])
    results.compare("append", 2.0, {"Redis": 1.0}, "events/s")
    with results.answering("append"):
        pass
    path = results.write("2026-11-26T05:00:00Z", tmp_path)
    about = json.loads(path.read_text(encoding="utf-8"))
    assert about["schema"] == "crownest-bench/v1"
    assert set(about) == {
        "schema", "started", "commit", "machine", "rounds", "cellSeconds", "short", "workload", "versions",
        "missing", "questionSeconds", "tables", "ratios",
    }  # fmt: skip
    assert about["tables"][0]["rows"] == [["ours", 1234.5], ["redis", None]]
    assert about["ratios"][0]["ratio"] == 2.0
    assert {"cores", "cpu", "memoryGiB", "kernel", "python", "sqlite"} <= set(about["machine"])
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "| ours | 1,234 |" in page
    assert "- not measured: NATS: the package: install it" in page
    assert about["workload"]["sha256"] in page
    assert "- questions answered: append\n" in page


def test_a_run_that_is_interrupted_leaves_the_questions_that_it_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole run takes an hour: what its first questions found out must not be lost with its last."""

    class Floors:
        @staticmethod
        def main() -> None:
            common.table("floor", ["side"], [["disk"]])

    class Tail:
        @staticmethod
        def main() -> None:
            raise KeyboardInterrupt

    written = results.write
    monkeypatch.setattr(results, "write", lambda started: written(started, tmp_path))
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "floors,tail", "--keep"])
    monkeypatch.setitem(sys.modules, "bench.floors", Floors)
    monkeypatch.setitem(sys.modules, "bench.tail", Tail)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(KeyboardInterrupt):
            command.main()
    finally:
        signal.signal(signal.SIGTERM, handler)
    [path] = tmp_path.glob("*.json")
    about = json.loads(path.read_text(encoding="utf-8"))
    assert list(about["questionSeconds"]) == ["floors"]
    assert [table["title"] for table in about["tables"]] == ["floor"]


def test_every_question_is_found_and_has_an_answer() -> None:
    """A bench that opens with a question belongs to `make bench` without being named anywhere."""
    found = command.questions()
    assert found[: len(command.FIRST)] == list(command.FIRST)
    assert found[-len(command.LAST) :] == list(command.LAST)
    assert not {"common", "embedded", "load", "server", "workload"} & set(found)
    for name in found:
        text = Path(command.__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
        assert "\ndef main() -> None:" in text
    page = Path(command.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)\.py` \|", page, re.MULTILINE) == found


def test_the_benches_run_the_locked_server() -> None:
    """`.venv-bench` has what `.venv` has: figures of other versions would be figures of another server."""
    locks = Path(command.__file__).parents[1] / "requirements"
    runtime, benches = (
        set(re.findall(r"^[\w.-]+==\S+", (locks / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("runtime.txt", "bench.txt")
    )
    assert runtime
    assert runtime <= benches


def test_the_pages_show_figures_that_the_results_hold() -> None:
    """Every rate in the tables of README and docs/performance.md stands in the file of results."""
    root = Path(__file__).parents[2]
    found = (root / "bench/results/2026-11-26-x86_64-2-cores.md").read_text(encoding="utf-8")
    for page, heading in (("README.md", "## Performance"), ("docs/performance.md", "## Beside others")):
        section = (root / page).read_text(encoding="utf-8").split(f"{heading}\n")[1].split("\n## ")[0]
        rows = [row for row in section.splitlines() if row.startswith("|")]
        rates = [rate for row in rows for rate in re.findall(r"\d{1,3}(?:,\d{3})+", row)]
        shown = [rate for rate in rates if rate != "100,000"]  # how many events were replayed
        assert len(shown) >= 10
        assert [rate for rate in shown if rate not in found] == []
