"""The terminal filter: colours pass, commands to the terminal become visible, nothing is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.terminal import SEQUENCE_CHARS_MAX, TerminalFilter
from evidence.visible import one_line

DANGEROUS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\\[[0-9;:]*m)")


def filtered(*pieces: bytes) -> str:
    """The pieces through one filter, with the end."""
    terminal_filter = TerminalFilter()
    return "".join(terminal_filter.feed(piece) for piece in pieces) + terminal_filter.close()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain \xc3\xa9\tline\r\n", "plain é\tline\r\n"),
        (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        (b"\x1b[38:2::1:2:3mx\x1b[m", "\x1b[38:2::1:2:3mx\x1b[m"),
        (b"\x1b]0;owned\x07", "^[]0;owned^G"),
        (b"\x1b]52;c;ZXZpbA==\x1b\\", "^[]52;c;ZXZpbA==^[\\"),
        (b"\x1b[2J\x1b[H", "^[[2J^[[H"),
        (b"\x1b[6n", "^[[6n"),
        (b"a\x08b\x7f", "a^Hb^?"),
        (b"\xc2\x9b31m", "<U+009B>31m"),
        (b"\xff\x9b", "\ufffd\ufffd"),
        (b"\x1b[" + b"1;" * SEQUENCE_CHARS_MAX + b"m", "^[[" + "1;" * SEQUENCE_CHARS_MAX + "m"),
    ],
)
def test_colours_pass_and_commands_become_visible(raw: bytes, shown: str) -> None:
    """Titles, clipboard, cursor and queries are shown, not obeyed."""
    assert filtered(raw) == shown


def test_a_colour_left_on_is_ended() -> None:
    """The prompt after a killed command is not red."""
    assert filtered(b"\x1b[31mred") == "\x1b[31mred\x1b[0m"


def test_what_is_cut_at_the_end_is_still_shown() -> None:
    """An unfinished sequence or character is no reason to lose bytes."""
    assert filtered(b"a\x1b[3") == "a^[[3"
    assert filtered(b"a\xc3") == "a\ufffd"


@given(st.lists(st.binary(max_size=12), max_size=12))
def test_nothing_dangerous_passes_however_it_is_cut(pieces: list[bytes]) -> None:
    """The pieces of a stream are filtered as the whole would be, and the result is harmless."""
    shown = filtered(*pieces)
    assert shown == filtered(b"".join(pieces))
    assert not DANGEROUS.search(shown)


@given(st.text(alphabet="\x1b[]0;:mJH\x07a\n"), st.integers(0, 30))
def test_sequences_may_be_split_between_pieces(text: str, cut: int) -> None:
    """Also those that look like one and are none."""
    raw = text.encode()
    assert filtered(raw[:cut], raw[cut:]) == filtered(raw)
    assert not DANGEROUS.search(filtered(raw[:cut], raw[cut:]))


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    """Messages of others cannot add lines that look like ours."""
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
