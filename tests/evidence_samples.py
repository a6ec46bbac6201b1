"""Runs to judge: the written-out example, other endings, a server that lies, bundles to tamper with."""

from __future__ import annotations

import io
import zipfile
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence.attestation import SealedRun, attest
from evidence.bundle import EntryChain, place_of, write_bundle
from evidence.canonical import FormatError, decode, encode
from evidence.checkpoint import format_checkpoint
from evidence.fold import RunFold, StreamDigests, seal_fields
from evidence.merkle import CompactRange
from evidence.note import Ed25519Signer, sign_note
from evidence.policy import format_policy
from evidence.record import commitment, encode_base64, format_time, genesis, leaf_hash, parse_time
from evidence.tlog import parse_tlog_proof
from evidence.verdict import CODES, FAILED, Verdict
from evidence.verify import verify_bundle

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parents[1] / "shared" / "vectors"
"""Test vectors that others wrote, beside the checkout; tests skip where they are absent."""

ORIGIN = "crownest.local/0123456789abcdef"
RUN = "wsr_01k9x4m2c7d8e9f0g1h2j3k4m5"
OTHER_RUN = "wsr_01k9x4m2c7d8e9f0g1h2j3k4m6"
ORG = "org_o1"
EXAMPLE_PAYLOADS = (HERE / "evidence_example.ndjson").read_bytes().splitlines()
EXAMPLE_EVIDENCE = (HERE / "evidence_example.json").read_bytes()


def signer(name: str = ORIGIN, secret: str = "log") -> Ed25519Signer:
    """A key that is the same in every test run."""
    return Ed25519Signer(name, Ed25519PrivateKey.from_private_bytes(sha256(secret.encode()).digest()))


LOG_KEY = signer()
ATTESTATION_KEY = signer(f"{ORIGIN}/attestation", "attestation")


def policy_of(log_key: Ed25519Signer = LOG_KEY, **more: Any) -> bytes:
    """A policy that trusts this log, and the sample's key for attestations."""
    keys = {"attestation_vkeys": [ATTESTATION_KEY.verifier_key]}
    return format_policy(log_key.verifier_key, **(keys | more))


