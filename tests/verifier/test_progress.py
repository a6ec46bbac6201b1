"""The counter on a terminal: shown while a proof is verified, gone afterwards, and nobody else's business."""

import io

from verifier.progress import progress


class Terminal(io.StringIO):
    """A stream that a person reads."""

    def isatty(self) -> bool:
        return True


def test_a_person_sees_a_counter_that_is_wiped() -> None:
    """Thousands are set apart, and the line is free for the verdict."""
    terminal = Terminal()
    with progress(terminal, quiet=False) as on_progress:
        assert on_progress is not None
        on_progress(4096, 1_000_000)
    assert terminal.getvalue() == "\rverifying event 4,096 of 1,000,000\r\x1b[K"


def test_files_pipes_and_json_get_none() -> None:
    """Nothing is written where nobody watches."""
    for stream, quiet in ((Terminal(), True), (io.StringIO(), False)):
        with progress(stream, quiet=quiet) as on_progress:
            assert on_progress is None
        assert stream.getvalue() == ""
