"""Owns signed notes and the keys that sign them: C2SP signed-note with Ed25519 (PROOF P6, P9.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from evidence.canonical import FormatError
from evidence.record import decode_base64, encode_base64

ED25519 = 0x01
"""Signature type of a plain signed note."""
COSIGNATURE = 0x04
"""Signature type of a timestamped cosignature (C2SP tlog-cosignature)."""

NOTE_BYTES_MAX = 64 * 1024
SIGNATURES_MAX = 64
NAME_CHARS_MAX = 255
KEY_BYTES = 32
KEY_ID_BYTES = 4
SIGNATURE_BYTES = 64

_FIELD_PRIME = 2**255 - 19
_LOW_ORDER_Y = frozenset(
    {
        0,
        1,
        _FIELD_PRIME - 1,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    }
)
"""The y coordinates of the eight points whose order divides 8: keys that sign anything."""

_NAME = re.compile(rf"[^\s+\x00-\x20\x7f-\x9f]{{1,{NAME_CHARS_MAX}}}")
_SIGNATURE_LINE = re.compile(r"\u2014 (\S+) (\S+)")


class NoteError(FormatError):
    """The note cannot be accepted; the message says why."""


class BadSignature(NoteError):
    """A signature by a key that we trust does not fit the text: the note was changed."""


class UnknownKey(NoteError):
    """None of the note's signatures is by a key that we trust."""


class Signer(Protocol):
    """Whatever holds a private key: a file, a process, a KMS (P6)."""

    @property
    def name(self) -> str:
        """The key name, as it stands in signature lines."""
        ...

    @property
    def verifier_key(self) -> str:
        """The public half: `name+hex(id)+base64(type || key)`."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature bytes (64 for plain Ed25519) over exactly `message`."""
        ...


