"""What is done to a bundle: families of mutants, each mutant made from the seed and its own number alone."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

from evidence.bundle import ARTIFACTS
from evidence.container import ContainerWriter
from tests.evidence_samples import members

Item = TypeVar("Item")

SHARE = 10
"""Cuts, insertions and the like are each made once for so many single-byte mutations."""
_END_BYTES = 22
_LOCAL_BYTES = 30


@dataclass(frozen=True)
class Mutant:
    """A changed bundle; `name` finds it again under the same seed, `what` tells it to people."""

    name: str
    what: str
    bundle: bytes


class Mutants:
    """All mutants of one bundle. `mutations` counts those of each of the two families of changed bytes."""

    def __init__(self, bundle: bytes, seed: int, mutations: int) -> None:
        self._bundle, self._seed, self._mutations = bundle, seed, mutations
        self._members = members(bundle)
        self._filled = [name for name, data in self._members.items() if data]

    def __iter__(self) -> Iterator[Mutant]:
        """Each differs from the bundle, and none is the same as another of its family on purpose."""
        for number in range(self._mutations):
            yield self._byte_in_a_member(number)
        for number in range(self._mutations):
            yield self._byte_in_the_file(number)
        yield from self._bytes_of_headers()
        for number in range(self._mutations // SHARE):
            yield from self._cuts_and_insertions(number)
        yield from self._lines()
        for number in range(self._mutations // SHARE):
            yield from self._two_lines(number)
        yield from self._whole_members()

    def _random(self, family: str, number: int) -> random.Random:
        return random.Random(f"{self._seed} {family} {number}")

    def _byte_in_a_member(self, number: int) -> Mutant:
        """One byte of a member, each member as often as any other; the zip around it is sound."""
        chance = self._random("member", number)
        name = self._filled[number % len(self._filled)]
        data, what = _other_byte(self._members[name], chance)
        return Mutant(f"member:{number}", f"{name}: {what}", self._with(name, data))

    def _byte_in_the_file(self, number: int) -> Mutant:
        """One byte of the file as it lies there: contents, headers, directory, end record."""
        data, what = _other_byte(self._bundle, self._random("file", number))
        return Mutant(f"file:{number}", f"the file: {what}", data)

    def _bytes_of_headers(self) -> Iterator[Mutant]:
        """Each byte of the zip that is no content, once."""
        for at in _header_bytes(self._bundle, self._members):
            data, what = _other_byte(self._bundle, self._random("header", at), at)
            yield Mutant(f"header:{at}", f"the zip: {what}", data)

    def _cuts_and_insertions(self, number: int) -> Iterator[Mutant]:
        """A cut, a byte more, a byte less: in a member and in the file."""
        chance = self._random("length", number)
        name = self._filled[number % len(self._filled)]
        for place, whole in ((name, self._members[name]), ("the file", self._bundle)):
            at, byte = chance.randrange(len(whole)), bytes([chance.randrange(256)])
            for what, data in (
                (f"cut at {at}", whole[:at]),
                (f"{byte!r} put in at {at}", whole[:at] + byte + whole[at:]),
                (f"{byte!r} put at the end", whole + byte),
                (f"byte {at} left out", whole[:at] + whole[at + 1 :]),
            ):
                bundle = data if whole is self._bundle else self._with(name, data)
                yield Mutant(f"length:{number}", f"{place}: {what}", bundle)

    def _lines(self) -> Iterator[Mutant]:
        """Each line of each text dropped once, doubled once, and exchanged with the next."""
        for name in self._filled:
            lines = self._members[name].splitlines(keepends=True)
            for at, line in enumerate(lines):
                for what, changed in (
                    ("dropped", lines[:at] + lines[at + 1 :]),
                    ("doubled", [*lines[:at], line, *lines[at:]]),
                    ("exchanged with the next", _exchanged(lines, at, min(at + 1, len(lines) - 1))),
                ):
                    if changed != lines:
                        bundle = self._with(name, b"".join(changed))
                        yield Mutant(f"line:{name}:{at}:{what}", f"{name}: line {at + 1} {what}", bundle)

    def _two_lines(self, number: int) -> Iterator[Mutant]:
        """Two lines of one text exchanged, wherever they stand."""
        chance = self._random("lines", number)
        texts = [name for name in self._filled if self._members[name].count(b"\n") > 1]
        name = texts[number % len(texts)]
        lines = self._members[name].splitlines(keepends=True)
        first, second = chance.sample(range(len(lines)), 2)
        if lines[first] != lines[second]:
            bundle = self._with(name, b"".join(_exchanged(lines, first, second)))
            what = f"{name}: lines {first + 1} and {second + 1} exchanged"
            yield Mutant(f"lines:{number}", what, bundle)

    def _whole_members(self) -> Iterator[Mutant]:
        """Each member dropped, and doubled beside itself and at the end; each pair exchanged in both ways.

        The content of an artifact is not dropped: a bundle without it is one that the server gives, too.
        """
        items = list(self._members.items())
        for at, (name, data) in enumerate(items):
            if not name.startswith(ARTIFACTS):
                yield Mutant(f"drop:{name}", f"{name} dropped", pack(items[:at] + items[at + 1 :]))
            for where in (at, len(items)):
                twice = [*items[:where], (name, data), *items[where:]]
                yield Mutant(f"double:{name}:{where}", f"{name} doubled at place {where}", pack(twice))
        for first, second in itertools.combinations(range(len(items)), 2):
            (name1, data1), (name2, data2) = items[first], items[second]
            pair = f"{name1}:{name2}"
            contents = dict(items) | {name1: data2, name2: data1}
            yield Mutant(
                f"contents:{pair}", f"{name1} and {name2} under each other's name", _packed(contents)
            )
            order = pack(_exchanged(items, first, second))
            yield Mutant(f"order:{pair}", f"{name1} and {name2} in each other's place", order)

    def _with(self, name: str, data: bytes) -> bytes:
        return _packed(self._members | {name: data})


def pack(items: list[tuple[str, bytes]]) -> bytes:
    """A container of these members in this order, written by our own writer; names may repeat."""
    out = BytesIO()
    writer = ContainerWriter(out)
    twice: dict[bytes, bytes] = {}
    seen: set[str] = set()
    for name, data in items:
        if (
            name in seen
        ):  # the writer would refuse it: the name is put in afterwards, checksums do not cover it
            twice[b"?" * len(name)] = name.encode()
            name = "?" * len(name)  # noqa: PLW2901 # a stand-in that stands nowhere else
        seen.add(name)
        writer.add(name, data)
    writer.close()
    packed = out.getvalue()
    for stand_in, real in twice.items():
        packed = packed.replace(stand_in, real)
    return packed


def _packed(contents: Mapping[str, bytes]) -> bytes:
    return pack(list(contents.items()))


def _other_byte(data: bytes, chance: random.Random, at: int | None = None) -> tuple[bytes, str]:
    place = chance.randrange(len(data)) if at is None else at
    mask = chance.randrange(1, 256)
    changed = data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]
    return changed, f"byte {place} ^ {mask:#04x}"


def _exchanged(items: list[Item], first: int, second: int) -> list[Item]:
    changed = items.copy()
    changed[first], changed[second] = changed[second], changed[first]
    return changed


def _header_bytes(bundle: bytes, contents: Mapping[str, bytes]) -> Iterator[int]:
    """Where the local headers, the directory and the end record lie in a bundle of ours."""
    at = 0
    for name, data in contents.items():
        yield from range(at, at + _LOCAL_BYTES + len(name))
        at += _LOCAL_BYTES + len(name) + len(data)
    (start,) = struct.unpack_from("<L", bundle, len(bundle) - _END_BYTES + 16)
    assert at == start
    yield from range(start, len(bundle))
