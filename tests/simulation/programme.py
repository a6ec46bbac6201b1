"""The crash programme: kills, power cuts, and two controls that must lose something."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation import lossy_serve
from tests.simulation.aftermath import FolderLost
from tests.simulation.campaign import Campaign
from tests.simulation.ledger import Finding, Ledger
from tests.simulation.load import TooSlow
from tests.simulation.power import PowerError, PowerRig, why_no_power_cuts
from tests.simulation.processes import adopting_orphans
from tests.simulation.server import ServerDidNotStart, ServerProcess

PHASES = ("server start", "checks after it", "load until the hit", "runs' processes gone")
CUTS_PER_DISK = 5
FIRST_START_CUTS_EVERY = 3
"""Of every so many disks one loses its power right after the first start."""
CONTROL_TRIES_MAX = 5
LIFE_S_MAX = 60.0
"""Time that the whole programme may take, per hit."""
ENDING_S_MAX = 600.0
"""And for its last lives and checks."""

Tell = Callable[[str, bool], None]
"""Takes a line for people, and whether it is worth keeping."""
KEEP_EVERY = 10


@dataclass(frozen=True, slots=True)
class Order:
    """What to do: how many hits of which kind, and the seed that decides plans and moments."""

    kills: int
    cuts: int
    control: bool
    seed: int
    folder: Path
    """A new folder for everything; the caller removes it, or keeps it for looking at."""
    provider: str = "auto"


@dataclass
class Report:
    """The numbers, and what was found off."""

    order: Order
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    off: Counter[str] = field(default_factory=Counter)
    control_lost: dict[str, int] = field(default_factory=dict)
    """What each control lost; 0 means that the programme is blind to that loss."""
    phases_s: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PHASES})
    """How long each phase of each server life took."""
    streaming: list[int] = field(default_factory=list)
    seconds: float = 0.0
    no_cuts_because: str | None = None
    broken: str | None = None
    """Why the programme could not go on."""

    @property
    def ok(self) -> bool:
        """Nothing off, everything done, and the controls lost what they must."""
        return not self.off and self.broken is None and all(self.control_lost.values())

    def take(self, campaign: Campaign) -> None:
        """Add up a campaign."""
        ledger = campaign.ledger
        self.counts.update(ledger.counts)
        self.counts["runs"] += len(ledger.runs)
        self.findings += ledger.findings.kept
        self.off.update(ledger.findings.counts)
        self.streaming += campaign.streaming
        measured = (campaign.start_s, campaign.recheck_s, campaign.load_s, campaign.gone_s)
        for name, seconds in zip(PHASES, measured, strict=True):
            self.phases_s[name] += seconds


class Programme:
    """Runs an order to its end and leaves no process, mount or loop device behind."""

    def __init__(self, order: Order, tell: Tell) -> None:
        self._order = order
        self._tell = tell
        self.report = Report(order)
        self._token = f"crash{order.seed:x}x{secrets.token_hex(3)}"

    async def run(self) -> Report:
        """Everything that was ordered; what is off is in the report, not an exception."""
        order, begun = self._order, time.monotonic()
        limit = ENDING_S_MAX + LIFE_S_MAX * (order.kills + order.cuts + 2 * CONTROL_TRIES_MAX * order.control)
        try:
            with adopting_orphans():
                async with asyncio.timeout(limit):
                    await self._all()
        except TimeoutError:
            self.report.broken = f"the programme was not done after {limit:.0f} s"
        except (ServerDidNotStart, FolderLost, TooSlow, PowerError) as error:
            self.report.broken = str(error)
        self.report.seconds = time.monotonic() - begun
        return self.report

    async def _all(self) -> None:
        order = self._order
        if order.kills:
            await self._kills()
        if not order.cuts and not order.control:
            return
        self.report.no_cuts_because = why_no_power_cuts(self._folder("rig"))
        if self.report.no_cuts_because is None:
            if order.control:
                for mode in lossy_serve.MODES:
                    await self._control(mode)
            await self._cuts()

    async def _kills(self) -> None:
        folder = self._folder("kills")
        campaign = self._campaign(self._server(folder / "data", folder / "home"), "kills")
        try:
            for number in range(1, self._order.kills + 1):
                await campaign.live(lambda server: server.strike(), "kill")
                self.report.counts["kills"] += 1
                self._say("kill", number, self._order.kills, campaign.ledger)
            await campaign.last_life()
        finally:
            campaign.close()
            self.report.take(campaign)

    async def _cuts(self) -> None:
        done = 0
        while done < self._order.cuts:
            disk = done // CUTS_PER_DISK + 1
            folder = self._folder(f"disk{disk}")
            cuts = min(CUTS_PER_DISK, self._order.cuts - done)
            with PowerRig(folder) as rig:
                campaign = self._on_disk(rig, folder, f"disk{disk}")
                try:
                    for number in range(cuts):
                        # What a first start makes must last even if nothing else was ever fsynced.
                        at_once = number == 0 and disk % FIRST_START_CUTS_EVERY == 0
                        await self._cut(rig, campaign, at_once=at_once)
                        done += 1
                        self.report.counts["power cuts"] += 1
                        self._say("power cut", done, self._order.cuts, campaign.ledger)
                    await campaign.last_life()
                    rig.unmount()
                    rig.check()
                finally:
                    campaign.close()
                    self.report.take(campaign)
            if not campaign.ledger.findings.total:
                shutil.rmtree(folder)

    async def _control(self, mode: str) -> None:
        """The same with durability taken out must lose something, or the programme would see no loss."""
        lost = 0
        for attempt in range(1, CONTROL_TRIES_MAX + 1):
            folder = self._folder(f"control-{mode}-{attempt}")
            with PowerRig(folder) as rig:
                campaign = self._on_disk(rig, folder, f"control-{mode}-{attempt}")
                honest = campaign.server.program
                campaign.server.program = (sys.executable, lossy_serve.__file__, mode, "serve")
                try:
                    await self._cut(rig, campaign, at_once=False)
                    campaign.server.program = honest
                    await campaign.last_life()
                except FolderLost:
                    pass  # everything that was acknowledged, and counted so
                except ServerDidNotStart as error:
                    campaign.ledger.findings.add("lost", f"the folder cannot even be opened: {error}")
                finally:
                    campaign.close()
            lost += campaign.ledger.findings.counts["lost"]
            shutil.rmtree(folder)
            if lost:
                break
        self.report.control_lost[mode] = lost
        seen = f"{lost} losses seen, as must be" if lost else "no loss seen, so this programme is blind"
        self._tell(f"control without durable {mode}: {seen}", True)

    async def _cut(self, rig: PowerRig, campaign: Campaign, *, at_once: bool) -> None:
        def hit(_: ServerProcess) -> None:
            rig.cut()
            # No other coroutine ran since the cut began: what is acknowledged so far was read before it.
            campaign.ledger.power_is_off = True

        await campaign.live(hit, "cut", at_once=at_once)
        rig.unmount()
        rig.check()
        rig.mount()

    def _on_disk(self, rig: PowerRig, folder: Path, name: str) -> Campaign:
        rig.format()
        rig.mount()
        seen = Path(f"/proc/{rig.holder_pid}/root{rig.mount_point}/data")
        data, home = rig.mount_point / "data", folder / "home"
        server = self._server(data, home, prefix=rig.prefix, seen_from_here=seen)
        return self._campaign(server, name)

    def _server(
        self, data: Path, home: Path, *, prefix: Sequence[str] = (), seen_from_here: Path | None = None
    ) -> ServerProcess:
        environment = {"CROWNEST_PROVIDER": self._order.provider}
        return ServerProcess(
            data, home, prefix=prefix, environment=environment, seen_from_here=seen_from_here
        )

    def _campaign(self, server: ServerProcess, name: str) -> Campaign:
        return Campaign(server, f"{self._token}-{name}", f"{self._order.seed}/{name}")

    def _folder(self, name: str) -> Path:
        folder = self._order.folder / name
        folder.mkdir(parents=True)
        return folder

    def _say(self, what: str, number: int, of: int, ledger: Ledger) -> None:
        counts = self.report.counts + ledger.counts
        self._tell(
            f"{what} {number} of {of}: {counts['acknowledged effects']:,} effects acknowledged, "
            f"{counts['delivered events']:,} events delivered, {counts['bundles verified']:,} proofs, "
            f"{self.report.off.total() + ledger.findings.total} off",
            number % KEEP_EVERY == 0 or number == of,
        )
