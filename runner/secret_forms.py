"""The forms in which a secret may stand in a command's output: as it is, in base64, in URLs, in JSON.

Forms longer than `PIECE_BYTES` are cut into pieces of that length, and every piece counts by itself: what a
masker looks for and holds back stays short, however long the secret is.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring, encode_basestring_ascii
from urllib.parse import quote_from_bytes

PIECE_BYTES = 32
FORM_BYTES_MIN = 4
"""Shorter forms stand in any output by chance: masking them would destroy it."""
LINE_BYTES_MIN = 8
"""Shorter lines of a multi-line value are not masked by themselves: they are words like `end`."""
EDGE_CHARS = 7

_STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_URL_SAFE = _STANDARD[:-2] + b"-_"
_FIRST_WHOLE_CHAR = (0, 2, 3)
"""The first base64 character that holds nothing of the 0, 1 or 2 bytes in front of the secret."""
_URL_SAFE_CHARACTERS = ("", "/", "!*'()", ";,/?:@&=+$!*'()#", "*")
"""What encoders leave as it is beside letters, digits and `-_.~`: RFC 3986, Python, browsers, Java."""
_HEX = re.compile(rb"%[0-9A-F]{2}")


def plain_pieces(secret: bytes) -> set[bytes]:
    """What to look for in the output as it is: the value, its lines, its URL and JSON forms."""
    forms: set[bytes] = set(_lines(secret))
    for value in _spellings(secret):
        forms |= {value, value.replace(b"\n", b"\r\n"), *_url_forms(value), *_json_forms(value)}
    return set(_pieces(forms))


def base64_pieces(secret: bytes) -> set[bytes]:
    """What to look for where the output is base64: the secret at each of the three alignments.

    Characters that hold bits of the secret and of its neighbours are found by their known bits.
    """
    found: set[bytes] = set()
    for value in _spellings(secret):
        for alphabet in (_STANDARD, _URL_SAFE):
            for offset in range(3):
                core, left, right = _aligned(value, offset, alphabet)
                found.update(_pieces([core]))
                found.update(bytes([edge]) + core[:EDGE_CHARS] for edge in left)
                found.update(core[-EDGE_CHARS:] + bytes([edge]) for edge in right)
    return found


def _spellings(secret: bytes) -> set[bytes]:
    """The value, and as shells and editors leave it: without the space around it."""
    return {value for value in (secret, secret.strip()) if len(value) >= FORM_BYTES_MIN}


def _lines(secret: bytes) -> Iterator[bytes]:
    for line in secret.split(b"\n"):
        if len(line.strip()) >= LINE_BYTES_MIN:
            yield line.strip()


def _pieces(forms: Iterable[bytes]) -> Iterator[bytes]:
    for form in forms:
        if len(form) <= PIECE_BYTES:
            yield form
            continue
        for start in range(0, len(form) - PIECE_BYTES, PIECE_BYTES):
            yield form[start : start + PIECE_BYTES]
        yield form[-PIECE_BYTES:]


def _url_forms(value: bytes) -> Iterator[bytes]:
    """Percent-encoded, in upper and lower hex, with `%20` or `+` for a space."""
    for safe in _URL_SAFE_CHARACTERS:
        quoted = quote_from_bytes(value, safe).encode("ascii")
        for spelled in (quoted, quoted.replace(b"~", b"%7E")):
            for hexed in (spelled, _HEX.sub(lambda found: found[0].lower(), spelled)):
                yield hexed
                yield hexed.replace(b"%20", b"+")


def _json_forms(value: bytes) -> Iterator[bytes]:
    """The inside of a JSON string, with other characters than ASCII as they are or escaped."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return
    for encoder in (encode_basestring, encode_basestring_ascii):
        inside = encoder(text)[1:-1].encode()
        yield inside
        yield inside.replace(b"/", b"\\/")


def _aligned(value: bytes, offset: int, alphabet: bytes) -> tuple[bytes, bytes, bytes]:
    """The characters that hold nothing but the value, and what may stand to their left and right.

    `offset` bytes stand in front of the value in its group of three.
    """
    encoded = base64.b64encode(bytes(offset) + value).rstrip(b"=")
    encoded = encoded.translate(bytes.maketrans(_STANDARD, alphabet))
    first, whole = _FIRST_WHOLE_CHAR[offset], 8 * (offset + len(value)) // 6
    left = right = b""
    if offset:
        known = alphabet.index(encoded[first - 1])
        step = 1 << (6 - 2 * offset)  # the low bits are the value's, those above its neighbour's
        left = bytes(alphabet[high | known] for high in range(0, 64, step))
    if whole < len(encoded):
        known = alphabet.index(encoded[whole])
        free = 64 >> (8 * (offset + len(value)) % 6)  # the high bits are the value's
        right = bytes(alphabet[known | low] for low in range(free))
    return encoded[first:whole], left, right
