"""The sequencer publishes what was committed, in order, and refuses to fork."""

import asyncio
import errno
import shutil
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from eventstore import high_water
from eventstore.durable import replace_file
from eventstore.high_water import ForkRefused, HighWater
from eventstore.log import Append
from eventstore.sequencer import Consistency, Cosigned, Published, Sequencer, SequencerLimits
from evidence.checkpoint import Checkpoint, parse_checkpoint
from evidence.logentry import KeyChange
from evidence.merkle import verify_consistency
from evidence.note import Ed25519Signer, Verifier, open_note, split_note
from evidence.policy import format_policy, parse_policy
from evidence.tlog import judge_inclusion
from tests.log_kit import ORIGIN, RUN, World, event, opened

FAST = SequencerLimits(interval_s=0.001, idle_s=0.05, covering_wait_s=0.2)


@dataclass
class Case:
    """A log, its sequencer, and what the witnesses were asked."""

    world: World
    sequencer: Sequencer
    published: Published
    mark: HighWater
    asked: list[bytes] = field(default_factory=list[bytes])
    answers: list[Cosigned] = field(default_factory=list[Cosigned])

    @property
    def shown(self) -> Checkpoint:
        """The published checkpoint, its signature checked."""
        opened_note = open_note(self.published.note, [Verifier.parse(self.world.signer.verifier_key)])
        return parse_checkpoint(opened_note.text)


@asynccontextmanager
async def case(folder: Path, backend: str = "sqlite", *, handing_over: Any = None) -> AsyncGenerator[Case]:
    """A log whose sequencer was not started yet."""
    published = Published()
    async with opened(backend, folder, anchor=published) as world:
        mark = HighWater(folder / "high-water", ORIGIN)

        async def cosign(note: bytes, _: Consistency) -> Cosigned:
            found.asked.append(note)
            return found.answers.pop(0) if found.answers else Cosigned()

        signers = [world.signer, *([handing_over] if handing_over else [])]
        sequencer = Sequencer(
            world.log.global_log, published, mark, lambda: signers,
            cosign=cosign, clock_ms=world.clock, limits=FAST,
        )  # fmt: skip
        found = Case(world, sequencer, published, mark)
        yield found


@pytest.mark.parametrize("backend", ["sqlite", "memory"])
async def test_what_is_committed_is_published_once(tmp_path: Path, backend: str) -> None:
    """Size and root are those of the tree; nothing new means nothing signed."""
    async with case(tmp_path, backend) as one:
        await one.sequencer.start()
        await one.sequencer.publish()
        assert one.published.note == b""
        await one.world.create()
        await one.sequencer.publish()
        first = one.shown
        assert first.origin_line == ORIGIN
        assert first.size == 1
        await one.sequencer.publish()
        assert len(one.asked) == 1
        await one.world.create("wsr_b")
        await one.sequencer.publish()
        assert one.shown.size == 2
        path = await one.sequencer.consistency(1, 2)
        assert verify_consistency(1, 2, first.root, one.shown.root, path)
        assert one.mark.read() == one.shown


async def test_a_new_stream_commits_to_the_newest_checkpoint(tmp_path: Path) -> None:
    """The anchor: a run cannot have begun before what it names (P2.3)."""
    async with case(tmp_path) as one:
        await one.sequencer.start()
        await one.world.create()
        await one.sequencer.publish()
        await one.world.create("wsr_b")
        first, second = await one.world.log.head(RUN), await one.world.log.head("wsr_b")
        assert first is not None
        assert first.anchor_note == b""
        assert second is not None
        assert second.anchor_note == one.published.note


