"""A server that is killed leaves nothing behind, and the next one says what it ended."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.local import LocalRunner
from runner.proctable import descendants
from runner.remains import Notes, new_remains, remove, remove_tree
from tests.requires import need
from tests.runner_kit import NOW_MS, Log, bench, living

ROOT = Path(__file__).resolve().parents[2]
WAIT_ROUNDS_MAX = 2_000
# A server that runs one command and tells when it runs; its log is its standard output.
SERVER = """
import asyncio, sys
from pathlib import Path
from runner.job import Job
from runner.limits import RunnerLimits
from runner.local import LocalRunner

async def emit(reports):
    for report in reports:
        print(report.fields.get("status", report.type), report.fields.get("data", ""), flush=True)

async def main(provider, folder, command, keep):
    runner = await LocalRunner.start(
        Path(folder), now_ms=lambda: 0, provider=provider, limits=RunnerLimits(processes_max=64)
    )
    print(runner.provider, runner.limits["processes"].enforced, flush=True)
    job = Job("wsr_1", "cmd_1", "sbx_crash1", None, "", command, "base", 60000, keep == "keep", False, [], {})
    result = await runner.execute(job, emit, None, None, asyncio.Event())
    print("result", result.failure_reason, flush=True)
    if keep == "keep":
        await asyncio.sleep(60)
    await runner.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(params=["bubblewrap", "process"])
def provider(request: pytest.FixtureRequest) -> str:
    """Each provider."""
    if request.param == "bubblewrap":
        need("bubblewrap")
    return str(request.param)


@pytest.fixture
def word() -> str:
    """A number of seconds that nobody else sleeps."""
    return f"87{secrets.randbelow(10**9):09}"


def _serve(provider: str, folder: Path, command: str, keep: str = "") -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", SERVER, provider, str(folder), command, keep]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def _read_until(server: subprocess.Popen[str], line: str) -> None:
    assert server.stdout
    for said in server.stdout:
        if said.strip().startswith(line):
            return
    pytest.fail(f"the server ended before it said {line!r}")


def _wait_until_gone(word: str) -> None:
    for _ in range(WAIT_ROUNDS_MAX):
        if not living(word):
            return
        time.sleep(0.01)
    pytest.fail("a process was left running")


def _crash(server: subprocess.Popen[str], *others: int) -> None:
    """SIGKILL to the server and, at the same moment, to others that might have tidied up."""
    for pid in (*others, server.pid):
        os.kill(pid, signal.SIGKILL)
    server.wait()
    assert server.stdout
    server.stdout.close()


async def _recovered(provider: str, folder: Path) -> tuple[str, ...]:
    runner = await LocalRunner.start(folder, now_ms=lambda: NOW_MS, provider=provider)
    await runner.close()
    return runner.recovered


def _places(folder: Path) -> set[Path]:
    """What the notes in the work folder name on this machine."""
    notes = Notes(folder / "sandboxes").all()
    names = {name for note in notes for name in (note.folder, *note.cgroups.split(":")) if name}
    return {Path(name) for name in names}


def _left(places: set[Path]) -> list[Path]:
    return [place for place in places if place.exists()]


async def test_a_killed_server_leaves_no_process_and_the_next_one_tidies(
    provider: str, tmp_path: Path, word: str
) -> None:
    """Nobody tells the sandbox to end; it notices."""
    server = _serve(provider, tmp_path, f"echo up; setsid sleep {word} & (sleep {word} &); sleep {word}")
    _read_until(server, "stdout up")
    assert living(word)
    _crash(server)
    _wait_until_gone(word)
    places = _places(tmp_path)
    assert await _recovered(provider, tmp_path) == ("sbx_crash1",)
    assert places or provider == "bubblewrap"  # which needs nothing on disk
    assert _left(places) == []
    assert await _recovered(provider, tmp_path) == ()


async def test_a_kept_sandbox_dies_with_its_server_too(provider: str, tmp_path: Path, word: str) -> None:
    """It is kept by the server and not beyond it."""
    server = _serve(provider, tmp_path, f"echo {word}", "keep")
    _read_until(server, "result")
    _crash(server)
    places = _places(tmp_path)
    assert await _recovered(provider, tmp_path) == ("sbx_crash1",)
    assert _left(places) == []


async def test_killing_the_holder_together_with_the_server_does_not_help_a_command(
    tmp_path: Path, word: str
) -> None:
    """Without namespaces the next start finds the command by its user, its marker or its control group."""
    server = _serve("process", tmp_path, f"echo up; setsid setsid sleep {word} & setsid sleep {word}; true")
    _read_until(server, "stdout up")
    holder = descendants(server.pid)[0]
    _crash(server, holder)
    assert living(word)
    places = _places(tmp_path)
    assert await _recovered("process", tmp_path) == ("sbx_crash1",)
    assert living(word) == []
    assert places
    assert _left(places) == []


async def test_killing_bubblewrap_from_outside_ends_the_run(tmp_path: Path, word: str) -> None:
    """As the kernel does when memory is short: the exit code is that of SIGKILL, and the server goes on."""
    need("bubblewrap")
    async with bench("bubblewrap", tmp_path) as own:
        log = Log()
        running = asyncio.create_task(own.execute(own.job(f"echo up; sleep {word}", keep_sandbox=True), log))
        await log.wait_for("stdout")
        os.kill(_bubblewrap_of_this_process(), signal.SIGKILL)
        run = await running
        assert run.log.one("collecting")["exitCode"] == 137
        assert run.log.one("cleanup") == {"cleanupStatus": "succeeded", "reason": "finished"}
        assert living(word) == []
        assert (await own.run("echo next")).log.output() == b"next\n"


