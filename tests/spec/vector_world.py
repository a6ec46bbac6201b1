"""The small world of the vectors: keys of known seeds, a global log of 300 entries, and a few runs in it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

from evidence.attestation import SealedRun, attest
from evidence.bundle import EntryChain, place_of
from evidence.canonical import encode
from evidence.checkpoint import Checkpoint, format_checkpoint
from evidence.container import ContainerWriter
from evidence.logentry import KeyChange
from evidence.merkle import CompactRange, consistency_proof, inclusion_proof, node_hash
from evidence.note import Ed25519Signer, Verifier, sign_note
from evidence.policy import format_policy
from evidence.record import genesis, leaf_hash, parse_time
from evidence.tlog import TlogProof
from evidence.witnessing import sign_cosignature, witness_key
from tests.evidence_samples import (
    EXAMPLE_EVIDENCE,
    ORG,
    ORIGIN,
    RUN,
    StoredRow,
    event_of,
    example_rows,
    record,
    row,
    signer,
)

ANCHORED = "wsr_01k9x4m2c7d8e9f0g1h2j3k4m6"
SMALL = "wsr_01k9x4m2c7d8e9f0g1h2j3k4m7"
YOUNG = "wsr_01k9x4m2c7d8e9f0g1h2j3k4m8"
CANCELED = "wsr_01k9x4m2c7d8e9f0g1h2j3k4m9"

SECRETS = {
    "log": ORIGIN,
    "new log": ORIGIN,
    "attestation": f"{ORIGIN}/attestation",
    "w1": "witness.example/w1",
    "w2": "witness.example/w2",
    "w3": "witness.example/w3",
    "other log": "example.org/other-log",
    "thief": ORIGIN,
}
"""The secret of each key -> its name; the seed of the key is the SHA-256 of the secret."""
KEYS = {secret: signer(name, secret) for secret, name in SECRETS.items()}
LOG, NEW_LOG, ATTESTATION = KEYS["log"], KEYS["new log"], KEYS["attestation"]
W1, W2, W3 = (KEYS[name] for name in ("w1", "w2", "w3"))
WITNESSES = {name: str(witness_key(KEYS[name])) for name in ("w1", "w2", "w3")}

ANCHOR_S = parse_time("2026-11-22T14:00:00.000Z") // 1000
SEEN_S = parse_time("2026-11-22T14:05:00.000Z") // 1000
ANCHOR_SIZE, HEAD_SIZE, REDACTED_SIZE, HANDOVER_SIZE, LOG_SIZE = 100, 260, 270, 290, 300
KEY_CHANGE_INDEX = 280
ARTIFACT = b"<x/>\n"


@dataclass(frozen=True, slots=True)
class Run:
    """A stream as a server stores it."""

    stream: str
    rows: Sequence[StoredRow]
    evidence: bytes | None = None
    anchor: bytes = b""

    def leaves(self, rows: Sequence[StoredRow] | None = None) -> list[bytes]:
        """The leaf hashes of its records."""
        chain, leaves = EntryChain(self.stream, genesis(self.stream, self.anchor)), []
        for item in self.rows if rows is None else rows:
            chain.add(item)
            leaves.append(chain.prev)
        return leaves

    def text(self, size: int | None = None, rows: Sequence[StoredRow] | None = None) -> str:
        """The checkpoint text over its first events, else over these rows."""
        leaves = self.leaves(rows)[:size]
        return format_checkpoint(ORIGIN, self.stream, len(leaves), Tree(leaves).root())


@dataclass(frozen=True, slots=True)
class Tree:
    """An RFC 6962 tree over leaf hashes."""

    leaves: Sequence[bytes]

    def subtree(self, level: int, index: int) -> bytes:
        """Root of a full subtree."""
        if level == 0:
            return self.leaves[index]
        return node_hash(self.subtree(level - 1, 2 * index), self.subtree(level - 1, 2 * index + 1))

    def root(self, size: int | None = None) -> bytes:
        """The root of its first leaves."""
        tree = CompactRange()
        for leaf in self.leaves[:size]:
            tree.append(leaf)
        return tree.root()

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """The audit path of a leaf."""
        return tuple(inclusion_proof(index, size, self.subtree))

    def consistency(self, size1: int, size2: int) -> tuple[bytes, ...]:
        """The proof between two sizes."""
        return tuple(consistency_proof(size1, size2, self.subtree))


# ---- runs -----------------------------------------------------------------------------------------

TEMPLATE = {"id": "tpl_python", "slug": "python", "version": "sha256-6f1c", "versionId": "tplv_6f1c"}


def _created(run: str, command: str, artifacts: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    request = {
        "artifacts": list(artifacts),
        "command": command,
        "keepSandbox": False,
        "metadata": {},
        "projectId": "prj_a1",
        "sourceMetadata": {},
        "template": "python",
        "timeoutMs": 60000,
    }
    first = {"actor": "key_k1", "envKeys": [], "orgId": ORG, "request": request, "runId": run}
    more = {"schema": "events/v1", "status": "awaiting_archive", "template": TEMPLATE, "type": "status"}
    return first | more


def _status(status: str, **fields: Any) -> dict[str, Any]:
    return {"type": "status", "status": status, **fields}


SUCCEEDED = {"type": "outcome", "status": "succeeded", "orchestrationSucceeded": True}


def small_events(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    """The nine events before terminal and seal of the small run; `e4={...}` changes fields of the fourth."""
    events = [
        _created(SMALL, "make check"),
        _status(
            "extracting", isolation="none", limits={}, provider="external", runner="x", template=TEMPLATE
        ),
        _status("running", commandId="cmd_c1"),
        {"type": "stdout", "data": "ok 1\n"},
        {"type": "stdout", "data": "\ufffd\ufffd raw\n", "dataBase64": "//4gcmF3Cg=="},
        {"type": "stderr", "data": "warning \u2028 caf\u00e9\n"},
        _status("collecting", durationMs=60, exitCode=0),
        {"type": "cleanup", "cleanupStatus": "not_requested", "reason": "never_started"},
        SUCCEEDED,
    ]
    for place, fields in changes.items():
        events[int(place[1:]) - 1] |= fields
    return events


def _anchored_events() -> list[dict[str, Any]]:
    archive = {"sha256": sha256(b"archive").hexdigest(), "sizeBytes": 7}
    digest = sha256(ARTIFACT).hexdigest()
    artifact = {"artifactId": "art_x1", "name": "x.xml", "path": "out/x.xml", "sha256": digest}
    return [
        _created(ANCHORED, "python3 -m unittest", [{"path": "out/x.xml"}]),
        _status("archive_uploaded", actor="key_k1", archive=archive),
        _status("starting", sandboxId="sbx_s1"),
        _status(
            "extracting", isolation="namespaces", limits={}, provider="bubblewrap", runner="local",
            template=TEMPLATE,
        ),
        _status("running", bytes=7, commandId="cmd_c1", entries=1),
        {"type": "stdout", "data": "ok\n"},
        _status("collecting", durationMs=50, exitCode=0),
        {"type": "artifact_collected", "sizeBytes": len(ARTIFACT), **artifact},
        {"type": "cleanup", "cleanupStatus": "succeeded", "reason": "finished"},
        SUCCEEDED,
    ]  # fmt: skip


def recorded(stream: str, events: Iterable[dict[str, Any]], anchor: bytes = b"") -> Run:
    """A run of these events, with terminal and seal if they end in an outcome."""
    done = record(events)
    return Run(stream, done.rows, done.evidence, anchor)


@cache
def example_run() -> Run:
    """The written-out run: 16 events, exit code 1, an artifact, an empty anchor."""
    return Run(RUN, example_rows(), EXAMPLE_EVIDENCE)


@cache
def small_run() -> Run:
    """Eleven events without archive and artifacts."""
    return recorded(SMALL, small_events())


@cache
def redacted_run() -> Run:
    """The small run after its fourth event was erased."""
    return Run(SMALL, redacting(small_run().rows, [4]), small_run().evidence)


@cache
def anchored_run() -> Run:
    """Twelve events, an archive, an artifact, and an anchor that two witnesses saw."""
    return recorded(
        ANCHORED, _anchored_events(), log_note(ANCHOR_SIZE, seen=[(W1, ANCHOR_S), (W2, ANCHOR_S - 5)])
    )


@cache
def young_run() -> Run:
    """A run that was only created."""
    return recorded(YOUNG, [_created(YOUNG, "sleep 9")])


@cache
def canceled_run() -> Run:
    """A run that was canceled before it began."""
    end = {
        "type": "outcome",
        "status": "canceled",
        "failureClass": "canceled",
        "orchestrationSucceeded": True,
    }
    events = [
        _created(CANCELED, "sleep 9"),
        {"type": "cancel_requested", "actor": "key_k1"},
        {"type": "cleanup", "cleanupStatus": "not_requested", "reason": "never_started"},
        end,
    ]
    return recorded(CANCELED, events)


@cache
def organization() -> Run:
    """Two events of an organisation."""
    created = {
        "type": "organization_created",
        "actor": "system",
        "name": "Acme",
        "orgId": ORG,
        "plan": "free",
    }
    revoked = {"type": "api_key_revoked", "actor": "key_k1", "apiKeyId": "key_k2"}
    times = ("2026-11-22T14:00:00.000Z", "2026-11-22T15:00:00.000Z")
    rows = [
        row(encode(event | {"seq": number, "createdAt": at}))
        for number, (event, at) in enumerate(zip((created, revoked), times, strict=True), 1)
    ]
    return Run(ORG, rows)


def redacting(rows: Sequence[StoredRow], seqs: Sequence[int], **changes: Any) -> list[StoredRow]:
    """The rows with these payloads erased and the redaction behind; `drop` and `targets` make it lie."""
    after = list(rows)
    erased = {seq: rows[seq - 1].redacted() for seq in seqs}
    targets = [{"commitment": (item.commitment or b"").hex(), "seq": seq} for seq, item in erased.items()]
    for seq in changes.get("drop", seqs):
        after[seq - 1] = rows[seq - 1].redacted()
    event = {
        "actor": "key_k1",
        "createdAt": event_of(rows[-1])["createdAt"],
        "reason": "a secret",
        "seq": len(rows) + 1,
        "targets": changes.get("targets", targets),
        "type": "redaction",
    }
    return [*after, row(encode(event))]


# ---- the global log -------------------------------------------------------------------------------


def _filler(number: int) -> bytes:
    """An entry of some other run: creation and seal by turns."""
    stream = f"wsr_filler{number // 2:04d}"
    size = 1 if number % 2 == 0 else 9
    return format_checkpoint(ORIGIN, stream, size, sha256(b"root %d" % number).digest()).encode()


@cache
def _early_entries() -> list[bytes]:
    """The log as it was when the anchored run began: its anchor shows no more."""
    early = {0: example_run().text(1), 1: organization().text(1)}
    return [early[at].encode() if at in early else _filler(at) for at in range(ANCHOR_SIZE)]


@cache
def entries() -> list[bytes]:
    """All entries of the log, oldest first."""
    placed = {
        100: anchored_run().text(1),
        101: example_run().text(),
        102: small_run().text(1),
        103: small_run().text(),
        104: young_run().text(),
        105: canceled_run().text(1),
        106: canceled_run().text(),
        107: anchored_run().text(),
        HEAD_SIZE: redacted_run().text(),
        KEY_CHANGE_INDEX: str(KeyChange(ORIGIN, Verifier.parse(NEW_LOG.verifier_key), KEY_CHANGE_INDEX + 1)),
    }
    later = [placed[at].encode() if at in placed else _filler(at) for at in range(ANCHOR_SIZE, LOG_SIZE)]
    return _early_entries() + later


def log_tree(size: int = LOG_SIZE) -> Tree:
    """A tree that has at least the first `size` entries of the log."""
    return Tree([leaf_hash(entry) for entry in (entries() if size > ANCHOR_SIZE else _early_entries())])


Seen = Sequence[tuple[Ed25519Signer, int]]


def signed(text: str, *signers: Ed25519Signer, seen: Seen = ()) -> bytes:
    """A note, and the cosignatures of witnesses at unix seconds."""
    lines = "".join(f"{sign_cosignature(text, at, witness)}\n" for witness, at in seen)
    return sign_note(text, *(signers or (LOG,))) + lines.encode()


def log_note(size: int, *signers: Ed25519Signer, seen: Seen = ()) -> bytes:
    """The log's checkpoint at this size."""
    return signed(str(Checkpoint(ORIGIN, size, log_tree(size).root(size))), *signers, seen=seen)


