"""The crash programme in short: two kills and one power cut, so that `make crash` knows that it works."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.requires import need, requires
from tests.simulation.campaign import Campaign
from tests.simulation.power import PowerRig, loop_devices_of, why_no_power_cuts
from tests.simulation.processes import Watch, adopting_orphans
from tests.simulation.programme import Order, Programme, Report
from tests.simulation.server import ServerProcess


async def _run(order: Order) -> Report:
    report = await Programme(order, lambda _text, _keep: None).run()
    assert report.broken is None, report.broken
    assert not report.off, [finding.text for finding in report.findings[:5]]
    assert report.ok
    return report


async def test_nothing_acknowledged_is_lost_by_kill_nine_of_the_server(tmp_path: Path) -> None:
    """Two kills under load: every answer and event is there afterwards, every run ended and provable."""
    report = await _run(Order(kills=2, cuts=0, control=False, seed=20, folder=tmp_path))
    counts = report.counts
    assert counts["kills"] == 2
    assert min(report.streaming) >= 8
    assert counts["runs recovered"] >= 8
    assert counts["bundles verified"] == counts["runs"] == counts["runs ended"]
    assert counts["delivered events compared after a crash"] > 0
    assert counts["answers asked for again"] > 0
    assert counts["events in packs in the end"] > counts["packs in the end"] > counts["runs"]


@requires("loop")
async def test_nothing_acknowledged_is_lost_by_a_power_cut(tmp_path: Path) -> None:
    """One power cut under load, with the whole data folder on the disk that loses its power."""
    _need_power_cuts(tmp_path / "trial")
    report = await _run(Order(kills=0, cuts=1, control=False, seed=2, folder=tmp_path / "cut"))
    counts = report.counts
    assert counts["power cuts"] == 1
    assert min(report.streaming) >= 8
    assert counts["bundles verified"] == counts["runs"] == counts["runs ended"]
    assert counts["delivered events compared after a crash"] > 0
    assert not loop_devices_of(tmp_path / "cut" / "disk1" / "disk.img")


@requires("loop")
def test_what_was_not_fsynced_is_gone_after_a_power_cut(tmp_path: Path) -> None:
    """The cut is a real one: a file that was only written is lost, one that was fsynced is not."""
    _need_power_cuts(tmp_path / "trial")
    with PowerRig(tmp_path / "rig") as rig:
        rig.format()
        rig.mount()
        inside = Path(f"/proc/{rig.holder_pid}/root{rig.mount_point}")
        (inside / "written").write_bytes(b"written")
        descriptor = os.open(inside / "synced", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"synced")
        os.fsync(descriptor)
        os.close(descriptor)
        rig.cut()
        rig.unmount()
        rig.check()
        rig.mount()
        assert (inside / "synced").read_bytes() == b"synced"
        assert not (inside / "written").exists() or (inside / "written").read_bytes() == b""
    assert not loop_devices_of(rig.image)


async def test_a_server_that_is_killed_leaves_nothing_of_its_runs_running(tmp_path: Path) -> None:
    """Only the server's own pid is killed; the processes of its runs, daemons too, end by themselves."""
    server = ServerProcess(tmp_path / "data", tmp_path / "home")
    with adopting_orphans():
        campaign = Campaign(server, "leftovers", "seed")
        try:
            await campaign.live(lambda one: one.strike(), "kill")
        finally:
            campaign.close()
    assert campaign.ledger.counts["processes of runs at the crash"] >= 8
    assert not campaign.ledger.findings.counts["left_running"]


ROUNDS_MAX = 500


def test_a_process_that_outlived_the_server_would_be_seen() -> None:
    """A control for the test above: an orphan is adopted, seen, and taken away."""
    with adopting_orphans():
        watch = Watch()
        subprocess.run(["sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & exit 0"], check=True)
        try:
            (orphan,) = watch.alive()
            for _ in range(ROUNDS_MAX):  # a shell first, then `setsid sleep 60`, then this
                if orphan.command() == "sleep 60":
                    break
                time.sleep(0.01)
            assert orphan.command() == "sleep 60"
        finally:
            watch.kill()
        assert watch.alive() == set()


def _need_power_cuts(folder: Path) -> None:
    """Loop devices alone are not enough: tools and the right to mount are needed too."""
    need("loop")
    why = why_no_power_cuts(folder)
    if why is not None:
        if "loop" in os.environ.get("CROWNEST_REQUIRE", "").split(","):
            pytest.fail(f"CROWNEST_REQUIRE names loop, but {why}", pytrace=False)
        pytest.skip(f"needs loop: {why}")
