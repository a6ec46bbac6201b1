"""What `crownest serve` prints, and whose configuration it touches (decision 0007)."""

import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.settings import load_settings, mistyped
from tests.cli.cli_runner import CROWNEST, THIS_CODE, Shell
from tests.serving import serving

LINES = (
    "API base", "dashboard", "reference", "API key", "data folder", "sandbox", "limits", "previews", "stop",
)  # fmt: skip
STOP_S_MAX = 30


@contextmanager
def _serve(home: Path, data: str, *arguments: str) -> Generator[list[str]]:
    """The nine lines of a server that runs while the block does."""
    env = {**THIS_CODE, "PATH": os.environ["PATH"], "HOME": str(home), "CROWNEST_PROVIDER": "process"}
    command = [CROWNEST, "serve", "--data", str(home / data), *(arguments or ("--port", "0"))]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, cwd=home, text=True) as process:
        assert process.stdout is not None
        try:
            yield [process.stdout.readline().rstrip("\n") for _ in LINES]
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(STOP_S_MAX) == 0


def _config(home: Path) -> Path:
    return home / ".config" / "crownest" / "config.json"


def test_a_first_start_prints_nine_lines_and_logs_the_command_line_in(
    tmp_path: Path, lonely_shell: Shell
) -> None:
    """Each by its name; the configuration is its owner's.

    A second server on the same folder is refused meanwhile: one process owns it, and the message names it.
    """
    with _serve(tmp_path, "data") as lines:
        assert [line[:12].strip() for line in lines] == list(LINES)
        stored = json.loads(_config(tmp_path).read_text())
        assert stored["apiUrl"] in lines[0]
        assert f" {stored['apiUrl']}/auth/link?token=" in lines[1]
        assert lines[2].endswith(f"{stored['apiUrl']}/docs")
        assert stored["apiKey"] in lines[3]
        assert str(tmp_path / "data") in lines[4]
        assert "isolation" in lines[5]
        assert "NOT enforced" in lines[6]
        assert re.search(r"http://….localhost:\d+$", lines[7])
        assert "Ctrl-C" in lines[8]
        assert "in use by the process with pid" in _refused(lonely_shell, "--data", str(tmp_path / "data"))
    assert stat.S_IMODE(_config(tmp_path).stat().st_mode) == 0o600
    for secret in (tmp_path / "data" / "keys").iterdir():
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_a_later_start_changes_the_address_only(tmp_path: Path) -> None:
    """The key is shown once: the second start knows none, and needs none."""
    with _serve(tmp_path, "data"):
        first = json.loads(_config(tmp_path).read_text())
    with _serve(tmp_path, "data") as lines:
        second = json.loads(_config(tmp_path).read_text())
        assert second["apiUrl"] in lines[0]
        assert second["apiUrl"] != first["apiUrl"]
        assert second["apiKey"] == first["apiKey"]
        assert first["apiKey"] not in "\n".join(lines)


def test_a_configuration_of_another_server_is_never_overwritten(tmp_path: Path) -> None:
    """The login line is printed instead, on a first start and on later ones."""
    _config(tmp_path).parent.mkdir(parents=True)
    foreign = json.dumps({"apiUrl": "https://crownest.example", "apiKey": "cn_live_foreign"})
    _config(tmp_path).write_text(foreign)
    for _ in range(2):
        with _serve(tmp_path, "data") as lines:
            assert re.search(r"crownest login --api-url http://127\.0\.0\.1:\d+ --api-key cn_live_", lines[3])
        assert _config(tmp_path).read_text() == foreign


def _refused(shell: Shell, *arguments: str) -> str:
    """Why it does not start: in this process, for starting one is most of the time."""
    shell.env["CROWNEST_PROVIDER"] = "process"
    refused = shell("serve", "--port", "0", *arguments)
    assert (refused.status, refused.out) == (1, b"")
    return refused.err


