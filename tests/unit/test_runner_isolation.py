"""Each threat that bubblewrap is there for, tried from inside."""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.requires import need
from tests.runner_kit import Bench, Log, bench, files_archive, living, owner_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = "the-servers-own-secret"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """A bubblewrap runner whose server has a secret in its environment and in its data folder."""
    need("bubblewrap")
    folder = tmp_path_factory.mktemp("data")
    (folder / "key.pem").write_text(SECRET)
    os.environ["CROWNEST_TEST_SECRET"] = SECRET
    try:
        async with bench("bubblewrap", folder, processes_max=64) as made:
            yield made
    finally:
        del os.environ["CROWNEST_TEST_SECRET"]


async def _said(inside: Bench, command: str, **changes: object) -> str:
    run = await inside.run(f"exec 2>&1; {command}", **changes)
    return run.log.output().decode("utf-8", "replace")


async def _python(inside: Bench, code: str) -> str:
    """What a Python program inside says; the template has it."""
    archive = files_archive({"try.py": code.encode()})
    run = await inside.run("exec python3 -I -u try.py 2>&1", archive, template="python")
    return run.log.output().decode("utf-8", "replace")


async def test_it_runs_as_nobody_with_no_capability_and_gains_none(inside: Bench) -> None:
    """All capability sets are empty, and setuid programs have no effect."""
    said = await _said(inside, "id -u; grep -E 'Cap|NoNewPrivs' /proc/self/status")
    lines = said.splitlines()
    assert lines[0] == "1000"
    assert all(line.split()[1] == "0" * 16 for line in lines if line.startswith("Cap"))
    assert "NoNewPrivs:\t1" in lines


async def test_on_the_host_it_is_not_root_either(inside: Bench) -> None:
    """As root inside a user namespace alone it could read what root can."""
    log, cancel = Log(), asyncio.Event()
    running = asyncio.create_task(inside.execute(inside.job("echo up; sleep 8642.5"), log, cancel))
    await log.wait_for("stdout")
    owners = {owner_of(pid) for pid in living("8642.5")}
    cancel.set()
    await running
    assert owners
    assert 0 not in owners
    if os.geteuid() != 0:
        assert owners == {os.geteuid()}


@pytest.mark.parametrize(
    "path", ["/etc/shadow", "/root", "/home", "/var/lib", "/var/log", "/sys", "/boot", "/run/systemd", "/srv"]
)
async def test_what_is_not_on_the_list_is_not_there(inside: Bench, path: str) -> None:
    """The system's private parts are not hidden but absent."""
    said = await _said(
        inside, f"ls -A {path} 2>/dev/null | grep -v '^sandbox$'; cat {path} 2>/dev/null; echo end"
    )
    assert said == "end\n"


async def test_the_servers_folder_and_environment_are_out_of_reach(inside: Bench) -> None:
    """Neither its path, nor any process's environment, nor any descriptor leads there."""
    folder = inside.folder
    command = (
        f"cat {folder}/key.pem; ls {folder}; find / /tmp /run /home /dev -xdev -name '*.pem'; ls /proc/1/fd; "
        "for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ; done; cat /proc/1/mem"
    )
    said = await _said(inside, command)
    assert f"{folder}/key.pem: No such file or directory" in said
    assert "/proc/1/fd': Permission denied" in said
    assert SECRET not in said
    assert str(folder) not in await _said(inside, "cat /proc/self/mountinfo /proc/self/environ")


async def test_another_runs_workspace_is_out_of_reach(inside: Bench) -> None:
    """A kept sandbox with a secret in it lives while another looks for it."""
    other = inside.job(
        "echo neighbours-secret > secret.txt; echo 1 > /tmp/s; echo 1 > /dev/shm/s", keep_sandbox=True
    )
    await inside.execute(other)
    look = "find / /tmp /dev /home -xdev '(' -name secret.txt -o -name s ')'; ls /tmp /dev/shm; echo end"
    said = await _said(inside, look)
    await inside.runner.destroy_sandbox(other.sandbox_id)
    assert said == "/dev/shm:\n\n/tmp:\nend\n"


async def test_it_sees_no_process_but_its_own(inside: Bench) -> None:
    """And so it cannot signal one: the server's pid means nothing inside."""
    said = await _said(
        inside, f"for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done; kill -0 {os.getpid()}"
    )
    assert "pytest" not in said
    assert "No such process" in said
    assert os.getpid() > 0


async def test_the_holder_cannot_be_killed_traced_or_read(inside: Bench) -> None:
    """It has the command's own user, and still gives nothing away."""
    code = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGSEGV):
    os.kill(1, number)
print('attach', libc.ptrace(16, 1, 0, 0), os.strerror(ctypes.get_errno()))
for name in ('mem', 'environ', 'maps', 'fd', 'root', 'cwd'):
    try:
        path = '/proc/1/' + name
        print(name, os.listdir(path) if name in ('fd', 'root', 'cwd') else open(path, 'rb').read(10))
    except OSError as error:
        print(name, error.strerror)