async def test_it_publishes_by_itself_and_a_bundle_can_wait_for_it(tmp_path: Path) -> None:
    """The inclusion proof of a checkpoint comes as soon as a published head covers it, and holds."""
    async with case(tmp_path) as one:
        await one.sequencer.start()
        forever = asyncio.create_task(one.sequencer.run_forever())
        for number in range(5):
            await one.world.create(f"wsr_{number}")
        proof = await one.sequencer.inclusion("wsr_3", 1)
        assert proof is not None
        policy = parse_policy(format_policy(one.world.signer.verifier_key))
        note = await one.world.log.checkpoint("wsr_3")
        assert note is not None
        judged = judge_inclusion(proof.to_bytes(), policy, parse_checkpoint(split_note(note)[0]), ORIGIN)
        assert judged.checkpoint.size > 3
        assert await one.sequencer.inclusion("wsr_3", 2) is None
        forever.cancel()
        await asyncio.gather(forever, return_exceptions=True)
        await one.world.create("wsr_late")
        assert await one.sequencer.inclusion("wsr_late", 1) is None


async def test_a_disk_that_was_full_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the mark outside the database was what did not fit: publishing goes on once there is room."""
    tries = 0

    def full_twice(path: Path, content: bytes) -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        replace_file(path, content)

    monkeypatch.setattr(high_water, "replace_file", full_twice)
    async with case(tmp_path) as one:
        await one.sequencer.start()
        await one.world.create()
        publishing = asyncio.create_task(one.sequencer.run_forever())
        try:
            await asyncio.wait_for(one.published.advanced.wait(), 10)
            assert one.shown.size == 1
            assert tries == 3
        finally:
            publishing.cancel()


async def test_a_restart_shows_what_was_published(tmp_path: Path) -> None:
    """The note is kept; the log goes on behind it."""
    async with case(tmp_path) as one:
        await one.sequencer.start()
        await one.world.create()
        await one.sequencer.publish()
        note = one.published.note
    async with case(tmp_path) as again:
        assert await again.sequencer.start() == []
        assert again.published.note == note
        await again.world.create("wsr_b")
        await again.sequencer.publish()
        assert again.shown.size == 2


async def test_killed_between_mark_and_note_it_goes_on(tmp_path: Path) -> None:
    """Written down and permitted, never shown: the next start signs the same head."""
    async with case(tmp_path) as one:
        await one.sequencer.start()
        await one.world.create()

        async def killed(*_: object) -> str:
            raise asyncio.CancelledError

        one.sequencer._cosign = killed
        with pytest.raises(asyncio.CancelledError):
            await one.sequencer.publish()
        assert one.published.note == b""
        assert one.mark.read() is not None
    async with case(tmp_path) as again:
        await again.sequencer.start()
        await again.sequencer.publish()
        assert again.shown.size == 1


async def test_a_database_from_an_old_backup_is_refused(tmp_path: Path) -> None:
    """It would sign other entries at sizes that were signed: a fork."""
    copy = tmp_path / "copy"
    async with case(tmp_path) as one:
        await one.sequencer.start()
        await one.world.create()
        await one.sequencer.publish()
        await one.world.log.copy_to(copy)  # type: ignore[attr-defined]  # the sqlite backend has it
        await one.world.create("wsr_b")
        await one.sequencer.publish()
    shutil.copy(copy, tmp_path / "log.sqlite")
    async with case(tmp_path) as restored:
        with pytest.raises(
            ForkRefused, match=r"high-water mark.*2 entries, the database 1.*Restore the newest"
        ):
            await restored.sequencer.start()
        await restored.world.create("wsr_other")
        with pytest.raises(ForkRefused):
            await restored.sequencer.start()
        with pytest.raises(ForkRefused):
            await restored.sequencer.publish()
        assert restored.published.note == b""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "UPDATE log_entries SET entry = CAST(replace(entry, 'wsr_a', 'wsr_z') AS BLOB) WHERE idx = 0",
            "tree in the database",
        ),
        ("UPDATE log_entries SET entry = x'ff' WHERE idx = 0", "entry 0 of the global log is damaged"),
        ("DELETE FROM log_entries WHERE idx = 1", "tree in the database"),
        ("UPDATE log_heads SET root = zeroblob(32) WHERE size = 2", "last head in the database"),
    ],
)
async def test_a_changed_database_is_refused(tmp_path: Path, change: str, message: str) -> None:
    """Whatever was edited behind the server's back, the roots tell (P5.4)."""
    async with case(tmp_path) as one:
        await one.sequencer.start()
        await one.world.create()
        await one.world.create("wsr_b")
        await one.sequencer.publish()
    database = sqlite3.connect(tmp_path / "log.sqlite")
    database.execute(change)
    database.commit()
    database.close()
    async with case(tmp_path) as again:
        with pytest.raises(ForkRefused, match=message):
            await again.sequencer.start()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is missing"), ("rubbish", "is damaged"), (f"other/log\n1\n{'A' * 43}=\n", "is of other/log")],
)
async def test_a_lost_or_damaged_mark_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    """Without it nobody knows what was signed: the message says to restore it."""
    async with case(tmp_path) as one:
        await one.sequencer.start()
        await one.world.create()
        await one.sequencer.publish()
    mark = tmp_path / "high-water"
    mark.unlink() if content is None else mark.write_text(content)
    async with case(tmp_path) as again:
        with pytest.raises(ForkRefused, match=message):
            await again.sequencer.start()


