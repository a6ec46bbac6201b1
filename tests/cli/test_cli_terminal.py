"""What a person sees: real terminals, real keys, help that starts fast, completion that completes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.cli.cli_runner import CROWNEST, Shell
from tests.cli.recording_server import (
    RUN_ID,
    UPLOAD_ID,
    RecordingServer,
    Reply,
    as_json,
    event,
    run_object,
    sse,
    terminal,
)

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(shell: Shell, *args: str, columns: int = 100, **env: str) -> tuple[int, str]:
    """Run with stdout and stderr on a terminal of its own; answers the status and what it showed."""
    screen, far_end = pty.openpty()
    fcntl.ioctl(far_end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    wanted = {**shell.env, "TERM": "xterm-256color", "LANG": "C.UTF-8", **env}
    wanted.pop("COLUMNS")
    process = subprocess.Popen(
        [CROWNEST, *args], stdin=subprocess.DEVNULL, stdout=far_end, stderr=far_end, env=wanted
    )
    os.close(far_end)
    shown = b""
    while True:
        try:
            piece = os.read(screen, 65536)
        except OSError:  # the far end is closed: Linux says EIO
            break
        if not piece:
            break
        shown += piece
    os.close(screen)
    return process.wait(60), shown.decode().replace("\r\n", "\n")


def test_output_on_a_terminal_keeps_colours_and_loses_commands(
    shell: Shell, server: RecordingServer, archive: Path
) -> None:
    """Decision 0101, at both ends of a sequence cut between two events."""
    server.streams(
        sse(
            event(1, "stdout", data="\x1b[32mok\x1b[0m \x1b"),
            event(2, "stdout", data="]0;owned\x07 no newline"),
            terminal(3, "failed", exitCode=1),
        )
    )
    status, shown = on_terminal(shell, "workspace-runs", "run-archive", str(archive), "--", "x")
    assert status == 1
    assert "\x1b[32mok\x1b[0m ^[]0;owned^G no newline\n" in shown
    assert f"\n{RUN_ID} \x1b[31m\x1b[1mfailed\x1b[0m: exit 1; " in shown


COMMANDING = "\x1b]0;owned\x07\nverified up to event 99"  # sets the title, and fakes a line


def test_what_a_server_says_of_a_run_commands_no_terminal(
    shell: Shell, server: RecordingServer, archive: Path
) -> None:
    """Nor does it make lines of its own: status and reason are words of the server."""
    for args in (["run-archive", str(archive), "--", "x"], ["logs", RUN_ID]):
        server.streams(sse(terminal(1, COMMANDING, failureReason=COMMANDING)))
        _, shown = on_terminal(shell, "workspace-runs", *args)
        assert "^[]0;owned^G^Jverified" in shown
        assert "\x1b]0;" not in shown
        assert "\nverified" not in shown


def test_a_policy_commands_no_terminal(shell: Shell, server: RecordingServer) -> None:
    """It is shown in its lines; a file or a pipe gets its bytes."""
    server.routes["GET /v1/proof/policy"] = lambda _: Reply(body=b"# \x1b]0;owned\x07\nlog x\n")
    assert on_terminal(shell, "policy")[1].endswith("# ^[]0;owned^G\nlog x\n")
    assert shell("policy").out == b"# \x1b]0;owned\x07\nlog x\n"


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_and_dumb_terminals_get_no_colour(
    shell: Shell, server: RecordingServer, archive: Path, env: dict[str, str]
) -> None:
    """The words stay the same."""
    server.streams(sse(event(1, "status"), terminal(2, "failed", exitCode=1)))
    _, shown = on_terminal(shell, "workspace-runs", "run-archive", str(archive), "--", "x", **env)
    assert "\x1b" not in shown
    assert f"{RUN_ID} failed: exit 1" in shown
    for args in (["workspace-runs", "list"], ["config"]):
        status, shown = on_terminal(shell, *args, **env)
        assert (status, "\x1b" in shown) == (0, False)


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_a_list_fits_the_terminal_and_keeps_ids_and_states_whole(
    shell: Shell, server: RecordingServer, columns: int
) -> None:
    """The command is cut, other columns go before an id would be broken."""
    run_id = "wsr_" + "a" * 26
    runs = [run_object("failed", exitCode=1, durationMs=1, command="make " + "x" * 200) | {"id": run_id}]
    server.routes["GET /v1/workspace-runs"] = lambda _: as_json({"data": runs, "hasMore": False})
    status, shown = on_terminal(shell, "workspace-runs", "list", columns=columns)
    lines = COLOUR.sub("", shown).splitlines()
    assert status == 0
    assert len(lines) == 2
    assert all(len(line) <= columns for line in lines)
    if columns >= 60:
        assert lines[1].split()[:2] == [run_id, "failed"]
        assert lines[1].rstrip().endswith("…")


def test_an_upload_draws_a_bar_and_wipes_it(shell: Shell, server: RecordingServer, tmp_path: Path) -> None:
    """On a terminal only; nothing of it is left, and nothing is drawn elsewhere."""
    archive = tmp_path / "big.tgz"
    archive.write_bytes(os.urandom(300_000))
    status, shown = on_terminal(shell, "workspace-runs", "upload", RUN_ID, str(archive))
    assert status == 0
    assert "uploading" in shown or "checking" in shown
    assert "\x1b[2K" in shown
    assert shell("workspace-runs", "upload", RUN_ID, str(archive)).err == ""


def test_a_failed_upload_shows_the_error_after_the_bar(
    shell: Shell, server: RecordingServer, tmp_path: Path
) -> None:
    """The bar does not swallow the message."""
    archive = tmp_path / "big.tgz"
    archive.write_bytes(os.urandom(300_000))
    path = f"PUT /v1/workspace-runs/{RUN_ID}/archive-transfer/{UPLOAD_ID}"
    server.routes[path] = lambda _: Reply(507, b"")
    status, shown = on_terminal(shell, "workspace-runs", "upload", RUN_ID, str(archive))
    assert status == 1
    assert "Request failed with status 507" in shown


def test_a_person_is_told_the_next_step_and_a_script_is_not(shell: Shell, archive: Path) -> None:
    """Hints go to terminals."""
    steps = {
        ("create", "--command", "x"): f"next: crownest workspace-runs upload {RUN_ID} <archive.tgz>",
        ("upload", RUN_ID, str(archive)): f"next: crownest workspace-runs start {RUN_ID}",
        ("start", RUN_ID): f"next: crownest workspace-runs logs {RUN_ID}",
    }
    for args, hint in steps.items():
        assert hint in on_terminal(shell, "workspace-runs", *args)[1]
        assert shell("workspace-runs", *args).err == ""


def test_login_asks_for_the_key_without_showing_it(lonely_shell: Shell) -> None:
    """Typed on a terminal, kept out of the history and off the screen."""
    screen, far_end = pty.openpty()
    args = [CROWNEST, "login", "--api-url", "http://127.0.0.1:1"]
    process = subprocess.Popen(args, stdin=far_end, stdout=far_end, stderr=far_end, env=lonely_shell.env,
                               start_new_session=True)  # fmt: skip
    os.close(far_end)
    shown = b""
    while b"API key" not in shown:
        shown += os.read(screen, 1024)
    os.write(screen, b"cn_live_secret\n")
    try:
        while piece := os.read(screen, 1024):
            shown += piece
    except OSError:
        pass
    os.close(screen)
    assert process.wait(60) == 0
    assert b"cn_live_secret" not in shown
    config = Path(lonely_shell.env["HOME"], ".config/crownest/config.json")
    assert "cn_live_secret" in config.read_text()


HEAVY = frozenset({
    "httpx2", "rich", "ssl", "asyncio", "evidence.canonical", "verifier.check", "cryptography", "orjson",
    "fastapi", "starlette", "uvicorn", "jinja2", "pydantic", "pydantic_settings", "sqlite3", "aiosqlite",
    "api", "runs", "runner", "projections", "eventstore",
})  # fmt: skip
"""The client, the server, and what they are made of."""


def test_every_help_starts_without_client_and_server() -> None:
    """To say what there is, a command needs neither; the first line that names a module names its command."""
    program = (
        "import sys; from cli.docs import every_help; from cli.main import run; run(['--version'])\n"
        "for path, _ in every_help():\n"
        "    status = run([*path.split()[1:], '--help'])\n"
        "    found = sorted(sys.modules.keys() & set(sys.argv[1:]))\n"
        "    print(f'{path}: {status} {found}', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *HEAVY], capture_output=True, check=True, timeout=60
    )
    said = done.stderr.decode().splitlines()
    assert len(said) > 80
    assert [line for line in said if not line.endswith(": 0 []")] == []
    assert done.stdout.count(b"Usage: crownest") == len(said)


@pytest.mark.parametrize(
    "args",
    [
        ["workspace-runs", "status", RUN_ID],
        ["keys", "list"],
        ["projects", "list"],
        ["orgs", "users", "--org", "org_1"],
        ["sandboxes", "exec", "sbx_1", "--", "true"],
        ["files", "ls", "sbx_1"],
        ["artifacts", "list", "sbx_1"],
    ],
    ids=lambda args: args[0],
)
def test_commands_do_without_the_server_and_the_table_maker(shell: Shell, args: list[str]) -> None:
    """What is piped needs the client only."""
    program = (
        "import sys; from cli.main import run\n"
        f"status = run({args!r})\n"
        "print(sorted({n.partition('.')[0] for n in sys.modules} & set(sys.argv[1:])), file=sys.stderr)"
    )
    heavy = [
        "rich",
        "pydantic",
        "cryptography",
        "fastapi",
        "api",
        "runs",
        "runner",
        "eventstore",
        "projections",
    ]
    done = subprocess.run(
        [sys.executable, "-c", program, *heavy], env=shell.env, capture_output=True, check=True, timeout=60
    )
    assert done.stderr.decode().splitlines()[-1] == "[]"


def test_without_arguments_the_help_is_shown(lonely_shell: Shell) -> None:
    """Status 2, because nothing was asked."""
    result = lonely_shell()
    assert result.status == 2
    assert "crownest workspace-runs run-archive repo.tgz -- python3 -m unittest" in result.err


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["verfy"], "Did you mean 'verify'?"),
        (["run-archive", "r.tgz"], "Did you mean 'crownest workspace-runs run-archive'?"),
        (["exec"], "Did you mean 'crownest sandboxes exec'?"),
        (["cancel"], "Did you mean 'crownest workspace-runs cancel' or 'crownest commands cancel'?"),
        (["workspace-runs", "lst"], "Did you mean 'list'?"),
        (["workspace-runs", "status", RUN_ID, "--jsn"], "--json"),
    ],
)
def test_slips_of_the_finger_are_recognised(lonely_shell: Shell, args: list[str], hint: str) -> None:
    """Status 2 and the nearest name."""
    result = lonely_shell(*args)
    assert result.status == 2
    assert hint in result.err


def test_an_unknown_command_has_its_code(lonely_shell: Shell) -> None:
    """CONTRACT §7.1: `unknown_command` is made by clients."""
    assert lonely_shell("nonsense", "--json").error["code"] == "unknown_command"


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(lonely_shell: Shell, shell_name: str) -> None:
    """It names the variable that the program listens to."""
    result = lonely_shell("completion", shell_name)
    assert result.status == 0
    assert b"_CROWNEST_COMPLETE" in result.out
    assert lonely_shell("completion", "tcsh").status == 2


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("crownest wor", ["workspace-runs"]),
        ("crownest workspace-runs st", ["start", "status"]),
        ("crownest workspace-runs list --status c", ["collecting", "canceled"]),
        ("crownest workspace-runs create --template py", ["python-node", "python"]),
        ("crownest workspace-runs create --keep", ["--keep-sandbox"]),
        ("crownest completion z", ["zsh"]),
    ],
)
def test_bash_completes_names_options_and_values(lonely_shell: Shell, words: str, offered: list[str]) -> None:
    """Through the protocol that the printed script uses."""
    env = {"_CROWNEST_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    result = lonely_shell.process(env=env)
    assert [line.partition(",")[2] for line in result.out.decode().splitlines()] == offered


def test_the_bash_script_works_in_bash(lonely_shell: Shell, tmp_path: Path) -> None:
    """Sourced by a real shell, asked as the shell would ask."""
    script = lonely_shell("completion", "bash").out.decode()
    program = (
        f"{script}\nCOMP_WORDS=(crownest workspace-runs ev)\nCOMP_CWORD=2\n_crownest_completion crownest\n"
        'echo "${COMPREPLY[@]}"'
    )
    path = f"{Path(CROWNEST).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", program],
        env={**lonely_shell.env, "PATH": path}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.decode().strip() == "evidence"
