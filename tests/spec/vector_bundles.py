"""Whole bundles with the verdict that each deserves: honest ones, and one tampered with for every code."""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from evidence.attestation import SealedRun, attest, statements
from evidence.bundle import RUN_EVIDENCE, TEST_RESULT
from evidence.canonical import decode, encode
from evidence.checkpoint import format_checkpoint
from evidence.dsse import sign_envelope
from evidence.record import encode_base64, leaf_hash
from evidence.tlog import TlogProof
from evidence.verdict import COMPLETE, FAILED, OPEN_PREFIX, REDACTED, WITHHELD
from tests.evidence_samples import ORG, ORIGIN, RUN, StoredRow, event_of, flipped, row
from tests.spec.vector_world import (
    ANCHORED,
    ARTIFACT,
    ATTESTATION,
    CANCELED,
    HANDOVER_SIZE,
    HEAD_SIZE,
    KEYS,
    LOG,
    LOG_SIZE,
    NEW_LOG,
    REDACTED_SIZE,
    SEEN_S,
    SMALL,
    W1,
    W2,
    W3,
    YOUNG,
    Members,
    Run,
    alone,
    anchored_run,
    canceled_run,
    example_run,
    in_order,
    log_note,
    logged,
    members_of,
    organization,
    pack,
    recorded,
    redacted_run,
    redacting,
    signed,
    small_events,
    small_run,
    young_run,
)

SEEN = ((W1, SEEN_S), (W2, SEEN_S + 10))
OTHER_ROOT = bytes(range(32))
BEGIN_S = SEEN_S - 120
"""Unix second of the first event."""

Entries = list[list[bytes]]


@dataclass(frozen=True, slots=True)
class Case:
    """A bundle, how it is judged, and what is found."""

    name: str
    what: str
    bundle: bytes
    verdict: str
    code: str | None = None
    seq: int | None = None
    policy: str = "trust.policy"
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    exit_code: int | None = None
    times: tuple[str | None, str | None] = (None, None)
    of: str | None = None
    """The case whose bundle this is, if it was there before."""


def cases() -> list[Case]:
    """All of them, in the order of the index."""
    return [
        *_honest(),
        *_containers(),
        *_notes(),
        *_records(),
        *_payloads(),
        *_ends(),
        *_logs(),
        *_attested(),
    ]


def _options(run: str, **more: Any) -> dict[str, Any]:
    return {"run": run, **more}


def _accepted(name: str, what: str, members: Members, verdict: str, run: str, **more: Any) -> Case:
    options = _options(run, **more.pop("options", {}))
    return Case(name, what, pack(members), verdict, exit_code=0, options=options, **more)


def _bad(
    code: str, name: str, what: str, members: Members | bytes, seq: int | None = None, /, **more: Any
) -> Case:
    bundle = members if isinstance(members, bytes) else pack(members)
    options = _options(more.pop("run", SMALL), **more.pop("options", {}))
    name = f"{code.lower().replace('_', '-')}-{name}"
    return Case(name, what, bundle, FAILED, code, seq, options=options, **({"exit_code": 1} | more))


# ---- tools of who tampers -------------------------------------------------------------------------


def base() -> Members:
    """The honest bundle that most others were made from."""
    return members_of(small_run(), prove=logged())


def edited(change: Callable[[Entries], object], members: Members | None = None) -> Members:
    """The honest bundle with its events changed in place: nine lines without LF for each."""
    members = members or base()
    lines = members["events.log"].split(b"\n")[:-1]
    entries = [lines[at : at + 9] for at in range(0, len(lines), 9)]
    change(entries)
    log = b"".join(line + b"\n" for entry in entries for line in entry)
    assert log != members["events.log"]
    return members | {"events.log": log}


def line(seq: int, number: int, change: Callable[[bytes], bytes]) -> Members:
    """The honest bundle with one line (from 1) of one event changed."""
    return edited(lambda e: e[seq - 1].__setitem__(number - 1, change(e[seq - 1][number - 1])))


def replaced(name: str, old: bytes, new: bytes, members: Members | None = None) -> Members:
    """The honest bundle with some bytes of one member exchanged."""
    members = members or base()
    assert old in members[name]
    return members | {name: members[name].replace(old, new)}


