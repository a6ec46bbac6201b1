"""What every backend promises of the global log and of redaction (PROOF P5, P7)."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from eventstore.global_log import LogHead
from eventstore.log import Append, Framing, Redaction, RedactionRefused, UnknownStream
from eventstore.proving import LogLeaves, StreamLeaves, prove, tile_bytes
from evidence.canonical import decode
from evidence.checkpoint import parse_checkpoint
from evidence.logentry import KeyChange, StreamEntry, parse_entry
from evidence.merkle import (
    CompactRange,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from evidence.note import Ed25519Signer, split_note
from evidence.proofs import range_proof
from evidence.record import commitment, leaf_hash
from evidence.tiles import TileTree, hash_tiles, tile_at, unpack_entries
from tests.log_kit import BACKENDS, ORIGIN, RUN, Explosion, World, claim, event, opened

OTHER = "wsr_b"
ORG = "org_1"
MINUTE_MS = 60_000


@pytest.fixture(params=BACKENDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World]:
    """A fresh log of each backend."""
    async with opened(request.param, tmp_path) as opened_world:
        yield opened_world


async def entries(world: World) -> list[StreamEntry]:
    """Every entry of the global log, parsed."""
    tree = await world.log.global_log.tree()
    found = [parse_entry(data) for data in await world.log.global_log.entries(0, tree.size)]
    return [entry for entry in found if isinstance(entry, StreamEntry)]


def on_disk(folder: Path) -> bytes:
    """Every byte of every file."""
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def seal(world: World, stream: str = RUN) -> None:
    """The end of a run, as far as the log knows one."""
    await world.log.append(Append(stream, None, [event("terminal"), event("seal")]))


async def grow(world: World, count: int) -> None:
    """So many further entries."""
    size = (await world.log.global_log.tree()).size
    await asyncio.gather(
        *[world.log.append(Append(f"wsr_x{size + number}", 0, [event()])) for number in range(count)]
    )


async def test_creation_seal_and_redaction_are_entries(world: World) -> None:
    """The creation entry makes a vanished run visible; output in between is no entry."""
    created = await world.log.append(Append(RUN, 0, [event()]))
    assert created.log_size == 1
    output = await world.log.append(Append(RUN, 1, [event(), event()]))
    assert output.log_size is None
    await seal(world)
    await world.log.redact(Redaction(RUN, [2], "a secret", "key_1"))
    found = await entries(world)
    assert [(entry.origin, entry.stream, entry.checkpoint.size) for entry in found] == [
        (ORIGIN, RUN, 1),
        (ORIGIN, RUN, 5),
        (ORIGIN, RUN, 6),
    ]
    note = await world.log.checkpoint(RUN)
    assert note is not None
    assert str(found[-1]) == split_note(note)[0]
    assert await world.log.global_log.index_of(RUN, 5) == 1
    assert await world.log.global_log.index_of(RUN, 3) is None


async def test_an_append_that_fails_leaves_no_entry(world: World) -> None:
    """Neither the event nor its entry is there alone."""
    await world.log.append(Append(RUN, 0, [event()]))
    with pytest.raises(Explosion):
        await world.log.append(Append(OTHER, 0, [event(explode=True)]))
    assert len(await entries(world)) == 1
    await world.log.append(Append(OTHER, 0, [event()]))
    assert [entry.stream for entry in await entries(world)] == [RUN, OTHER]


async def test_organisations_are_entries_at_creation_and_then_once_a_minute(world: World) -> None:
    """Their growth is seen, but not every key's every change at once."""
    log = world.log.global_log
    await world.log.append(Append(ORG, 0, [event("organization_created")]))
    await world.log.append(Append(ORG, 1, [event("user_added")]))
    assert await log.log_organizations(world.clock() - MINUTE_MS) == 0
    world.clock.now_ms += MINUTE_MS
    assert await log.log_organizations(world.clock() - MINUTE_MS) == 1
    assert await log.log_organizations(world.clock()) == 0
    assert [entry.checkpoint.size for entry in await entries(world)] == [1, 2]
    assert await log.log_unlogged() == 0


