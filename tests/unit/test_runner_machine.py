"""What the runner finds out about a machine: interpreters, templates, users, control groups, providers."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from runner import probe
from runner.cgroups import Cgroups, _parents, _unified, detect_cgroups
from runner.ground import Ground
from runner.holder_program import holder_program
from runner.identity import EXCLUSIVE_UIDS, SMALL_UIDS, fresh_identity
from runner.interpreters import (
    Interpreter,
    _private_python,
    find_holder_pythons,
    find_node,
    find_python,
    search_path_of,
)
from runner.limits import RunnerLimits
from runner.link import SandboxUnavailable
from runner.local import LocalRunner
from runner.remains import Notes
from runner.spawner import Spawner
from runner.templates import Templates, Tool, UnknownTemplate
from tests.requires import need, requires
from tests.runner_kit import NOW_MS, Bench

PYTHON = Tool(Interpreter("python3", Path("/usr/bin/python3")), "Python 3.11.2")
NODE = Tool(Interpreter("node", Path("/usr/bin/node")), "v18.19.0")


# --- templates ----------------------------------------------------------------------------------------------


def test_a_templates_record_has_the_form_of_the_example() -> None:
    """EXAMPLE: `tpl_pythonnode`, `sha256-…`, `tplv_…`; ids have an alphanumeric suffix."""
    record = Templates({"python3": PYTHON, "node": NODE}).resolve("python-node")
    assert list(record) == ["id", "slug", "version", "versionId"]
    assert (record["id"], record["slug"]) == ("tpl_pythonnode", "python-node")
    assert re.fullmatch(r"sha256-[0-9a-f]{64}", record["version"])
    assert re.fullmatch(r"tplv_[0-9a-f]{26}", record["versionId"])
    assert record["version"].startswith("sha256-" + record["versionId"].removeprefix("tplv_"))


def test_a_version_changes_with_the_interpreters_and_the_mounts_and_nothing_else() -> None:
    """Two runs with the same version saw the same tools."""
    tools = {"python3": PYTHON, "node": NODE}
    version = Templates(tools).resolve("python")["version"]
    assert Templates(dict(tools)).resolve("python")["version"] == version
    assert Templates({"python3": PYTHON}).resolve("python")["version"] == version
    newer = {**tools, "python3": replace(PYTHON, version="Python 3.11.3")}
    assert Templates(newer).resolve("python")["version"] != version
    assert Templates(newer).resolve("node") == Templates(tools).resolve("node")
    mounted = Interpreter("python3", Path("/p/bin/python3"), (Path("/p"), "/opt/interpreters/python"))
    assert Templates({"python3": Tool(mounted, PYTHON.version)}).resolve("python")["version"] != version


def test_a_template_is_found_by_its_version_id() -> None:
    """`templateVersionId` in a request; a version of yesterday is unknown."""
    templates = Templates({"python3": PYTHON})
    record = templates.resolve("python")
    assert templates.resolve(record["versionId"]) == record
    with pytest.raises(UnknownTemplate):
        templates.resolve("tplv_0000000000000000000000000a")


def test_unknown_and_unavailable_are_told_apart() -> None:
    """One is the caller's mistake, the other this machine's lack."""
    templates = Templates({"python3": PYTHON})
    with pytest.raises(UnknownTemplate, match="python-node, python, node, base"):
        templates.get("ruby")
    assert "node" in (templates.get("node").missing or "")
    assert templates.resolve("node")["slug"] == "node"
    assert templates.get("python-node").missing is None
    assert [tool.interpreter.name for tool in templates.get("python-node").tools] == ["python3"]
    assert templates.get("base").missing is None
    assert templates.get("external").missing


# --- interpreters -------------------------------------------------------------------------------------------


def test_the_systems_interpreter_is_preferred_and_needs_no_mount() -> None:
    """It is seen where it is."""
    found = find_python()
    assert found
    if any(os.access(path, os.X_OK) for path in ("/usr/bin/python3", "/usr/local/bin/python3")):
        assert found.mount is None
        assert found.path == str(found.executable)
    assert search_path_of([found]).endswith("/usr/local/bin:/usr/bin:/bin")


def test_the_holder_always_has_an_interpreter() -> None:
    """The last of the list runs these tests."""
    pythons = find_holder_pythons()
    assert pythons
    version = subprocess.run(
        [str(pythons[-1].executable), "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.split()[1] == sys.version.split()[0]


def test_a_private_prefix_is_mounted_at_a_fixed_path_and_nothing_else_is(tmp_path: Path) -> None:
    """A prefix has a standard library; a folder with somebody's keys is no prefix."""
    python = tmp_path / "prefix" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    assert _private_python(python) is None
    (tmp_path / "prefix" / "lib" / "python3.12").mkdir(parents=True)
    (tmp_path / "prefix" / "lib" / "python3.12" / "os.py").touch()
    found = _private_python(python)
    assert found == Interpreter("python3", python, (tmp_path / "prefix", "/opt/interpreters/python"))
    assert (found.path, found.folder) == (
        "/opt/interpreters/python/bin/python3",
        "/opt/interpreters/python/bin",
    )
    (tmp_path / "prefix" / ".ssh").mkdir()
    assert _private_python(python) is None


