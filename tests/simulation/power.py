"""Simulated power cuts: an ext4 image on a loop device, mounted where only one mount namespace sees it.

The ext4 shutdown ioctl with NOLOGFLUSH stops the file system as a power cut does: nothing more reaches
the device, not even what the journal holds in memory. What was written and never fsynced is gone after
the next mount. The namespace belongs to a process that dies with us, and mount and loop device die with
the namespace: nothing is left behind, however the programme ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.simulation.server import die_with_parent

EXT4_IOC_SHUTDOWN = 0x8004587D
EXT4_GOING_FLAGS_NOLOGFLUSH = 2
IMAGE_BYTES = 384 * 1024 * 1024
TOOLS = ("unshare", "nsenter", "mount", "umount", "mkfs.ext4", "e2fsck", "losetup")
TOOL_S_MAX = 60
RELEASE_S_MAX = 15.0
"""How long the loop device may stay in use after the unmount: until the last process of a run is gone."""
POLL_S = 0.01
E2FSCK_FIXED = 1


class PowerError(Exception):
    """The rig itself failed; the text says at what."""


class PowerRig:
    """One image in a folder of its own. Use as a context manager."""

    def __init__(self, folder: Path, image_bytes: int = IMAGE_BYTES) -> None:
        self._image_bytes = image_bytes
        self.image = folder / "disk.img"
        self.mount_point = folder / "mnt"
        self._holder: subprocess.Popen[bytes] | None = None
        self._mounted = False

    def __enter__(self) -> Self:
        self.mount_point.mkdir(parents=True, exist_ok=True)
        # `read` waits on a pipe that we hold, so the holder ends with us even where signals do not.
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; read line"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent,  # noqa: PLW1509 # one libc call, so that nothing outlives us
        )
        assert self._holder.stdout is not None, "it was asked for"
        if self._holder.stdout.readline() != b"\n":
            raise PowerError("A private mount namespace cannot be made here.")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(PowerError):
            self.unmount()
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()
        with contextlib.suppress(PowerError):
            self._wait_until_released()

    @property
    def prefix(self) -> tuple[str, ...]:
        """What runs a command where the image is mounted, under the pid that it was started with."""
        return ("nsenter", f"--mount=/proc/{self.holder_pid}/ns/mnt", "--")

    @property
    def holder_pid(self) -> int:
        """The process that holds the namespace: below its /proc/…/root everybody sees what is mounted."""
        assert self._holder is not None, "the rig is not open"
        return self._holder.pid

    def format(self) -> None:
        """A new, empty file system."""
        self.image.unlink(missing_ok=True)
        with self.image.open("wb") as image:
            image.truncate(self._image_bytes)
        eager = "lazy_itable_init=0,lazy_journal_init=0"  # no background thread of the kernel's own
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", eager, str(self.image))

    def mount(self) -> None:
        """Mount it; the kernel replays the journal."""
        _run(*self.prefix, "mount", "-t", "ext4", "-o", "loop", str(self.image), str(self.mount_point))
        self._mounted = True

    def cut(self) -> None:
        """Cut the power now. Blocks until it is done; whoever calls it has read nothing meanwhile."""
        inside = f"/proc/{self.holder_pid}/root{self.mount_point}"
        folder = os.open(inside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, struct.pack("I", EXT4_GOING_FLAGS_NOLOGFLUSH))
        finally:
            os.close(folder)

    def unmount(self) -> None:
        """Unmount, and wait until nobody holds the device any more."""
        if not self._mounted:
            return
        deadline = time.monotonic() + RELEASE_S_MAX
        while True:
            try:
                _run(*self.prefix, "umount", str(self.mount_point))
            except PowerError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)
            else:
                break
        self._mounted = False
        self._wait_until_released()

    def check(self) -> None:
        """Let e2fsck replay the journal and look over the image, as a machine does that comes back."""
        done = subprocess.run(
            ["e2fsck", "-fp", str(self.image)], capture_output=True, check=False, timeout=TOOL_S_MAX
        )
        if done.returncode not in {0, E2FSCK_FIXED}:
            raise PowerError(f"e2fsck answered {done.returncode}: {done.stdout.decode(errors='replace')}")

    def _wait_until_released(self) -> None:
        deadline = time.monotonic() + RELEASE_S_MAX
        while devices := loop_devices_of(self.image):
            if time.monotonic() > deadline:
                raise PowerError(
                    f"{', '.join(devices)} still holds {self.image}: some process has it mounted"
                )
            time.sleep(POLL_S)


def loop_devices_of(image: Path) -> list[str]:
    """The loop devices that hold the image."""
    found: list[str] = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if backing.read_text().rstrip("\n").removesuffix(" (deleted)") == str(image):
                found.append(f"/dev/{backing.parts[3]}")
    return found


def why_no_power_cuts(folder: Path) -> str | None:
    """Why the power cannot be cut here, None where it can; tries the whole way once, in the folder."""
    if os.geteuid() != 0:
        return "power cuts need root, to mount an image"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"power cuts need {', '.join(missing)} (Debian: e2fsprogs, util-linux, mount)"
    try:
        with PowerRig(folder) as rig:
            rig.format()
            rig.mount()
            rig.cut()
            rig.unmount()
            rig.check()
    except (OSError, PowerError, subprocess.SubprocessError) as error:
        return f"power cuts need loop devices and mounts: {error}"
    return None


def _run(*arguments: str) -> None:
    done = subprocess.run(list(arguments), capture_output=True, check=False, timeout=TOOL_S_MAX)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise PowerError(f"{' '.join(arguments)}: {said or f'ended with {done.returncode}'}")