def without(name: str, members: Members | None = None) -> Members:
    """The honest bundle, one member less."""
    return {key: data for key, data in (members or base()).items() if key != name}


def rechain(entries: Entries, start: int) -> None:
    """Make the `prev` of all records from event `start` on anew."""
    for at in range(start - 1, len(entries)):
        record = b"".join(each + b"\n" for each in entries[at - 1][:8])
        entries[at][7] = encode_base64(leaf_hash(record)).encode()


def other_output(entry: list[bytes]) -> None:
    """Exchange the payload together with its commitment."""
    _, salt, payload = entry[8].split(b" ", 2)
    payload = payload.replace(b"ok 1", b"ok 2")
    entry[6] = encode_base64(sha256(b"\x02" + b64decode(salt) + payload).digest()).encode()
    entry[8] = b"+ " + salt + b" " + payload


def lying(rows: Sequence[StoredRow], run: Run | None = None, **more: Any) -> Members:
    """What a server gives that signed these rows and has them in its log: only contents are wrong."""
    run = run or small_run()
    return members_of(run, rows=rows, prove=alone(), **more)


def changed(seq: int, **fields: Any) -> list[StoredRow]:
    """The small run's rows with fields of one payload exchanged (None removes one)."""
    rows = list(small_run().rows)
    event = event_of(rows[seq - 1]) | fields
    rows[seq - 1] = row(encode({key: value for key, value in event.items() if value is not None}), seq)
    return rows


def respelled(seq: int, old: bytes, new: bytes) -> list[StoredRow]:
    """The small run's rows with bytes of one payload exchanged before it was recorded."""
    rows = list(small_run().rows)
    payload = (rows[seq - 1].payload or b"").replace(old, new)
    assert payload != rows[seq - 1].payload
    rows[seq - 1] = replace(rows[seq - 1], payload=payload, payload_size=len(payload))
    return rows


def more_rows(*events: dict[str, Any], of: Sequence[StoredRow]) -> list[StoredRow]:
    """Rows, and events behind them."""
    last = event_of(of[-1])["createdAt"]
    return [
        *of,
        *(
            row(encode(event | {"seq": len(of) + number, "createdAt": last}))
            for number, event in enumerate(events, 1)
        ),
    ]


# ---- the cases ------------------------------------------------------------------------------------