def _refused_process(home: Path, *arguments: str, **variables: str) -> str:
    env = {**THIS_CODE, "PATH": os.environ["PATH"], "HOME": str(home), "CROWNEST_PROVIDER": "process"}
    env |= variables
    done = subprocess.run(
        [CROWNEST, "serve", *arguments], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_taken_port_and_an_open_address_are_refused_before_anything_is_made(
    tmp_path: Path, lonely_shell: Shell
) -> None:
    """The data folder is not even created."""
    data = ("--data", str(tmp_path / "data"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "Cannot listen" in _refused(lonely_shell, "--port", port, *data)
        assert "--preview-port" in _refused(lonely_shell, "--preview-port", port, *data)
    assert "isolates nothing" in _refused(lonely_shell, "--host", "0.0.0.0", *data)
    assert not (tmp_path / "data").exists()


def test_a_folder_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path, lonely_shell: Shell) -> None:
    """A server empties `tmp/` of its data folder, which in a home or in `/` is not the server's."""
    mine = tmp_path / "home" / "tmp" / "thesis"
    mine.parent.mkdir(parents=True)
    mine.write_text("years")
    assert "name an empty folder" in _refused(lonely_shell, "--data", str(tmp_path / "home"))
    assert mine.read_text() == "years"
    assert [one.name for one in (tmp_path / "home").iterdir()] == ["tmp"]
    lonely_shell.env["CROWNEST_DATA_DIR"] = str(mine)
    refused = _refused(lonely_shell)
    assert "cannot be used as the data folder" in refused
    assert "may read and write" in refused


def test_what_of_the_folder_cannot_be_used_is_named_with_a_remedy(
    tmp_path: Path, lonely_shell: Shell
) -> None:
    """As a restored back-up of another owner; the file's name alone told nobody what to do."""
    with serving(tmp_path / "data"):
        pass
    origin = tmp_path / "data" / "keys" / "origin"
    origin.unlink()
    origin.mkdir()
    refused = _refused(lonely_shell, "--data", str(tmp_path / "data"))
    assert str(origin) in refused
    assert "must read and write all of" in refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CROWNEST_LOG__READERS", "0"),
        ("CROWNEST_RUNS__EXECUTING_MAX", "0"),
        ("CROWNEST_RUNNER__STOP_TIMEOUT_MS", "-1"),
        ("CROWNEST_SHUTDOWN_S", "-1"),
    ],
)
def test_a_limit_with_which_nothing_would_go_on_is_refused(
    lonely_shell: Shell, name: str, value: str
) -> None:
    """The start, or every run, would wait without a word."""
    lonely_shell.env[name] = value
    assert name in _refused(lonely_shell)


def test_a_slip_in_the_name_of_a_variable_is_told(tmp_path: Path) -> None:
    """With the name that was meant; variables of clients, and settings of the provider, are no slips."""
    slips = {"CROWNEST_DATADIR": "CROWNEST_DATA_DIR", "CROWNEST_LOG__READER": "CROWNEST_LOG__READERS"}
    others = (
        "CROWNEST_API_URL", "CROWNEST_API_KEY", "CROWNEST_CONFIG_PATH", "CROWNEST_ORG_ID", "CROWNEST_ROLE",
        "CROWNEST_OIDC__CLIENT_SECRET", "CROWNEST_DATA_DIR", "DATADIR",
    )  # fmt: skip
    assert dict(mistyped(load_settings(), [*slips, *others])) == slips
    (tmp_path / "foreign").write_text("")
    told = _refused_process(tmp_path, "--data", str(tmp_path), CROWNEST_DATADIR="/nowhere")
    assert "CROWNEST_DATADIR sets nothing: is CROWNEST_DATA_DIR meant?" in told


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a service's `CROWNEST_HOST=$UNKNOWN` makes it: not all addresses, and not the working directory."""
    for name in ("HOST", "PORT", "DATA_DIR", "RUNS__EXECUTING_MAX"):
        monkeypatch.delenv(f"CROWNEST_{name}", raising=False)
    default = load_settings()
    for name in ("HOST", "PORT", "DATA_DIR", "RUNS__EXECUTING_MAX"):
        monkeypatch.setenv(f"CROWNEST_{name}", "")
    assert load_settings() == default


def test_a_lost_signing_key_is_not_replaced_silently(tmp_path: Path, lonely_shell: Shell) -> None:
    """A new key would make every earlier proof unverifiable."""
    with serving(tmp_path / "data"):
        pass
    (tmp_path / "data" / "keys" / "log.pem").unlink()
    assert "Restore the key" in _refused(lonely_shell, "--data", str(tmp_path / "data"))


def test_a_folder_of_a_newer_version_is_refused_and_the_process_ends(tmp_path: Path) -> None:
    """What was started before the refusal is ended too: a thread that goes on would keep the process."""
    with serving(tmp_path / "data"):
        pass
    with sqlite3.connect(tmp_path / "data" / "log.sqlite") as database:
        database.execute("PRAGMA user_version = 999")
    database.close()
    assert "newer" in _refused_process(tmp_path, "--port", "0", "--data", str(tmp_path / "data"))
