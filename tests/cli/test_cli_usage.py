"""crownest usage: lines for programs, bars for people, and what a full quota leads to."""

from __future__ import annotations

from tests.cli.cli_runner import Shell
from tests.cli.recording_server import RecordingServer, as_json, refusal
from tests.cli.test_cli_terminal import COLOUR, on_terminal
from tests.serving import Running

USAGE = {
    "period": {
        "start": "2026-06-01T00:00:00.000Z",
        "end": "2026-07-01T00:00:00.000Z",
        "resetAt": "2026-07-01T00:00:00.000Z",
    },
    "computeUnitSeconds": {"used": 1234.5},
    "credits": {"used": 0.3429},
    "quotas": {
        "active_sandboxes": {"limit": 250, "current": 1, "remaining": 249},
        "compute_unit_seconds": {"limit": 1000, "current": 1234.5, "remaining": 0, "projectId": "prj_a"},
    },
    "metrics": {"compute_unit_seconds": 1234.5, "artifact_bytes_stored": 2048, "sandbox_creates": 30},
    "projects": [
        {
            "projectId": "prj_a\x1b[2J",
            "metrics": {},
            "quotas": {
                "compute_unit_seconds": {"limit": 1000, "current": 1234.5, "remaining": 0, "resetAt": "later"}
            },
        }
    ],
}


def test_a_program_gets_tabs_or_the_object_itself(shell: Shell, server: RecordingServer) -> None:
    """Each quota once, an owner's with its project."""
    server.routes["GET /v1/usage"] = lambda _: as_json(USAGE)
    lines = shell("usage").out.decode().splitlines()
    assert lines[0] == "metric\tamount"
    assert "compute_unit_seconds\t1234.5" in lines
    assert "active_sandboxes\t\t250\t1\t249\t" in lines
    assert [line for line in lines if line.startswith("compute_unit_seconds\tprj_a")] == [
        "compute_unit_seconds\tprj_a^[[2J\t1000\t1234.5\t0\tlater"
    ]
    assert shell("usage", "--json").data == USAGE


def test_a_person_sees_bars(shell: Shell, server: RecordingServer) -> None:
    """A little is a little and full is full, in colours that say so."""
    server.routes["GET /v1/usage"] = lambda _: as_json(USAGE)
    status, shown = on_terminal(shell, "usage")
    plain = COLOUR.sub("", shown).splitlines()
    assert status == 0
    assert plain[0] == "2026-06-01 to 2026-07-01 (UTC)"
    assert "compute_unit_seconds   1,234.5 s" in plain
    assert "artifact_bytes_stored  2,048 bytes" in plain
    assert "sandbox_creates        30" in plain
    assert f"active_sandboxes       {'█'}{'░' * 23}  1 of 250" in plain
    assert f"compute_unit_seconds   {'█' * 24}  1,234.5 of 1,000 s  (prj_a^[[2J)" in plain
    assert f"\x1b[31m{'█' * 24}" in shown
    assert "\x1b[2J" not in shown


def test_the_real_server_is_understood(owner: Shell, running: Running) -> None:
    """Every metric of the contract in a line of its own."""
    running.run("true")
    lines = owner("usage").out.decode().splitlines()
    assert "sandbox_creates\t1" in lines
    assert "command_invocations\t1" in lines
    assert owner("usage", "--json").data["metrics"]["sandbox_creates"] == 1


def test_a_full_quota_leads_to_this_command(shell: Shell, server: RecordingServer) -> None:
    """Waiting is no advice where somebody has to act."""
    server.routes["GET /v1/usage"] = lambda _: refusal("quota_exceeded", "Full.", 429, retryable=False)
    result = shell("usage")
    assert result.status == 1
    assert "crownest usage" in result.err
    assert "Wait" not in result.err
