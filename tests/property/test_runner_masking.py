"""However a command spells a secret, and wherever its output is cut, nothing of it comes out."""

import base64
import json
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.masking import MASK, Masker, Masking
from runner.secret_forms import PIECE_BYTES, base64_pieces, plain_pieces
from tests.depth import DEEPER, examples

TOKEN = b"s3cr3t/T0ken+~ 9b"
"""With characters that URLs, JSON and base64 spell differently."""
LONG = bytes((index * 37 + 11) % 94 + 33 for index in range(150))
VALUES = [b"p4ss", b"w0rd5", TOKEN, LONG, "schlüssel-für-λ".encode()]
SMALL = st.lists(st.sampled_from(b"ab\n"), max_size=90).map(bytes)
SECRETS = st.lists(
    st.lists(st.sampled_from(b"ab"), min_size=4, max_size=70).map(bytes), min_size=1, max_size=3
)


def masked(secrets: Sequence[bytes], data: bytes, cuts: Sequence[int] = ()) -> bytes:
    """The masked output of `data` that arrives cut at these places."""
    masker = Masker(_masking(tuple(secrets)))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    out = b"".join(masker.feed(data[start:end]) for start, end in pairwise(edges))
    return out + masker.feed(b"", final=True)


@lru_cache(maxsize=8)
def _masking(secrets: tuple[bytes, ...]) -> Masking:
    return Masking(secrets)


def expected(pieces: set[bytes], data: bytes) -> bytes:
    """The definition, slowly: every occurrence of every piece is covered, what touches is one mask."""
    covered = [False] * len(data)
    for piece in pieces:
        start = data.find(piece)
        while start >= 0:
            covered[start : start + len(piece)] = [True] * len(piece)
            start = data.find(piece, start + 1)
    out = bytearray()
    for index, byte in enumerate(data):
        if not covered[index]:
            out.append(byte)
        elif index == 0 or not covered[index - 1]:
            out += MASK
    return bytes(out)


@examples(120)
@given(SECRETS, SMALL, st.lists(st.integers(0, 90), max_size=8))
@example([b"abab"], b"xabababx", [3, 5])
@example([b"aaaa", b"aaaab"], b"aaaaab", [1, 2, 3, 4, 5])
@example([b"a" * 40], b"b" + b"a" * 80 + b"b", [41])
def test_every_occurrence_is_masked_however_the_output_is_cut(
    secrets: list[bytes], data: bytes, cuts: list[int]
) -> None:
    """Overlaps included, and the same bytes whether they come at once, cut anywhere, or one by one."""
    pieces = set[bytes]().union(*map(plain_pieces, secrets), *map(base64_pieces, secrets))
    whole = masked(secrets, data)
    assert whole == expected(pieces, data)
    assert masked(secrets, data, cuts) == whole
    assert masked(secrets, data, range(len(data))) == whole
    assert not any(secret in whole for secret in secrets)


WRAPPED = st.builds(
    lambda before, value, after, width, newline, indent: (
        value,
        _wrapped(base64.b64encode(before + value + after), width, newline, indent),
    ),
    st.binary(max_size=80),
    st.binary(min_size=4, max_size=60).filter(lambda value: len(value.strip()) >= 4),
    st.binary(max_size=80),
    st.sampled_from([32, 60, 64, 76]),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([b"", b"    ", b"\t"]),
)


def _wrapped(text: bytes, width: int, newline: bytes, indent: bytes) -> bytes:
    return (newline + indent).join(text[start : start + width] for start in range(0, len(text), width))


@examples(80)
@given(WRAPPED, st.lists(st.integers(0, 400), max_size=8))
def test_wrapped_base64_is_masked_however_it_is_cut(case: tuple[bytes, bytes], cuts: list[int]) -> None:
    """As `base64` wraps long output: at any place of the lines, at every alignment, over any chunk border."""
    value, data = case
    whole = masked([value], data)
    assert masked([value], data, cuts) == whole
    assert masked([value], data, range(len(data))) == whole
    joined = whole.replace(b"\r", b"").replace(b"\n", b"").replace(b" ", b"").replace(b"\t", b"")
    for offset in range(3):
        start, end = (0, 2, 3)[offset], 8 * (offset + len(value)) // 6
        assert base64.b64encode(bytes(offset) + value)[start:end] not in joined


