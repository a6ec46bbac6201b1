"""The command monitor against a log served as tiles: what it prints, exits with, and leaves."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.monitor_text import SHOWN_PER_CODE_MAX
from evidence.verdict import CODES
from tests.cli.cli_runner import PROCESS_S_MAX, Shell
from tests.evidence_samples import LOG_KEY, ORIGIN, signer
from tests.tile_server import API_KEY, TileServer, key_entry, run_entry, serving_tiles, stream_entry
from tests.witness_kit import GrowingLog, wait_until


@pytest.fixture
def tiles() -> Iterator[TileServer]:
    """A log with two runs."""
    with serving_tiles(GrowingLog()) as served:
        served.runs("a", "b")
        yield served


@pytest.fixture
def watch(lonely_shell: Shell, tiles: TileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell with the address and key of its server, in a folder with its policy."""
    monkeypatch.chdir(tmp_path)
    Path("trust.policy").write_bytes(tiles.log.policy())
    lonely_shell.env |= {"CROWNEST_API_URL": tiles.url, "CROWNEST_API_KEY": API_KEY}
    return lonely_shell


ONCE = ("monitor", "--policy", "trust.policy", "--state", "followed", "--once")


def test_an_honest_log_is_well(watch: Shell) -> None:
    """Exit 0, with what was looked at."""
    result = watch(*ONCE)
    assert (result.status, result.err) == (0, "")
    text = result.out.decode()
    assert text.startswith(f"WELL  {ORIGIN}\n")
    assert "4 entries, 4 of them new" in text
    assert b"\x1b" not in result.out


def test_each_finding_has_its_code_clause_and_advice(watch: Shell, tiles: TileServer) -> None:
    """Exit 1; the run and the place are named."""
    tiles.gone.add("wsr_b")
    tiles.log.entries += [run_entry("a", 11), stream_entry("org_x", 5), stream_entry("org_x", 3)]
    result = watch(*ONCE)
    assert result.status == 1
    text = result.out.decode()
    assert text.startswith("FOUND 3")
    for code in ("E_RUN_MISSING", "E_DOUBLE_SEAL", "E_LOG_FORK"):
        assert f"{code}  {CODES[code].meaning} (PROOF P5.6)" in text
    assert "wsr_a, entry 4: It grew from 9 to 11 events after its seal." in text
    assert text.count("What to do") == 3


def test_programs_get_the_whole_report(watch: Shell, tiles: TileServer) -> None:
    """One JSON line; every key is always there."""
    tiles.log.entries += [run_entry("a", 11) for _ in range(SHOWN_PER_CODE_MAX + 5)]
    result = watch(*ONCE, "--json")
    assert (result.status, result.out.count(b"\n")) == (1, 1)
    assert result.data["origin"] == ORIGIN
    assert {finding["code"] for finding in result.data["findings"]} == {"E_DOUBLE_SEAL"}
    assert len(result.data["findings"]) == SHOWN_PER_CODE_MAX + 5
    assert "and 5 more" in watch(*ONCE).out.decode()


def test_a_log_that_cannot_be_read_is_neither(watch: Shell, tiles: TileServer) -> None:
    """Exit 2, and what to check."""
    tiles.note = tiles.log.note(None, signer(ORIGIN, "thief"))
    result = watch(*ONCE)
    assert result.status == 2
    assert b"UNREADABLE" in result.out
    assert "crownest policy" in " ".join(result.out.decode().split())


def test_a_copy_is_followed_without_a_key(watch: Shell, tiles: TileServer) -> None:
    """--mirror makes plain files; --log follows a copy, and --no-runs asks nobody."""
    assert watch(*ONCE, "--mirror", "copy").status == 0
    assert Path("copy/tile/entries/000.p/4").is_file()
    assert Path("copy/checkpoint").read_bytes() == tiles.log.note()
    del watch.env["CROWNEST_API_KEY"]
    tiles.requests.clear()
    result = watch(*ONCE[:4], "other", "--once", "--no-runs", "--log", f"{tiles.url}/log/")
    assert result.status == 0
    assert b"No run was asked for" in result.out
    assert not [path for path in tiles.requests if path.startswith("/v1/")]


def test_a_change_of_key_is_worth_knowing(watch: Shell, tiles: TileServer) -> None:
    """The new key is printed, to be compared and added."""
    new = signer(ORIGIN, "new")
    tiles.log.entries.append(key_entry(new, 5))
    tiles.note = tiles.log.note(None, LOG_KEY, new)
    result = watch(*ONCE)
    assert result.status == 0
    assert f"{new.verifier_key}.".encode() in result.out.split()


@pytest.mark.parametrize("case", ["policy", "key", "state", "busy"])
def test_what_is_missing_is_named(watch: Shell, case: str) -> None:
    """Exit 2 with the next step: a broken policy, no key, a damaged folder, one that is in use."""
    if case == "policy":
        Path("trust.policy").write_text("nothing\n")
    if case == "key":
        del watch.env["CROWNEST_API_KEY"]
    if case == "state":
        assert watch(*ONCE).status == 0
        Path("followed/entries").write_bytes(b"")
    if case == "busy":
        from witness.following import open_following

        with open_following(Path("followed")):
            result = watch(*ONCE, "--json")
    else:
        result = watch(*ONCE, "--json")
    assert result.status == 2
    said = f"{result.error['message']} {result.error['remediation']}"
    steps = {"policy": "crownest policy", "key": "--no-runs", "state": "backup", "busy": "another process"}
    assert steps[case] in said


def test_it_follows_until_it_is_interrupted(watch: Shell, tiles: TileServer) -> None:
    """A line for each look; Ctrl-C answers as the last look did, and the folder goes on from there."""
    process = watch.popen(
        ["monitor", "--policy", "trust.policy", "--state", "followed", "--interval", "1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["data"]["size"] == 4
        tiles.runs("c")
        seen = 4
        while seen == 4:
            seen = json.loads(process.stdout.readline())["data"]["size"]
        process.send_signal(signal.SIGINT)
        assert process.wait(PROCESS_S_MAX) == 0
    assert seen == 6
    assert watch(*ONCE, "--json").data["newEntries"] == 0


def test_a_person_is_told_only_what_changed(watch: Shell, tiles: TileServer) -> None:
    """Looks that find nothing new print nothing."""
    with Path("out").open("wb") as out:
        process = watch.popen(
            ["monitor", "--policy", "trust.policy", "--state", "followed", "--interval", "1"], stdout=out
        )
        try:
            looks = "/log/checkpoint"
            wait_until(lambda: tiles.requests.count(looks) >= 3, "three looks")
            tiles.gone.add("wsr_a")
            seen = tiles.requests.count(looks)
            wait_until(lambda: tiles.requests.count(looks) >= seen + 2, "two looks more")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PROCESS_S_MAX)
    text = Path("out").read_text()
    assert (text.count("WELL"), text.count("FOUND 1")) == (1, 1)
