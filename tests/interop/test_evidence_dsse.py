"""Our attestations through securesystemslib, and its envelopes through our verifier (PROOF P11)."""

import base64
import json
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from evidence.bundle import ATTESTATIONS
from evidence.canonical import FormatError, canonical
from evidence.dsse import PAYLOAD_TYPE, key_id, pae, parse_envelope
from evidence.note import Verifier
from tests.evidence_samples import ATTESTATION_KEY, HONEST, judge, members, repack

MEMBERS = members(HONEST)
KEY = Verifier.parse(ATTESTATION_KEY.verifier_key)
PRIVATE = Ed25519PrivateKey.from_private_bytes(sha256(b"attestation").digest())
"""The sample's attestation key, as securesystemslib takes it."""
THEIR_KEY = SSlibKey(key_id(KEY), "ed25519", "ed25519", {"public": KEY.public_key.hex()})
THEIR_SIGNER = CryptoSigner(PRIVATE, THEIR_KEY)


def theirs(data: bytes) -> Envelope:
    """An envelope as securesystemslib reads it."""
    return Envelope.from_dict(json.loads(data))


@pytest.mark.parametrize("name", ATTESTATIONS)
def test_securesystemslib_verifies_our_envelopes(name: str) -> None:
    """Its own reading, its own encoding of what is signed, its own Ed25519 check."""
    envelope = theirs(MEMBERS[name])
    assert envelope.verify([THEIR_KEY], 1) == {THEIR_KEY.keyid: THEIR_KEY}
    assert envelope.payload_type == "application/vnd.in-toto+json"
    assert envelope.payload == parse_envelope(MEMBERS[name]).payload
    assert envelope.pae() == pae(PAYLOAD_TYPE, envelope.payload)
    assert json.loads(envelope.payload)["_type"] == "https://in-toto.io/Statement/v1"


def edits(envelope: dict[str, Any]) -> list[dict[str, Any]]:
    """The envelope with payload, type, signature and keyid edited."""
    payload = base64.b64decode(envelope["payload"])
    (only,) = envelope["signatures"]
    signature = bytearray(base64.b64decode(only["sig"]))
    signature[0] ^= 1
    return [
        envelope | {"payload": base64.b64encode(payload[:-1] + b" ").decode()},
        envelope | {"payload": base64.b64encode(payload + b"\n").decode()},
        envelope | {"payloadType": "application/json"},
        envelope | {"signatures": [only | {"sig": base64.b64encode(bytes(signature)).decode()}]},
        envelope | {"signatures": [only | {"keyid": "someone+00000000"}]},
    ]


@pytest.mark.parametrize("name", ATTESTATIONS)
def test_what_securesystemslib_refuses_we_refuse(name: str) -> None:
    """Edited payload, type, signature, keyid: both refuse each."""
    for edited in edits(json.loads(MEMBERS[name])):
        data = canonical(edited)
        with pytest.raises(VerificationError):
            theirs(data).verify([THEIR_KEY], 1)
        assert judge(repack(MEMBERS | {name: data})).code in {"E_DSSE_SIG", "E_FORMAT"}


def signed_by_them(payload: bytes) -> Envelope:
    """An envelope that securesystemslib made and signed with the attestation key."""
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(THEIR_SIGNER)
    return envelope


@pytest.mark.parametrize("name", ATTESTATIONS)
def test_we_accept_what_securesystemslib_signed_in_our_spelling(name: str) -> None:
    """Ed25519 has one signature for a key and a message, so theirs is, byte for byte, ours."""
    data = canonical(signed_by_them(parse_envelope(MEMBERS[name]).payload).to_dict())
    assert parse_envelope(data).signer_among([KEY]) == KEY
    assert data == MEMBERS[name]
    assert judge(repack(MEMBERS | {name: data})).ok


def test_we_refuse_spellings_that_securesystemslib_accepts() -> None:
    """Spaces, another key order, a field or a signature more: sound to DSSE, two spellings to us (P9.3)."""
    name = ATTESTATIONS[0]
    made = signed_by_them(parse_envelope(MEMBERS[name]).payload).to_dict()
    (only,) = made["signatures"]
    spellings = [
        json.dumps(made).encode(),
        json.dumps(made, indent=2).encode(),
        json.dumps(dict(reversed(made.items())), separators=(",", ":")).encode(),
        canonical(made | {"extra": ""}),
        canonical(made | {"signatures": [only, only | {"keyid": "other"}]}),
    ]
    for data in spellings:
        assert theirs(data).verify([THEIR_KEY], 1)
        with pytest.raises(FormatError):
            parse_envelope(data)
        assert judge(repack(MEMBERS | {name: data})).code == "E_FORMAT"
