"""DSSE envelopes: what is signed, and the one spelling that is read (PROOF P11, P9.3)."""

from collections.abc import Callable
from typing import Any

import pytest

from evidence.canonical import FormatError, decode, encode
from evidence.dsse import (
    ENVELOPE_BYTES_MAX,
    PAYLOAD_TYPE,
    Envelope,
    key_id,
    pae,
    parse_envelope,
    sign_envelope,
)
from evidence.note import COSIGNATURE, Verifier, format_verifier_key
from tests.evidence_samples import ATTESTATION_KEY, LOG_KEY, ORIGIN, signer

KEY = Verifier.parse(ATTESTATION_KEY.verifier_key)
ENVELOPE = sign_envelope(b'{"a":1}', ATTESTATION_KEY)
PRINTED = ENVELOPE.to_bytes()


def test_what_is_signed_is_the_standards_encoding() -> None:
    """The test vector of the DSSE protocol, and lengths in bytes rather than characters."""
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("\u00e9", "\u20ac".encode()) == b"DSSEv1 2 \xc3\xa9 3 \xe2\x82\xac"
    assert pae("", b"") == b"DSSEv1 0  0 "


def test_an_envelope_is_canonical_json_with_a_keyid() -> None:
    """Sorted keys, no spaces; the keyid is the beginning of the verifier key."""
    assert (
        b'{"payload":"eyJhIjoxfQ==","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"'
        + f"{ORIGIN}/attestation+{KEY.key_id.hex()}".encode()
        + b'","sig":"'
        + decode(PRINTED)["signatures"][0]["sig"].encode()
        + b'"}]}'
    ) == PRINTED
    assert ATTESTATION_KEY.verifier_key.startswith(f"{ENVELOPE.keyid}+")
    assert parse_envelope(PRINTED) == ENVELOPE


def test_only_the_key_that_signed_is_found() -> None:
    """Another key of the same name, another name of the same key, a cosigning key: none of them signed."""
    namesake = Verifier.parse(signer(ATTESTATION_KEY.name, "another").verifier_key)
    renamed = Verifier.parse(format_verifier_key("other", KEY.public_key))
    cosigner = Verifier.parse(format_verifier_key(KEY.name, KEY.public_key, COSIGNATURE))
    assert ENVELOPE.signer_among([namesake, renamed, cosigner]) is None
    assert ENVELOPE.signer_among([]) is None
    assert ENVELOPE.signer_among([namesake, KEY]) == KEY
    assert Envelope(ENVELOPE.payload, key_id(namesake), ENVELOPE.signature).signer_among([namesake]) is None
    assert Envelope(b"{}", ENVELOPE.keyid, ENVELOPE.signature).signer_among([KEY]) is None


def test_a_log_signature_is_no_attestation() -> None:
    """What is signed begins with DSSEv1, so no checkpoint's signature can be moved into an envelope."""
    text = f"{ORIGIN}\n1\n"
    moved = Envelope(text.encode(), ENVELOPE.keyid, ATTESTATION_KEY.sign(text.encode()))
    assert moved.signer_among([KEY]) is None


def changed(**fields: Any) -> bytes:
    """The envelope with fields exchanged, still canonical JSON; None removes one."""
    return encode({key: value for key, value in (decode(PRINTED) | fields).items() if value is not None})


def resigned(**fields: Any) -> bytes:
    """The envelope with fields of its signature exchanged."""
    only = decode(PRINTED)["signatures"][0] | fields
    return changed(signatures=[{key: value for key, value in only.items() if value is not None}])


SIG = decode(PRINTED)["signatures"][0]["sig"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "nothing else"),
        (PRINTED + b"\n", "canonical"),
        (PRINTED.replace(b":", b": ", 1), "canonical"),
        (PRINTED.replace(b'{"payload"', b'{"payload":"","payload"', 1), "duplicate|twice"),
        (changed(extra=""), "nothing else"),
        (changed(payload=None), "nothing else"),
        (changed(payload=1), "texts"),
        (changed(payload="eyJhIjoxfR=="), "stray bits"),
        (changed(payload="eyJhIjoxfQ"), "base64"),
        (changed(payload="eyJh IjoxfQ=="), "base64"),
        (changed(payload="_-8="), "base64"),
        (changed(payload="\u00e9"), "base64"),
        (changed(payloadType="application/json"), "payloadType"),
        (changed(payloadType=[PAYLOAD_TYPE]), "payloadType"),
        (changed(signatures=[]), "exactly one"),
        (changed(signatures=decode(PRINTED)["signatures"] * 2), "exactly one"),
        (changed(signatures={"keyid": "", "sig": ""}), "exactly one"),
        (changed(signatures="x"), "exactly one"),
        (changed(signatures=["x"]), "nothing else"),
        (resigned(cert="x"), "nothing else"),
        (resigned(keyid=None), "nothing else"),
        (resigned(keyid=1), "texts"),
        (resigned(keyid=""), "keyid"),
        (resigned(keyid=KEY.key_id.hex()), "keyid"),
        (resigned(keyid=f"a b+{KEY.key_id.hex()}"), "keyid"),
        (resigned(keyid=f"{KEY.name}+{KEY.key_id.hex().upper()}x"), "keyid"),
        (resigned(keyid=ATTESTATION_KEY.verifier_key), "keyid"),
        (resigned(sig=None), "nothing else"),
        (resigned(sig=1), "texts"),
        (resigned(sig=SIG[:-4]), "base64|64 bytes"),
        (resigned(sig=SIG[:84]), "64 bytes"),
        (resigned(sig=""), "64 bytes"),
        (resigned(sig=SIG.replace("/", "_").replace("+", "-").replace("=", "")), "base64"),
        (b" " * (ENVELOPE_BYTES_MAX + 1), "at most"),
    ],
)
def test_another_spelling_is_refused(data: bytes, reason: str) -> None:
    """DSSE allows several; ours is one, and nothing unknown stands in it (P9.3)."""
    with pytest.raises(FormatError, match=reason):
        parse_envelope(data)


def test_what_could_not_be_read_again_is_not_signed() -> None:
    """The limit of the reader is the limit of the writer."""
    with pytest.raises(ValueError, match="at most"):
        sign_envelope(bytes(ENVELOPE_BYTES_MAX), LOG_KEY)


@pytest.mark.parametrize("change", [str.upper, lambda name: name + "x", lambda name: name[1:]])
def test_the_name_in_the_keyid_is_checked_too(change: Callable[[str], str]) -> None:
    """A keyid is no hint to try keys by: it names one key of the policy, or the envelope is refused."""
    name, hex_id = ENVELOPE.keyid.split("+")
    other = parse_envelope(resigned(keyid=f"{change(name)}+{hex_id}"))
    assert other.signer_among([KEY]) is None
