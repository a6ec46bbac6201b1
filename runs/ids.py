"""Ids: a prefix, one underscore, 26 random lowercase base32 characters (CONTRACT §1, §11)."""

from __future__ import annotations

import re
import secrets
from base64 import b32encode

SUFFIX_LENGTH = 26
_RANDOM_BYTES = 17
"""More than 26 characters of five bits need."""
_SHAPE = re.compile(r"[a-z]{2,8}_[A-Za-z0-9]{1,64}")


def new_id(prefix: str) -> str:
    """A fresh id such as `wsr_…`: 130 random bits, unguessable and never reused."""
    suffix = b32encode(secrets.token_bytes(_RANDOM_BYTES))[:SUFFIX_LENGTH]
    return f"{prefix}_{suffix.decode().lower()}"


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` has the shape of an id of this kind (it may still be unknown)."""
    return text.startswith(prefix + "_") and _SHAPE.fullmatch(text) is not None