def test_a_lone_node_is_mounted_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the file, never the folder that it happens to lie in."""
    monkeypatch.setattr("runner.interpreters._SYSTEM_BINS", ())
    node = tmp_path / "bin" / "node"
    node.parent.mkdir()
    node.write_text("#!/bin/sh\necho v99.0.0\n")
    node.chmod(0o755)
    found = find_node([tmp_path, node.parent])
    assert found
    assert found.mount == (node, "/opt/interpreters/node/bin/node")
    assert (found.path, found.folder) == ("/opt/interpreters/node/bin/node", "/opt/interpreters/node/bin")


# --- users --------------------------------------------------------------------------------------------------


def _maps(folder: Path, line: str) -> Path:
    for name in ("uid_map", "gid_map"):
        (folder / name).write_text(line)
    return folder


def test_root_drops_to_a_fresh_user_and_others_stay_who_they_are(tmp_path: Path) -> None:
    """A user per sandbox, from a range that nobody else uses, where there is one."""
    everything = _maps(tmp_path, "         0          0 4294967295\n")
    drawn = {fresh_identity(euid=0, proc=everything).uid for _ in range(20)}
    assert len(drawn) == 20
    assert all(uid in EXCLUSIVE_UIDS for uid in drawn)
    assert fresh_identity(euid=0, proc=everything).exclusive
    assert fresh_identity(euid=1000, proc=everything).uid is None
    few = fresh_identity(euid=0, proc=_maps(tmp_path, "0 100000 65536\n"))
    assert few.uid in SMALL_UIDS
    assert not few.exclusive
    with pytest.raises(PermissionError, match="normal user"):
        fresh_identity(euid=0, proc=_maps(tmp_path, "0 1000 1\n"))


# --- control groups -----------------------------------------------------------------------------------------


def test_the_hierarchies_of_both_versions_are_found() -> None:
    """Version 1 per controller, version 2 under the empty name, and bind-mounted parts of either."""
    own = "4:memory:/a/b\n8:pids:/\n9:name=systemd:/x\n0::/user.slice/me\n"
    mounts = (
        "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
        "31 25 0:27 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
        "32 25 0:28 /user.slice /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
        "33 25 8:1 / / rw - ext4 /dev/sda rw\n"
    )
    assert _parents(own, mounts) == {
        "memory": Path("/sys/fs/cgroup/memory/a/b"),
        "pids": Path("/sys/fs/cgroup/pids"),
        "": Path("/sys/fs/cgroup/unified/me"),
        "/": Path("/sys/fs/cgroup/unified"),
    }


def _group(folder: Path, controllers: str, turned_on: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "cgroup.controllers").write_text(controllers)
    (folder / "cgroup.subtree_control").write_text(turned_on)
    (folder / "cgroup.procs").write_text("")
    return folder


def test_controllers_of_version_2_are_turned_on_where_that_is_ours(tmp_path: Path) -> None:
    """Below our own group if it has any; else at the top, for root; else nowhere."""
    top = _group(tmp_path / "top", "cpu memory pids", "memory pids")
    delegated = _group(top / "service", "memory pids", "")
    assert _unified(delegated, top) == (delegated, ["memory", "pids"])
    assert (delegated / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert _unified(delegated / "crownest-server", top)[0] == delegated
    bare = _group(top / "session", "", "")
    assert _unified(bare, top) == (top, ["memory", "pids"])
    (top / "cgroup.subtree_control").write_text("cpu")
    assert _unified(bare, top) == (bare, [])


def test_a_machine_without_control_groups_has_none(tmp_path: Path) -> None:
    """And nothing is claimed then."""
    assert detect_cgroups(proc=tmp_path) == Cgroups()
    assert Cgroups().create("x", memory_bytes=1, processes=1) is None
    (tmp_path / "cgroup").write_text("0::/me\n")
    (tmp_path / "mountinfo").write_text(f"1 1 0:1 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    assert detect_cgroups(proc=tmp_path) == Cgroups()


def test_a_group_ends_everything_in_it() -> None:
    """Whatever the process did to its parents and its session."""
    cgroups = detect_cgroups()
    if not cgroups.folders("x"):
        pytest.skip("this machine lets us make no control groups")
    group = cgroups.create(f"crownest-test-{os.getpid()}", memory_bytes=64 << 20, processes=16)
    assert group
    command = "echo up; read go; setsid sleep 300 & setsid sleep 300 & wait"
    with subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdout
        assert shell.stdin
        shell.stdout.readline()
        group.add(shell.pid)
        shell.stdin.write(b"go\n")
        shell.stdin.flush()
        while len(group.pids()) < 3:
            pass
        assert group.kill()
    assert group.pids() == set()
    assert group.remove()
    assert not any(folder.exists() for folder in group.folders)
    assert group.remove()


# --- providers ----------------------------------------------------------------------------------------------


async def test_without_bubblewrap_the_process_provider_says_so(tmp_path: Path) -> None:
    """A plain warning, and how to get isolation."""
    runner = await LocalRunner.start(
        tmp_path,
        now_ms=lambda: NOW_MS,
        bubblewrap=tmp_path / "no-bwrap",
        limits=RunnerLimits(boot_timeout_ms=5000),
    )
    await runner.close()
    assert (runner.provider, runner.isolation) == ("process", "none")
    assert "without isolation" in (runner.warning or "")
    assert "apt install bubblewrap" in (runner.warning or "")
    assert "no-bwrap" in (runner.warning or "")


@pytest.fixture
def forbidden() -> Iterator[Path]:
    """Answers as bwrap does where user namespaces are forbidden; every user can reach it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "bwrap"
        path.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
        path.chmod(0o755)
        yield path