async def test_a_change_of_key_is_an_entry(world: World) -> None:
    """It says from which size on the new key counts, its own entry included."""
    await world.log.append(Append(ORG, 0, [event("organization_created")]))
    new = Ed25519Signer.generate(ORIGIN)
    done = await world.log.append(Append(ORG, 1, [event("signing_key_rotated")], key_change=new.verifier_key))
    assert done.log_size == 2
    (data,) = await world.log.global_log.entries(1, 2)
    change = parse_entry(data)
    assert isinstance(change, KeyChange)
    assert (str(change.key), change.from_size, change.origin) == (new.verifier_key, 2, ORIGIN)


async def test_heads_are_written_down_once_a_size(world: World) -> None:
    """The first root of a size stands, whoever comes later; a note makes it published."""
    log = world.log.global_log
    assert await log.last_head(published=False) is None
    first = LogHead(1, bytes(32))
    assert await log.put_head(first) == first
    assert await log.put_head(LogHead(1, b"\x01" * 32)) == first
    assert await log.last_head(published=True) is None
    await log.publish_head(1, b"note")
    await log.put_head(LogHead(2, b"\x02" * 32))
    assert await log.last_head(published=True) == LogHead(1, bytes(32), b"note")
    assert await log.last_head(published=False) == LogHead(2, b"\x02" * 32)


async def test_entries_say_when_they_were_added_and_how_the_log_grew(world: World) -> None:
    """Each with its stream and size; counted in spans of time, and those without entries left out."""
    log = world.log.global_log
    began_ms = world.clock.now_ms = world.clock() // MINUTE_MS * MINUTE_MS
    await world.log.append(Append(RUN, 0, [event()]))
    await seal(world)
    world.clock.now_ms += 2 * MINUTE_MS + 7
    await world.log.append(Append(OTHER, 0, [event()]))
    found = await log.logged(0, 10)
    assert [(one.stream, one.size, one.created_at_ms) for one in found] == [
        (RUN, 1, began_ms),
        (RUN, 3, began_ms),
        (OTHER, 1, began_ms + 2 * MINUTE_MS + 7),
    ]
    assert [one.data for one in found] == await log.entries(0, 10)
    assert [one.stream for one in await log.logged(2, 3)] == [OTHER]
    assert await log.growth(0, MINUTE_MS) == [(began_ms, 2), (began_ms + 2 * MINUTE_MS, 1)]
    assert await log.growth(1, MINUTE_MS) == [(began_ms, 1), (began_ms + 2 * MINUTE_MS, 1)]
    assert await log.growth(3, MINUTE_MS) == []


async def test_published_heads_are_listed_newest_first(world: World) -> None:
    """Those that were only written down are not shown."""
    log = world.log.global_log
    assert await log.heads(5) == []
    heads = [LogHead(size, bytes([size]) * 32) for size in (1, 2, 3, 4)]
    for head in heads:
        await log.put_head(head)
    for size in (1, 2, 3):
        await log.publish_head(size, b"note %d" % size)
    assert [(head.size, head.note) for head in await log.heads(2)] == [(3, b"note 3"), (2, b"note 2")]
    assert await log.last_head(published=True) == (await log.heads(1))[0]
    assert await log.last_head(published=False) == heads[3]


async def test_who_waits_for_entries_is_woken(world: World) -> None:
    """By an entry, not by output."""
    await world.log.append(Append(RUN, 0, [event()]))
    log = world.log.global_log
    assert await log.wait_for_entries(0, 1.0)
    waiting = asyncio.create_task(log.wait_for_entries(1, 30.0))
    await world.log.append(Append(RUN, None, [event()]))
    assert not waiting.done()
    await seal(world)
    assert await waiting
    assert not await log.wait_for_entries(2, 0.0)


async def test_tiles_and_proofs_of_the_log_hold(world: World) -> None:
    """Every tile, full and partial, and proofs across block boundaries give the tree's own root."""
    await grow(world, 700)
    log = world.log.global_log
    tree = await log.tree()
    data = await log.entries(0, 700)
    leaves = [leaf_hash(entry) for entry in data]
    tiles = {tile: await tile_bytes(log, tile) for tile in hash_tiles(700)}
    assert b"".join(tiles[tile] for tile in tiles if tile.level == 0) == b"".join(leaves)
    from_tiles = TileTree(700, tiles.__getitem__)
    assert unpack_entries(await tile_bytes(log, tile_at(None, 2, 700)), 188) == data[512:]
    for index in (0, 255, 256, 511, 512, 699):
        for subtree in (None, from_tiles.subtree):
            if subtree is None:
                path = await prove(
                    LogLeaves(log), lambda read, index=index: inclusion_proof(index, 700, read)
                )
            else:
                path = inclusion_proof(index, 700, subtree)
            assert verify_inclusion(index, 700, leaves[index], path, tree.root())
    for size in (1, 256, 300, 512, 699):
        old = CompactRange()
        for leaf in leaves[:size]:
            old.append(leaf)
        path = await prove(LogLeaves(log), lambda read, size=size: consistency_proof(size, 700, read))
        assert verify_consistency(size, 700, old.root(), tree.root(), path)


