"""The commands of secrets against a real server, and that a value is left nowhere but encrypted."""

from __future__ import annotations

import base64
import json
import os
import pty
import secrets
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.cli.cli_runner import CROWNEST, PROCESS_S_MAX, Shell
from tests.cli.real_server import RealServer, serving
from tests.serving import Running, archive
from tests.serving import serving as in_thread

LEAK = b"""
import base64, json, os, sys, time, urllib.parse
value = os.environ["TOKEN"]
raw = value.encode()
out = sys.stdout.buffer
for pad in range(3):
    out.write(base64.b64encode(b"x" * pad + raw + b"yz") + b"\\n")
    out.write(base64.urlsafe_b64encode(b"x" * pad + raw) + b"\\n")
    out.write(base64.encodebytes(b"x" * (40 + pad) + raw + b"yz" * 40))
for text in (urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value), json.dumps(value)):
    out.write(text.encode() + b"\\n")
out.write(b"\\xff\\xfe" + raw + b"\\xff\\n")
out.write(b"." * 65530 + raw + b"\\n")
out.flush()
for byte in raw:
    for stream in (sys.stdout, sys.stderr):
        stream.buffer.write(bytes([byte]))
        stream.buffer.flush()
    time.sleep(0.06)
os.symlink(value, "link")
open("started", "w").close()
time.sleep(1)
"""

RUN_LEAK = ("workspace-runs", "run-archive", "--artifact", "link", "leak.tgz", "--", "python3", "leak.py")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all: each test sets the secrets that it looks at."""
    with in_thread(tmp_path_factory.mktemp("data")) as one:
        yield one


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    """A server in a process of its own, with a log of its own."""
    with serving(tmp_path) as one:
        yield one


def crownest(server: RealServer, *args: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """One command, with this on its stdin."""
    return subprocess.run(
        [CROWNEST, *args],
        env=server.env(),
        input=given,
        capture_output=True,
        timeout=PROCESS_S_MAX,
        check=True,
        cwd=server.folder,
    )


def forms(value: str) -> list[bytes]:
    """What must be found nowhere: the value, and the middle of it in each encoding."""
    raw = value.encode()
    encoded = [base64.b64encode(b"x" * pad + raw)[4:-4] for pad in range(3)]
    quoted = [quote(value, safe="").encode(), quote_plus(value).encode(), json.dumps(value)[1:-1].encode()]
    return [raw, raw.hex().encode(), *encoded, *quoted]


def command_lines() -> bytes:
    """The arguments of every process that can be seen."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found.append((folder / "cmdline").read_bytes())
            except OSError:  # it ended meanwhile
                continue
    return b"\n".join(found)


def test_a_secret_is_nowhere_but_in_the_environment(server: RealServer) -> None:
    """Not in events, their raw bytes, evidence, the bundle, the data folder, the log, or any arguments."""
    value = f'{secrets.token_hex(8)} "/+~\\ü{secrets.token_hex(8)}'
    crownest(server, "secrets", "set", "TOKEN", given=value.encode() + b"\n")
    (server.folder / "leak.tgz").write_bytes(archive({"leak.py": LEAK}))
    shown = server.folder / "shown"
    with (
        shown.open("wb") as file,
        subprocess.Popen(
            [CROWNEST, *RUN_LEAK], env=server.env(), cwd=server.folder, stdout=file, stderr=subprocess.STDOUT
        ) as running,
    ):
        seen = [command_lines()]
        while running.poll() is None:
            time.sleep(0.1)
            seen.append(command_lines())
    assert any(b"leak.py" in lines for lines in seen), "the command was seen"
    run_id = json.loads(crownest(server, "workspace-runs", "list", "--json").stdout)["data"][0]["id"]
    crownest(server, "workspace-runs", "proof", run_id, "--artifacts", "--output", "proof.zip")
    events = crownest(server, "workspace-runs", "logs", run_id, "--json").stdout
    raw = b"".join(
        base64.b64decode(event["dataBase64"]) if "dataBase64" in event else event.get("data", "").encode()
        for event in (json.loads(line)["data"] for line in events.splitlines())
    )
    with zipfile.ZipFile(server.folder / "proof.zip") as proof:
        bundle = b"\n".join(proof.read(name) for name in proof.namelist())
    evidence = crownest(server, "workspace-runs", "evidence", run_id, "--json").stdout
    files = [
        path.read_bytes()
        for path in (server.folder / "data").rglob("*")
        if path.is_file() and path.parent.name != "keys"
    ]
    log = (server.folder / "server.err").read_bytes()
    places = [shown.read_bytes(), events, raw, evidence, bundle, log, *seen, *files]
    for form in forms(value):
        assert not [place[:200] for place in places if form in place]
    assert raw.count(b"***") > 15
    assert b"\xff\xfe***\xff\n" in raw
    assert b'"envKeys": ["TOKEN"]' in evidence or b'"envKeys":["TOKEN"]' in evidence