def _honest() -> Iterator[Case]:
    small = base()
    yield _accepted(
        "complete", "The written-out run, logged.", members_of(example_run(), prove=logged()), COMPLETE, RUN
    )
    yield _accepted(
        "complete-witnessed",
        "The small run; two of three witnesses cosigned the log.",
        members_of(small_run(), prove=logged(seen=SEEN)),
        COMPLETE,
        SMALL,
        policy="witnessed.policy",
        times=(None, "2026-11-22T14:05:10.000Z"),
    )
    anchored = members_of(anchored_run(), prove=logged(seen=SEEN), artifacts={"art_x1": ARTIFACT})
    yield _accepted(
        "complete-anchored",
        "An anchor that was cosigned, and the content of an artifact.",
        anchored,
        COMPLETE,
        ANCHORED,
        policy="witnessed.policy",
        times=("2026-11-22T13:59:55.000Z", "2026-11-22T14:05:10.000Z"),
    )
    canceled = members_of(canceled_run(), prove=logged())
    yield _accepted(
        "complete-canceled",
        "Canceled before it began: run-evidence is its one attestation.",
        canceled,
        COMPLETE,
        CANCELED,
    )
    yield _accepted(
        "complete-small", "The small run, from which most others are made.", small, COMPLETE, SMALL
    )
    pin = {"pin": small_run().text(5)}
    yield _accepted(
        "complete-pinned",
        "It continues the checkpoint that the auditor kept.",
        small,
        COMPLETE,
        SMALL,
        options=pin,
        of="complete-small",
    )
    shown = {"evidenceFile": "evidence-shown.json"}
    yield _accepted(
        "complete-shown",
        "An evidence file in another spelling, with `proof`, says the same.",
        small,
        COMPLETE,
        SMALL,
        options=shown,
        of="complete-small",
    )
    yield from _open(small)
    yield _accepted(
        "redacted",
        "The fourth event was erased after the seal.",
        members_of(redacted_run(), prove=logged(REDACTED_SIZE)),
        REDACTED,
        SMALL,
        seq=4,
    )
    withheld = members_of(small_run(), prove=logged(), without=("stdout",))
    yield _accepted(
        "withheld",
        "The sender kept stdout back and said so.",
        withheld,
        WITHHELD,
        SMALL,
        seq=4,
        options={"allowWithheld": True},
    )
    yield replace(
        _bad("E_REDACTION_UNRECORDED", "withheld", "The same, but the auditor was not told.", withheld, 4),
        of="withheld",
    )
    yield _accepted(
        "rotated-old-key",
        "Signed before the key was changed, judged by the policy of afterwards.",
        members_of(small_run(), prove=logged()),
        COMPLETE,
        SMALL,
        policy="rotated.policy",
        of="complete-small",
    )
    yield _accepted(
        "rotated-handover",
        "The log's checkpoint is signed by both keys.",
        members_of(small_run(), prove=logged(HANDOVER_SIZE, LOG, NEW_LOG)),
        COMPLETE,
        SMALL,
        policy="rotated.policy",
    )
    yield _accepted(
        "rotated-new-key",
        "Both checkpoints are signed by the new key.",
        members_of(small_run(), signers=[NEW_LOG], prove=logged(LOG_SIZE, NEW_LOG)),
        COMPLETE,
        SMALL,
        policy="rotated.policy",
    )
    unlogged = members_of(small_run())
    yield _accepted(
        "unlogged",
        "No run.tlog-proof, which is allowed.",
        unlogged,
        COMPLETE,
        SMALL,
        options={"allowUnlogged": True},
    )
    yield replace(_bad("E_INCLUSION", "unlogged", "The same, not allowed.", unlogged), of="unlogged")
    unattested = without(RUN_EVIDENCE)
    yield _accepted(
        "unattested",
        "No attestation, which is allowed.",
        unattested,
        COMPLETE,
        SMALL,
        options={"allowUnattested": True},
    )
    yield replace(_bad("E_FORMAT", "unattested", "The same, not allowed.", unattested), of="unattested")


def _open(small: Members) -> Iterator[Case]:
    young = members_of(young_run(), prove=logged())
    what = "A run that was only created; its first checkpoint is in the log."
    yield _accepted("open-prefix", what, young, OPEN_PREFIX, YOUNG, options={"allowOpen": True})
    case = _accepted(
        "open-prefix-not-allowed", "The same, not allowed.", young, OPEN_PREFIX, YOUNG, of="open-prefix"
    )
    yield replace(case, exit_code=1)
    prefix = members_of(Run(SMALL, small_run().rows[:6]))
    yield _accepted(
        "open-prefix-unlogged",
        "A run that goes on; its size is no entry of the log.",
        prefix,
        OPEN_PREFIX,
        SMALL,
        options={"allowOpen": True, "allowUnlogged": True},
    )
    yield replace(
        _bad(
            "E_ROLLBACK",
            "shorter",
            "The pin is larger.",
            prefix,
            options={"allowOpen": True, "allowUnlogged": True, "pin": small_run().text()},
        ),
        of="open-prefix-unlogged",
    )
    fork = format_checkpoint(ORIGIN, SMALL, 5, OTHER_ROOT)
    yield replace(
        _bad(
            "E_FORK",
            "pinned",
            "Another root was pinned for its first 5 events.",
            small,
            options={"pin": fork},
        ),
        of="complete-small",
    )
    yield _accepted(
        "organization",
        "The stream of an organisation never ends.",
        members_of(organization()),
        OPEN_PREFIX,
        ORG,
        options={"allowOpen": True, "allowUnlogged": True},
    )