def test_the_mark_never_goes_back(tmp_path: Path) -> None:
    """The same head may be signed again, a smaller one or another root of it may not."""
    mark = HighWater(tmp_path / "high-water", ORIGIN)
    mark.advance(3, b"\x03" * 32)
    mark.advance(3, b"\x03" * 32)
    with pytest.raises(ForkRefused):
        mark.advance(3, b"\x04" * 32)
    with pytest.raises(ForkRefused):
        mark.advance(2, b"\x03" * 32)
    mark.advance(4, b"\x04" * 32)
    assert mark.read() == Checkpoint(ORIGIN, 4, b"\x04" * 32)
    assert (tmp_path / "high-water").stat().st_mode & 0o777 == 0o600


async def test_a_witness_that_was_away_is_asked_again_and_nothing_gets_lost(tmp_path: Path) -> None:
    """On a quiet server no other checkpoint comes; an answer with fewer lines replaces none with more."""
    line = "\u2014 w.example/a AAAAAAAA\n"
    async with case(tmp_path) as one:
        await one.sequencer.start()
        await one.world.create()
        one.answers += [Cosigned("", by_all=False), Cosigned(line, by_all=False), Cosigned("", by_all=False)]
        one.answers.append(Cosigned(line * 2, by_all=True))
        forever = asyncio.create_task(one.sequencer.run_forever())
        seen: list[int] = []
        while len(one.asked) < 4:
            await one.published.advanced.wait()
            seen.append(one.published.note.count(line.encode()))
            if seen[-1] == 2:
                break
        forever.cancel()
        await asyncio.gather(forever, return_exceptions=True)
        assert seen == [0, 1, 2]
        assert len(set(one.asked)) == 1, "what is asked for is the log's own signature alone"


async def test_two_keys_sign_while_one_hands_over(tmp_path: Path) -> None:
    """Whoever trusts the old key sees it vouch for the new one (P6)."""
    old = Ed25519Signer.generate(ORIGIN)
    async with case(tmp_path, handing_over=old) as one:
        await one.sequencer.start()
        await one.world.log.append(
            Append("org_1", 0, [event("organization_created")], key_change=one.world.signer.verifier_key)
        )
        await one.sequencer.publish()
        for key in (old.verifier_key, one.world.signer.verifier_key):
            assert open_note(one.published.note, [Verifier.parse(key)]).verified
        await one.sequencer.publish(again=True)
    async with case(tmp_path) as again:
        (change,) = await again.sequencer.start()
        assert isinstance(change, KeyChange)
        assert change.from_size == 2