def test_secrets_are_set_listed_and_deleted(running: Running, owner: Shell) -> None:
    """In words and as JSON; without --project in the oldest project; no value in any of it."""
    del running
    done = owner.process("secrets", "set", "TOKEN", input_=b"hunter2222\r\n")
    assert (done.status, done.out) == (0, b"")
    assert done.err.startswith("TOKEN is set in prj_")
    project = done.err.split()[-1]
    as_json = owner.process("secrets", "set", "OTHER", "--project", project, "--json", input_=b"hunter3333")
    assert as_json.data["name"] == "OTHER"
    listed = owner("secrets", "list")
    assert [line.split("\t")[0] for line in listed.out.decode().splitlines()] == ["name", "OTHER", "TOKEN"]
    assert {secret["name"] for secret in owner("secrets", "list", "--json").data} == {"OTHER", "TOKEN"}
    assert owner("secrets", "delete", "TOKEN").status == 2, "nobody can be asked"
    assert owner("secrets", "delete", "TOKEN", "--yes").err == f"TOKEN is deleted from {project}\n"
    assert owner("secrets", "delete", "TOKEN", "--yes", "--json").error["code"] == "not_found"
    assert [secret["name"] for secret in owner("secrets", "list", "--json").data] == ["OTHER"]
    assert b"hunter" not in done.out + as_json.out + listed.out


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (b"value\n", "value"),
        (b"value\r\n", "value"),
        (b"value\n\n", "value\n"),
        (b"value\r", "value\r"),
        (b" value ", " value "),
    ],
    ids=["line feed", "both", "two", "return", "spaces"],
)
def test_one_line_end_is_dropped_and_nothing_else(
    running: Running, owner: Shell, given: bytes, stored: str
) -> None:
    """`echo value | crownest secrets set` stores what was meant, and what was meant otherwise stays."""
    assert owner.process("secrets", "set", "TOKEN", input_=given).status == 0
    expected = base64.b64encode(stored.encode()).decode()
    code = f"import os, base64; assert os.environb[b'TOKEN'] == base64.b64decode('{expected}')"
    run = running.run(f'python3 -c "{code}"')
    assert run["status"] == "succeeded"


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("PATH", b"value", "reserved_env_key"),
        ("TOKEN", b"abc", "invalid_request"),
        ("TOKEN", b"v" * 20000, "invalid_request"),
        ("TOKEN", b"v" * 70000, "usage_error"),
        ("TOKEN", b"\xff\xfe\xfd\xfc", "usage_error"),
    ],
    ids=["reserved", "short", "long", "endless", "binary"],
)
def test_what_cannot_be_a_secret_is_refused(
    running: Running, owner: Shell, name: str, given: bytes, code: str
) -> None:
    """By the server, or before anything is sent; never with the value in the message."""
    del running
    done = owner.process("secrets", "set", name, "--json", input_=given)
    assert json.loads(done.err)["error"]["code"] == code
    assert given.decode("utf-8", "replace") not in done.err.replace('"value', "").replace("value must", "")


def test_a_typed_value_is_not_shown(running: Running, owner: Shell) -> None:
    """On a terminal the value is asked for, and what is typed does not appear."""
    screen, far_end = pty.openpty()
    process = subprocess.Popen(
        [CROWNEST, "secrets", "set", "TOKEN"],
        stdin=far_end,
        stdout=far_end,
        stderr=far_end,
        env=owner.env,
        start_new_session=True,
    )
    os.close(far_end)
    shown = b""
    try:
        while b"Value of TOKEN:" not in shown:
            shown += os.read(screen, 1024)
        time.sleep(0.2)  # the echo is turned off behind the question
        os.write(screen, b"hunter2222\n")
        while piece := os.read(screen, 1024):
            shown += piece
    except OSError:  # the far end is closed: Linux says EIO
        pass
    os.close(screen)
    assert process.wait(PROCESS_S_MAX) == 0
    assert b"hunter2222" not in shown
    assert running.run('test "$TOKEN" = hunter2222')["status"] == "succeeded"