def _containers() -> Iterator[Case]:
    small = base()
    unreadable: dict[str, Any] = {"exit_code": 2}
    whole = pack(small)
    yield _bad("E_FORMAT", "cut", "The file ends early.", whole[:-30], **unreadable)
    dated = whole.replace(b"\x21\0", b"\x22\0", 1)
    yield _bad("E_FORMAT", "date", "A member's local header has another date.", dated, **unreadable)
    order = {"events.log": small["events.log"]} | small
    yield _bad("E_FORMAT", "order", "events.log stands first.", order, **unreadable)
    yield _bad("E_FORMAT", "trailing", "A byte stands behind the end record.", whole + b"\0", **unreadable)
    yield _bad("E_FORMAT", "leading", "A byte stands before the first member.", b"\0" + whole, **unreadable)
    yield _bad(
        "E_FORMAT",
        "unknown-member",
        "A member that no bundle has.",
        small | {"readme.txt": b""},
        **unreadable,
    )
    twice = pack(small | {"anchor.nota": b""}).replace(b"anchor.nota", b"anchor.note")
    yield _bad("E_FORMAT", "member-twice", "Two members of one name.", twice, **unreadable)
    yield _bad(
        "E_FORMAT",
        "no-anchor",
        "A member is missing that every bundle has.",
        without("anchor.note"),
        **unreadable,
    )
    crc = struct.pack("<L", zlib.crc32(small["events.log"]))
    assert whole.count(crc) == 2
    yield _bad(
        "E_FORMAT",
        "checksum",
        "All is well but the CRC-32 of events.log.",
        whole.replace(crc, bytes(4)),
        **unreadable,
    )
    yield replace(
        _bad("E_FORMAT", "policy", "The policy has no log key.", small, policy="broken.policy", **unreadable),
        of="complete-small",
    )
    yield _bad("E_FORMAT", "no-evidence", "A sealed run without evidence.json.", without("evidence.json"))


def _notes() -> Iterator[Case]:
    run, text = small_run(), small_run().text()
    yield _bad(
        "E_SIG_INVALID", "size", "The size was edited.", replaced("run.checkpoint", b"\n11\n", b"\n10\n")
    )
    yield _bad(
        "E_SIG_UNKNOWN_KEY",
        "stranger",
        "Another key of the same name.",
        members_of(run, signers=[KEYS["thief"]], prove=logged()),
    )
    both = members_of(run, signers=[LOG, KEYS["thief"]], prove=logged())
    yield _bad("E_SIG_UNKNOWN_KEY", "second", "A second signature by an unknown key.", both)
    retired = members_of(run, prove=logged(LOG_SIZE, NEW_LOG))
    yield _bad(
        "E_KEY_RETIRED",
        "later",
        "The old key signs where the log is larger than it counted.",
        retired,
        policy="rotated.policy",
    )
    other = members_of(run, text=text.replace(ORIGIN, "example.org/elsewhere"), prove=alone())
    yield _bad("E_ORIGIN_MISMATCH", "server", "Our key signs for another origin.", other)
    yield _bad(
        "E_ORIGIN_MISMATCH",
        "log",
        "A checkpoint of the log itself.",
        base() | {"run.checkpoint": log_note(HEAD_SIZE)},
    )
    yield replace(
        _bad("E_ORIGIN_MISMATCH", "run", "A valid proof of another run than expected.", base(), run=RUN),
        of="complete-small",
    )
    options = {"pin": canceled_run().text(1)}
    yield replace(
        _bad("E_ORIGIN_MISMATCH", "pin", "The pin is of another run.", base(), options=options),
        of="complete-small",
    )
    yield _bad(
        "E_FORMAT", "note", "No empty line before the signatures.", replaced("run.checkpoint", b"\n\n", b"\n")
    )