async def test_windows_of_a_stream_prove_themselves(world: World) -> None:
    """Whatever the window, few rows give the hashes that lead to the signed root."""
    await world.create()
    await world.add(799)
    note = await world.log.checkpoint(RUN)
    assert note is not None
    signed = parse_checkpoint(split_note(note)[0])
    tree = await StreamLeaves.of(world.log, RUN)
    for start, end in (
        (0, 800),
        (0, 1),
        (255, 257),
        (256, 512),
        (300, 310),
        (799, 800),
        (800, 800),
        (511, 790),
    ):
        proof = await prove(
            tree, lambda read, window=(start, end): range_proof(*window, signed.size, read, note)
        )
        leaves: list[bytes] = []
        for at in range(start, end, 256):
            boundary = min(end, (at // 256 + 1) * 256)
            leaves += await tree.leaves(start + len(leaves), boundary)
        leaves += await tree.leaves(start + len(leaves), end) if len(leaves) < end - start else []
        proof.check(leaves, signed)
    with pytest.raises(UnknownStream):
        await StreamLeaves.of(world.log, "wsr_none")


async def test_redaction_erases_and_keeps_the_proof(world: World) -> None:
    """Payload and salt are gone, commitment, size and place stay; readers get a placeholder."""
    await world.create()
    await world.log.append(Append(RUN, 1, [event(data="the secret"), event(data="more")]))
    await seal(world)
    before = await world.log.read(RUN, public=False)
    done = await world.log.redact(Redaction(RUN, [3, 2], "a leaked token", "key_1"))
    assert (done.first_seq, done.last_seq) == (6, 6)
    after = await world.log.read(RUN, public=False)
    for old, new in zip(before[1:3], after[1:3], strict=True):
        assert old.payload is not None
        assert old.salt is not None
        assert (new.payload, new.salt) == (None, None)
        assert new.commitment == commitment(old.salt, old.payload)
        assert (new.seq, new.type, new.created_at_ms, new.payload_size) == (
            old.seq,
            old.type,
            old.created_at_ms,
            old.payload_size,
        )
    assert after[:1] + after[3:5] == before[:1] + before[3:]
    assert after[5].payload is not None
    recorded = decode(after[5].payload)
    assert recorded["reason"] == "a leaked token"
    assert recorded["actor"] == "key_1"
    assert [target["seq"] for target in recorded["targets"]] == [2, 3]
    assert [target["commitment"] for target in recorded["targets"]] == [
        (row.commitment or b"").hex() for row in after[1:3]
    ]
    chunk = await world.log.read_framed(RUN, 1, Framing.NDJSON)
    assert chunk is not None
    placeholder = decode(chunk.data.splitlines()[0])
    assert placeholder["redacted"] is True
    assert placeholder["data"] == ""
    tree = await StreamLeaves.of(world.log, RUN)
    assert (await tree.leaves(0, 6))[-1] == (await world.log.head(RUN)).last_leaf  # type: ignore[union-attr]  # it is there


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        ([], "1 to 4000 targets"),
        ([2, 2], "each event once"),
        ([1], "event 1 is status"),
        ([9], "has no event 9"),
        ([0], "has no event 0"),
        (list(range(1, 4002)), "1 to 4000 targets"),
    ],
)
async def test_what_cannot_be_redacted_is_refused_whole(
    world: World, targets: list[int], reason: str
) -> None:
    """The message names the event, and nothing was changed."""
    await world.log.append(Append(RUN, 0, [event("status"), event(data="output")]))
    await seal(world)
    before = await world.log.read(RUN, public=False)
    with pytest.raises(RedactionRefused, match=reason):
        await world.log.redact(Redaction(RUN, targets, "why", "key_1"))
    assert await world.log.read(RUN, public=False) == before


