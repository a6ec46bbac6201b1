"""Owns the publication of the global log: one sequencer signs its growth, at most once a second (PROOF P5.3).

In this order, so that no crash can make two heads of one size: entries are committed with their events;
the head is written down under its size; the high-water mark permits it; it is signed; witnesses cosign;
the note is kept and from then on shown. Crash windows:

- written down or permitted, not signed: the next start goes on from the same tree;
- signed, not kept: nobody has seen it but perhaps a witness, which will be asked again for the same head
  or a later one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from eventstore.global_log import GlobalLog, LogHead
from eventstore.high_water import ForkRefused, HighWater
from eventstore.log import StorageUnavailable
from eventstore.proving import LogLeaves, prove
from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint
from evidence.logentry import Entry, KeyChange, parse_entry
from evidence.merkle import CompactRange, consistency_proof, inclusion_proof
from evidence.note import Signer, sign_note, split_note
from evidence.record import leaf_hash
from evidence.tlog import TlogProof

_logger = logging.getLogger(__name__)

READ_ENTRIES = 4096
"""Entries read at a time when the log is checked at start."""

Consistency = Callable[[int, int], Awaitable[Sequence[bytes]]]
"""Answers the consistency path from one size of the log to a larger one."""


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The signature lines of the witnesses that answered, each with its LF, and whether all of them did."""

    lines: str = ""
    by_all: bool = True
    refusals: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why each of the others did not cosign, by its name."""


Cosign = Callable[[bytes, Consistency], Awaitable[Cosigned]]
"""Asks the witnesses to cosign a signed checkpoint."""


@dataclass(frozen=True, slots=True)
class SequencerLimits:
    """Named limits of the sequencer (DESIGN §5)."""

    interval_s: float = 1.0
    """At most one checkpoint in this time (P5.3)."""
    idle_s: float = 15.0
    """How long it sleeps when nothing is added; it then looks for organisations that grew."""
    organization_interval_ms: int = 60_000
    """At most one entry of an organisation in this time (P5.1)."""
    covering_wait_s: float = 3.0
    """How long a bundle waits for the checkpoint that covers its run (P5.3)."""


@dataclass(slots=True)
class Published:
    """What the world sees of the log: the newest checkpoint, empty before the first."""

    size: int = 0
    note: bytes = b""
    advanced: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self) -> bytes:
        """The anchor of a stream that begins now (P2.3)."""
        return self.note

    def show(self, size: int, note: bytes) -> None:
        """Replace it and wake whoever waits for a larger one."""
        self.size, self.note = size, note
        self.advanced.set()
        self.advanced = asyncio.Event()


class Sequencer:
    """Publishes one global log. `signers` answers the keys that sign it: two while one hands over (P6)."""

    def __init__(
        self,
        log: GlobalLog,
        published: Published,
        high_water: HighWater,
        signers: Callable[[], Sequence[Signer]],
        *,
        cosign: Cosign,
        clock_ms: Callable[[], int],
        limits: SequencerLimits,
    ) -> None:
        self._log, self.published, self._high_water = log, published, high_water
        self._signers, self._cosign, self._clock_ms = signers, cosign, clock_ms
        self.limits = limits
        self._one_at_a_time = asyncio.Lock()
        self._is_cosigned = False
        self.refusals: Mapping[str, str] = {}
        """What the witnesses that did not cosign last said, by name."""

    def __repr__(self) -> str:
        return f"Sequencer(published={self.published.size}, {self._high_water!r})"

    async def start(self) -> list[KeyChange]:
        """Check the whole log against what was signed, and show the last published checkpoint (P5.4).

        Answers the changes of key that the log holds. Raises `ForkRefused` when the tree, the last head
        written down, or the high-water mark disagree.
        """
        mark = await asyncio.to_thread(self._high_water.read)
        last = await self._log.last_head(published=False)
        sizes = {head.size for head in (mark, last) if head is not None}
        roots, changes = await self._recompute(sizes)
        if mark is None and last is not None:
            raise ForkRefused(
                f"{self._high_water!r} is missing, but heads of this log were signed: restore it "
                "from your backup"
            )
        for what, head in (("high-water mark", mark), ("last head in the database", last)):
            if head is not None and roots.get(head.size) != head.root:
                raise ForkRefused(_divergence(what, head.size, max(roots)))
        await self._log.log_unlogged()
        shown = await self._log.last_head(published=True)
        if shown is not None and shown.note is not None:
            self.published.show(shown.size, shown.note)
        return changes

    async def run_forever(self) -> None:
        """Publish whenever entries were added, until cancelled; a full disk is waited for.

        While a witness has not cosigned what is shown, it is asked again now and then: on a quiet server
        no other checkpoint would bring its cosignature.
        """
        while True:
            try:
                await self._log.log_organizations(self._clock_ms() - self.limits.organization_interval_ms)
                grew = await self._log.wait_for_entries(self.published.size, self.limits.idle_s)
                await self.publish()
                if not (grew or self._is_cosigned):
                    await self._ask_again()
            except StorageUnavailable:
                pass  # appends fail loudly meanwhile; what is committed is published once there is room
            except ForkRefused:
                _logger.exception("the global log is published no further")
                return
            await asyncio.sleep(self.limits.interval_s)

    async def publish(self, *, again: bool = False) -> None:
        """Sign and show the tree as it is committed now, unless it is shown already (or `again`)."""
        async with self._one_at_a_time:
            tree = await self._log.tree()
            if tree.size == 0 or (tree.size == self.published.size and not again):
                return
            head = LogHead(tree.size, tree.root())
            if (await self._log.put_head(head)).root != head.root:
                raise ForkRefused(_divergence("head written down", head.size, tree.size))
            await asyncio.to_thread(self._high_water.advance, head.size, head.root)
            signers = self._signers()
            note = sign_note(str(Checkpoint(signers[0].name, head.size, head.root)), *signers)
            cosigned = await self._cosigned(note)
            await self._show(head.size, note + cosigned.lines.encode(), by_all=cosigned.by_all)

    async def _ask_again(self) -> None:
        """Have what is shown cosigned again, and show that if it is more than before."""
        async with self._one_at_a_time:
            size, shown = self.published.size, self.published.note
            if not size:
                return
            text, lines = split_note(shown)
            own = [line for line in lines if line.name == self._signers()[0].name]
            note = text.encode() + b"\n" + "".join(f"{line}\n" for line in own).encode()
            cosigned = await self._cosigned(note)
            if cosigned.lines.count("\n") > len(lines) - len(own):
                await self._show(size, note + cosigned.lines.encode(), by_all=cosigned.by_all)
            self._is_cosigned = cosigned.by_all

    async def _cosigned(self, note: bytes) -> Cosigned:
        cosigned = await self._cosign(note, self.consistency)
        self.refusals = cosigned.refusals
        return cosigned

    async def _show(self, size: int, note: bytes, *, by_all: bool) -> None:
        await self._log.publish_head(size, note)
        self.published.show(size, note)
        self._is_cosigned = by_all

    async def inclusion(self, stream: str, size: int) -> TlogProof | None:
        """The proof that the log holds the stream's checkpoint at `size`, by the newest checkpoint (P8).

        Waits up to `covering_wait_s` for one that covers it; None when it is no entry, or not covered.
        """
        index = await self._log.index_of(stream, size)
        if index is None or not await self._covered(index):
            return None
        shown, note = self.published.size, self.published.note
        path = await prove(LogLeaves(self._log), lambda subtree: inclusion_proof(index, shown, subtree))
        return TlogProof(index, tuple(path), note)

    async def consistency(self, size1: int, size2: int) -> Sequence[bytes]:
        """The consistency path between two sizes of the log. Raises ValueError for sizes it cannot have."""
        return await prove(LogLeaves(self._log), lambda subtree: consistency_proof(size1, size2, subtree))

    async def _covered(self, index: int) -> bool:
        try:
            async with asyncio.timeout(self.limits.covering_wait_s):
                while self.published.size <= index:
                    await self.published.advanced.wait()
        except TimeoutError:
            return False
        return True

    async def _recompute(self, sizes: set[int]) -> tuple[dict[int, bytes], list[KeyChange]]:
        """The roots at these sizes and at the end, from the entries themselves; and the changes of key."""
        tree, roots, changes = CompactRange(), dict[int, bytes](), list[KeyChange]()
        while entries := await self._log.entries(tree.size, tree.size + READ_ENTRIES):
            for data in entries:
                tree.append(leaf_hash(data))
                if tree.size in sizes:
                    roots[tree.size] = tree.root()
                entry = _parsed(data, tree.size - 1)
                if isinstance(entry, KeyChange):
                    changes.append(entry)
        kept = await self._log.tree()
        if (kept.size, kept.root()) != (tree.size, tree.root()):
            raise ForkRefused(_divergence("tree in the database", kept.size, tree.size))
        return roots | {tree.size: tree.root()}, changes


def _parsed(data: bytes, index: int) -> Entry:
    try:
        return parse_entry(data)
    except FormatError as error:
        raise ForkRefused(
            f"entry {index} of the global log is damaged ({error}): restore the newest copy of log.sqlite"
        ) from error


def _divergence(what: str, size: int, found: int) -> str:
    return (
        f"the global log does not agree with its {what}: that has {size} entries, the database {found}, "
        "and the root is another. The database was changed, or restored from a copy older than what was "
        "signed. Restore the newest copy of log.sqlite; serving this one would fork the log"
    )