def _records() -> Iterator[Case]:
    yield _bad(
        "E_FORMAT", "leading-zero", "The seq of event 4 is written 04.", line(4, 3, lambda old: b"0" + old), 4
    )
    stray = line(4, 7, lambda old: old[:-2] + bytes([old[-2] + 1]) + b"=")
    yield _bad(
        "E_FORMAT", "stray-bits", "Base64 of the commitment with bits that count for nothing.", stray, 4
    )
    yield _bad(
        "E_FORMAT",
        "ninth-line",
        "Two spaces before the salt.",
        line(4, 9, lambda old: old.replace(b" ", b"  ", 1)),
        4,
    )
    foreign = members_of(canceled_run())["events.log"].split(b"\n")[27:36]
    yield _bad(
        "E_RUN_MISMATCH",
        "spliced",
        "Event 4 is one of another run.",
        edited(lambda e: e.__setitem__(3, foreign)),
        4,
    )
    yield _bad("E_SEQ_GAP", "deleted", "Event 4 was deleted.", edited(lambda e: e.pop(3)), 4)
    yield _bad(
        "E_SEQ_ORDER", "swapped", "Events 4 and 5 were swapped.", edited(lambda e: e.insert(3, e.pop(4))), 4
    )
    yield _bad(
        "E_SEQ_ORDER", "back", "Event 2 stands again before event 7.", edited(lambda e: e.insert(6, e[1])), 7
    )
    yield _bad("E_SEQ_DUP", "twice", "Event 4 stands here twice.", edited(lambda e: e.insert(4, e[3])), 4)
    emptied = members_of(anchored_run(), prove=logged()) | {"anchor.note": b""}
    yield _bad("E_GENESIS", "anchor", "The anchor was taken away.", emptied, 1, run=ANCHORED)
    yield _bad(
        "E_CHAIN_BROKEN",
        "edited",
        "Event 4 was edited with its commitment.",
        edited(lambda e: other_output(e[3])),
        5,
    )

    def all_over(entries: Entries) -> None:
        other_output(entries[3])
        rechain(entries, 5)

    yield _bad(
        "E_ROOT_MISMATCH", "rechained", "The same, and all that follows chained again.", edited(all_over)
    )
    earlier = changed(7, createdAt="2026-11-22T14:03:00.000Z")
    yield _bad(
        "E_TIME_ORDER", "earlier", "The server recorded event 7 at the time of event 1.", lying(earlier), 7
    )
    yield _bad(
        "E_TRUNCATED",
        "tail",
        "The last two events were dropped.",
        edited(lambda e: e.__delitem__(slice(9, None))),
        10,
    )
    yield _bad("E_TRUNCATED", "all", "No event is left.", base() | {"events.log": b""}, 1)

    def append(entries: Entries) -> None:
        entries.append([*entries[3]])
        entries[-1][2], entries[-1][4] = b"12", entries[10][4]
        rechain(entries, 12)

    yield _bad("E_EXTRA_EVENTS", "appended", "A chained event behind the signed ones.", edited(append), 12)


def _payloads() -> Iterator[Case]:
    yield _bad(
        "E_PAYLOAD_MISMATCH",
        "byte",
        "One bit of a payload was flipped.",
        line(4, 9, lambda old: flipped(old, -5)),
        4,
    )
    salt = encode_base64(bytes(16)).encode()
    yield _bad(
        "E_PAYLOAD_MISMATCH",
        "salt",
        "The salt was exchanged.",
        line(4, 9, lambda old: b"+ " + salt + old[26:]),
        4,
    )
    yield _bad(
        "E_NONCANONICAL",
        "space",
        "The server recorded a payload with a space.",
        lying(respelled(4, b":", b": ")),
        4,
    )
    twice = respelled(4, b'"data":', b'"data":"x","data":')
    yield _bad("E_NONCANONICAL", "key-twice", "A payload that has a key twice.", lying(twice), 4)
    yield _bad(
        "E_NONCANONICAL", "float", "A number with a fraction.", lying(respelled(7, b":60,", b":6.5,")), 7
    )
    yield _bad("E_FORMAT", "payload", "A payload that is no JSON.", lying(respelled(4, b"}", b"")), 4)
    yield _bad(
        "E_FORMAT", "field", "An event lacks a field of its type.", lying(changed(7, durationMs=None)), 7
    )
    disagree = respelled(4, b'"stdout"', b'"stderr"')
    yield _bad(
        "E_HEADER_PAYLOAD_DISAGREE", "type", "The record says stdout, the payload stderr.", lying(disagree), 4
    )
    yield _bad(
        "E_HEADER_PAYLOAD_DISAGREE", "run", "Event 1 names another run.", lying(changed(1, runId=RUN)), 1
    )
    yield _bad(
        "E_HEADER_PAYLOAD_DISAGREE",
        "last",
        "The seal's lastPublicSeq is not its seq - 1.",
        lying(changed(11, lastPublicSeq=9)),
        11,
    )
    again = [*small_events()[:3], *small_events()[:1], *small_events()[3:]]
    run = recorded(SMALL, again)
    yield _bad("E_RUN_MISMATCH", "again", "A second event begins a run.", lying(run.rows, run), 4)
    rows = small_run().rows
    yield _bad(
        "E_REDACTION_FORBIDDEN",
        "exit-code",
        "The event with the exit code was redacted.",
        lying(redacting(rows, [7])),
        7,
    )
    yield _bad(
        "E_REDACTION_MISMATCH",
        "present",
        "The target's payload is there.",
        lying(redacting(rows, [4], drop=[])),
        4,
    )
    named = [{"commitment": "00" * 32, "seq": 4}]
    yield _bad(
        "E_REDACTION_MISMATCH",
        "commitment",
        "Another commitment is named.",
        lying(redacting(rows, [4], targets=named)),
        4,
    )
    yield _bad(
        "E_FORMAT", "targets", "A redaction without targets.", lying(redacting(rows, [4], targets=[])), 12
    )
    yield _bad("E_REDACTION_UNRECORDED", "dropped", "A payload was dropped.", line(4, 9, lambda _: b"-"), 4)
    yield _bad(
        "E_REDACTION_UNRECORDED",
        "irreplaceable",
        "A payload that can never be withheld was dropped.",
        line(7, 9, lambda _: b"-"),
        7,
        options={"allowWithheld": True},
    )


