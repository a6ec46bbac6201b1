"""Encrypts the values of secrets for storage, with a key that lies outside the database.

AES-256-GCM with a random nonce. Project and name are associated data: a ciphertext that was moved to another
name, or to another tenant's project, does not open.
"""

from __future__ import annotations

import base64
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from evidence.canonical import decode, encode

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
KEY_ID_BYTES = 8


class SecretValue:
    """The value of a secret, which no repr, message or traceback shows; `reveal` is called last of all."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "SecretValue(***)"

    @property
    def size_bytes(self) -> int:
        """How long it is as UTF-8."""
        return len(self._value.encode())

    def reveal(self) -> str:
        """The value itself."""
        return self._value


class WrongSecretsKey(Exception):
    """The value was encrypted with another key, or what is stored of it was changed."""


class SecretBox:
    """Seals and opens values under one key; its parts are derived, so that no key has two uses."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key of secrets has {KEY_BYTES} bytes, not {len(key)}")
        self._cipher = AESGCM(_derived(key, b"encryption"))
        self._fingerprint_key = _derived(key, b"fingerprint")
        self.key_id = _derived(key, b"key id")[:KEY_ID_BYTES].hex()
        """Names the key without telling anything about it."""

    def __repr__(self) -> str:
        return f"SecretBox(key_id={self.key_id})"

    def seal(self, project_id: str, name: str, value: SecretValue) -> bytes:
        """The document to store: canonical JSON of `ciphertext`, `keyId` and `nonce`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        ciphertext = self._cipher.encrypt(nonce, value.reveal().encode(), _bound_to(project_id, name))
        return encode({"ciphertext": _text(ciphertext), "keyId": self.key_id, "nonce": _text(nonce)})

    def open(self, project_id: str, name: str, document: bytes) -> SecretValue:
        """The value of a stored document; raises `WrongSecretsKey`."""
        stored = decode(document)
        if stored["keyId"] != self.key_id:
            raise WrongSecretsKey(f"encrypted with key {stored['keyId']}, here is {self.key_id}")
        ciphertext, nonce = (base64.b64decode(stored[part]) for part in ("ciphertext", "nonce"))
        try:
            plain = self._cipher.decrypt(nonce, ciphertext, _bound_to(project_id, name))
        except InvalidTag:
            raise WrongSecretsKey("the stored ciphertext was changed or moved") from None
        return SecretValue(plain.decode())

    @staticmethod
    def size_bytes(document: bytes) -> int:
        """How long the value in a stored document is, without opening it."""
        return len(base64.b64decode(decode(document)["ciphertext"])) - TAG_BYTES

    def fingerprint(self, value: SecretValue) -> bytes:
        """Tells equal values from others, and without the key nothing about them, not even to who guesses."""
        return hmac.digest(self._fingerprint_key, value.reveal().encode(), "sha256")


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, b"crownest secrets v1: " + purpose, "sha256")


def _bound_to(project_id: str, name: str) -> bytes:
    return b"\0".join((b"crownest secret v1", project_id.encode(), name.encode()))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
