"""`logs --verify`: only what is proved is shown, and the next reading continues this one."""

import json
import signal
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from cli.verified_logs import _write
from evidence.checkpoint import parse_checkpoint
from evidence.note import split_note
from evidence.pin import parse_pin
from evidence.proofs import RANGE_HEADER, RangeProof, parse_range_proof
from tests.cli.cli_runner import Result, Shell
from tests.cli.sabotage_proxy import Exchange, Sabotage, proxy
from tests.serving import Running, archive


@pytest.fixture
def reader(owner: Shell, running: Running, tmp_path: Path) -> Shell:
    """An auditor's command line, with a policy of this server beside it."""
    (tmp_path / "trust.policy").write_bytes(running.http.get("/v1/proof/policy").content)
    return owner


def pin_file(tmp_path: Path, run_id: str) -> Path:
    """Where the pin lies."""
    return tmp_path / ".local" / "state" / "crownest" / "pins" / f"{run_id}.pin"


def logs(reader: Shell, tmp_path: Path, run_id: str, *more: str) -> Result:
    """Read with proof."""
    return reader(
        "workspace-runs", "logs", run_id, "--verify", "--policy", str(tmp_path / "trust.policy"), *more
    )


def test_proved_output_is_the_output(reader: Shell, running: Running, tmp_path: Path) -> None:
    """The same bytes as without proof, a line on who signed them, and a pin of the whole run."""
    run_id = running.run("seq 700; printf '\\377'")["id"]
    result = logs(reader, tmp_path, run_id)
    assert result.status == 0, result.err
    assert result.out == b"".join(b"%d\n" % n for n in range(1, 701)) + b"\xff"
    assert "verified up to event" in result.err
    pin = parse_pin(pin_file(tmp_path, run_id).read_bytes())
    assert pin.seq == running.events(run_id)[-1]["seq"] + 1  # the seal, too
    again = logs(reader, tmp_path, run_id, "--json")
    assert again.status == 0, again.err
    events = [json.loads(line)["data"] for line in again.out.splitlines()]
    assert events == running.events(run_id)
    tail = logs(reader, tmp_path, run_id, "--json", "--after-seq", "5")
    assert next(json.loads(line)["data"]["seq"] for line in tail.out.splitlines()) == 6


def test_a_live_run_is_followed_with_proof(reader: Shell, running: Running, tmp_path: Path) -> None:
    """Every line is proved while the command still runs."""
    run_id = running.create("for i in 1 2 3 4 5; do echo $i; sleep 0.2; done")
    running.upload(run_id, archive({"a": b""}))
    running.http.post(f"/v1/workspace-runs/{run_id}/start")
    result = logs(reader, tmp_path, run_id)
    assert result.status == 0, result.err
    assert result.out == b"1\n2\n3\n4\n5\n"


class StaleWindows(Sabotage):
    """Hands out the windows of a run that had just been created, all sound, whatever became of it."""

    def __init__(self, first: bytes, *, empty: bool) -> None:
        note = parse_range_proof(first[first.index(RANGE_HEADER.encode()) :]).note
        root = (parse_checkpoint(split_note(note)[0]).root,)
        nothing = b"\n" + RangeProof(0, 0, (), root, note).to_bytes()
        behind = b"\n" + RangeProof(1, 1, root, (), note).to_bytes()
        self._windows = {"0": nothing if empty else first, "1": behind}

    def up(self, exchange: Exchange) -> Exchange:
        """Answer in the server's place."""
        if "/proof/events" not in exchange.path:
            return exchange
        (after,) = parse_qs(urlsplit(exchange.path).query)["afterSeq"]
        return replace(exchange, status=200, answer=self._windows[after])


@pytest.mark.parametrize("empty", [False, True])
def test_an_end_that_was_not_proved_is_no_end(
    reader: Shell, running: Running, tmp_path: Path, *, empty: bool
) -> None:
    """The event stream is a hint: a run that ended by its word alone was not read to its end."""
    run_id = running.create()
    base = f"/v1/workspace-runs/{run_id}"
    first = running.http.get(f"{base}/proof/events", params={"limit": 500}).content
    running.upload(run_id, archive({"a": b""}))
    running.http.post(f"{base}/start")
    running.finished(run_id)
    with proxy(running.url, StaleWindows(first, empty=empty)) as url:
        reader.env["CROWNEST_API_URL"] = url
        result = logs(reader, tmp_path, run_id, "--json")
    assert (result.status, result.error["code"]) == (1, "E_NOT_FINAL")