POLICY = policy_of()


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One event as a log stores it."""

    seq: int
    type: str
    created_at_ms: int
    payload: bytes | None
    salt: bytes | None
    payload_size: int
    commitment: bytes | None = None

    def redacted(self) -> StoredRow:
        """The row after its payload and salt were erased."""
        assert self.payload is not None
        assert self.salt is not None
        return replace(self, payload=None, salt=None, commitment=commitment(self.salt, self.payload))


def row(payload: bytes, seq: int | None = None) -> StoredRow:
    """The row of a payload; salts are made as in the example."""
    event = decode(payload)
    number = event["seq"] if seq is None else seq
    salt = sha256(b"salt%d" % number).digest()[:16]
    return StoredRow(number, event["type"], parse_time(event["createdAt"]), payload, salt, len(payload))


def event_of(item: StoredRow) -> dict[str, Any]:
    """The event that a row holds."""
    assert item.payload is not None
    return decode(item.payload)


def example_rows() -> list[StoredRow]:
    """The sixteen events of the example."""
    return [row(payload) for payload in EXAMPLE_PAYLOADS]


def example_events() -> list[dict[str, Any]]:
    """The sixteen events of the example, parsed."""
    return [decode(payload) for payload in EXAMPLE_PAYLOADS]


@dataclass(slots=True)
class Recorded:
    """Rows, and the evidence that their seal names."""

    rows: list[StoredRow]
    evidence: bytes | None
    stream: str = RUN

    def bundle(self, **changes: Any) -> bytes:
        """An honest bundle of them, or one with parts exchanged."""
        return make_bundle(self, **changes)


def record(events: Iterable[dict[str, Any]], *, seal: bool = True) -> Recorded:
    """Record these events as a server does: numbers them, and at an `outcome` adds terminal and seal."""
    fold, digests = RunFold(), StreamDigests()
    rows: list[StoredRow] = []

    def append(event: dict[str, Any]) -> None:
        numbered = {"createdAt": format_time(parse_time("2026-11-22T14:03:00.000Z") + 10 * len(rows))}
        numbered |= event | {"seq": len(rows) + 1}
        rows.append(row(encode(numbered)))
        fold.apply(numbered)
        digests.update(numbered)

    for event in events:
        append(event)
    if not fold.terminal:
        return Recorded(rows, None)
    last = {"createdAt": fold.last_created_at}
    evidence = encode(fold.evidence())
    append(last | {"type": "terminal", "workspaceRun": fold.run_view()})
    if seal:
        append(last | {"type": "seal"} | seal_fields(evidence, digests, fold.public_size))
    return Recorded(rows, evidence)


def checkpoint_of(
    rows: Sequence[StoredRow], *, stream: str = RUN, anchor: bytes = b"", origin: str = ORIGIN
) -> str:
    """The checkpoint text over exactly these rows."""
    chain, tree = EntryChain(stream, genesis(stream, anchor)), CompactRange()
    for item in rows:
        chain.add(item)
        tree.append(chain.prev)
    return format_checkpoint(origin, stream, tree.size, tree.root())


def make_bundle(
    recorded: Recorded,
    *,
    rows: Sequence[StoredRow] | None = None,
    evidence: bytes | None = None,
    note: bytes | None = None,
    anchor: bytes = b"",
    key: Ed25519Signer = LOG_KEY,
    open_prefix: bool = False,
    without: frozenset[str] = frozenset(),
    attestations: dict[str, bytes] | None = None,
    artifacts: Iterable[tuple[str, Iterable[bytes]]] = (),
) -> bytes:
    """A bundle signed by the server, which may lie: `rows` and `evidence` replace the recorded ones."""
    chosen = list(recorded.rows if rows is None else rows)
    stream = recorded.stream
    if note is None:
        note = sign_note(checkpoint_of(chosen, stream=stream, anchor=anchor, origin=key.name), key)
    shown = None if open_prefix else (evidence or recorded.evidence)
    out = io.BytesIO()
    write_bundle(
        out,
        stream=stream,
        rows=chosen,
        checkpoint=note,
        anchor=anchor,
        evidence=shown,
        without=without,
        attestations=attested(chosen, note, shown) if attestations is None else attestations,
        artifacts=artifacts,
    )
    return out.getvalue()


def attested(
    rows: Sequence[StoredRow], note: bytes, evidence: bytes | None, log_index: int | None = None
) -> dict[str, bytes]:
    """The attestations that belong to these rows; a lie of which none can be made goes without."""
    try:
        seal = next(
            (event_of(item) for item in rows if item.type == "seal" and item.payload is not None), None
        )
        if seal is None or evidence is None:
            return {}
        return attest(SealedRun(evidence, seal, note, log_index), ATTESTATION_KEY)
    except FormatError:
        return {}


def with_tlog_proof(bundle: bytes, proof: bytes) -> bytes:
    """The bundle with this proof in it, and attested anew as far as the proof can be read."""
    contents = members(bundle) | {"run.tlog-proof": proof}
    seal = contents["events.log"].split(b"\n")[-2].split(b" ", 2)[-1]
    run = SealedRun(contents["evidence.json"], decode(seal), contents["run.checkpoint"])
    try:
        run = replace(run, log_index=parse_tlog_proof(proof).index)
    except FormatError:
        return repack(contents)
    return repack(contents | attest(run, ATTESTATION_KEY))


def example() -> Recorded:
    """The run of the example."""
    return Recorded(example_rows(), EXAMPLE_EVIDENCE)


def judge(bundle: bytes, **options: Any) -> Verdict:
    """Verify a bundle as an auditor does who expects the example's run."""
    policy = options.pop("policy", POLICY)
    return verify_bundle(
        io.BytesIO(bundle), policy, **({"expected_run": RUN, "allow_unlogged": True} | options)
    )