async def test_a_bubblewrap_that_may_not_run_is_not_chosen(tmp_path: Path, forbidden: Path) -> None:
    """Installed does not mean allowed: the probe is a real run."""
    runner = await LocalRunner.start(tmp_path, now_ms=lambda: NOW_MS, bubblewrap=forbidden)
    await runner.close()
    assert runner.provider == "process"
    assert "No permissions to create new namespace" in (runner.warning or "")
    with pytest.raises(SandboxUnavailable, match="No sandbox works"):
        await LocalRunner.start(tmp_path, now_ms=lambda: NOW_MS, bubblewrap=forbidden, provider="bubblewrap")


async def test_a_provider_that_does_not_exist_is_a_mistake(tmp_path: Path) -> None:
    """The setting is checked."""
    with pytest.raises(ValueError, match="auto, bubblewrap, process"):
        await LocalRunner.start(tmp_path, now_ms=lambda: NOW_MS, provider="docker")


@requires("bubblewrap")
async def test_an_interpreter_in_a_private_home_works_in_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also as root, whose home is closed to the user that the sandbox drops to."""
    own = _private_python(Path(sys.base_prefix) / "bin" / "python3")
    if own is None:
        pytest.skip("the interpreter of these tests is the system's")
    monkeypatch.setattr(probe, "find_python", lambda: own)
    monkeypatch.setattr(probe, "find_holder_pythons", lambda: [own])
    runner = await LocalRunner.start(tmp_path, now_ms=lambda: NOW_MS, provider="bubblewrap")
    try:
        command = (
            "command -v python3; "
            "python3 -c 'import sys, ctypes, zlib; print(sys.prefix, sys.version.split()[0])'; "
            "ls -A /root /mnt; touch /opt/interpreters/python/x"
        )
        run = await Bench(runner, tmp_path).run(command, template="python")
    finally:
        await runner.close()
    said = run.log.output().decode()
    version = sys.version.split()[0]
    assert said == f"/opt/interpreters/python/bin/python3\n/opt/interpreters/python {version}\n"
    assert b"Read-only file system" in run.log.output("stderr")
    assert runner.templates.get("python").tools[0].version == f"Python {version}"


async def test_a_sandbox_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    """No folder, no note, no group; the reason is what the program said."""
    spawner = Spawner()
    notes = Notes(tmp_path / "notes")
    broken = Interpreter("holder", Path("/bin/false"))
    try:
        ground_with = partial(Ground, spawner, notes, detect_cgroups(), RunnerLimits(), holder_program())
        for provider, _ in probe._candidates(lambda _: ground_with(broken), tmp_path, "process", None):
            with pytest.raises(SandboxUnavailable, match="it ended at once"):
                await provider.boot("sbx_broken", [], "/bin")
    finally:
        spawner.close()
    assert notes.all() == []
    assert [path.name for path in _inside(tmp_path / "workspaces")] == []


def _inside(folder: Path) -> list[Path]:
    return list(folder.glob("*"))


@requires("bubblewrap")
async def test_bubblewraps_own_error_reaches_the_owner(tmp_path: Path) -> None:
    """A mount that fails is told apart from a command that exits 1."""
    spawner = Spawner()
    notes = Notes(tmp_path / "notes")
    missing = Interpreter(
        "python3", tmp_path / "gone/bin/python3", (tmp_path / "gone", "/opt/interpreters/python")
    )
    ground_with = partial(Ground, spawner, notes, Cgroups(), RunnerLimits(), holder_program())
    try:
        provider = next(probe._candidates(ground_with, tmp_path, "bubblewrap", Path("/usr/bin/bwrap")))[0]
        with pytest.raises(SandboxUnavailable, match="gone"):
            await provider.boot("sbx_gone", [missing], "/bin")
    finally:
        spawner.close()
    assert notes.all() == []


def test_a_required_part_that_is_missing_fails_instead_of_skipping(monkeypatch: pytest.MonkeyPatch) -> None:
    """CI names what it installed; a skip there would hide a broken installation."""
    monkeypatch.setattr("tests.requires._CHECKS", {"loop": lambda: "there is none"})
    from tests.requires import missing

    missing.cache_clear()
    try:
        monkeypatch.delenv("CROWNEST_REQUIRE", raising=False)
        with pytest.raises(pytest.skip.Exception, match="needs loop: there is none"):
            need("loop")
        monkeypatch.setenv("CROWNEST_REQUIRE", "go, loop")
        with pytest.raises(pytest.fail.Exception, match="names loop"):
            need("loop")
    finally:
        missing.cache_clear()