Prover = Callable[[str], TlogProof]


def logged(size: int = HEAD_SIZE, *signers: Ed25519Signer, seen: Seen = ()) -> Prover:
    """Proves an entry by the log's checkpoint at this size."""

    def prove(text: str) -> TlogProof:
        index = entries().index(text.encode())
        return TlogProof(index, log_tree().inclusion(index, size), log_note(size, *signers, seen=seen))

    return prove


def alone(*signers: Ed25519Signer, seen: Seen = (), origin: str = ORIGIN) -> Prover:
    """Proves a text by a log that holds nothing else: for what no honest server signs."""

    def prove(text: str) -> TlogProof:
        head = str(Checkpoint(origin, 1, leaf_hash(text.encode())))
        return TlogProof(0, (), signed(head, *signers, seen=seen))

    return prove


# ---- policies -------------------------------------------------------------------------------------


def _policy(key: Ed25519Signer = LOG, **more: Any) -> bytes:
    return format_policy(key.verifier_key, **({"attestation_vkeys": [ATTESTATION.verifier_key]} | more))


def _two_of_three() -> bytes:
    lines = "".join(f"witness {name} {key}\n" for name, key in WITNESSES.items())
    return _policy().replace(b"quorum none\n", f"{lines}group seen 2 w1 w2 w3\nquorum seen\n".encode())