def _ends() -> Iterator[Case]:
    run = small_run()
    late = more_rows({"type": "stdout", "data": "late\n"}, of=run.rows)
    yield _bad("E_EVENT_AFTER_SEAL", "output", "The server appended output after the seal.", lying(late), 12)
    yield _bad(
        "E_NOT_FINAL", "prefix", "The server signed 6 events and gives evidence.", lying(run.rows[:6]), 6
    )
    early = more_rows({**event_of(run.rows[10]), "lastPublicSeq": 9}, of=run.rows[:9])
    yield _bad("E_NOT_FINAL", "no-terminal", "The seal follows the outcome directly.", lying(early), 10)
    edit = replaced("evidence.json", b'"exitCode":0', b'"exitCode":1')
    yield _bad("E_EVIDENCE_DRIFT", "exit-code", "The exit code in evidence.json was edited.", edit, 11)
    forged = edit["evidence.json"]
    rows = changed(11, evidenceSha256=sha256(forged).hexdigest())
    yield _bad(
        "E_EVIDENCE_DRIFT",
        "sealed",
        "The server sealed evidence that its events do not give.",
        lying(rows, replace(run, evidence=forged)),
        11,
    )
    yield _bad(
        "E_EVIDENCE_DRIFT",
        "digest",
        "The seal names another digest.",
        lying(changed(11, evidenceSha256="00" * 32)),
        11,
    )
    shown = event_of(run.rows[9])["workspaceRun"] | {"exitCode": 1}
    yield _bad(
        "E_EVIDENCE_DRIFT",
        "terminal",
        "The final state shows another exit code.",
        lying(changed(10, workspaceRun=shown)),
        10,
    )
    options = {"evidenceFile": "evidence-forged.json"}
    yield replace(
        _bad("E_EVIDENCE_DRIFT", "shown", "The evidence file beside it was edited.", base(), options=options),
        of="complete-small",
    )
    yield _bad(
        "E_FORMAT",
        "projection",
        "A fold that this version does not know.",
        lying(changed(11, projection="evidence/v2")),
        11,
    )
    yield _bad(
        "E_STREAM_DIGEST",
        "joined",
        "The seal names another digest of stdout.",
        lying(changed(11, stdoutSha256="00" * 32)),
        11,
    )
    masked = recorded(SMALL, small_events(e5={"data": "fine\n"}))
    yield _bad(
        "E_STREAM_DIGEST",
        "shown",
        "The text that is shown is not that of the bytes.",
        lying(masked.rows, masked),
        5,
    )
    swapped = members_of(anchored_run(), prove=logged(), artifacts={"art_x1": b"<y/>\n"})
    yield _bad("E_ARTIFACT_DIGEST", "swapped", "The artifact was exchanged.", swapped, run=ANCHORED)
    unknown = members_of(anchored_run(), prove=logged(), artifacts={"art_x2": ARTIFACT})
    yield _bad("E_ARTIFACT_DIGEST", "unknown", "An artifact that no event tells of.", unknown, run=ANCHORED)


