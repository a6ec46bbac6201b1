"""Everything else that a verifier reads: samples of each format, and what must hold of what is accepted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from typing import Any

from evidence.bundle import ATTESTATIONS, EntryChain, split_entry
from evidence.canonical import canonical, decode, parse
from evidence.checkpoint import parse_checkpoint
from evidence.dsse import parse_envelope
from evidence.ending import judge_shown_evidence
from evidence.logentry import KeyChange, parse_entry
from evidence.merkle import node_hash
from evidence.note import Verifier, open_note, split_note
from evidence.policy import parse_policy
from evidence.proofs import consistency_proof, parse_consistency_proof, parse_range_proof, range_proof
from evidence.record import genesis, parse_record, record_bytes
from evidence.tiles import Tile, pack_entries, parse_tile_path, split_hashes, unpack_entries
from evidence.tlog import judge_inclusion, parse_tlog_proof
from evidence.witnessing import AddCheckpoint, parse_add_checkpoint, parse_extended, signature_lines
from tests.evidence_samples import (
    ATTESTATION_KEY,
    LOG_KEY,
    ORIGIN,
    RUN,
    checkpoint_of,
    members,
)
from tests.whole_proof import ANCHOR, POLICY, RECORDED, SIZE, WHOLE, WITNESSES

MEMBERS = members(WHOLE)
EVIDENCE = RECORDED.evidence or b""
START, END = 5, 11
CHANGES_MAX = 3
"""Changes that one input can have suffered."""
TOKENS = (
    b"\n", b"\n\n", b" ", b"0", b"-1", b"+", b"=", b"\x00", b"\xff", b"\r", b"99999999999999999999",
    "\u0663".encode(), "\u2014 ".encode(), b"{}", b"[]", b'"', b"null", b"1e9", b"\\ud800", b"[" * 70,
)  # fmt: skip
"""What formats are made of, and what they must not be made of."""


class Unsound(Exception):
    """A reader accepted what it must not accept, or read it as something else."""


@dataclass(frozen=True)
class Reader:
    """A format: sound samples, and a reader that raises `Unsound` for whatever it should have refused."""

    name: str
    samples: tuple[bytes, ...]
    read: Callable[[bytes], object]

    def inputs(self, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
        """Changed samples, each with the name that finds it again."""
        for number in range(count):
            chance = random.Random(f"{seed} {self.name} {number}")
            data = self.samples[number % len(self.samples)]
            for _ in range(chance.randint(1, CHANGES_MAX)):
                data = _changed(data, chance.choice(self.samples), chance)
            yield f"{self.name}:{number}", data


def _changed(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """One of eight changes, each as likely."""
    at = chance.randrange(len(data) + 1)
    to = min(len(data), at + chance.choice((1, 1, 4, 45, 200)))
    lines = data.splitlines(keepends=True) or [b""]
    line = chance.randrange(len(lines))
    byte = bytes([(data + b"\0")[at] ^ chance.randrange(1, 256)])
    changes = (
        data[:at] + byte + data[at + 1 :],
        data[:at] + chance.choice(TOKENS) + data[at:],
        data[:at] + data[to:],
        data[:to] + data[at:],
        data[:at] + other[at:to] + data[to:],
        data[:at],
        b"".join((*lines[:line], chance.choice(lines), *lines[line:])),
        b"".join(lines[:line] + lines[line + 1 :]),
    )
    return chance.choice(changes)


def _spelled(read: Callable[[bytes], Any], spell: Callable[[Any], bytes]) -> Callable[[bytes], None]:
    """A reader of a format that has one spelling: what is read prints as what was read (P9.3)."""

    def check(data: bytes) -> None:
        printed = spell(read(data))
        if printed != data:
            raise Unsound(f"accepted, but its spelling is {printed!r}")

    return check


def _by_str(value: object) -> bytes:
    return str(value).encode("latin-1")


def _by_bytes(value: Any) -> bytes:
    data: bytes = value.to_bytes()
    return data


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("latin-1"))


def _note(data: bytes) -> None:
    text, lines = split_note(data)
    if f"{text}\n{signature_lines(lines)}".encode() != data:
        raise Unsound("a note in a second spelling")


def _signed_note(data: bytes) -> None:
    """Whatever text is accepted was signed."""
    opened = open_note(data, parse_policy(POLICY).logs)
    if opened.text not in {split_note(MEMBERS["run.checkpoint"])[0], split_note(ANCHOR)[0]}:
        raise Unsound(f"nobody signed {opened.text!a}")


def _policy(data: bytes) -> None:
    policy = parse_policy(data)
    if parse_policy(policy.to_bytes()) != policy:
        raise Unsound("printed and read again it is another policy")


def _payload(data: bytes) -> None:
    parse(data)
    if canonical(decode(data)) != data:
        raise Unsound("a payload in a second spelling")


def _leaves() -> list[bytes]:
    chain, leaves = EntryChain(RUN, genesis(RUN, b"")), list[bytes]()
    for item in RECORDED.rows:
        chain.add(item)
        leaves.append(chain.prev)
    return leaves


LEAVES = _leaves()
SIGNED, OLDER = (parse_checkpoint(checkpoint_of(RECORDED.rows[:size])) for size in (SIZE, START))


def _subtree(level: int, index: int) -> bytes:
    if level == 0:
        return LEAVES[index]
    return node_hash(_subtree(level - 1, 2 * index), _subtree(level - 1, 2 * index + 1))


NOTE = MEMBERS["run.checkpoint"]
RANGE = range_proof(START, END, SIZE, _subtree, NOTE)
CONSISTENCY = consistency_proof(START, SIZE, _subtree, NOTE)


def _range(data: bytes) -> None:
    proof = parse_range_proof(data)
    proof.check(LEAVES[START:END], SIGNED)
    if (proof.start, proof.end, proof.left, proof.right) != (START, END, RANGE.left, RANGE.right):
        raise Unsound("another proof of the same window")


def _consistency(data: bytes) -> None:
    proof = parse_consistency_proof(data)
    proof.check(OLDER, SIGNED)
    if proof.path != CONSISTENCY.path:
        raise Unsound("another proof of the same sizes")


def _inclusion(data: bytes) -> None:
    run = parse_checkpoint(split_note(NOTE)[0])
    judge_inclusion(data, parse_policy(POLICY), run, ORIGIN)
    if data != MEMBERS["run.tlog-proof"]:
        raise Unsound("another proof of inclusion")


def _signed_envelope(data: bytes) -> None:
    key = Verifier.parse(ATTESTATION_KEY.verifier_key)
    if parse_envelope(data).signer_among([key]) and data not in ENVELOPES:
        raise Unsound("nobody signed it")


def _entries_of_a_tile(data: bytes) -> None:
    for width in (1, 2, 3):
        try:
            entries = unpack_entries(data, width)
        except ValueError:
            continue
        if pack_entries(entries) != data:
            raise Unsound("entries in a second spelling")
    unpack_entries(data, 3)


def _shown(data: bytes) -> None:
    judge_shown_evidence(data, EVIDENCE)
    if decode(canonical(parse(data))) | {"proof": 0} != decode(EVIDENCE) | {"proof": 0}:
        raise Unsound("another evidence.json")


def _extended(data: bytes) -> None:
    parse_extended(data.decode("latin-1"))


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    return split_entry(data)


ENVELOPES = tuple(MEMBERS[name] for name in ATTESTATIONS)
RUN_TEXT = checkpoint_of(RECORDED.rows).encode()
LOG_TEXT = split_note(ANCHOR)[0].encode()
ENTRIES = (RUN_TEXT, str(KeyChange(ORIGIN, Verifier.parse(LOG_KEY.verifier_key), 7)).encode())
EVENT = MEMBERS["events.log"].split(b"crownest/event/v1\n")
LINES = tuple(b"crownest/event/v1\n" + entry for entry in EVENT[1:])
RECORDS = tuple(b"".join(split_entry(entry)[0]) for entry in LINES)
PATHS = tuple(
    tile.path().encode()
    for tile in (Tile(None, 0), Tile(0, 1234067, 70), Tile(2, 999), Tile(None, 1000, 1), Tile(63, 0, 255))
)
ADD = AddCheckpoint(START, CONSISTENCY.path, ANCHOR).to_bytes()
TILE = b"".join(LEAVES[:4])
KEYS = tuple(key.verifier_key.encode() for key in (LOG_KEY, ATTESTATION_KEY, *WITNESSES))

READERS = (
    Reader("policy", (POLICY,), _policy),
    Reader("verifier key", KEYS, _spelled(_text(Verifier.parse), _by_str)),
    Reader("note", (NOTE, ANCHOR), _note),
    Reader("signed note", (NOTE, ANCHOR), _signed_note),
    Reader("checkpoint", (RUN_TEXT, LOG_TEXT), _spelled(_text(parse_checkpoint), _by_str)),
    Reader("extended checkpoint", (RUN_TEXT, LOG_TEXT + b"an extension\n"), _extended),
    Reader("log entry", ENTRIES, _spelled(parse_entry, lambda value: str(value).encode())),
    Reader("tlog-proof", (MEMBERS["run.tlog-proof"],), _spelled(parse_tlog_proof, _by_bytes)),
    Reader("inclusion", (MEMBERS["run.tlog-proof"],), _inclusion),
    Reader("range proof", (RANGE.to_bytes(),), _spelled(parse_range_proof, _by_bytes)),
    Reader("window", (RANGE.to_bytes(),), _range),
    Reader("consistency proof", (CONSISTENCY.to_bytes(),), _spelled(parse_consistency_proof, _by_bytes)),
    Reader("consistency", (CONSISTENCY.to_bytes(),), _consistency),
    Reader("add-checkpoint", (ADD,), _spelled(parse_add_checkpoint, _by_bytes)),
    Reader("envelope", ENVELOPES, _spelled(parse_envelope, _by_bytes)),
    Reader("signed envelope", ENVELOPES, _signed_envelope),
    Reader("tile path", PATHS, _spelled(_text(parse_tile_path), lambda tile: tile.path().encode())),
    Reader("entry bundle", (pack_entries((*ENTRIES, b"")),), _entries_of_a_tile),
    Reader("tile", (TILE,), _spelled(lambda data: split_hashes(data, 4), b"".join)),
    Reader("payload", tuple(item.payload or b"" for item in RECORDED.rows), _payload),
    Reader("record", RECORDS, _spelled(parse_record, lambda value: record_bytes(*astuple(value)))),
    Reader("entry", LINES, _spelled(_split, lambda entry: b"".join((*entry[0], entry[1])))),
    Reader("shown evidence", (EVIDENCE,), _shown),
)