POLICIES = {
    "trust.policy": _policy(),
    "witnessed.policy": _two_of_three(),
    "rotated.policy": _policy(NEW_LOG, retired={LOG.verifier_key: HANDOVER_SIZE}),
    "keyless.policy": format_policy(LOG.verifier_key),
    "two-logs.policy": _policy().replace(b"quorum", f"log {KEYS['other log'].verifier_key}\nquorum".encode()),
    "broken.policy": b"quorum none\n",
}


# ---- bundles --------------------------------------------------------------------------------------

Members = dict[str, bytes]


def members_of(
    run: Run,
    *,
    rows: Sequence[StoredRow] | None = None,
    text: str | None = None,
    signers: Sequence[Ed25519Signer] = (LOG,),
    prove: Prover | None = None,
    without: Iterable[str] = (),
    artifacts: Mapping[str, bytes] | None = None,
) -> Members:
    """The members of the bundle that a server gives of this run; it may lie: `rows` are its stored ones."""
    stored = list(run.rows if rows is None else rows)
    text = run.text(rows=stored) if text is None else text
    note = signed(text, *signers)
    chain = EntryChain(run.stream, genesis(run.stream, run.anchor))
    log = b"".join(chain.add(item, withhold=item.type in without) for item in stored)
    members = {} if run.evidence is None else {"evidence.json": run.evidence}
    members |= {"run.checkpoint": note, "anchor.note": run.anchor, "events.log": log}
    proof = prove(text) if prove else None
    if proof is not None:
        members["run.tlog-proof"] = proof.to_bytes()
    seal = next((event_of(item) for item in stored if item.type == "seal" and item.payload), None)
    if seal is not None and run.evidence is not None:
        sealed_run = SealedRun(run.evidence, seal, note, proof.index if proof else None)
        members |= attest(sealed_run, ATTESTATION)
    return members | {f"artifacts/{name}": data for name, data in (artifacts or {}).items()}


def in_order(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """The members as a bundle has them."""
    return {name: members[name] for name in sorted(members, key=place_of)}


def pack(members: Mapping[str, bytes]) -> bytes:
    """The container of these members, in this order."""
    out = io.BytesIO()
    writer = ContainerWriter(out)
    for name, data in members.items():
        writer.add(name, data)
    writer.close()
    return out.getvalue()
