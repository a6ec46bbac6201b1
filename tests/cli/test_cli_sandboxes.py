"""The commands sandboxes, commands, files and artifacts against a real server and its sandboxes."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.cli_runner import Shell
from tests.serving import Running, archive, serving

LINE_S_MAX = 60


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all: each test has a sandbox of its own."""
    with serving(tmp_path_factory.mktemp("data")) as one:
        yield one


@pytest.fixture
def sandbox(owner: Shell) -> str:
    """The id of a warm sandbox."""
    result = owner("sandboxes", "create", "--json")
    assert result.status == 0, result.err
    return str(result.data["id"])


def columns(out: bytes) -> list[dict[str, str]]:
    """The rows of a list as programs get it."""
    header, *rows = [line.split("\t") for line in out.decode().splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def detached(owner: Shell, sandbox: str, script: str) -> str:
    """The id of a command that runs by itself."""
    result = owner("sandboxes", "exec", sandbox, "--detach", "--json", "--", "sh", "-c", script)
    assert result.status == 0, result.err
    return str(result.data["id"])


def test_a_detached_commands_id_stands_alone(owner: Shell, sandbox: str) -> None:
    """So that `id=$(crownest sandboxes exec … --detach -- …)` takes it."""
    printed = owner("sandboxes", "exec", sandbox, "--detach", "--", "true")
    (command_id,) = printed.out.decode().splitlines()
    assert (printed.status, printed.err) == (0, "")
    assert owner("commands", "get", command_id, "--json").data["id"] == command_id


def test_durations_are_typed_as_they_are_said(owner: Shell) -> None:
    """With a unit, or in milliseconds; once, and never a bare number that could be anything."""
    made = owner("sandboxes", "create", "--ttl", "30m", "--json").data
    assert made["ttlMs"] == 1_800_000
    extended = owner("sandboxes", "extend", made["id"], "--ttl", "2h", "--json").data
    assert extended["ttlMs"] == 7_200_000
    for wrong, told in (
        (("--ttl", "60"), "no duration; they look like 90s, 30m, 2h or 7d."),
        (("--ttl", "0s"), "no duration"),
        (("--ttl", "1.5h"), "no duration"),
        (("--ttl", "1h", "--ttl-ms", "1"), "--ttl and --ttl-ms say the same: leave one out."),
        ((), "Say how long, for example: --ttl 1h"),
    ):
        refused = owner("sandboxes", "extend", made["id"], *wrong)
        assert (refused.status, told in refused.err) == (2, True), refused.err
    timed = owner("sandboxes", "exec", made["id"], "--timeout", "1s", "--json", "--", "sleep", "60")
    assert timed.status == 1


@pytest.mark.parametrize(
    ("args", "remedy"),
    [
        (("cp", "{here}", "{sandbox}:deep/x"), "--parents"),
        (("mkdir", "{sandbox}:deep/er"), "--parents"),
        (("mv", "{sandbox}:a", "b"), "--overwrite"),
    ],
    ids=["cp", "mkdir", "mv"],
)
def test_the_option_that_would_have_helped_is_named(
    owner: Shell, sandbox: str, tmp_path: Path, args: tuple[str, ...], remedy: str
) -> None:
    """Whoever types as at home is told what differs here."""
    here = tmp_path / "here"
    here.write_text("x")
    for name in "ab":
        assert owner("files", "cp", str(here), f"{sandbox}:{name}").status == 0
    result = owner("files", *(arg.format(here=here, sandbox=sandbox) for arg in args), "--json")
    assert result.status == 1
    assert remedy in result.error["remediation"]


def test_a_bad_folder_is_blamed_on_its_option(owner: Shell, sandbox: str) -> None:
    """`cwd`, which is what the caller named, and not a path."""
    result = owner("sandboxes", "exec", sandbox, "--cwd", "nowhere", "--json", "--", "true")
    assert (result.error["code"], result.error["details"]) == ("file_not_found", {"field": "cwd"})


def test_a_sandbox_is_made_listed_extended_and_killed(owner: Shell) -> None:
    """Its record stays, behind --all."""
    make = ["sandboxes", "create", "--ttl-ms", "60000", "--metadata", "for=me", "--idempotency-key", "k"]
    made = owner(*make, "--json").data
    assert owner(*make, "--json").data["id"] == made["id"]
    (row,) = columns(owner("sandboxes", "list", "--metadata", "for=me").out)
    assert (row["id"], row["status"], row["metadata"]) == (made["id"], "ready", "for=me")
    assert columns(owner("sandboxes", "list", "--metadata", "for=you").out) == []
    extended = owner("sandboxes", "extend", made["id"], "--ttl-ms", "120000", "--json").data
    assert extended["expiresAt"] > made["expiresAt"]
    assert f"{made['id']} is destroyed (user_killed)" in owner("sandboxes", "kill", made["id"], "--yes").err
    mine = ("sandboxes", "list", "--metadata", "for=me")
    assert columns(owner(*mine).out) == []
    assert [row["status"] for row in columns(owner(*mine, "--all").out)] == ["destroyed"]
    assert owner("sandboxes", "get", made["id"], "--json").data["destroyedReason"] == "user_killed"
    gone = owner("sandboxes", "exec", made["id"], "--json", "--", "true")
    assert (gone.status, gone.error["code"]) == (1, "sandbox_destroyed")
    assert "crownest sandboxes create" in gone.error["remediation"]


def test_exec_passes_both_streams_and_exits_as_the_command(owner: Shell, sandbox: str) -> None:
    """Byte for byte, and nothing of its own between."""
    result = owner("sandboxes", "exec", sandbox, "--", "sh", "-c", "printf out; printf err >&2; exit 7")
    assert (result.status, result.out, result.err) == (7, b"out", "err")


def test_exec_takes_folder_variables_and_words_as_they_are(owner: Shell, sandbox: str) -> None:
    """A variable without a value is taken from here, so that it is no argument of a process."""
    assert owner("files", "mkdir", f"{sandbox}:a b").status == 0
    owner.env["TOKEN_HERE"] = "t=1"
    args = ["--cwd", "a b", "--env", "X=a=b", "--env", "TOKEN_HERE"]
    script = 'basename "$PWD"; echo "$X,$TOKEN_HERE,$1"'
    result = owner("sandboxes", "exec", sandbox, *args, "--", "sh", "-c", script, "sh", "one  word $X")
    assert result.out.decode() == "a b\na=b,t=1,one  word $X\n"


def test_exec_in_json_mode_prints_each_event(owner: Shell, sandbox: str) -> None:
    """The last one holds the command; the status is the command's still."""
    result = owner("sandboxes", "exec", sandbox, "--json", "--", "sh", "-c", "echo hi; exit 3")
    events = [json.loads(line)["data"] for line in result.out.splitlines()]
    assert [(event["type"], event.get("data")) for event in events] == [("log", "hi\n"), ("terminal", None)]
    assert events[-1]["command"]["exitCode"] == result.status == 3


def test_a_command_over_its_time_is_a_failure_that_says_so(owner: Shell, sandbox: str) -> None:
    """Without an exit code the status is 1."""
    result = owner("sandboxes", "exec", sandbox, "--timeout-ms", "200", "--", "sleep", "60")
    assert result.status == 1
    assert "timed_out" in result.err


def test_ctrl_c_cancels_the_command(owner: Shell, sandbox: str) -> None:
    """Decision 0861: who stops exec means the command."""
    args = ["sandboxes", "exec", sandbox, "--", "sh", "-c", "echo going; exec sleep 60"]
    with owner.popen(args, stdout=-1, stderr=-1, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"going\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(LINE_S_MAX) == 130
        said = process.stderr.read().decode()
    (command_id,) = [word for word in said.split() if word.startswith("cmd_")]
    assert owner("commands", "get", command_id, "--json").data["status"] == "canceled"


def test_a_detached_command_is_read_later_and_from_any_place(owner: Shell, sandbox: str) -> None:
    """Followed to its end, or as far as it is; exit 0 whatever became of it."""
    command_id = detached(owner, sandbox, "echo one; echo two >&2; exit 4")
    followed = owner("commands", "logs", command_id)
    assert (followed.status, followed.out, followed.err) == (0, b"one\n", "two\n")
    assert owner("commands", "get", command_id, "--json").data["exitCode"] == 4
    lines = owner("commands", "logs", command_id, "--no-follow", "--json").out.splitlines()
    logs = [json.loads(line)["data"] for line in lines]
    assert [(log["seq"], log["type"]) for log in logs] == [(1, "log"), (2, "log")]
    rest = owner("commands", "logs", command_id, "--after-seq", "1")
    assert sorted([rest.out + rest.err.encode(), logs[0]["data"].encode()]) == [b"one\n", b"two\n"]


def test_a_command_is_canceled_and_stays_so(owner: Shell, sandbox: str) -> None:
    """Twice changes nothing."""
    command_id = detached(owner, sandbox, "exec sleep 60")
    assert owner("commands", "cancel", command_id, "--force", "--json").data["status"] == "canceled"
    assert owner("commands", "cancel", command_id, "--json").data["status"] == "canceled"


def test_files_go_in_and_come_out_unchanged(owner: Shell, sandbox: str, tmp_path: Path) -> None:
    """Any bytes; a folder as target keeps the name; what exists is kept if asked."""
    content = bytes(range(256)) * 10
    Path("in.bin").write_bytes(content)
    assert owner("files", "cp", "in.bin", f"{sandbox}:a/b/", "--parents").status == 0
    assert owner("files", "cat", f"{sandbox}:a/b/in.bin").out == content
    out = tmp_path / "out"
    out.mkdir()
    assert owner("files", "cp", f"{sandbox}:a/b/in.bin", str(out), "--json").data["sizeBytes"] == len(content)
    assert (out / "in.bin").read_bytes() == content
    assert owner("files", "cp", f"{sandbox}:a/b/in.bin", "-").out == content
    kept = owner("files", "cp", f"{sandbox}:a/b/in.bin", str(out), "--no-clobber", "--json")
    assert (kept.status, kept.error["details"]["reason"]) == (1, "file_exists")
    assert owner("files", "cp", "in.bin", f"{sandbox}:a/b/in.bin", "--no-clobber", "--json").status == 1


def test_stdin_is_written_to_a_named_file(owner: Shell, sandbox: str) -> None:
    """A pipe has no name of its own."""
    assert owner.process("files", "cp", "-", f"{sandbox}:now.txt", input_=b"now").status == 0
    assert owner("files", "cat", f"{sandbox}:now.txt", "--json").data == {
        "content": "now",
        "encoding": "utf8",
    }
    assert owner("files", "cat", f"{sandbox}:now.txt", "--json", "--base64").data["content"] == "bm93"
    assert owner.process("files", "cp", "-", f"{sandbox}:", input_=b"now").status == 2


def test_files_are_listed_moved_and_removed(owner: Shell, sandbox: str) -> None:
    """A missing file says how to look."""
    Path("a.txt").write_bytes(b"a")
    assert owner("files", "cp", "a.txt", f"{sandbox}:a.txt").status == 0
    assert owner("files", "mkdir", f"{sandbox}:d").status == 0
    assert owner("files", "mv", f"{sandbox}:a.txt", "d/b.txt").status == 0
    assert [(row["name"], row["type"]) for row in columns(owner("files", "ls", sandbox).out)] == [
        ("d", "directory")
    ]
    assert [row["name"] for row in columns(owner("files", "ls", f"{sandbox}:d").out)] == ["b.txt"]
    assert owner("files", "stat", f"{sandbox}:d/b.txt", "--json").data["sizeBytes"] == 1
    assert owner("files", "rm", f"{sandbox}:d/b.txt").status == 0
    gone = owner("files", "cat", f"{sandbox}:d/b.txt")
    assert (gone.status, gone.out) == (1, b"")
    assert "crownest files ls" in gone.err
    assert owner("files", "cp", f"{sandbox}:d/b.txt", "b.txt").status == 1
    assert not Path("b.txt").exists()


@pytest.mark.parametrize("size_bytes", [256 * 1024 + 1, 900 * 1024])
def test_a_file_that_is_too_large_says_which_way_it_goes(owner: Shell, sandbox: str, size_bytes: int) -> None:
    """Refused by the server, or here when it would not even fit into a request."""
    Path("large").write_bytes(b"x" * size_bytes)
    result = owner("files", "cp", "large", f"{sandbox}:large", "--json")
    assert result.status == 1
    assert "run-archive" in result.error["remediation"]
    assert columns(owner("files", "ls", sandbox).out) == []


def test_an_artifact_is_collected_checked_downloaded_and_deleted(owner: Shell, sandbox: str) -> None:
    """Its name is where it goes; what exists is not replaced unless it is named."""
    owner.process("files", "cp", "-", f"{sandbox}:out.xml", input_=b"<x/>")
    made = owner("artifacts", "collect", sandbox, "out.xml", "--name", "r/report.xml", "--json").data
    assert made["sha256"] == hashlib.sha256(b"<x/>").hexdigest()
    assert [row["id"] for row in columns(owner("artifacts", "list", sandbox).out)] == [made["id"]]
    assert owner("artifacts", "download", made["id"], "--json").data["path"] == "report.xml"
    assert Path("report.xml").read_bytes() == b"<x/>"
    again = owner("artifacts", "download", made["id"], "--json")
    assert (again.status, again.error["details"]["reason"]) == (1, "file_exists")
    assert owner("artifacts", "download", made["id"], "--output", "report.xml").status == 0
    assert owner("artifacts", "download", made["id"], "--output", "-").out == b"<x/>"
    assert owner("artifacts", "delete", made["id"], "--yes", "--json").data["deletedAt"]
    assert owner("artifacts", "download", made["id"], "--output", "x", "--json").error["code"] == "not_found"
    assert not Path("x").exists()
    assert owner("artifacts", "get", made["id"], "--json").data["sha256"] == made["sha256"]


def test_a_run_uses_the_sandbox_that_was_prepared(owner: Shell, running: Running, sandbox: str) -> None:
    """The command line's two halves meet: warm sandbox, run, file."""
    run_id = running.create("cat a.txt > b.txt", sandboxId=sandbox, keepSandbox=True)
    assert running.upload(run_id, archive({"a.txt": b"from the archive"})).status_code == 200
    assert owner("workspace-runs", "start", run_id).status == 0
    assert running.finished(run_id)["status"] == "succeeded"
    assert owner("files", "cat", f"{sandbox}:b.txt").out == b"from the archive"
