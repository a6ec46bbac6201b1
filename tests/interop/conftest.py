"""Go programs for the interop tests, each compiled once a session."""

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.requires import GO_PATH, need

SOURCES = Path(__file__).with_name("go")
BUILD_S_MAX = 300
RUN_S_MAX = 60


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A compiled program."""

    path: Path

    def __call__(self, *arguments: object, stdin: bytes = b"") -> tuple[bool, str]:
        """Whether it accepts, and what it printed: its result, or why not."""
        done = subprocess.run(
            [self.path, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=RUN_S_MAX,
        )
        assert done.returncode in {0, 1}, done.stderr.decode()
        return done.returncode == 0, (done.stderr if done.returncode else done.stdout).decode()

    def lines(self, *arguments: object, stdin: bytes = b"") -> Sequence[str]:
        """What it printed; it must accept."""
        accepts, printed = self(*arguments, stdin=stdin)
        assert accepts, printed
        return printed.splitlines()


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], GoProgram]:
    """Compiles a program of tests/interop/go by its name."""
    need("go")
    folder = tmp_path_factory.mktemp("go")
    env = {"GOCACHE": str(folder / "cache"), **os.environ, "GO111MODULE": "off", "GOPATH": str(GO_PATH)}
    built: dict[str, GoProgram] = {}

    def build(name: str) -> GoProgram:
        if name not in built:
            done = subprocess.run(
                ["go", "build", "-o", folder / name, SOURCES / f"{name}.go"],
                env=env,
                capture_output=True,
                check=False,
                timeout=BUILD_S_MAX,
            )
            assert done.returncode == 0, done.stderr.decode()
            built[name] = GoProgram(folder / name)
        return built[name]

    return build


@pytest.fixture(scope="session")
def notecheck(go_program: Callable[[str], GoProgram]) -> GoProgram:
    """Opens notes."""
    return go_program("notecheck")


@pytest.fixture(scope="session")
def tlogcheck(go_program: Callable[[str], GoProgram]) -> GoProgram:
    """Checks proofs and reads tiles."""
    return go_program("tlogcheck")
