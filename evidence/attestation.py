"""Owns what a sealed run attests: in-toto statements that are pure functions of its proof (PROOF P11).

Formats: in-toto Statement v1 with the predicates test-result v0.1, SLSA provenance v1, and our own
run-evidence v1. Which of them a run has is decided by its evidence, so a verifier knows what must be there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from evidence.bundle import CHECKPOINT, EVIDENCE, PROVENANCE, RUN_EVIDENCE, TEST_RESULT
from evidence.canonical import FormatError, decode, encode
from evidence.checkpoint import Checkpoint, parse_checkpoint, split_origin
from evidence.dsse import sign_envelope
from evidence.note import Signer, split_note
from evidence.record import encode_base64

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
TEST_RESULT_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"
RUN_EVIDENCE_TYPE = "https://crownest.dev/attestation/run-evidence/v1"
BUILD_TYPE = "https://crownest.dev/build-type/workspace-run/v1"
"""Both of ours are described in docs/spec."""
PASSED, WARNED, FAILED = "PASSED", "WARNED", "FAILED"

CONTENT_BYTES_MAX = 1023
"""A descriptor holds its content below 1 KiB, as in-toto advises; its digest is always there."""

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_URI_SAFE = "/:@[]!$&'()*,;="
_JUDGED_FAILURES = frozenset({"command_exit", "timeout"})
_CHOSEN = {
    "command": "command",
    "artifacts": "artifactsRequested",
    "envKeys": "envKeys",
    "keepSandbox": "keepSandbox",
    "timeoutMs": "timeoutMs",
}
"""External parameters, as a creation request names them -> the fields of the evidence."""
_FOUND = {"resolvedTemplate": "template", "sandbox": "sandbox", "sandboxId": "sandboxId"}
"""Internal parameters -> the fields of the evidence, where it has them."""

Statement = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SealedRun:
    """What attestations are made of: the bytes of evidence.json and run.checkpoint, and the seal's payload.

    `log_index` is where the global log holds this checkpoint, None while that is not shown.
    """

    evidence: bytes
    seal: Mapping[str, Any]
    checkpoint: bytes
    log_index: int | None = None


def statements(run: SealedRun) -> dict[str, bytes]:
    """The canonical bytes of each statement that this run warrants, by its member of the bundle (P8, P11).

    Raises `FormatError` when evidence, seal or checkpoint are not what a sealed run has.
    """
    try:
        facts = _Facts(run)
        made = {name: make(facts) for name, make in _STATEMENTS.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"evidence or seal lack what an attestation tells: {error!r}") from error
    return {name: encode(statement) for name, statement in made.items() if statement is not None}


def attest(run: SealedRun, signer: Signer) -> dict[str, bytes]:
    """The signed statements, ready for the bundle; the key is for attestations alone (P6).

    Raises as `statements`, and ValueError for an attestation that is too large.
    """
    return {name: sign_envelope(body, signer).to_bytes() for name, body in statements(run).items()}


def result_of(evidence: Mapping[str, Any]) -> str | None:
    """How the command went, None where nothing can be said of it: it was canceled, or never ran to its end.

    A command that ran out of its time has failed: the limit is a part of what was asked.
    """
    status, exit_code = evidence["status"], evidence.get("exitCode")
    if status == "succeeded" and type(exit_code) is int:
        if exit_code:
            return FAILED
        return WARNED if evidence["artifactErrors"] else PASSED
    if status == "failed" and evidence.get("failureReason") in _JUDGED_FAILURES:
        return FAILED
    return None


class _Facts:
    """Evidence, seal and checkpoint of a run, read."""

    def __init__(self, run: SealedRun) -> None:
        self.seal, self.log_index = run.seal, run.log_index
        self.evidence = decode(run.evidence)
        self.checkpoint: Checkpoint = parse_checkpoint(split_note(run.checkpoint)[0])
        origin, _ = split_origin(self.checkpoint.origin_line)
        self.builder_uri = _uri(origin)
        self.run_uri = _uri(self.checkpoint.origin_line)
        self.evidence_file = self._file(EVIDENCE, run.evidence, "application/json")
        self.checkpoint_file = self._file(CHECKPOINT, run.checkpoint, "text/plain")
        self.archive = self._archive()
        self.artifacts: list[dict[str, Any]] = self.evidence["artifacts"]

    def artifact_files(self) -> list[Statement]:
        """A descriptor for each artifact; `name` is its path in the workspace."""
        return [
            {
                "name": artifact["path"],
                "uri": f"{self.run_uri}/artifacts/{quote(artifact['id'], safe='')}",
                "digest": _digest(artifact["sha256"]),
            }
            for artifact in self.artifacts
        ]

    def _archive(self) -> Statement | None:
        archive = self.evidence.get("archive")
        if archive is None:
            return None
        return {"name": "archive", "uri": f"{self.run_uri}/archive", "digest": _digest(archive["sha256"])}

    def _file(self, name: str, data: bytes, media_type: str) -> Statement:
        return {
            "name": name,
            "uri": f"{self.run_uri}/{name}",
            "digest": _digest(sha256(data).hexdigest()),
            "mediaType": media_type,
        }


def _test_result(facts: _Facts) -> Statement | None:
    """In-toto test-result v0.1 over the archive."""
    result = result_of(facts.evidence)
    if facts.archive is None or result is None:
        return None
    command, template = facts.evidence["command"].encode(), encode(facts.evidence["template"])
    limits = {"annotations": {"timeoutMs": facts.evidence["timeoutMs"]}}
    configuration = [
        _inline("command", command, "text/plain") | limits,
        _inline("template", template, "application/json"),
        facts.evidence_file,
    ]
    predicate = {"result": result, "configuration": configuration}
    return _statement(TEST_RESULT_TYPE, [facts.archive], predicate)


def _provenance(facts: _Facts) -> Statement | None:
    """SLSA provenance v1 over the artifacts."""
    if not facts.artifacts:
        return None
    evidence = facts.evidence
    chosen: Statement = {name: evidence[field] for name, field in _CHOSEN.items()}
    found: Statement = {name: evidence.get(field) for name, field in _FOUND.items()}
    times = {"startedOn": evidence.get("startedAt"), "finishedOn": evidence.get("finishedAt")}
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": chosen | {"template": evidence["template"]["slug"]},
            "internalParameters": _present(found),
            "resolvedDependencies": [] if facts.archive is None else [facts.archive],
        },
        "runDetails": {
            "builder": {"id": facts.builder_uri},
            "metadata": {"invocationId": evidence["workspaceRunId"]} | _present(times),
            "byproducts": [facts.evidence_file, facts.checkpoint_file],
        },
    }
    return _statement(PROVENANCE_TYPE, facts.artifact_files(), predicate)


def _run_evidence(facts: _Facts) -> Statement:
    """Our own predicate over evidence.json."""
    evidence, seal, head = facts.evidence, facts.seal, facts.checkpoint
    archive = evidence.get("archive")
    artifacts = [
        {"id": artifact["id"], "path": artifact["path"]} | _sized(artifact) for artifact in facts.artifacts
    ]
    streams = {
        kind: {"digest": _digest(seal[f"{kind}Sha256"]), "sizeBytes": seal[f"{kind}Bytes"]}
        for kind in ("stdout", "stderr")
    }
    predicate = {
        "runId": evidence["workspaceRunId"],
        "orgId": evidence["orgId"],
        "projectId": evidence["projectId"],
        "status": evidence["status"],
        "createdAt": evidence["createdAt"],
        "finishedAt": evidence.get("finishedAt"),
        "projection": evidence["projection"],
        "sealSeq": seal["seq"],
        "archive": None if archive is None else _sized(archive),
        "artifacts": artifacts,
        "output": streams,
        "head": {
            "origin": head.origin_line,
            "size": head.size,
            "root": encode_base64(head.root),
            "checkpoint": facts.checkpoint_file["digest"],
        },
        "globalIndex": facts.log_index,
    }
    return _statement(RUN_EVIDENCE_TYPE, [facts.evidence_file], _present(predicate))


_STATEMENTS: dict[str, Callable[[_Facts], Statement | None]] = {
    TEST_RESULT: _test_result,
    PROVENANCE: _provenance,
    RUN_EVIDENCE: _run_evidence,
}


def _statement(predicate_type: str, subject: Sequence[Statement], predicate: Statement) -> Statement:
    return {
        "_type": STATEMENT_TYPE,
        "subject": list(subject),
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def _inline(name: str, content: bytes, media_type: str) -> Statement:
    """A descriptor of bytes that lie in the evidence; short ones are shown."""
    shown = encode_base64(content) if len(content) <= CONTENT_BYTES_MAX else None
    digest = _digest(sha256(content).hexdigest())
    return _present({"name": name, "digest": digest, "content": shown, "mediaType": media_type})


def _sized(item: Mapping[str, Any]) -> Statement:
    return {"digest": _digest(item["sha256"]), "sizeBytes": item["sizeBytes"]}


def _present(fields: Statement) -> Statement:
    """Without the facts that are absent: an absent fact is an absent key."""
    return {name: value for name, value in fields.items() if value is not None}


def _digest(value: object) -> dict[str, str]:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise FormatError("a digest is the 64 lowercase hex digits of a SHA-256")
    return {"sha256": value}


def _uri(origin: str) -> str:
    """An origin as a URI (RFC 3986), normalised as in-toto asks: lowercase authority, no stray characters."""
    authority, slash, path = origin.partition("/")
    return f"https://{quote(authority.lower(), safe=_URI_SAFE)}{slash}{quote(path, safe=_URI_SAFE)}"
