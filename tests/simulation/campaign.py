"""One data folder and everything that happens to it: lives of a server under load, each ended by a hit."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.aftermath import Aftermath
from tests.simulation.client import Client
from tests.simulation.ledger import Ledger
from tests.simulation.load import Load
from tests.simulation.server import ServerProcess, descendants, wait_until_gone

EARLY_KILLS = 0.2
"""The part of restarts that are killed themselves, anywhere from the first instruction to serving."""
EARLY_KILL_S_MAX = 1.5
DARK_S_MAX = 0.1
"""After a power cut the server goes on without its disk for a random time up to this, then it is killed."""


@dataclass
class Campaign:
    """The lives of one data folder. The ledger and the folder outlive every server."""

    server: ServerProcess
    token: str
    """Part of every op, and so of every command line: what is left running can be found by it."""
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

    async def live(self, hit: Callable[[ServerProcess], None], kind: str, *, at_once: bool = False) -> None:
        """Start (or start again), check everything, load, hit at a random moment, and see everything end.

        `at_once` hits right after the first request was answered: what a start itself made must last too.
        """
        rng = random.Random(f"{self.seed}/{self._lives}")
        self._lives += 1
        if self.policy and kind == "kill" and rng.random() < EARLY_KILLS:
            await self._early_kill(rng)
        self.server.start()
        self.start_s.append(await self.server.wait_ready())
        async with await self._client(rng) as client:
            aftermath = Aftermath(client, self.ledger, self.policy)
            begun = time.monotonic()
            await aftermath.recheck()
            self.recheck_s.append(time.monotonic() - begun)
            load = Load(client, self.ledger, aftermath, self._names)
            if not at_once:
                load.resume()
                await load.until_streaming(self.token)
                self.load_s.append(time.monotonic() - begun - self.recheck_s[-1])
                self.streaming.append(self.ledger.streaming)
            started = descendants(self.server.pid())
            self.ledger.count_strike()
            hit(self.server)
            if kind == "cut":
                await self._in_the_dark(rng)
            self.server.bury()
            self.ledger.died(kind)
            await load.end()
        self.ledger.power_is_off = False
        seconds, left = await wait_until_gone(started, self.token)
        self.gone_s.append(seconds)
        for one in left:
            self.ledger.findings.add("left_running", one)

    async def last_life(self) -> None:
        """Start once more, bring every run to its end, look at all of them again, and stop as Ctrl-C does."""
        rng = random.Random(f"{self.seed}/last")
        self.server.start()
        self.start_s.append(await self.server.wait_ready())
        async with await self._client(rng) as client:
            aftermath = Aftermath(client, self.ledger, self.policy)
            await aftermath.recheck()
            load = Load(client, self.ledger, aftermath, self._names)
            load.resume()
            await load.until_settled()
            await load.end()
            await aftermath.once_more()
        started = descendants(self.server.pid())
        status = await self.server.stop()
        if status != 0:
            self.ledger.findings.add("refused", f"the server was stopped and ended with {status}")
        _, left = await wait_until_gone(started, self.token)
        for one in left:
            self.ledger.findings.add("left_running", one)

    async def _client(self, rng: random.Random) -> Client:
        key = json.loads(self.server.config.read_text())["apiKey"]
        client = Client(self.server.url, key, self.ledger, rng)
        if not self.policy:
            self.policy = await client.body_of("/v1/proof/policy")
        return client

    async def _early_kill(self, rng: random.Random) -> None:
        """Kill a server that is still starting, or recovering what the last kill left."""
        self.server.start()
        await asyncio.sleep(rng.uniform(0, EARLY_KILL_S_MAX))
        started = descendants(self.server.pid())
        self.server.strike()
        self.server.bury()
        self.ledger.died("kill during a start")
        self.ledger.counts["kills during a start"] += 1
        _, left = await wait_until_gone(started, self.token)
        for one in left:
            self.ledger.findings.add("left_running", one)

    async def _in_the_dark(self, rng: random.Random) -> None:
        """Let the server meet its dead disk: from now on it may refuse, but promise nothing."""
        await asyncio.sleep(rng.uniform(0, DARK_S_MAX))
        self.server.strike()