print('alive')
"""
    said = await _python(inside, code)
    assert "attach -1 Operation not permitted" in said
    for name in ("mem", "environ", "maps", "fd", "root", "cwd"):
        assert f"{name} Permission denied" in said
    assert said.endswith("alive\n")


async def test_there_is_no_network(inside: Bench) -> None:
    """Not even to a port of this machine that listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code = f"""
import socket
for address in (("127.0.0.1", {port}), ("1.1.1.1", 80)):
    try:
        socket.create_connection(address, 2)
        print("connected")
    except OSError as error:
        print(error.strerror)
print(sorted(name for _, name in socket.if_nameindex()))
"""
        said = await _python(inside, code)
    assert said == "Connection refused\nNetwork is unreachable\n['lo']\n"


async def test_abstract_sockets_of_the_host_are_out_of_reach(inside: Bench) -> None:
    """They belong to the network namespace, not to the file system."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0crownest-test-abstract")
        listener.listen()
        code = """
import socket
try:
    socket.socket(socket.AF_UNIX).connect('\\0crownest-test-abstract')
except OSError as error:
    print(error.strerror)
"""
        said = await _python(inside, code)
    assert said == "Connection refused\n"


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        ("mount -t tmpfs none /tmp", "must be superuser"),
        ("mount -o remount,rw /usr", "must be superuser"),
        ("unshare --user true", "unshare failed"),
        ("unshare --mount true", "unshare failed"),
        ("mknod /tmp/sda b 8 0", "Operation not permitted"),
        ("mknod /tmp/mem c 1 1", "Operation not permitted"),
        ("chroot / true", "Operation not permitted"),
        ("touch /usr/bin/evil", "Read-only file system"),
        ("rm -f /etc/passwd", "Read-only file system"),
        ("mkdir /evil", "Read-only file system"),
        ("touch /dev/evil", "Read-only file system"),
        ("rm -f /run/crownest/holder.zip", "Read-only file system"),
        ("sh -c 'echo 1 > /proc/sys/kernel/core_pattern'", "Permission denied|Read-only"),
        ("sh -c 'echo b > /proc/sysrq-trigger'", "Permission denied|Read-only|nonexistent"),
        ("hostname evil", "you must be root"),
        ("chown 0 hello.txt", "Invalid argument"),
        ("nsenter --target 1 --mount true", "Permission denied"),
    ],
)
async def test_privileged_steps_are_refused(inside: Bench, command: str, refusal: str) -> None:
    """Each fails with the kernel's refusal, and the command goes on."""
    said = await _said(inside, f"export PATH=$PATH:/usr/sbin:/sbin; {command}; echo went on")
    assert re.search(refusal, said)
    assert said.endswith("went on\n")


async def test_a_terminal_of_the_server_cannot_be_typed_into(inside: Bench) -> None:
    """TIOCSTI: there is no controlling terminal, and no descriptor of one."""
    code = """
import fcntl, os, termios
try:
    os.open('/dev/tty', os.O_RDWR)
except OSError as error:
    print('tty', error.strerror)
for fd in (0, 1, 2):
    try:
        fcntl.ioctl(fd, termios.TIOCSTI, b'x')
        print('typed')
    except OSError as error:
        print(fd, error.strerror)
print(os.getsid(0) == os.getpgrp() == os.getppid() or os.getsid(0))
"""
    said = await _python(inside, code)
    assert "typed" not in said
    assert "tty No such device or address" in said


async def test_only_the_three_streams_are_open_in_a_command(inside: Bench) -> None:
    """No descriptor of the server, of bubblewrap or of the holder is inherited."""
    said = await _python(inside, "import os\nprint(sorted(os.listdir('/proc/self/fd')))")
    assert said == "['0', '1', '2', '3']\n"  # 3 is the listing itself


async def test_memory_files_and_scratch_are_bounded(tmp_path: Path) -> None:
    """Everything that can be written to has a size: no way to fill the machine's memory."""
    need("bubblewrap")
    async with bench("bubblewrap", tmp_path, scratch_bytes_max=1 << 20, workspace_bytes_max=1 << 20) as own:
        places = ("/tmp", "/dev/shm", "$HOME", "/workspace")
        command = "; ".join(
            f"head -c 3000000 /dev/zero > {place}/x 2>/dev/null; stat -c %s {place}/x" for place in places
        )
        run = await own.run(command)
        sizes = list(map(int, run.log.output().split()))
        assert len(sizes) == 4
        assert max(sizes) <= 1 << 20
        writable = await own.run(
            "find / -xdev -type d -writable -not -path '/proc/*' 2>/dev/null; "
            "for d in /tmp /dev/shm $HOME /workspace; do findmnt -no TARGET $d; done"
        )
        assert set(writable.log.output().decode().split()) <= {
            "/tmp",
            "/dev/shm",
            "/home/sandbox",
            "/workspace",
            "/",
        }