def test_what_lies_behind_the_end_can_be_asked_for(reader: Shell, running: Running, tmp_path: Path) -> None:
    """Nothing is shown, and that the run ended is proved all the same."""
    run_id = running.run("true")["id"]
    last = running.events(run_id)[-1]["seq"]
    for after in (last, last + 1):
        result = logs(reader, tmp_path, run_id, "--after-seq", str(after))
        assert (result.status, result.out) == (0, b""), result.err


def changed(tmp_path: Path, sql: str) -> None:
    """Change the database behind the server's back."""
    database = sqlite3.connect(tmp_path / "data" / "log.sqlite")
    database.execute(sql)
    database.commit()
    database.close()


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("UPDATE events SET payload = CAST(replace(payload, 'hello', 'hullo') AS BLOB)", "E_RANGE_PROOF"),
        ("UPDATE events SET salt = randomblob(16) WHERE type = 'stdout'", "E_RANGE_PROOF"),
        ("UPDATE events SET created_at_ms = created_at_ms + 1", "E_RANGE_PROOF"),
        ("DELETE FROM events WHERE type = 'stdout'", "internal_error"),
    ],
)
def test_what_was_changed_in_the_database_is_named(
    reader: Shell, running: Running, tmp_path: Path, sql: str, code: str
) -> None:
    """Nothing of it is shown, the code is told, and the exit status is 1."""
    run_id = running.run("echo hello")["id"]
    database = sqlite3.connect(tmp_path / "data" / "log.sqlite")
    database.execute(sql)
    database.commit()
    database.close()
    result = logs(reader, tmp_path, run_id, "--json")
    assert (result.status, result.error["code"]) == (1, code)
    assert b"stdout" not in result.out


def test_another_history_than_the_pinned_one_fails_loudly(
    reader: Shell, running: Running, tmp_path: Path
) -> None:
    """A server that keeps its key can sign anything, but not twice to the same reader (P2.4, P9.1)."""
    run_id = running.run("echo hello")["id"]
    assert logs(reader, tmp_path, run_id).status == 0
    path = pin_file(tmp_path, run_id)
    pin = parse_pin(path.read_bytes())
    path.write_bytes(replace(pin, leaf=bytes(32)).to_bytes())
    forked = logs(reader, tmp_path, run_id, "--json")
    assert (forked.status, forked.error["code"]) == (1, "E_FORK")
    assert "two histories" in forked.error["remediation"]
    assert parse_pin(path.read_bytes()).leaf == bytes(32), "what was seen first stays pinned"


def test_it_wants_a_policy(reader: Shell, running: Running, tmp_path: Path) -> None:
    """Without one nothing can be verified: usage errors say what to type."""
    run_id = running.create()
    for args in (["--verify"], ["--policy", str(tmp_path / "trust.policy")], ["--pin", "x"]):
        result = reader("workspace-runs", "logs", run_id, *args)
        assert result.status == 2
        assert "crownest policy" in result.err
    (tmp_path / "bad.policy").write_text("nothing\n")
    bad = reader("workspace-runs", "logs", run_id, "--verify", "--policy", str(tmp_path / "bad.policy"))
    assert bad.status == 2
    pin_file(tmp_path, run_id).parent.mkdir(parents=True)
    pin_file(tmp_path, run_id).write_text("rubbish")
    damaged = logs(reader, tmp_path, run_id)
    assert damaged.status == 1
    assert "is no pin" in damaged.err


def test_ctrl_c_names_the_command_that_goes_on_with_proof(
    reader: Shell, running: Running, tmp_path: Path
) -> None:
    """What is suggested is as strict as what was stopped."""
    run_id = running.create("echo begun; sleep 30")
    running.upload(run_id, archive({"a": b""}))
    running.http.post(f"/v1/workspace-runs/{run_id}/start")
    policy = str(tmp_path / "trust.policy")
    process = reader.popen(
        ["workspace-runs", "logs", run_id, "--verify", "--policy", policy],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
    running.http.post(f"/v1/workspace-runs/{run_id}/cancel")
    assert f"--verify --policy {policy}" in said
    running.finished(run_id)


def test_a_slower_reader_does_not_set_the_pin_back(reader: Shell, running: Running, tmp_path: Path) -> None:
    """Of two readers of one run the one that saw more keeps the pin."""
    run_id = running.run("echo hello")["id"]
    assert logs(reader, tmp_path, run_id).status == 0
    path = pin_file(tmp_path, run_id)
    seen = path.read_bytes()
    pin = parse_pin(seen)
    _write(path, replace(pin, seq=pin.seq - 1, leaf=bytes(32)))
    assert path.read_bytes() == seen
    _write(path, replace(pin, seq=pin.seq + 1))
    assert parse_pin(path.read_bytes()).seq == pin.seq + 1
