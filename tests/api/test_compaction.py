"""Compaction by a server and by `crownest compact`: over HTTP nobody sees a difference, and proofs hold."""

import io
import json
import re
import sqlite3
import time
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from cli.main import root
from cli.wiring import log_path
from eventstore.log import LogLimits
from evidence.verify import verify_bundle
from tests.serving import Running, serving

AT_ONCE = LogLimits(compact_quiet_ms=0, compact_idle_s=0.01, pack_bytes=500, compact_step_bytes=2000)
LATER = LogLimits(compact_quiet_ms=3_600_000)
PRINTS = (
    "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i über; [ $((i % 9)) != 0 ] || sleep 0.001; done"
)
WAIT_S_MAX = 30.0


def query(folder: Path, sql: str) -> Any:
    """One value out of the database of this folder."""
    with closing(sqlite3.connect(log_path(folder), timeout=10)) as database:
        return database.execute(sql).fetchone()[0]


def compacted(running: Running) -> None:
    """Wait until the server has nothing left to compact."""
    deadline = time.monotonic() + WAIT_S_MAX
    while query(running.data_dir, "SELECT count(*) FROM unpacked"):
        assert time.monotonic() < deadline, "the server compacts nothing"
        time.sleep(0.02)


def answers(running: Running, run_id: str) -> list[bytes]:
    """Everything that readers get of a run, the bytes as they come."""
    path = f"/v1/workspace-runs/{run_id}"
    asked = [
        (f"{path}", {}),
        (f"{path}/events?limit=7&afterSeq=3", {}),
        (f"{path}/events?limit=500", {}),
        (f"{path}/events", {"accept": "application/x-ndjson"}),
        (f"{path}/events?afterSeq=12", {"accept": "application/x-ndjson"}),
        (f"{path}/events?stream=true", {}),
        (f"{path}/events?stream=true", {"last-event-id": "9"}),
        (f"{path}/evidence", {}),
        (f"{path}/proof/events?afterSeq=0&limit=500", {}),
        (f"{path}/proof/events?afterSeq=5&limit=3", {}),
    ]
    found: list[bytes] = []
    for url, headers in asked:
        answer = running.http.get(url, headers=headers)
        assert answer.status_code == 200, (url, answer.text)
        found.append(answer.content)
    with zipfile.ZipFile(io.BytesIO(running.http.get(f"{path}/proof/bundle").content)) as bundle:
        # The rest of it may show a newer checkpoint of the global log.
        found += [bundle.read(name) for name in ("events.log", "run.checkpoint", "evidence.json")]
    return found


def crownest(*args: str) -> Result:
    """Run the command line here."""
    return CliRunner().invoke(root, list(args))


def test_a_server_compacts_by_itself_what_it_finds_and_readers_see_no_difference(tmp_path: Path) -> None:
    """Runs of an earlier start and new ones; every answer to the byte; the proof is complete."""
    with serving(tmp_path, log=LATER) as running:
        run_id, key = running.run(PRINTS)["id"], running.key
        before = answers(running, run_id)
    with serving(tmp_path, key, log=AT_ONCE) as running:
        compacted(running)
        assert query(tmp_path, "SELECT count(*) FROM packs") > 2
        assert answers(running, run_id) == before
        newer = running.run(PRINTS)["id"]
        compacted(running)
        bundle = running.http.get(f"/v1/workspace-runs/{newer}/proof/bundle").content
        policy = running.http.get("/v1/proof/policy").content
        assert verify_bundle(io.BytesIO(bundle), policy, expected_run=newer).verdict == "COMPLETE"
        assert query(tmp_path, "SELECT count(*) FROM events WHERE type = 'stdout'") == 0


