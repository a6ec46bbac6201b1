"""Tests that need a part of the system say so, and skip with the reason where it is missing.

`CROWNEST_REQUIRE=bubblewrap,loop,go,bsdtar,openssl,chromium` turns such a skip into a failure: CI sets it for
all it installs.
"""

import functools
import inspect
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GO_PATH = Path("/usr/share/gocode")
"""Where Debian puts the sources of Go packages."""


@functools.cache
def missing(part: str) -> str | None:
    """Why the part cannot be used here, None when it can."""
    return _CHECKS[part]()


def need(part: str) -> None:
    """Go on when the part is there; else skip the running test, or fail it when the part is required."""
    why = missing(part)
    if why is None:
        return
    if part in os.environ.get("CROWNEST_REQUIRE", "").replace(" ", "").split(","):
        pytest.fail(f"CROWNEST_REQUIRE names {part}, but {why}", pytrace=False)
    pytest.skip(f"needs {part}: {why}")


def requires(*parts: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a test, plain or async, that needs these parts."""

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(test)
        def plain(*args: Any, **kwargs: Any) -> Any:
            for part in parts:
                need(part)
            return test(*args, **kwargs)

        @functools.wraps(test)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            for part in parts:
                need(part)
            return await test(*args, **kwargs)

        return awaited if inspect.iscoroutinefunction(test) else plain

    return decorate


def _bubblewrap() -> str | None:
    """Installed is not enough: the machine may forbid user namespaces."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return "bubblewrap is not installed"
    trial = subprocess.run(
        [bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/", "true"],
        capture_output=True,
        check=False,
        timeout=30,
    )
    return None if trial.returncode == 0 else f"bubblewrap does not run here: {trial.stderr.decode().strip()}"


def _loop() -> str | None:
    """A loop device, made and mounted, takes root and a kernel that lets us."""
    if os.geteuid() != 0:
        return "mounting loop devices takes root"
    if not Path("/dev/loop-control").exists() or not shutil.which("losetup"):
        return "there are no loop devices"
    trial = subprocess.run(["losetup", "--find"], capture_output=True, check=False, timeout=30)
    return None if trial.returncode == 0 else f"no free loop device: {trial.stderr.decode().strip()}"


def _program(name: str) -> Callable[[], str | None]:
    return lambda: None if shutil.which(name) else f"{name} is not installed"


def _go() -> str | None:
    """The compiler, and golang.org/x/mod as Debian packs it: nothing is downloaded."""
    if not (GO_PATH / "src/golang.org/x/mod/sumdb/note").is_dir():
        return "golang-golang-x-mod-dev is not installed"
    return _program("go")()


def chromium_path() -> str | None:
    """The browser of the browser tests: `CROWNEST_CHROMIUM`, else the system's."""
    return os.environ.get("CROWNEST_CHROMIUM") or shutil.which("chromium")


def _chromium() -> str | None:
    """The browser, started once: a sandbox of containers may forbid what it needs."""
    path = chromium_path()
    if path is None:
        return "chromium is not installed, and CROWNEST_CHROMIUM names no browser"
    trial = subprocess.run([path, "--version"], capture_output=True, check=False, timeout=60)
    return None if trial.returncode == 0 else f"{path} does not start: {trial.stderr.decode().strip()}"


_CHECKS: dict[str, Callable[[], str | None]] = {
    "bubblewrap": _bubblewrap,
    "loop": _loop,
    "go": _go,
    "bsdtar": _program("bsdtar"),
    "openssl": _program("openssl"),
    "chromium": _chromium,
}
