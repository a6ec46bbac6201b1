"""`crownest rebuild --check`: the views are what the log gives, and a single changed byte is reported."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import root
from cli.wiring import log_path
from eventstore.log import LogError, NewerSchema
from eventstore.sqlite import maintenance
from eventstore.sqlite.migrations import status
from eventstore.views import VIEWS
from tests.serving import archive, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which something of every kind happened, no server running any more."""
    data_dir: Path = tmp_path_factory.mktemp("rebuild")
    with serving(data_dir) as running:
        kept = running.run(
            "echo hi > r.txt", keepSandbox=True, artifacts=[{"path": "r.txt"}], metadata={"a.b": "c"}
        )
        opened = running.http.post(f"/v1/sandboxes/{kept['sandboxId']}/previews", json={"port": 80})
        running.http.delete(f"/v1/previews/{opened.json()['preview']['id']}")
        running.http.post(f"/v1/sandboxes/{kept['sandboxId']}/previews", json={"port": 81})
        running.run("cat r.txt", sandboxId=kept["sandboxId"])
        running.http.delete(f"/v1/artifacts/{kept['artifactIds'][0]}")
        running.http.post(f"/v1/workspace-runs/{running.create()}/cancel")
        running.upload(running.create(metadata={"left": "waiting"}), archive({"a": b""}))
    return data_dir


def _rebuild(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(root, ["rebuild", "--data", str(folder), "--json", *arguments])


def test_the_views_of_a_used_folder_are_what_its_log_gives(folder: Path) -> None:
    """Dropped, folded again and dumped: equal, byte for byte."""
    result = _rebuild(folder, "--check")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)["data"]
    assert found["differences"] == []
    assert found["rows"] > len(VIEWS)


FILLED = [view for view in VIEWS if view not in {"commands", "secrets"}]


@pytest.mark.parametrize("table", [*FILLED, "runs_labels", "evidence_labels", "sandboxes_labels"])
def test_one_changed_byte_in_any_view_table_is_reported(folder: Path, table: str) -> None:
    """Planted with plain SQL, named by table and id, and mended by a rebuild."""
    column, key = ("value", "row_id") if table.endswith("_labels") else ("doc", "id")
    with sqlite3.connect(log_path(folder)) as database:
        row_id, value = database.execute(f"SELECT {key}, {column} FROM {table} LIMIT 1").fetchone()
        changed = value[:-1] + (b" " if isinstance(value, bytes) else "~")
        database.execute(
            f"UPDATE {table} SET {column} = ? WHERE {key} = ? AND {column} = ?", (changed, row_id, value)
        )
    database.close()
    result = _rebuild(folder, "--check")
    assert result.exit_code == 1
    differences = json.loads(result.output)["data"]["differences"]
    assert any(text.startswith(f"{table} {row_id}") for text in differences), differences
    assert _rebuild(folder).exit_code == 0
    assert _rebuild(folder, "--check").exit_code == 0


def test_a_missing_and_an_invented_row_are_reported(folder: Path) -> None:
    """Not only changed rows."""
    with sqlite3.connect(log_path(folder)) as database:
        database.execute("UPDATE artifacts SET id = 'art_invented'")
    database.close()
    differences = json.loads(_rebuild(folder, "--check").output)["data"]["differences"]
    assert any("stored, but the log gives no such row" in text for text in differences)
    assert any("missing, the log gives it" in text for text in differences)
    assert _rebuild(folder).exit_code == 0


def test_a_check_may_run_beside_the_server_but_a_rebuild_may_not(tmp_path: Path) -> None:
    """The check works on a copy; the rebuild takes the folder's lock."""
    with serving(tmp_path) as running:
        running.create()
        assert _rebuild(tmp_path, "--check").exit_code == 0
        refused = _rebuild(tmp_path)
        assert refused.exit_code == 1
        assert "pid" in str(refused.exception)


def test_migrate_tells_what_is_applied_and_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A folder of a newer version is left alone, by `migrate` and by the server."""
    with serving(tmp_path):
        pass
    listed = CliRunner().invoke(root, ["migrate", "--data", str(tmp_path), "--json"])
    assert all(one["applied"] for one in json.loads(listed.output)["data"])
    with sqlite3.connect(log_path(tmp_path)) as database:
        database.execute("PRAGMA user_version = 999")
    database.close()
    refused = CliRunner().invoke(root, ["migrate", "--data", str(tmp_path)])
    assert refused.exit_code == 1
    assert "newer" in str(refused.exception)
    with pytest.raises(NewerSchema):
        status(log_path(tmp_path))
    with pytest.raises(NewerSchema), serving(tmp_path):
        pass


def test_a_back_up_of_a_running_server_is_served_when_the_keys_were_copied_first(tmp_path: Path) -> None:
    """The order of docs/durability.md: with the keys last the mark would be ahead of the copied log."""
    folder, early, late = tmp_path / "data", tmp_path / "early", tmp_path / "late"
    with serving(folder) as running:
        key, before = running.key, running.run("echo before")
        shutil.copytree(folder / "keys", early / "keys")
        between = running.run("echo between")
        maintenance.copy_to(folder / "log.sqlite", early / "log.sqlite")
        shutil.copytree(folder / "blobs", early / "blobs")
        shutil.copytree(early, late)
        running.run("echo after")
        running.http.get(f"/v1/workspace-runs/{before['id']}/proof/bundle").raise_for_status()
    shutil.rmtree(late / "keys")
    shutil.copytree(folder / "keys", late / "keys")
    with serving(early, key) as restored:
        assert [restored.get(run["id"]) for run in (before, between)] == [before, between]
        assert restored.run("echo again")["status"] == "succeeded"
    with pytest.raises(LogError, match="high-water mark"), serving(late, key):
        pass