def _logs() -> Iterator[Case]:
    run = small_run()

    def wrong(name: str, what: str, change: Callable[[TlogProof], TlogProof], **more: Any) -> Case:
        proof = change(logged()(run.text()))
        return _bad("E_INCLUSION", name, what, members_of(run, prove=lambda _: proof), **more)

    yield wrong(
        "path", "Two hashes of the path were swapped.", lambda p: replace(p, path=p.path[1::-1] + p.path[2:])
    )
    yield wrong("index", "The index is one too large.", lambda p: replace(p, index=p.index + 1))
    yield wrong(
        "head",
        "The size of the log was edited.",
        lambda p: replace(p, note=p.note.replace(b"\n260\n", b"\n261\n")),
    )
    yield wrong(
        "stranger",
        "The log's checkpoint is by another key.",
        lambda p: replace(p, note=log_note(260, KEYS["thief"])),
    )
    other = members_of(run, prove=alone(KEYS["other log"], origin="example.org/other-log"))
    yield _bad(
        "E_INCLUSION",
        "log",
        "Another log that the policy names, too, holds it.",
        other,
        policy="two-logs.policy",
    )
    cosigned = members_of(run, prove=logged(seen=SEEN))
    yield replace(
        _bad(
            "E_INCLUSION", "unknown-witness", "Cosignatures of keys that the policy does not name.", cosigned
        ),
        of="complete-witnessed",
    )
    witnessed: dict[str, Any] = {"policy": "witnessed.policy"}
    proof = logged(seen=SEEN)(run.text())
    note = proof.note.split(b"\n")
    assert note[5] < note[6]
    turned = replace(proof, note=b"\n".join((*note[:5], note[6], note[5], *note[7:])))
    yield _bad(
        "E_INCLUSION",
        "lines",
        "Two cosignatures in each other's place.",
        members_of(run, prove=lambda _: turned),
        **witnessed,
    )
    name, encoded = note[5].rsplit(b" ", 1)
    raw = b64decode(encoded)
    moved = raw[:4] + (SEEN_S - 60).to_bytes(8, "big") + raw[12:]
    note[5] = name + b" " + b64encode(moved)
    bent = replace(proof, note=b"\n".join(note))
    yield _bad(
        "E_WITNESS_SIG",
        "moved",
        "The time of a cosignature was moved.",
        members_of(run, prove=lambda _: bent),
        **witnessed,
    )
    stray = ((W1, SEEN_S), (W2, SEEN_S), (W3, SEEN_S))
    third = logged(seen=stray)(run.text())
    broken = replace(third, note=third.note[:-10] + b"AAAAAAAA=\n")
    yield _bad(
        "E_WITNESS_SIG",
        "above",
        "A bad cosignature above the quorum.",
        members_of(run, prove=lambda _: broken),
        **witnessed,
    )
    one = members_of(run, prove=logged(seen=SEEN[:1]))
    yield _bad("E_WITNESS_QUORUM", "stripped", "One of two cosignatures was taken away.", one, **witnessed)
    yield from _times()


def _times() -> Iterator[Case]:
    witnessed: dict[str, Any] = {"policy": "witnessed.policy"}
    strict = {"strictTime": True}
    late_s = BEGIN_S + 5 * 60 + 1
    late = recorded(SMALL, small_events(), log_note(100, seen=[(W1, late_s), (W2, late_s)]))
    members = members_of(late, prove=alone(seen=[(W1, late_s), (W2, late_s)]))
    what = "Its anchor was cosigned 5 minutes and a second after its first event."
    yield _bad("E_TIME_BEFORE_ANCHOR", "early", what, members, 1, options=strict, **witnessed)
    seen = "2026-11-22T14:08:01.000Z"
    yield _accepted(
        "late-anchor",
        "The same; without strict time it is a warning.",
        members,
        COMPLETE,
        SMALL,
        times=(seen, seen),
        of="e-time-before-anchor-early",
        **witnessed,
    )
    soon_s = BEGIN_S - 5 * 60
    members = members_of(small_run(), prove=alone(seen=[(W1, soon_s), (W2, soon_s)]))
    what = "Its last event is 5 minutes and some milliseconds later than it was cosigned."
    yield _bad("E_TIME_AFTER_WITNESS", "late", what, members, 11, options=strict, **witnessed)
    seen = "2026-11-22T13:58:00.000Z"
    yield _accepted(
        "early-witness",
        "The same; without strict time it is a warning.",
        members,
        COMPLETE,
        SMALL,
        times=(None, seen),
        of="e-time-after-witness-late",
        **witnessed,
    )
    forged = recorded(SMALL, small_events(), log_note(100).replace(b"\n100\n", b"\n101\n"))
    yield _bad(
        "E_SIG_INVALID",
        "anchor",
        "The anchor's size was edited before the run began.",
        members_of(forged, prove=alone()),
    )
    lie = recorded(
        SMALL, small_events(), signed(f"{ORIGIN}\n100\n{encode_base64(OTHER_ROOT)}\n", seen=[(W1, 0)])
    )
    bent = lie.anchor[:-10] + b"AAAAAAAA=\n"
    run = recorded(SMALL, small_events(), bent)
    members = members_of(run, prove=alone(seen=SEEN))
    yield _bad("E_WITNESS_SIG", "anchor", "A cosignature of the anchor does not fit.", members, **witnessed)


