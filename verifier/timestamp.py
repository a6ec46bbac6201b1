"""Owns what a timestamp of RFC 3161 says of a run checkpoint, and whether it says so at all (PROOF P5.7).

Imports `rfc3161_client`, which only the extra `tsa` installs: import this module where a timestamp is asked
for, and nowhere else. See docs/decisions/0701-a-timestamp-lies-beside-the-bundle.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha384, sha512
from typing import cast

from cryptography.x509 import (
    Certificate,
    load_der_x509_certificate,
    load_pem_x509_certificates,
)
from rfc3161_client import (
    Accuracy,
    PKIStatus,
    TimeStampResponse,
    TimeStampTokenInfo,
    VerifierBuilder,
    decode_timestamp_response,
)

from evidence.canonical import FormatError
from evidence.record import format_time
from evidence.verdict import Timestamp, VerificationError

TIMESTAMP_BYTES_MAX = 64 * 1024
"""A response with its certificates; those of well-known authorities have 2 to 8 KiB."""
ROOTS_BYTES_MAX = 1024 * 1024
ROOTS_MAX = 512
"""A system's whole list of authorities has some 150."""
FRACTION_MS = 1000
"""The token's time is read in whole seconds: it may be as much as this later."""
WORDS_CHARS_MAX = 200
"""Of what strangers wrote, in a message."""

_HASHES = {
    "2.16.840.1.101.3.4.2.1": sha256,
    "2.16.840.1.101.3.4.2.2": sha384,
    "2.16.840.1.101.3.4.2.3": sha512,
}
_CERTIFICATES = 0xA0
"""The tag of the certificates among the fields of SignedData (RFC 5652)."""
_SHORT_SIZE_MAX = 127
"""Of a DER element; of a longer one the number of digits is written first."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CHAIN = re.compile(r'Verify error: ([^"]+)')
"""Where the library tells, among its calls, why a certificate was refused."""


def read_roots(data: bytes) -> list[Certificate]:
    """The certificates of a PEM file; those signed by themselves are the roots. Raises `FormatError`.

    Others among them serve where a token lacks one between its signer and a root.
    """
    if len(data) > ROOTS_BYTES_MAX:
        raise FormatError(f"a file of roots has at most {ROOTS_BYTES_MAX} bytes")
    try:
        roots = load_pem_x509_certificates(data)
    except ValueError as error:
        raise FormatError("not certificates in PEM") from error
    if len(roots) > ROOTS_MAX:
        raise FormatError(f"a file of roots has at most {ROOTS_MAX} certificates")
    return roots


def open_timestamp(data: bytes, message: bytes) -> TimeStampResponse:
    """The response in `data` where it is granted and over `message`; who signed it is not judged yet.

    Raises `VerificationError` (E_TIMESTAMP).
    """
    if len(data) > TIMESTAMP_BYTES_MAX:
        raise _unfit(f"it has more than {TIMESTAMP_BYTES_MAX} bytes")
    try:
        response = decode_timestamp_response(_in_order(data))
        imprint = response.tst_info.message_imprint if response.status == PKIStatus.GRANTED else None
    except ValueError as error:
        raise _unfit("it is no response of RFC 3161 in DER") from error
    if imprint is None:
        words = "; ".join(response.status_string)[:WORDS_CHARS_MAX] or "no reason given"
        raise _unfit(f"the authority refused (status {response.status}): {words}")
    digest = _HASHES.get(imprint.hash_algorithm.dotted_string)
    if digest is None:
        raise _unfit("it is over a hash other than SHA-256, SHA-384 and SHA-512")
    if imprint.message != digest(message).digest():
        raise _unfit("it is over something else than this run.checkpoint")
    return response


def judge_timestamp(data: bytes, roots: Sequence[Certificate], checkpoint: bytes) -> Timestamp:
    """Who saw this checkpoint, and when at the latest; raises `VerificationError` (E_TIMESTAMP).

    `data` is the authority's response. Its certificates count as of the time that it tells; whether they
    were revoked is not asked, for that takes a network.
    """
    response = open_timestamp(data, checkpoint)
    try:
        # The library judges signature, chain to a root at that time, and the purpose timeStamping.
        VerifierBuilder(roots=list(roots)).build().verify_message(response, checkpoint)
        return Timestamp(_signer(response), _latest_ms(response.tst_info))
    except Exception as error:  # whatever a stranger's bytes provoke means that they do not fit
        found = _CHAIN.search(str(error))
        why = f"its signer's certificate: {found[1]}" if found else str(error)
        raise _unfit(why[:WORDS_CHARS_MAX]) from error


def _in_order(data: bytes) -> bytes:
    """The response with its certificates in the order that DER has for sets and OpenSSL does not keep.

    The library takes DER alone. The order of certificates is not signed and says nothing. What cannot be
    walked is left as it is, for the library to refuse.
    """
    try:
        (response,) = _parts(data, 0, len(data))
        _, token = _parts(data, *response[1:])
        _, content = _parts(data, *token[1:])
        (signed,) = _parts(data, *content[1:])
        (certificates,) = (part for part in _parts(data, *signed[1:]) if data[part[0]] == _CERTIFICATES)
        parts = _parts(data, *certificates[1:])
    except (IndexError, ValueError):
        return data
    ordered = sorted(data[start:end] for start, _, end in parts)
    return data[: certificates[1]] + b"".join(ordered) + data[certificates[2] :]


def _parts(data: bytes, at: int, end: int) -> list[tuple[int, int, int]]:
    """Where each DER element between two offsets starts, where its content does, and where it ends.

    Raises ValueError or IndexError for what is no row of elements.
    """
    parts: list[tuple[int, int, int]] = []
    while at < end:
        start, size, at = at, data[at + 1], at + 2
        if size > _SHORT_SIZE_MAX:
            digits = size - _SHORT_SIZE_MAX - 1
            size, at = int.from_bytes(data[at : at + digits]), at + digits
        parts.append((start, at, at := at + size))
    if at != end:
        raise ValueError("an element is longer than what it lies in")
    return parts


def _unfit(why: str) -> VerificationError:
    return VerificationError("E_TIMESTAMP", f"The timestamp: {why}.")


def _signer(response: TimeStampResponse) -> str:
    """The name in the certificate that the token says it is signed with."""
    signed = response.signed_data
    (signer,) = signed.signer_infos
    certificates = map(load_der_x509_certificate, signed.certificates)
    named = (signer.issuer, signer.serial_number)
    own = [one for one in certificates if (one.issuer, one.serial_number) == named]
    if len(own) != 1:
        raise ValueError("two of its certificates claim to be its signer's")
    return own[0].subject.rfc4514_string()[:WORDS_CHARS_MAX]


def _latest_ms(info: TimeStampTokenInfo) -> int:
    """The token's time in unix milliseconds, with all that it may be off: its fraction and its accuracy."""
    latest_ms = (info.gen_time - _EPOCH) // timedelta(milliseconds=1) + FRACTION_MS
    accuracy = cast("Accuracy | None", info.accuracy)  # each part is optional, which the types do not say
    if accuracy is not None:
        latest_ms += 1000 * (accuracy.seconds or 0) + (accuracy.millis or 0) + bool(accuracy.micros)
    format_time(latest_ms)  # raises for a time that nobody can write
    return latest_ms
