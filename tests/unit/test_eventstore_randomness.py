"""Salts: no byte of the system's randomness is handed out twice, however much is asked for."""

from hypothesis import given
from hypothesis import strategies as st

from eventstore.randomness import PIECE_BYTES, Randomness

WORD = 4


@given(st.lists(st.integers(0, PIECE_BYTES // WORD + 100), max_size=20))
def test_every_piece_is_as_long_as_asked_and_new(words_asked: list[int]) -> None:
    """A source of numbered words shows that none comes twice."""
    made = 0

    def source(size: int) -> bytes:
        nonlocal made
        first, made = made, made + size // WORD
        return b"".join(number.to_bytes(WORD, "big") for number in range(first, made))

    randomness, seen = Randomness(source), set[bytes]()
    for words in words_asked:
        piece = randomness(words * WORD)
        assert len(piece) == words * WORD
        new = {piece[at : at + WORD] for at in range(0, len(piece), WORD)}
        assert len(new) == words
        assert seen.isdisjoint(new)
        seen |= new