def _attested() -> Iterator[Case]:
    small = base()
    envelope = decode(small[RUN_EVIDENCE])
    statement = b64decode(envelope["payload"])
    changed_payload = b64encode(statement.replace(b"succeeded", b"failed")).decode()
    forged = small | {RUN_EVIDENCE: encode(envelope | {"payload": changed_payload})}
    yield _bad("E_DSSE_SIG", "edited", "The statement was edited after it was signed.", forged)
    by_log = small | {RUN_EVIDENCE: sign_envelope(statement, LOG).to_bytes()}
    yield _bad(
        "E_DSSE_SIG", "log-key", "Signed by the log's key, which does not count for attestations.", by_log
    )
    yield replace(
        _bad(
            "E_DSSE_SIG",
            "keyless",
            "The policy names no key for attestations.",
            small,
            policy="keyless.policy",
        ),
        of="complete-small",
    )
    yield _accepted(
        "keyless",
        "The same, allowed to be unattested.",
        small,
        COMPLETE,
        SMALL,
        policy="keyless.policy",
        options={"allowUnattested": True},
        of="complete-small",
    )
    other = members_of(canceled_run(), prove=logged())[RUN_EVIDENCE]
    yield _bad(
        "E_ATTESTATION_SUBJECT", "run", "The attestation of another run.", small | {RUN_EVIDENCE: other}
    )
    whole = members_of(example_run(), prove=logged())
    result = b64decode(decode(whole[TEST_RESULT])["payload"]).replace(b'"FAILED"', b'"PASSED"')
    lie = whole | {TEST_RESULT: sign_envelope(result, ATTESTATION).to_bytes()}
    yield _bad("E_ATTESTATION_RESULT", "passed", "The server attests a failed run as passed.", lie, run=RUN)
    stripped = without("run.tlog-proof")
    yield _bad(
        "E_ATTESTATION_RESULT",
        "index",
        "The log's proof was taken away; run-evidence still names its index.",
        stripped,
        options={"allowUnlogged": True},
    )
    spelled = small | {RUN_EVIDENCE: small[RUN_EVIDENCE] + b"\n"}
    yield _bad("E_FORMAT", "envelope", "A line feed behind the envelope.", spelled)
    unwarranted = in_order(small | {TEST_RESULT: whole[TEST_RESULT]})
    yield _bad("E_FORMAT", "unwarranted", "An attestation that this run does not warrant.", unwarranted)
    run = young_run()
    seal = event_of(small_run().rows[10])
    note = members_of(run)["run.checkpoint"]
    premature = attest(SealedRun(small_run().evidence or b"", seal, note), ATTESTATION)[RUN_EVIDENCE]
    assert statements(SealedRun(small_run().evidence or b"", seal, note))
    early = members_of(run, prove=logged()) | {RUN_EVIDENCE: premature}
    yield _bad(
        "E_FORMAT",
        "premature",
        "An attestation of a run that goes on.",
        early,
        run=YOUNG,
        options={"allowOpen": True},
    )


def shown_files() -> dict[str, bytes]:
    """Evidence files as a person saves them: indented, with `proof`."""
    value = json.loads(small_run().evidence or b"{}") | {"proof": {"sealSeq": 11}}
    forged = value | {"exitCode": 1}
    return {
        name: (json.dumps(fields, indent=2) + "\n").encode()
        for name, fields in (("evidence-shown.json", value), ("evidence-forged.json", forged))
    }