def members(bundle: bytes) -> dict[str, bytes]:
    """The bundle's members, read by Python's own zipfile."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def repack(contents: dict[str, bytes]) -> bytes:
    """A bundle packed by Python's own zipfile, as someone who tampers would: in order, with our headers."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents, key=_place):
            archive.writestr(zip_header(name), contents[name])
    return out.getvalue()


def zip_header(name: str) -> zipfile.ZipInfo:
    """The one header that a member of a bundle has."""
    info = zipfile.ZipInfo(name)  # dated 1980 unless told otherwise
    info.create_version = info.extract_version = 10
    info.external_attr = 0o100644 << 16
    return info


def _place(name: str) -> tuple[int, str]:
    try:
        return place_of(name)
    except FormatError:
        return 99, name


def tamper(bundle: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The bundle with one member changed, which must really change."""
    contents = members(bundle)
    changed = change(contents[name])
    assert changed != contents[name]
    return repack(contents | {name: changed})


Entries = list[list[bytes]]
"""Events of a log, each as its nine lines without LF."""


def tamper_entries(bundle: bytes, change: Callable[[Entries], None]) -> bytes:
    """The bundle with its events changed in place: a list of nine lines (without LF) for each."""

    def rewrite(log: bytes) -> bytes:
        lines = log.split(b"\n")[:-1]
        entries = [lines[at : at + 9] for at in range(0, len(lines), 9)]
        change(entries)
        return b"".join(line + b"\n" for entry in entries for line in entry)

    return tamper(bundle, "events.log", rewrite)


def rechain(entries: Entries, start: int) -> None:
    """Recompute the `prev` of all records from event `start` on."""
    for at in range(start - 1, len(entries)):
        before = entries[at - 1]
        entries[at][7] = encode_base64(leaf_hash(b"".join(line + b"\n" for line in before[:8]))).encode()


def edited_payload(entry: list[bytes], payload: bytes) -> None:
    """Exchange the payload of an entry together with its size and commitment."""
    salt = entry[8].split(b" ")[1]
    entry[5] = b"%d" % len(payload)
    entry[6] = encode_base64(sha256(b"\x02" + b64decode(salt) + payload).digest()).encode()
    entry[8] = b"+ " + salt + b" " + payload


def assert_caught(bundle: bytes, code: str, seq: int | None = None, **options: Any) -> Verdict:
    """The bundle fails by exactly this code at exactly this event, and the verdict says so in full."""
    verdict = judge(bundle, **options)
    assert (verdict.verdict, verdict.code, verdict.seq) == (FAILED, code, seq), verdict.message
    assert verdict.exit_code == 1
    assert verdict.clause == CODES[code].clause
    assert verdict.message.startswith(CODES[code].meaning)
    assert not verdict.proven
    return verdict


def signed_by_the_server(rows: list[StoredRow], **changes: Any) -> bytes:
    """A bundle whose records and signature are sound: only its contents are wrong."""
    return example().bundle(rows=rows, **changes)


def with_event(seq: int, /, **fields: Any) -> list[StoredRow]:
    """The example's rows with fields of one payload exchanged (None removes one)."""
    rows = example_rows()
    event = event_of(rows[seq - 1]) | fields
    rows[seq - 1] = row(encode({key: value for key, value in event.items() if value is not None}), seq)
    return rows


def numbered(event: dict[str, Any], seq: int, created_at: str = "2026-11-22T14:03:01.210Z") -> StoredRow:
    """A row at another place of the log."""
    return row(encode(event | {"seq": seq, "createdAt": created_at}))


def sealed_again(rows: list[StoredRow]) -> bytes:
    """The same events with evidence, terminal and seal made anew from what they say."""
    recorded = record([event_of(item) for item in rows[:14]])
    return recorded.bundle()


HONEST = example().bundle()


def flipped(data: bytes, at: int) -> bytes:
    """One bit changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def edit_line(seq: int, line: int, change: Callable[[bytes], bytes]) -> bytes:
    """The honest bundle with one line (from 1) of one event changed."""

    def change_line(entries: Entries) -> None:
        entries[seq - 1][line - 1] = change(entries[seq - 1][line - 1])

    return tamper_entries(HONEST, change_line)