@dataclass(frozen=True, slots=True)
class Verifier:
    """One trusted public key, parsed from its verifier key string (P6)."""

    name: str
    key_id: bytes
    type: int
    public_key: bytes

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Read `name+hex(id)+base64(type || key)`.

        Raises `FormatError` for another spelling, an id that does not fit, and keys that are of low
        order or not canonical.
        """
        parts = text.split("+", 2)
        if len(parts) != 3 or not is_key_name(parts[0]):
            raise FormatError("a verifier key is name+id+key")
        name, key_id, encoded = parts
        material = decode_base64(encoded)
        if len(material) != 1 + KEY_BYTES or material[0] not in (ED25519, COSIGNATURE):
            raise FormatError(f"key {name}: only Ed25519 keys (types 01 and 04) are supported")
        if key_id != _key_id(name, material).hex():
            raise FormatError(f"key {name}: the id is not that of the key, one of them was mistyped")
        refuse_weak_key(material[1:])
        return cls(name, bytes.fromhex(key_id), material[0], material[1:])

    def __str__(self) -> str:
        """The pair of `parse`."""
        return format_verifier_key(self.name, self.public_key, self.type)

    def is_valid(self, message: bytes, signature: bytes) -> bool:
        """Whether the plain Ed25519 signature is by this key over exactly these bytes."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Ed25519Signer:
    """A key in memory, kept as PKCS#8 PEM (P6)."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        if not is_key_name(name):
            raise ValueError(f"{name!a} cannot be a key name: no spaces, no '+', not empty")
        self._name, self._key = name, key

    @classmethod
    def generate(cls, name: str) -> Ed25519Signer:
        """A new key from the system's randomness."""
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, name: str, pem: bytes) -> Ed25519Signer:
        """Read an unencrypted PKCS#8 PEM. Raises ValueError when it is not an Ed25519 key."""
        key = load_pem_private_key(pem, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"the key {name} is not an Ed25519 key: make a new one")  # noqa: TRY004  # a bad file, not a bad type
        return cls(name, key)

    def to_pem(self) -> bytes:
        """PKCS#8 PEM without encryption: the caller keeps it at mode 0600, outside the database."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def name(self) -> str:
        """The key name, as it stands in signature lines."""
        return self._name

    @property
    def verifier_key(self) -> str:
        """The public half as a policy file holds it."""
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return format_verifier_key(self._name, public)

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature, 64 bytes."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        """Shows the public half only."""
        return f"Ed25519Signer({self.verifier_key})"


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note whose text was checked: who signed it, and the signature lines of keys that we do not know."""

    text: str
    verified: tuple[Verifier, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One line of a note below the empty line, decoded."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        """The line as it stands in the note, without its LF."""
        return f"\u2014 {self.name} {encode_base64(self.key_id + self.signature)}"


def is_key_name(name: str) -> bool:
    """Whether it can be a key name and an origin: no white space, no control character, no `+` (P4.3)."""
    return _NAME.fullmatch(name) is not None


def format_verifier_key(name: str, public_key: bytes, type_: int = ED25519) -> str:
    """`name+hex(id)+base64(type || key)` with id = H(name || LF || type || key)[:4] (P6)."""
    material = bytes([type_]) + public_key
    return f"{name}+{_key_id(name, material).hex()}+{encode_base64(material)}"


def refuse_weak_key(public_key: bytes) -> None:
    """Refuse keys with which anyone can make signatures, or that have a second spelling (P6).

    Raises `FormatError` for a y coordinate of 2^255 - 19 and more, and for points of low order.
    """
    y = int.from_bytes(public_key, "little") & ((1 << 255) - 1)
    if y >= _FIELD_PRIME:
        raise FormatError("the public key is not canonical: its y coordinate is not reduced")
    if y in _LOW_ORDER_Y:
        raise FormatError("the public key is a point of low order: anyone could sign with it")


def sign_note(text: str, *signers: Signer) -> bytes:
    """The signed note: the text, an empty line, one line per signer, `in_order`. Raises ValueError."""
    if not signers:
        raise ValueError("a note needs at least one signer")
    _refuse_bad_text(text)
    message = text.encode()
    lines: list[SignatureLine] = []
    for signer in signers:
        verifier = Verifier.parse(signer.verifier_key)
        lines.append(SignatureLine(verifier.name, verifier.key_id, signer.sign(message)))
    return message + b"\n" + "".join(f"{line}\n" for line in in_order(lines)).encode()


def in_order(lines: Iterable[SignatureLine]) -> list[SignatureLine]:
    """Lines of one kind as the notes of a bundle hold them, where order says nothing: ascending (P9.3)."""
    return sorted(lines, key=str)


def is_signed_by(note: bytes, signer: Signer) -> bool:
    """Whether the note, one of our own making, carries a signature line of this signer's key."""
    key = Verifier.parse(signer.verifier_key)
    return any((line.name, line.key_id) == (key.name, key.key_id) for line in split_note(note)[1])


def split_note(note: bytes) -> tuple[str, list[SignatureLine]]:
    """The text and the signature lines, nothing verified. Raises `NoteError`."""
    if len(note) > NOTE_BYTES_MAX:
        raise NoteError(f"a note has at most {NOTE_BYTES_MAX} bytes")
    try:
        whole = note.decode()
    except UnicodeDecodeError as error:
        raise NoteError(f"a note is UTF-8; byte {error.start} is not") from error
    text, _, block = whole.rpartition("\n\n")
    text += "\n"
    _refuse_bad_text(text)
    if not block.endswith("\n"):
        raise NoteError("a note is its text, an empty line, and signature lines that end with LF")
    lines = block[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise NoteError(f"a note has at most {SIGNATURES_MAX} signatures")
    return text, [_parse_signature_line(line) for line in lines]


def open_note(note: bytes, verifiers: Iterable[Verifier]) -> OpenedNote:
    """Check every signature that one of the verifiers can check.

    Raises `BadSignature` when one of them fails, `UnknownKey` when there is none, and `NoteError`
    for a note that is malformed or signed twice by one key. Only plain Ed25519 keys take part:
    cosignatures are over other bytes.
    """
    text, lines = split_note(note)
    trusted = {(key.name, key.key_id): key for key in verifiers if key.type == ED25519}
    verified: list[Verifier] = []
    unknown: list[str] = []
    for line in lines:
        key = trusted.get((line.name, line.key_id))
        if key is None:
            unknown.append(str(line))
            continue
        if key in verified:
            raise NoteError(f"{line.name} signed twice")
        if not key.is_valid(text.encode(), line.signature):
            raise BadSignature(f"the signature of {line.name} does not fit: the text or it was changed")
        verified.append(key)
    if not verified:
        raise UnknownKey("no signature is by a key that the policy names")
    return OpenedNote(text, tuple(verified), tuple(unknown))


def _key_id(name: str, material: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + material).digest()[:KEY_ID_BYTES]


def _refuse_bad_text(text: str) -> None:
    if not text.endswith("\n") or text == "\n":
        raise NoteError("the text of a note is not empty and ends with LF")
    if any(char < " " and char != "\n" for char in text):
        raise NoteError("the text of a note has no control characters but LF")


def _parse_signature_line(line: str) -> SignatureLine:
    match = _SIGNATURE_LINE.fullmatch(line)
    if not match or not is_key_name(match[1]):
        raise NoteError("a signature line is an em dash, a key name and base64, one space between")
    try:
        data = decode_base64(match[2])
    except FormatError as error:
        raise NoteError(f"signature of {match[1]}: {error}") from error
    if len(data) <= KEY_ID_BYTES:
        raise NoteError(f"signature of {match[1]}: too short to hold a key id and a signature")
    return SignatureLine(match[1], data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])