def test_a_compacted_run_is_redacted_and_proves_itself(tmp_path: Path) -> None:
    """The placeholder is shown, the rest is as it was; then it is compacted again."""
    with serving(tmp_path, log=AT_ONCE) as running:
        run_id = running.run(PRINTS)["id"]
        compacted(running)
        before = running.events(run_id)
        seq = next(event["seq"] for event in before if event["type"] == "stdout")
        body = {"targets": [seq], "reason": "leaked"}
        assert running.http.post(f"/v1/workspace-runs/{run_id}/redactions", json=body).status_code == 201
        for _ in range(2):
            after = running.events(run_id)
            assert after[seq - 1] == {**{k: before[seq - 1][k] for k in ("createdAt", "seq", "type")},
                                      "data": "", "redacted": True}  # fmt: skip
            assert [one for one in after if one["seq"] != seq] == [one for one in before if one["seq"] != seq]
            bundle = running.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle").content
            policy = running.http.get("/v1/proof/policy").content
            assert verify_bundle(io.BytesIO(bundle), policy, expected_run=run_id).verdict == "REDACTED"
            compacted(running)
        assert query(tmp_path, "SELECT count(*) FROM events WHERE type = 'redaction'") == 0
    result = crownest("rebuild", "--check", "--data", str(tmp_path), "--json")
    assert (result.exit_code, json.loads(result.output)["data"]["differences"]) == (0, [])


def test_the_command_packs_a_stopped_servers_folder_and_unpacks_it(tmp_path: Path) -> None:
    """It says what was saved; every answer is as before, both ways; it can be repeated."""
    with serving(tmp_path, log=LATER) as running:
        run_id, key = running.run(PRINTS)["id"], running.key
        running.create()
        before = answers(running, run_id)
    rows = query(tmp_path, "SELECT count(*) FROM events")
    result = crownest("compact", "--data", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert re.search(r"[\d,]+ events? packed; [\d,]+ lies? in (1 pack|[\d,]+ packs)\.", result.output)
    assert "The database went from" in result.output
    left = query(tmp_path, "SELECT count(*) FROM events")
    assert 0 < left < rows
    again = json.loads(crownest("compact", "--data", str(tmp_path), "--json").output)["data"]
    assert (again["events"], again["packedEvents"]) == (0, rows - left)
    assert (again["runsLeftAlone"], again["shrunk"]) == (0, True)
    with serving(tmp_path, key, log=LATER) as running:
        assert answers(running, run_id) == before
    expanded = crownest("compact", "--expand", "--data", str(tmp_path))
    assert expanded.exit_code == 0, expanded.output
    assert "0 lie in 0 packs" in expanded.output
    assert "The next server packs them again" in expanded.output
    assert query(tmp_path, "SELECT count(*) FROM events") == rows
    with serving(tmp_path, key, log=LATER) as running:
        assert answers(running, run_id) == before


def test_a_folder_in_use_and_one_without_a_log_are_refused(tmp_path: Path) -> None:
    """Compaction beside a server is the server's own."""
    with serving(tmp_path / "used"):
        refused = crownest("compact", "--data", str(tmp_path / "used"))
        assert refused.exit_code == 1
        assert "is in use by the process" in str(refused.exception)
    none = crownest("compact", "--data", str(tmp_path))
    assert none.exit_code == 1
    assert "no log in" in none.output


def test_a_damaged_pack_is_an_error_of_the_server_and_not_silence(tmp_path: Path) -> None:
    """The envelope of an internal error; other runs are served."""
    with serving(tmp_path, log=AT_ONCE) as running:
        run_id, other = running.run(PRINTS)["id"], running.run("echo other")["id"]
        compacted(running)
        with closing(sqlite3.connect(log_path(tmp_path), timeout=10)) as database:
            first = "(SELECT min(position) FROM packs)"
            database.execute(f"UPDATE packs SET pack = zeroblob(length(pack)) WHERE position = {first}")
            database.commit()
        answer = running.http.get(f"/v1/workspace-runs/{run_id}/events?limit=5")
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
        assert running.http.get(f"/v1/workspace-runs/{other}/events?limit=5").status_code == 200
