"""A monitor's report: printed and parsed as a pair, bounded whatever the log says, and only by its key."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from api.monitors import MonitorFile, ReportUnreadable
from cli.monitors import MONITORS_MAX, load_monitors
from cli.problems import CliError
from evidence.canonical import FormatError
from evidence.monitor_report import FINDINGS_MAX, FORM, TEXT_CHARS_MAX, Found, MonitorReport, open_report
from evidence.note import NOTE_BYTES_MAX, BadSignature, UnknownKey, Verifier, sign_note
from tests.evidence_samples import signer
from witness.monitor import Report
from witness.reporting import Reporting
from witness.state import StateError

NAME = "monitor.example/alice"
ALICE = signer(NAME, "alice")
KEY = Verifier.parse(ALICE.verifier_key)
REPORT = MonitorReport(
    1_790_000_000, "log.example", 7, bytes(32), ["w1"], quorum_met=True, findings_count=1,
    findings=[Found("E_LOG_FORK", "Entry 3 is another one.", "wsr_a", 3)], notices=["note"], unreadable=[],
)  # fmt: skip


def test_a_report_is_read_as_it_was_written() -> None:
    """Printer and parser are a pair."""
    assert open_report(REPORT.to_note(ALICE), KEY) == REPORT


def test_no_log_can_make_a_report_too_large() -> None:
    """Texts are cut, lists too, and what is left out is counted; control characters are made visible."""
    hostile = Found("E_LOG_FORK", "\u0000\ud800😀\u2028" * 10_000, "wsr_a", 1)
    many = replace(REPORT, findings=[hostile] * 1000, findings_count=1000, unreadable=["😀" * 9999] * 99)
    note = many.to_note(ALICE)
    assert len(note) <= NOTE_BYTES_MAX
    read = open_report(note, KEY)
    assert (read.findings_count, len(read.findings)) == (1000, FINDINGS_MAX)
    assert all(len(one.detail) <= TEXT_CHARS_MAX and "\0" not in one.detail for one in read.findings)


def test_only_the_named_key_reports() -> None:
    """Not another one of the same name, and not after a change."""
    with pytest.raises(UnknownKey):
        open_report(REPORT.to_note(signer(NAME, "mallory")), KEY)
    with pytest.raises(BadSignature):
        open_report(REPORT.to_note(ALICE).replace(b'"size":7', b'"size":8'), KEY)


@pytest.mark.parametrize(
    "text",
    [
        "other\n{}\n",
        f"{FORM}\nnothing\n",
        f"{FORM}\n[]\n",
        f"{FORM}\n{{}}\n",
        *(
            REPORT.to_note(ALICE).decode().partition("\n\n")[0].replace(old, new) + "\n"
            for old, new in (
                ('"size":7', '"size":-7'),
                ('"size":7', '"size":true'),
                ('"size":7', '"size":"7"'),
                ('"quorumMet":true', '"quorumMet":1'),
                ('"cosigned":["w1"]', '"cosigned":"w1"'),
                ('"cosigned":["w1"]', '"cosigned":[1]'),
                ('"findings":[{', '"findings":[1,{'),
                ('"entry":3', '"entry":"3"'),
                ('"code":"E_LOG_FORK",', ""),
                ('"root":"AAAA', '"root":"'),
                ('"note"', f'"{"x" * (TEXT_CHARS_MAX + 1)}"'),
            )
        ),
    ],
)
def test_what_is_no_report_is_refused_even_when_it_is_signed(text: str) -> None:
    """A monitor is not trusted either."""
    with pytest.raises(FormatError):
        open_report(sign_note(text, ALICE), KEY)


def test_the_key_is_made_once_and_kept(tmp_path: Path) -> None:
    """The first start needs a name; later ones keep it, and refuse another."""
    file = tmp_path / "alice.report"
    with pytest.raises(StateError, match="--name"):
        Reporting(tmp_path, file, None)
    with pytest.raises(StateError, match="--name"):
        Reporting(tmp_path, file, "two words")
    first = Reporting(tmp_path, file, NAME)
    again = Reporting(tmp_path, file, None)
    assert again.line == first.line == f"monitor {NAME} {first.signer.verifier_key}"
    assert (tmp_path / "report.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StateError, match="reports as"):
        Reporting(tmp_path, file, "other.example")
    first.write(Report(origin="log.example", size=3, unreadable=["nothing answers"]), 12)
    read = MonitorFile(NAME, Verifier.parse(first.signer.verifier_key), file).read()
    assert (read.looked_s, read.size, read.unreadable) == (12, 3, ["nothing answers"])


def test_a_file_that_cannot_be_shown_says_why(tmp_path: Path) -> None:
    """Missing, a folder, a pipe, too large, signed by another, changed, no note."""
    one = MonitorFile(NAME, KEY, tmp_path / "alice.report")
    other = REPORT.to_note(signer(NAME, "mallory"))
    changed = REPORT.to_note(ALICE).replace(b"wsr_a", b"wsr_b")
    cases = {"not there": None, "too large": b"x" * (NOTE_BYTES_MAX + 1), "none": b"\xff\n\n"}
    for words, data in {**cases, "another key": other, "was changed": changed}.items():
        if data is not None:
            one.path.write_bytes(data)
        with pytest.raises(ReportUnreadable, match="more than" if words == "too large" else words):
            one.read()
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path, "Is a directory"), (tmp_path / "pipe", "no file")):
        with pytest.raises(ReportUnreadable, match=words):
            MonitorFile(NAME, KEY, path).read()


def test_the_file_of_monitors_is_read_or_refused(tmp_path: Path) -> None:
    """Paths are beside it; a faulty line is named."""
    file = tmp_path / "monitors"
    line = f"monitor {NAME} {ALICE.verifier_key} alice report"
    file.write_text(f"# ours\n\n{line}\n")
    assert load_monitors(file) == [MonitorFile(NAME, KEY, tmp_path / "alice report")]
    assert load_monitors(None) == []
    for text in (
        f"monitor {NAME} x y\n",
        f"watcher {NAME} {ALICE.verifier_key} y\n",
        f"monitor bob {ALICE.verifier_key} y\n",
        f"{line}\n{line}\n",
        "".join(f"monitor m{n} {signer(f'm{n}', 'm').verifier_key} x\n" for n in range(MONITORS_MAX + 1)),
        "x" * 70_000,
    ):
        file.write_text(text)
        with pytest.raises(CliError):
            load_monitors(file)