async def test_redacting_twice_is_refused_and_a_repeated_request_is_answered(world: World) -> None:
    """The same idempotency key gets its stored answer; another request is told what is erased already."""
    await world.log.append(Append(RUN, 0, [event("status"), event(data="output")]))
    await seal(world)
    first = await world.log.redact(Redaction(RUN, [2], "why", "key_1", claim(world)))
    again = await world.log.redact(Redaction(RUN, [2], "why", "key_1", claim(world)))
    assert again.replayed
    assert again.answer == first.answer
    with pytest.raises(RedactionRefused, match="redacted already"):
        await world.log.redact(Redaction(RUN, [2], "why", "key_1"))
    with pytest.raises(UnknownStream):
        await world.log.redact(Redaction("wsr_none", [2], "why", "key_1"))


async def test_a_refused_redaction_is_undone_with_its_group(world: World) -> None:
    """A projector that fails takes the erasure back too."""
    await world.log.append(Append(RUN, 0, [event("status"), event(data="output")]))
    await seal(world)
    before = await world.log.read(RUN, public=False)
    apply = world.projector.apply

    def explode(*_: object) -> None:
        raise Explosion

    world.projector.apply = explode  # type: ignore[method-assign, assignment]  # a mistake of the program
    with pytest.raises(Explosion):
        await world.log.redact(Redaction(RUN, [2], "why", "key_1"))
    world.projector.apply = apply  # type: ignore[method-assign]  # as it was
    assert await world.log.read(RUN, public=False) == before
    assert len(await entries(world)) == 2


async def test_checkpoints_of_earlier_sizes_are_kept_and_not_made(world: World) -> None:
    """What was signed once can be read again; a size that was never signed is not signed afterwards."""
    await world.create()
    await world.add(3)
    assert await world.log.checkpoint_at(RUN, 1) is not None
    assert await world.log.checkpoint_at(RUN, 2) is None
    assert await world.log.checkpoint_at("wsr_none", 1) is None


async def test_erased_bytes_are_in_no_file_of_the_database(tmp_path: Path) -> None:
    """Neither in the database nor in its write-ahead log, when the redaction is acknowledged."""
    secret = "a-very-secret-token-" * 300
    async with opened("sqlite", tmp_path) as world:
        await world.log.append(
            Append(RUN, 0, [event("status"), event(data=secret), event(data="short-one-42")])
        )
        await seal(world)
        assert b"very-secret" in on_disk(tmp_path)
        await world.log.redact(Redaction(RUN, [2, 3], "why", "key_1"))
        assert b"very-secret" not in on_disk(tmp_path)
        assert b"short-one-42" not in on_disk(tmp_path)


async def test_streams_from_before_the_log_get_entries_and_last_leaves(tmp_path: Path) -> None:
    """A data folder of an earlier schema: its blocks are completed, its streams appear in the log."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        await world.add(600)
        await world.create(OTHER)
        await seal(world, OTHER)
        await world.create("wsr_new")
        await world.log.append(Append(ORG, 0, [event("organization_created")]))
        await world.log.append(Append(ORG, 1, [event("user_added")]))
        blocks = await world.log.blocks(RUN)
    database = sqlite3.connect(tmp_path / "log.sqlite")
    later = ("commands", "previews", "secrets", "usage")
    database.executescript("".join(f"DROP TABLE {view}; DROP TABLE {view}_labels;" for view in later))
    database.executescript(
        "DROP TABLE packs; DROP TABLE unpacked;"
        "DROP TABLE log_entries; DROP TABLE log_subtrees; DROP TABLE log_tree; DROP TABLE log_heads;"
        "ALTER TABLE subtrees DROP COLUMN last_leaf; DELETE FROM migrations WHERE version >= 3;"
        "PRAGMA user_version = 2"
    )
    database.close()
    async with opened("sqlite", tmp_path) as world:
        assert await world.log.blocks(RUN) == blocks
        assert await entries(world) == []
        assert await world.log.global_log.log_unlogged() == 4
        assert await world.log.global_log.log_unlogged() == 0
        await seal(world)
        sizes: dict[str, list[int]] = {}
        for entry in await entries(world):
            sizes.setdefault(entry.stream, []).append(entry.checkpoint.size)
        assert sizes == {RUN: [1, 603], OTHER: [1, 3], "wsr_new": [1], ORG: [1, 2]}
