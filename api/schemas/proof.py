"""Schemas of proofs about runs: verdict, attestations, redactions, signing keys (PROOF P6, P7, P9, P11)."""

from __future__ import annotations

from api.schemas.parts import (
    BASE64,
    COUNT,
    SEQ,
    TEXT,
    TIME,
    Schema,
    constant,
    described,
    identifier,
    list_of,
    one_of,
    record,
)
from evidence.dsse import PAYLOAD_TYPE
from evidence.verdict import CODES, COMPLETE, FAILED, OPEN_PREFIX, REDACTED, WITHHELD


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


PROOF_SCHEMAS: dict[str, Schema] = {
    "Verdict": record(
        {
            "verdict": one_of(COMPLETE, REDACTED, WITHHELD, OPEN_PREFIX, FAILED),
            "code": _or_null(one_of(*CODES)),
            "seq": described(_or_null(SEQ), "The event to look at, if there is one."),
            "clause": _or_null(TEXT),
            "message": TEXT,
            "stream": _or_null(TEXT),
            "size": _or_null(COUNT),
            "root": _or_null(TEXT),
            "notBefore": _or_null(TIME),
            "notAfter": _or_null(TIME),
            "proven": list_of(TEXT),
            "notProven": list_of(TEXT),
        },
        description="What a check of the proof found. The server's own word only.",
    ),
    "Attestation": record(
        {
            "payload": described(BASE64, "An in-toto statement."),
            "payloadType": constant(PAYLOAD_TYPE),
            "signatures": list_of(record({"keyid": TEXT, "sig": BASE64}), minItems=1),
        },
        description="A DSSE envelope.",
    ),
    "Redaction": record(
        {
            "workspaceRunId": identifier("wsr"),
            "seq": described(SEQ, "The event that records the redaction."),
            "targets": list_of(SEQ, minItems=1),
            "reason": TEXT,
            "actor": TEXT,
        },
        description="Output that was erased, and who asked for it. The proof of everything else still holds.",
    ),
    "SigningKey": record(
        {
            "keyId": {"type": "string", "pattern": "^[0-9a-f]{8}$"},
            "verifierKey": described(TEXT, "The public key, as a verifier's policy writes it."),
            "status": one_of("active", "retired"),
            "from": described(COUNT, "The size of the global log at which it began to sign."),
        },
        {"until": COUNT},
    ),
}
