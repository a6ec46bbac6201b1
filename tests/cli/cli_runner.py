"""Runs the real command line: in this process for speed, as a process where signals matter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from cli.main import run

CROWNEST = str(Path(sys.executable).with_name("crownest"))
THIS_CODE = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
"""For processes of `crownest`: what is tested is the code beside the tests, wherever one is installed."""
PROCESS_S_MAX = 60


@dataclass(frozen=True)
class Result:
    """What a command did."""

    status: int
    out: bytes
    err: str

    @property
    def data(self) -> Any:
        """The `data` of a single JSON line."""
        return json.loads(self.out)["data"]

    @property
    def error(self) -> Any:
        """The `error` of the JSON envelope on stderr."""
        return json.loads(self.err)["error"]


class Process(subprocess.Popen[bytes]):
    """A process whose end a failed test does not wait for: it might never come."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, trace)


class Shell:
    """Commands against one server, with a configuration of their own."""

    def __init__(
        self,
        folder: Path,
        url: str | None,
        capture: pytest.CaptureFixture[bytes],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.env = {**THIS_CODE, "PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "100"}
        if url:
            self.env |= {"CROWNEST_API_URL": url, "CROWNEST_API_KEY": "cn_test"}
        self._capture, self._monkeypatch = capture, monkeypatch

    def __call__(self, *args: str) -> Result:
        """Run in this process."""
        with self._monkeypatch.context() as patch:
            for name in list(os.environ):
                if name not in self.env:
                    patch.delenv(name)
            for name, value in self.env.items():
                patch.setenv(name, value)
            self._capture.readouterr()
            status = run(args)
        out, err = self._capture.readouterr()
        return Result(status, out, err.decode())

    def process(self, *args: str, env: Mapping[str, str] | None = None, input_: bytes = b"") -> Result:
        """Run as a process of its own."""
        done = subprocess.run(
            [CROWNEST, *args],
            env={**self.env, **(env or {})},
            input=input_,
            capture_output=True,
            timeout=PROCESS_S_MAX,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr.decode())

    def popen(self, args: Sequence[str], **options: Any) -> Process:
        """Start a process and leave it to the test."""
        return Process([CROWNEST, *args], env=self.env, **options)
