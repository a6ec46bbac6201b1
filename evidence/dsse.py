"""Owns the envelope of an attestation: DSSE v1, one Ed25519 signature, one spelling (PROOF P11, P9.3).

Formats: DSSE protocol and envelope v1. Of what DSSE leaves open, ours have exactly this: canonical JSON,
base64 of the standard alphabet, one signature, and a keyid that names the verifier key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from evidence.canonical import FormatError, decode, encode
from evidence.note import ED25519, KEY_ID_BYTES, SIGNATURE_BYTES, Signer, Verifier, is_key_name
from evidence.record import decode_base64, encode_base64

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE_BYTES_MAX = 4 * 1024 * 1024
"""A statement repeats less of a run than evidence.json, whose limit is the same."""

_KEY_ID = re.compile(rf"[0-9a-f]{{{2 * KEY_ID_BYTES}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload and its signature, not yet verified; `keyid` is `<name>+<8 hex digits>`."""

    payload: bytes
    keyid: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """The canonical JSON of the envelope; the pair of `parse_envelope`."""
        return encode(
            {
                "payload": encode_base64(self.payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"keyid": self.keyid, "sig": encode_base64(self.signature)}],
            }
        )

    def signer_among(self, keys: Iterable[Verifier]) -> Verifier | None:
        """The key that has this keyid and made this signature, None when there is none."""
        message = pae(PAYLOAD_TYPE, self.payload)
        named = (key for key in keys if key.type == ED25519 and key_id(key) == self.keyid)
        return next((key for key in named if key.is_valid(message, self.signature)), None)


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding of type and payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def key_id(key: Verifier) -> str:
    """What an envelope calls this key: the first two parts of its verifier key (P6)."""
    return f"{key.name}+{key.key_id.hex()}"


def sign_envelope(payload: bytes, signer: Signer) -> Envelope:
    """The envelope of an in-toto statement. Raises ValueError when it is too large to be read again."""
    key = Verifier.parse(signer.verifier_key)
    envelope = Envelope(payload, key_id(key), signer.sign(pae(PAYLOAD_TYPE, payload)))
    if len(envelope.to_bytes()) > ENVELOPE_BYTES_MAX:
        raise ValueError(f"an attestation has at most {ENVELOPE_BYTES_MAX} bytes: the run says too much")
    return envelope


def parse_envelope(data: bytes) -> Envelope:
    """Read an envelope in its one spelling, every other field or base64 refused. Raises `FormatError`."""
    if len(data) > ENVELOPE_BYTES_MAX:
        raise FormatError(f"an attestation has at most {ENVELOPE_BYTES_MAX} bytes")
    payload, kind, signatures = _fields(decode(data), "payload", "payloadType", "signatures")
    if kind != PAYLOAD_TYPE:
        raise FormatError(f"the payloadType of an attestation is {PAYLOAD_TYPE}")
    match signatures:
        case [only]:
            keyid, signature_text = _fields(only, "keyid", "sig")
        case _:
            raise FormatError("an attestation has exactly one signature")
    name, _, hex_id = _text(keyid).partition("+")
    if not is_key_name(name) or not _KEY_ID.fullmatch(hex_id):
        raise FormatError("the keyid of an attestation is <key name>+<8 hex digits>")
    signature = decode_base64(_text(signature_text))
    if len(signature) != SIGNATURE_BYTES:
        raise FormatError(f"an Ed25519 signature has {SIGNATURE_BYTES} bytes")
    return Envelope(decode_base64(_text(payload)), _text(keyid), signature)


def _fields(value: object, *names: str) -> list[Any]:
    """The values of an object that has exactly these fields."""
    if not isinstance(value, dict) or cast("dict[str, Any]", value).keys() != set(names):
        raise FormatError(f"here stands an object with {', '.join(names)} and nothing else")
    return [value[name] for name in names]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise FormatError("payload, keyid and sig are texts")
    return value
