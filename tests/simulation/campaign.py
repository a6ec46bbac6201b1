"""One data folder and everything that happens to it: lives of a server under load, each ended by a hit."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.aftermath import Aftermath
from tests.simulation.client import Client
from tests.simulation.ledger import Ledger
from tests.simulation.load import Load
from tests.simulation.logwatch import LogWatch
from tests.simulation.processes import Process, Watch, descendants
from tests.simulation.server import ServerProcess

EARLY_KILLS = 0.2
"""The part of restarts that are killed themselves, anywhere from the first instruction to serving."""
EARLY_KILL_S_MAX = 1.2
BUBBLEWRAP = "bwrap"
CONTROL_GROUPS = Path("/sys/fs/cgroup")
REMOVE_ROUNDS_MAX = 200
REMOVE_PAUSE_S = 0.01
LOG_S_MAX = 10.0
LOG_PAUSE_S = 0.02
"""How long a server may take to show the first checkpoint of its log."""
DARK_S_MAX = 0.1
"""After a power cut the server goes on without its disk for a random time up to this, then it is killed."""


@dataclass
class Campaign:
    """The lives of one data folder. The ledger and the folder outlive every server."""

    server: ServerProcess
    token: str
    """Part of every op, and so of every command line."""
    seed: str
    ledger: Ledger = field(default_factory=Ledger)
    policy: bytes = b""
    start_s: list[float] = field(default_factory=list)
    recheck_s: list[float] = field(default_factory=list)
    load_s: list[float] = field(default_factory=list)
    gone_s: list[float] = field(default_factory=list)
    streaming: list[int] = field(default_factory=list)
    """Runs that streamed at each hit (those right after a start left out)."""
    _names: itertools.count[int] = field(default_factory=itertools.count)
    _lives: int = 0
    _footprint: set[Path] = field(default_factory=set)
    """Control groups and folders of every sandbox that lived at a hit: in the end none may be left."""
    _watch: Watch = field(default_factory=Watch)
    _stranger: LogWatch = field(default_factory=LogWatch)
    _stuck: set[Process] = field(default_factory=set)
    """Half-made sandboxes of the last server, which the next start must end."""

    async def live(self, hit: Callable[[ServerProcess], None], kind: str, *, at_once: bool = False) -> None:
        """Start (or start again), check everything, load, hit at a random moment, and see everything end.

        `at_once` hits right after the first request was answered: what a start itself made must last too.
        """
        rng = random.Random(f"{self.seed}/{self._lives}")
        self._lives += 1
        if self.policy and kind == "kill" and rng.random() < EARLY_KILLS:
            await self._early_kill(rng)
        await self._start()
        async with await self._client(rng) as client:
            aftermath = Aftermath(client, self.ledger, self.policy)
            begun = time.monotonic()
            await aftermath.recheck()
            await self._follow_log(client)
            self.recheck_s.append(time.monotonic() - begun)
            load = Load(client, self.ledger, aftermath, self._names)
            if not at_once:
                load.resume()
                await load.until_streaming(self.token)
                self.load_s.append(time.monotonic() - begun - self.recheck_s[-1])
                self.streaming.append(self.ledger.streaming)
            self.ledger.counts["processes of runs at the crash"] += len(self._watch.alive()) - 1
            footprint = self.server.footprint()
            self.ledger.count_strike()
            hit(self.server)
            if kind == "cut":
                await self._in_the_dark(rng)
            self.server.bury()
            footprint |= self.server.footprint()
            self.ledger.died(kind)
            await asyncio.gather(self._see_them_end(kind), load.end())
        self.ledger.power_is_off = False
        if kind == "cut":
            # As a restart of the machine would; the runner's notes about them are gone with the power.
            await _remove(footprint)
        self._footprint |= footprint

    async def last_life(self) -> None:
        """Start once more, bring every run to its end, look at all of them again, and stop as Ctrl-C does."""
        rng = random.Random(f"{self.seed}/last")
        await self._start()
        async with await self._client(rng) as client:
            aftermath = Aftermath(client, self.ledger, self.policy)
            await aftermath.recheck()
            load = Load(client, self.ledger, aftermath, self._names)
            load.resume()
            await load.until_settled()
            await load.end()
            await aftermath.once_more()
            await self._follow_log(client)
        status = await self.server.stop()
        if status != 0:
            self.ledger.findings.add("refused", f"the server was stopped and ended with {status}")
        packs, events = self.server.compacted()
        self.ledger.counts["packs in the end"] += packs
        self.ledger.counts["events in packs in the end"] += events
        await self._see_them_end("stop")
        for path in self._footprint:
            if path.exists():
                self.ledger.findings.add("left_running", f"{path} of a sandbox is left")
        if differs := self.server.rebuild_check():
            self.ledger.findings.add("changed", f"the views are not what the log says: {differs}")

    def close(self) -> None:
        """End the server in whatever state it is, and leave nothing of its sandboxes on this machine."""
        footprint = self.server.footprint() if self.server.process else set[Path]()
        self.server.kill()
        footprint |= self.server.footprint()
        self._watch.kill()
        self._stranger.close()
        for _ in range(REMOVE_ROUNDS_MAX):
            if _removed(footprint):
                return
            time.sleep(REMOVE_PAUSE_S)

    async def _start(self) -> None:
        """Start the server and see that nothing of an earlier one outlives this."""
        self._watch = Watch()
        self.server.start()
        self.start_s.append(await self.server.wait_ready())
        for one in self._stuck & descendants(os.getpid(), reap=True):
            self.ledger.findings.add("left_running", f"after the next start: {one.pid} {one.command()}")
        self._stuck.clear()

    async def _see_them_end(self, kind: str) -> None:
        """Wait until nothing of the dead server's runs is left running.

        A kill in the few microseconds in which bubblewrap's two processes wait for each other leaves the
        inner one waiting for ever, before anything runs in it: no option of bubblewrap helps against
        that. The next start ends it, or a restart of the machine where the power was cut.
        """
        seconds, left = await self._watch.until_gone()
        self.gone_s.append(seconds)
        for one in left:
            if kind == "stop" or Path(one.command().split(" ")[0]).name != BUBBLEWRAP:
                self.ledger.findings.add("left_running", f"after a {kind}: {one.pid} {one.command()}")
        self.ledger.counts["half-made sandboxes that the next start ended"] += len(left)
        if kind == "cut":
            self._watch.kill()
        else:
            self._stuck |= left

    async def _follow_log(self, client: Client) -> None:
        """What a stranger saw of the global log in earlier lives, it must still hold."""
        deadline = time.monotonic() + LOG_S_MAX
        while (await client.get("/log/checkpoint")).status != 200:  # the first one comes with the first entry
            if time.monotonic() > deadline:
                self.ledger.findings.add("unproven", "the global log shows no checkpoint")
                return
            await asyncio.sleep(LOG_PAUSE_S)
        await asyncio.to_thread(self._stranger.look, self.server.url, self._key(), self.policy, self.ledger)

    def _key(self) -> str:
        key: str = json.loads(self.server.config.read_text())["apiKey"]
        return key

    async def _client(self, rng: random.Random) -> Client:
        client = Client(self.server.url, self._key(), self.ledger, rng)
        if not self.policy:
            self.policy = await client.body_of("/v1/proof/policy")
        return client

    async def _early_kill(self, rng: random.Random) -> None:
        """Kill a server that is still starting, or recovering what the last kill left."""
        self._watch = Watch()
        self.server.start()
        await asyncio.sleep(rng.uniform(0, EARLY_KILL_S_MAX))
        self._footprint |= self.server.footprint()
        self.server.strike()
        self.server.bury()
        self.ledger.died("kill during a start")
        self.ledger.counts["kills during a start"] += 1
        await self._see_them_end("kill during a start")

    async def _in_the_dark(self, rng: random.Random) -> None:
        """Let the server meet its dead disk: from now on it may refuse, but promise nothing."""
        await asyncio.sleep(rng.uniform(0, DARK_S_MAX))
        self.server.strike()


async def _remove(footprint: set[Path]) -> None:
    """A control group stays busy for a moment while its last process is taken down."""
    for _ in range(REMOVE_ROUNDS_MAX):
        if _removed(footprint):
            return
        await asyncio.sleep(REMOVE_PAUSE_S)


def _removed(footprint: set[Path]) -> bool:
    for path in footprint:
        if path.is_relative_to(CONTROL_GROUPS):
            with contextlib.suppress(OSError):
                path.rmdir()
        else:
            shutil.rmtree(path, ignore_errors=True)
    return not any(path.exists() for path in footprint)