@pytest.mark.parametrize("value", VALUES, ids=["four", "five", "token", "long", "accents"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["standard", "url-safe"])
def test_base64_is_masked_at_every_offset_to_the_last_bit(value: bytes, encode: object) -> None:
    """Not one character that holds a bit of the secret is left, at the three alignments, at every cut."""
    assert callable(encode)
    for before in range(13 if DEEPER > 1 else 4):  # all alignments, and one of them behind whole characters
        for after in range(4 if DEEPER > 1 else 3):
            text: bytes = encode(b"\0" * before + value + b"\0" * after)
            first, last = 8 * before // 6, -(-8 * (before + len(value)) // 6)
            wanted = text[:first] + MASK + text[last:]
            assert masked([value], text) == wanted
            for cut in range(len(text)):
                assert masked([value], text, [cut]) == wanted


SPELLINGS = {
    "plain": lambda text: text,
    "url": lambda text: quote(text, safe=""),
    "url, slashes left": quote,
    "url, lower hex": lambda text: _lower_hex(quote(text, safe="")),
    "url, lower hex, slashes left": lambda text: _lower_hex(quote(text)),
    "form": quote_plus,
    "form, lower hex": lambda text: _lower_hex(quote_plus(text)),
    "as browsers do it": lambda text: quote(text, safe="!*'()"),
    "json": lambda text: json.dumps(text)[1:-1],
    "json, characters left": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json, slashes escaped": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
}


def _lower_hex(text: str) -> str:
    parts = text.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("value", VALUES, ids=["four", "five", "token", "long", "accents"])
def test_every_spelling_is_masked_at_every_offset_and_every_cut(value: bytes, spell: object) -> None:
    """One mask for the whole value, and what stands around it is left alone."""
    assert callable(spell)
    form = str(spell(value.decode())).encode()
    for before in range(0, 2 * PIECE_BYTES, 7 if DEEPER > 1 else 21):
        data = b"." * before + form + b"\n"
        wanted = b"." * before + MASK + b"\n"
        assert masked([value], data) == wanted
        for cut in range(len(data)):
            assert masked([value], data, [cut]) == wanted


def test_lines_of_a_value_are_masked_by_themselves() -> None:
    """A key is printed line by line, indented, or with other line ends; its short lines say nothing."""
    lines = [*textwrap.wrap(base64.b64encode(LONG).decode(), 60), "end"]
    value = "\n".join(["-----BEGIN A KEY-----", *lines]).encode()
    for line in lines[:-1]:
        assert masked([value], b"  > " + line.encode() + b" <") == b"  > *** <"
    assert masked([value], b"the end") == b"the end"
    assert masked([value], b"[" + value.replace(b"\n", b"\r\n") + b"]") == b"[***]"
    assert masked([value + b"\n"], b"[" + value + b"]") == b"[***]"


@examples(60)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_what_holds_no_secret_comes_out_as_it_was(data: bytes, cuts: list[int]) -> None:
    """Beside the secret nothing is changed, whatever bytes they are."""
    secret = b"0123456789-not-in-there"
    assert masked([secret], data, cuts) == data


def test_only_the_beginning_of_a_secret_is_held_back() -> None:
    """A prompt is shown at once; what may become the secret waits for the next byte."""
    masker = Masker(Masking([b"hunter22"]))
    assert masker.feed(b"password? ") == b"password? "
    assert masker.feed(b"a hunt") == b"a "
    assert masker.feed(b"s") == b"hunts"
    assert masker.feed(b" hunter2") == b" "
    assert masker.feed(b"2") == MASK
    assert masker.feed(b"hunter22, gone") == b", gone"


def test_a_message_is_masked_as_well() -> None:
    """Texts that are no output, such as why an artifact is missing."""
    masking = Masking([TOKEN])
    assert masking.text(f"ö: it leads to {TOKEN.decode()}.") == "ö: it leads to ***."
    assert TOKEN.decode() not in repr(masking)
