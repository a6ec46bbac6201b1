"""Ways to alter a proof bundle, each of which a check must name."""

from __future__ import annotations

from collections.abc import Callable

from evidence.note import sign_note, split_note
from evidence.record import encode_base64
from tests.browser.altered import Change
from tests.evidence_samples import (
    Entries,
    edited_payload,
    members,
    rechain,
    repack,
    signer,
    tamper,
    tamper_entries,
)


def outputs(entries: Entries) -> list[int]:
    """Places of the output events."""
    return [at for at, entry in enumerate(entries) if entry[3] == b"stdout"]


def first_output(bundle: bytes) -> int:
    """The seq of the first output event of an honest bundle."""
    lines = members(bundle)["events.log"].split(b"\n")
    return next(at for at in range(len(lines) // 9) if lines[9 * at + 3] == b"stdout") + 1


def on_entries(change: Callable[[Entries], None]) -> Change:
    """A change of the bundle's events."""
    return lambda bundle: tamper_entries(bundle, change)


def on_member(name: str, change: Change) -> Change:
    """A change of one member of the bundle."""
    return lambda bundle: tamper(bundle, name, change)


def a_payload_byte(entries: Entries) -> None:
    """One letter of the first output."""
    entry = entries[outputs(entries)[0]]
    entry[8] = entry[8].replace(b"line", b"Line", 1)


def two_payloads(entries: Entries) -> None:
    """One letter in each of the first two outputs."""
    for at in outputs(entries)[:2]:
        entries[at][8] = entries[at][8].replace(b"line", b"lime", 1)


def a_salt(entries: Entries) -> None:
    """The salt of the first output is that of another event."""
    entry = entries[outputs(entries)[0]]
    salt, other = entry[8].split(b" ")[1], entries[0][8].split(b" ")[1]
    entry[8] = entry[8].replace(salt, other, 1)


def a_payload_with_its_commitment(entries: Entries) -> None:
    """The first output, with size and commitment that fit it."""
    at = outputs(entries)[0]
    edited_payload(entries[at], entries[at][8].split(b" ", 2)[2].replace(b"line", b"Line", 1))


def a_payload_and_the_whole_chain(entries: Entries) -> None:
    """The same, and every later record made to continue it."""
    a_payload_with_its_commitment(entries)
    rechain(entries, outputs(entries)[0] + 1)


def a_time(entries: Entries) -> None:
    """The time in the record of the first output, a moment later."""
    entry = entries[outputs(entries)[0]]
    entry[4] = entry[4][:-4] + (b"998Z" if entry[4].endswith(b"999Z") else b"999Z")


def a_dropped_event(entries: Entries) -> None:
    """The first output is gone."""
    del entries[outputs(entries)[0]]


def swapped_events(entries: Entries) -> None:
    """The first output changes places with the next event."""
    at = outputs(entries)[0]
    entries[at], entries[at + 1] = entries[at + 1], entries[at]


def a_doubled_event(entries: Entries) -> None:
    """The first output stands there twice."""
    at = outputs(entries)[0]
    entries.insert(at + 1, entries[at])


def a_cut_end(entries: Entries) -> None:
    """The last three events are gone."""
    del entries[-3:]


def a_record_line(entries: Entries) -> None:
    """A number with leading zeros."""
    entries[outputs(entries)[0]][5] = b"007"


def another_root(note: bytes) -> bytes:
    """A root of zeros under the old signature."""
    text, rest = note.split(b"\n\n", 1)
    lines = text.split(b"\n")
    return b"\n".join([*lines[:2], encode_base64(bytes(32)).encode()]) + b"\n\n" + rest


def another_size(note: bytes) -> bytes:
    """One event fewer under the old signature."""
    lines = note.split(b"\n")
    return b"\n".join([lines[0], b"%d" % (int(lines[1]) - 1), *lines[2:]])


def another_signature(note: bytes) -> bytes:
    """A few bits of the signature."""
    head, _, encoded = note.rstrip(b"\n").rpartition(b" ")
    return head + b" " + encoded[:20] + (b"A" if encoded[20:21] != b"A" else b"B") + encoded[21:] + b"\n"


def a_foreign_key(note: bytes) -> bytes:
    """The same text and the same name, signed by somebody else's key."""
    text, lines = split_note(note)
    return sign_note(text, signer(lines[0].name, "somebody else"))


def another_index(proof: bytes) -> bytes:
    """Another place in the global log."""
    return proof.replace(b"\nindex ", b"\nindex 1", 1)


def exit_code_in_evidence(evidence: bytes) -> bytes:
    """A success becomes a failure."""
    return evidence.replace(b'"exitCode":0', b'"exitCode":1')


def an_artifact(bundle: bytes) -> bytes:
    """Another content of the same size."""
    contents = members(bundle)
    name = next(name for name in contents if name.startswith("artifacts/"))
    return repack(contents | {name: b"kEpt\n"})


def an_attestation(bundle: bytes) -> bytes:
    """A few bits of the signature of the first attestation."""
    contents = members(bundle)
    name = next(name for name in contents if name.startswith("attestations/"))
    data = contents[name]
    at = data.index(b'"sig":"') + 12
    return repack(
        contents | {name: data[:at] + (b"A" if data[at : at + 1] != b"A" else b"B") + data[at + 1 :]}
    )
