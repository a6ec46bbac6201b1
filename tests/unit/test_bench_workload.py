"""The benches' workload is the same bytes for everybody, and stays what it was."""

import re

from hypothesis import given
from hypothesis import strategies as st

from bench import workload

FOREIGN = re.compile("/" + "root/|/" + "work/|" + "pypi" + "|npm" + "js|/" + "home/")


def test_the_recorded_log_is_the_one_that_figures_name() -> None:
    """Figures of two days can be compared only if the log did not change in between."""
    assert workload.sha256() == "1a71d4bbb209334c8a78d165e6973955c6f1d127e16ba00e55a2e996a52a95f8"
    assert workload.recorded().count(b"\n") > 10_000


def test_the_recorded_log_names_no_place_of_its_own() -> None:
    """It was recorded somewhere, which nobody needs to know."""
    assert not FOREIGN.search(workload.recorded().decode())


def test_events_have_about_200_bytes_and_are_the_whole_log() -> None:
    """The size that everything is measured with, and nothing left out."""
    assert 180 <= workload.mean_bytes() <= 220
    assert "".join(workload.texts()).encode() == workload.recorded()
    assert len({len(text) for text in workload.texts()}) > 100


@given(st.text(st.sampled_from("ab\n"), max_size=3000))
def test_pieces_joined_are_the_log_again(log: str) -> None:
    """No cut loses or doubles anything, whatever the lines look like."""
    pieces = list(workload.pieces(log))
    assert "".join(pieces) == log
    assert all(0 < len(piece) <= workload.TEXT_BYTES_MAX for piece in pieces)


def test_batches_go_round_the_log() -> None:
    """Two writers begin apart, and behind the last event comes the first."""
    events = len(workload.texts())
    assert workload.take(3, events - 1) == [workload.texts()[-1], *workload.texts()[:2]]
    batches = workload.batches(100, 977, 60)
    assert [len(batch) for batch in batches] == [100] * 60
    assert batches[0][0] == workload.texts()[977]
    assert batches[43][0] == workload.texts()[(977 + 4300) % events]
