"""Rebuilding views from the log: on a copy, equal to what the appends had made, faults found."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from eventstore.log import Append, StorageUnavailable
from eventstore.sqlite import maintenance
from eventstore.views import VIEWS
from tests.log_kit import Explosion, ObedientProjector, event, opened, putting


async def filled(tmp_path: Path) -> Path:
    """A log with rows and labels in every view; answer a copy of it."""
    async with opened("sqlite", tmp_path) as world:
        for number in range(5):
            stream = f"wsr_{number}"
            await world.create(stream)
            rows: list[dict[str, Any]] = [
                {"view": view, "id": f"{view}_{number}", "labels": {"n": str(number)}, "doc": '{"a":1}'}
                for view in VIEWS
            ]
            await world.log.append(Append(stream, 1, [putting(*rows)]))
            await world.add(1500 if number == 3 else 2, stream)
            await world.log.append(Append(stream, None, [event(delete=[["users", f"users_{number - 2}"]])]))
    copy = tmp_path / "copy.sqlite"
    maintenance.copy_to(tmp_path / "log.sqlite", copy)
    return copy


async def test_a_rebuild_gives_the_same_rows(tmp_path: Path) -> None:
    """Views, labels and order of the dump, from the log alone; the copy is left with nothing else changed."""
    copy = await filled(tmp_path)
    original = list(maintenance.dump_views(tmp_path / "log.sqlite"))
    assert {table for table, _, _ in original} == {*VIEWS, *(f"{view}_labels" for view in VIEWS)}
    maintenance.clear_views(copy)
    assert list(maintenance.dump_views(copy)) == []
    rebuilt = maintenance.rebuild(copy, ObedientProjector())
    assert (rebuilt.streams, rebuilt.events) == (5, 5 * 3 + 4 * 2 + 1500)
    assert list(maintenance.dump_views(copy)) == original
    async with opened("sqlite", tmp_path) as world:
        assert (await world.log.append(Append("wsr_0", 5, [event()]))).last_seq == 6


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("table", ["{view}", "{view}_labels"])
async def test_a_change_in_any_view_table_is_found(tmp_path: Path, view: str, table: str) -> None:
    """One byte in a document, one in a label."""
    copy = await filled(tmp_path)
    before = list(maintenance.dump_views(copy))
    name = table.format(view=view)
    column = "doc = CAST('{\"a\":2}' AS BLOB)" if name == view else "value = value || '!'"
    key = "id" if name == view else "row_id"
    planted = sqlite3.connect(copy)
    changed = planted.execute(
        f"UPDATE {name} SET {column} WHERE {key} = (SELECT min({key}) FROM {name})"
    ).rowcount
    planted.commit()
    planted.close()
    assert changed == 1
    after = list(maintenance.dump_views(copy))
    assert [one[0] for one, other in zip(before, after, strict=True) if one != other] == [name]
    maintenance.rebuild(copy, ObedientProjector())
    assert list(maintenance.dump_views(copy)) == before


async def test_a_rebuild_that_fails_leaves_the_views_as_they_were(tmp_path: Path) -> None:
    """One transaction: an exception, or a kill, in the middle changes nothing."""
    copy = await filled(tmp_path)
    before = list(maintenance.dump_views(copy))

    class Failing(ObedientProjector):
        def apply(self, views: Any, stream: str, events: Any) -> Any:
            if stream == "wsr_3":
                raise Explosion(stream)
            return super().apply(views, stream, events)

    with pytest.raises(Explosion):
        maintenance.rebuild(copy, Failing())
    assert list(maintenance.dump_views(copy)) == before


async def test_a_redacted_event_is_rebuilt_from_its_placeholder(tmp_path: Path) -> None:
    """The projector gets `data: ""` and `redacted`, and the stored event without payload (P7)."""
    copy = await filled(tmp_path)
    redacting = sqlite3.connect(copy)
    redacting.execute(
        "UPDATE events SET payload = NULL, salt = NULL, commitment = x'00', payload_size = 9"
        " WHERE position = (1 << 32) + 3"
    )
    redacting.commit()
    redacting.close()
    seen: list[object] = []

    class Looking(ObedientProjector):
        def apply(self, views: Any, stream: str, events: Any) -> Any:
            seen.extend((new.fields, stored.payload_size) for new, stored in events if not stored.payload)

    maintenance.rebuild(copy, Looking())
    assert seen == [({"data": "", "redacted": True}, 9)]


async def test_a_copy_that_has_no_place_is_refused(tmp_path: Path) -> None:
    """And leaves no half file."""
    await filled(tmp_path)
    with pytest.raises(StorageUnavailable, match="cannot be copied"):
        maintenance.copy_to(tmp_path / "log.sqlite", tmp_path / "none" / "copy.sqlite")
    assert not (tmp_path / "none").exists()


async def test_views_that_a_migration_added_are_folded_at_the_next_start(tmp_path: Path) -> None:
    """Killed before, the start after that does it; then it is not due any more."""
    copy = await filled(tmp_path)
    before = list(maintenance.dump_views(copy))
    maintenance.clear_views(copy)
    database = sqlite3.connect(copy)
    with database:
        database.execute("INSERT INTO records (kind, id, doc) VALUES ('refold', 'views', x'')")
    database.close()
    assert maintenance.refold_if_due(copy, ObedientProjector())
    assert not maintenance.refold_if_due(copy, ObedientProjector())
    assert list(maintenance.dump_views(copy)) == before