def _bubblewrap_of_this_process() -> int:
    return next(
        pid for pid in descendants(os.getpid()) if b"bwrap" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def test_a_note_of_another_boot_kills_nobody(tmp_path: Path) -> None:
    """Process ids start anew with the machine."""
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        notes = Notes(tmp_path)
        note = new_remains("sbx_old", "tree", init_pid=str(bystander.pid), init_ticks="1")
        notes.write(note)
        assert notes.all() == [note]
        assert remove(note)  # the process with that id started at another time: a stranger
        assert bystander.poll() is None
        notes.forget("sbx_old")
        assert notes.all() == []
    finally:
        bystander.kill()
        bystander.wait()


def test_what_was_killed_in_the_middle_of_its_setup_is_found_by_its_marker(tmp_path: Path) -> None:
    """Bubblewrap's child waits for its dead parent for ever; no process id had been noted yet."""
    note = new_remains("sbx_half", "namespace")
    Notes(tmp_path).write(note)
    orphan = subprocess.Popen(["sleep", "60"], env={"CROWNEST_SANDBOX": note.token})
    try:
        assert remove(note)
        assert orphan.wait(10) == -signal.SIGKILL
    finally:
        orphan.kill()
        orphan.wait()


def test_a_note_that_cannot_be_read_is_forgotten(tmp_path: Path) -> None:
    """A crash while it was written means that the sandbox had not started."""
    notes = Notes(tmp_path)
    (tmp_path / "sbx_half").write_text("sandbox_id sbx_half\n")
    (tmp_path / "sbx_other.new").write_text("sandbox_id sbx_other\ntoken 0\nscope tree\n")
    assert notes.all() == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="no sandbox id"):
        notes.write(new_remains("../escape", "tree"))


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder nested deeper than a path may be long, with locked folders and links out of it."""
    top = tmp_path / "top"
    top.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("kept")
    home = os.open("/", os.O_RDONLY)
    os.chdir(top)
    try:
        for level in range(400):
            Path("nested-folder").mkdir()
            Path(f"file{level}").write_text("x")
            Path("link").symlink_to(tmp_path / "outside")
            os.chdir("nested-folder")
    finally:
        os.fchdir(home)
        os.close(home)
    locked = top / "locked"
    (locked / "inner").mkdir(parents=True)
    (locked / "inner" / "file").write_text("x")
    (locked / "inner").chmod(0o500)
    locked.chmod(0)
    os.mkfifo(top / "pipe")
    yield top
    assert (tmp_path / "outside" / "kept").read_text() == "kept"


def test_a_workspace_of_any_shape_can_be_removed(deep: Path) -> None:
    """Deeper than recursion, without permissions, with links that lead out."""
    remove_tree(deep)
    assert not deep.exists()
    remove_tree(deep)


NORMAL_USER = """
import asyncio, os, sys
from pathlib import Path
from runner.job import Job
from runner.limits import RunnerLimits
from runner.local import LocalRunner

async def main(provider, folder, word):
    seen = []
    async def emit(reports):
        seen.extend(reports)
    runner = await LocalRunner.start(
        Path(folder),
        now_ms=lambda: 0,
        provider=provider,
        limits=RunnerLimits(processes_max=40, terminate_grace_ms=100),
    )
    for number, (command, timeout_ms) in enumerate((
        ("echo hello; id -u; exit 3", 20000),
        (f"trap '' TERM; setsid sleep {word} & (sleep {word} &); sleep {word}", 300),
        (f"bomb() {{ sleep {word} & bomb & bomb & wait; }}; bomb 2>/dev/null", 500),
    )):
        sandbox_id = f"sbx_n{number}"
        job = Job("wsr_1", "cmd_1", sandbox_id, None, "", command, "base", timeout_ms, False, False, [], {})
        result = await runner.execute(job, emit, None, None, asyncio.Event())
        print(result.failure_reason)
    print("".join(r.fields["data"] for r in seen if r.type == "stdout").split()[:2])
    print({name: limit.enforced for name, limit in runner.limits.items()})
    print(sorted(Path(folder, "sandboxes").iterdir()), flush=True)
    await runner.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as a normal user already")
def test_a_normal_user_can_run_everything_too(provider: str, word: str) -> None:
    """No user to drop to, other ways to find what a command left; and still nothing is left."""
    pythons = (Path("/usr/local/bin/python3"), Path("/usr/bin/python3"))
    python = next((str(path) for path in pythons if path.exists()), None)
    if python is None:
        pytest.skip("no interpreter outside the private home of root")
    place = Path(f"/var/tmp/crownest-tests-{word}")
    place.mkdir(mode=0o755)
    uid = 65_534
    try:
        for room in ("runner", "evidence"):
            shutil.copytree(ROOT / room, place / room, ignore=shutil.ignore_patterns("__pycache__"))
        (place / "work").mkdir()
        os.chown(place / "work", uid, uid)
        done = subprocess.run(
            [python, "-c", NORMAL_USER, provider, str(place / "work"), word],
            cwd=place,
            user=uid,
            group=uid,
            extra_groups=[],
            env={"PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        shutil.rmtree(place)
    assert done.stderr == ""
    first, second, third, output, limits, notes = done.stdout.splitlines()
    assert (first, second) == ("command_exit", "timeout")
    assert third in ("timeout", "command_exit")
    assert output == {"bubblewrap": "['hello', '1000']", "process": "['hello', '65534']"}[provider]
    assert f"'processes': {provider == 'bubblewrap'}" in limits
    assert notes == "[]"
    assert living(word) == []
