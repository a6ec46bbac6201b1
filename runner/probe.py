"""Finds out what this machine can do: which provider works, and which interpreters answer inside it."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.bubblewrap import BubblewrapProvider
from runner.capture import OutputPipes
from runner.ground import Ground
from runner.interpreters import Interpreter, find_holder_pythons, find_node, find_python, search_path_of
from runner.link import SandboxGone, SandboxUnavailable
from runner.process import ProcessProvider
from runner.provider import Provider
from runner.sandbox import Sandbox, exit_code
from runner.templates import Tool

_ANSWER_BYTES_MAX = 4096
_ANSWER_TIMEOUT_S = 10.0
PROVIDERS = ("auto", "bubblewrap", "process")
GroundWith = Callable[[Interpreter], Ground]
"""The ground with the interpreter that is to run its holders."""
HOW_TO_ISOLATE = (
    "Install bubblewrap 0.8 or newer (Debian, Ubuntu: apt install bubblewrap) to isolate commands."
)


@dataclass(frozen=True, slots=True)
class Found:
    """What works here: the provider, the tools in its sandboxes, a plain warning if it does not isolate."""

    provider: Provider
    tools: dict[str, Tool]
    warning: str | None


async def probe(
    ground_with: GroundWith,
    work_dir: Path,
    *,
    wanted: str,
    bubblewrap: Path | None,
    search_path: Sequence[Path],
) -> Found:
    """Try bubblewrap, then plain processes, unless `wanted` names one of them.

    Each is tried by booting a real sandbox and asking every interpreter for its version in it: installed does
    not mean allowed. Raises `SandboxUnavailable` with every reason when nothing works.
    """
    if wanted not in PROVIDERS:
        raise ValueError(f"There is no provider {wanted!r}; choose one of {', '.join(PROVIDERS)}.")
    interpreters = [one for one in (find_python(), find_node(search_path)) if one]
    reasons: list[str] = []
    if bubblewrap is None and wanted != "process":
        reasons.append("bubblewrap is not installed")
    for provider, warning in _candidates(ground_with, work_dir, wanted, bubblewrap):
        try:
            tools = await _try(provider, interpreters)
        except (SandboxUnavailable, SandboxGone, TimeoutError) as failure:
            reason = f"{provider.name}: {str(failure).rstrip('.') or 'no answer in time'}"
            if reason not in reasons:  # each candidate Python is tried, and mostly fails alike
                reasons.append(reason)
            continue
        because = f" ({'; '.join(reasons)})" if reasons else ""
        return Found(provider, tools, f"{warning}{because}. {HOW_TO_ISOLATE}" if warning else None)
    raise SandboxUnavailable(f"No sandbox works on this machine: {'; '.join(reasons)}. {HOW_TO_ISOLATE}")


def _candidates(
    ground_with: GroundWith, work_dir: Path, wanted: str, bubblewrap: Path | None
) -> Iterator[tuple[Provider, str | None]]:
    """Providers from best to worst, each with the warning that belongs to it."""
    pythons = find_holder_pythons()  # none: no candidate, and the caller says so
    if wanted != "process" and bubblewrap:
        for python in pythons:
            yield BubblewrapProvider(ground_with(python), bubblewrap), None
    if wanted == "bubblewrap":
        return
    if os.geteuid() == 0:
        warning = "Commands run without isolation, as a user without rights"
        for python in pythons:
            yield ProcessProvider(ground_with(python), work_dir, drop=True), warning
    whom = "root" if os.geteuid() == 0 else "the server's own user"
    for python in pythons:
        warning = f"Commands run without isolation, as {whom}, and can do whatever that user can"
        yield ProcessProvider(ground_with(python), work_dir, drop=False), warning


async def _try(provider: Provider, interpreters: Sequence[Interpreter]) -> dict[str, Tool]:
    """Boot a sandbox, and ask for the versions the way a command would find the interpreters."""
    sandbox_id = f"sbx_probe{secrets.token_hex(8)}"
    sandbox = await provider.boot(sandbox_id, interpreters, search_path_of(interpreters))
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            answer = await _answer(sandbox, "; ".join(_question(one.name) for one in interpreters) or ":")
    finally:
        await sandbox.destroy()
    versions = dict(line.split(" ", 1) for line in answer.splitlines() if " " in line)
    return {one.name: Tool(one, versions[one.name]) for one in interpreters if one.name in versions}


def _question(name: str) -> str:
    return f'version=$({name} --version 2>/dev/null) && echo {name} "$version"'


async def _answer(sandbox: Sandbox, question: str) -> str:
    pipes = OutputPipes()
    try:
        asked = sandbox.start(question, {}, *pipes.write_fds)
        pipes.close_write_ends()
        await exit_code(asked)
        return os.read(pipes.read_fds[0], _ANSWER_BYTES_MAX).decode("utf-8", "replace")
    finally:
        pipes.close()
