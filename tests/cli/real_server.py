"""A real `crownest serve` for end-to-end tests: a process of its own on loopback, with its own folders."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli import config_file
from tests.cli.cli_runner import CROWNEST, THIS_CODE

ROOT = Path(__file__).resolve().parents[2]
"""The tree whose code is served: the one that these tests are of."""
START_S_MAX = 60
STOP_S_MAX = 30


@dataclass(frozen=True)
class RealServer:
    """Where it listens, and the key that its first start made."""

    url: str
    key: str
    folder: Path
    process: subprocess.Popen[bytes]
    link: str
    """The one-time link of the dashboard that it printed."""

    def env(self, url: str | None = None) -> dict[str, str]:
        """The environment of a command against this server, or against a proxy in front of it."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "CROWNEST_API_URL": url or self.url,
            "CROWNEST_API_KEY": self.key,
        }


@contextmanager
def serving(folder: Path, port: int = 0, **settings: str) -> Iterator[RealServer]:
    """Start it with the process provider and without a rate limit; stop it and see that it goes.

    Serving the same folder again goes on with what is in it. `settings` are further `CROWNEST_…` variables.
    """
    config = folder / "config.json"
    env = {
        **THIS_CODE,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "CROWNEST_CONFIG_PATH": str(config),
        "CROWNEST_PROVIDER": "process",
        "CROWNEST_PREVIEW_PORT": "0",
        "CROWNEST_RATE_LIMIT_PER_MINUTE": "0",
        "CROWNEST_SEQUENCER__INTERVAL_S": "0.02",
        **settings,
    }
    with (folder / "server.err").open("wb") as err:
        process = subprocess.Popen(
            [CROWNEST, "serve", "--port", str(port), "--data", str(folder / "data")],
            env=env, stdout=subprocess.PIPE, stderr=err, cwd=folder,
        )  # fmt: skip
    watchdog = threading.Timer(START_S_MAX, process.kill)
    watchdog.start()
    try:
        url, link = _wait_for_addresses(process, folder)
        watchdog.cancel()
        stored = config_file.read({"CROWNEST_CONFIG_PATH": str(config)})
        assert stored.api_url == url
        assert stored.credential
        yield RealServer(url, stored.credential, folder, process, link)
    finally:
        watchdog.cancel()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            if process.stdout:
                process.stdout.close()


def _wait_for_addresses(process: subprocess.Popen[bytes], folder: Path) -> tuple[str, str]:
    """The address and the link of the first lines; all are read, so that the config file is written."""
    assert process.stdout is not None
    found: list[str] = []
    for line in process.stdout:
        found += [address.decode() for address in re.findall(rb"http://[\d.]+:\d+[^\s]*", line)]
        if line.startswith(b"stop"):
            return found[0], next(one for one in found if "/auth/link" in one)
    raise AssertionError((folder / "server.err").read_text())
