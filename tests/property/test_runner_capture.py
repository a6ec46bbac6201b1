"""Whatever bytes a command writes, in whatever pieces, the same bytes come back."""

import asyncio
import base64
import os
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.capture import MASKED_AT_ONCE_BYTES, STREAMS, Capture, Chunker, OutputPipes
from runner.job import Report
from runner.masking import Masker, Masking

LIMIT = 16
NASTY = st.sampled_from(
    [
        *(
            b"\xe2\x82\xac",
            b"\xf0\x9f\x98\x80",
            b"\xc3",
            b"\xe2\x82",
            b"\xf0\x9f\x98",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
        ),
        *(
            b"\xff",
            b"\x80",
            b"\xc0\xaf",
            b"\0",
            b"\n",
            b"a" * LIMIT,
            "é".encode() * LIMIT,
            "\u2028\x85".encode(),
        ),
    ]
)
BYTES = st.lists(st.one_of(st.binary(max_size=40), NASTY), max_size=12).map(b"".join)

PIECES = [b"sec", b"ret", b"secret", b"\xff", b"..."]


def _cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    pieces, rest = [], data
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    return [*pieces, rest]


@settings(max_examples=150, deadline=None)
@given(BYTES, st.lists(st.integers(0, 24), max_size=20))
@example(b"\xe2\x82\xac", [1, 1])
@example(b"\xe2\x82", [1])
@example(b"a" * (LIMIT - 1) + b"\xe2\x82\xac", [])
def test_any_bytes_in_any_pieces_come_back(data: bytes, sizes: list[int]) -> None:
    """PROOF P1.3: raw bytes exactly when not UTF-8, text as Python replaces, chunks on code points."""
    chunker = Chunker(LIMIT)
    chunks = [chunk for piece in _cut(data, sizes) for chunk in chunker.feed(piece)]
    assert chunker.carried_bytes <= 3
    chunks += chunker.feed(b"", final=True)
    raws = [chunk.text.encode() if chunk.raw is None else chunk.raw for chunk in chunks]
    assert b"".join(raws) == data
    assert "".join(chunk.text for chunk in chunks) == data.decode("utf-8", "replace")
    for chunk, raw in zip(chunks, raws, strict=True):
        assert 0 < len(raw) <= LIMIT
        assert chunk.text == raw.decode("utf-8", "replace")
        assert (chunk.raw is None) == _is_utf8(raw)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(STREAMS), st.binary(max_size=60)), max_size=10),
    st.integers(0, 200),
)
def test_what_is_kept_and_what_is_dropped_is_everything(writes: list[tuple[str, bytes]], cap: int) -> None:
    """Per stream the kept bytes are a beginning of what was written; the cap is told once, and exactly."""
    reports, capture = asyncio.run(_captured(writes, cap))
    written = {stream: b"".join(data for name, data in writes if name == stream) for stream in STREAMS}
    kept = {
        stream: b"".join(_raw(report) for report in reports if report.type == stream) for stream in STREAMS
    }
    total = sum(map(len, written.values()))
    for stream in STREAMS:
        assert written[stream].startswith(kept[stream])
        assert len(kept[stream]) + capture.dropped_bytes[stream] == len(written[stream])
    truncations = [report.fields for report in reports if report.type == "output_truncated"]
    assert len(truncations) == (total > cap)
    assert capture.kept_bytes == sum(map(len, kept.values()))
    if truncations:
        assert truncations[0]["keptBytes"] == capture.kept_bytes
        assert cap - 6 <= capture.kept_bytes <= cap
        assert reports[-1].type == "output_truncated"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(STREAMS), st.sampled_from(PIECES)), max_size=14),
    st.integers(0, 60),
)
def test_secrets_are_masked_before_anything_is_counted_or_cut(
    writes: list[tuple[str, bytes]], cap: int
) -> None:
    """Each stream is a beginning of its masked output, all of it below the cap, in any number of writes."""
    masking = Masking([b"secret"])
    reports, capture = asyncio.run(_captured(writes, cap, masking))
    masked = {
        stream: Masker(masking).feed(b"".join(data for name, data in writes if name == stream), final=True)
        for stream in STREAMS
    }
    kept = {
        stream: b"".join(_raw(report) for report in reports if report.type == stream) for stream in STREAMS
    }
    assert all(masked[stream].startswith(kept[stream]) for stream in STREAMS)
    assert capture.kept_bytes == sum(map(len, kept.values())) <= cap
    truncated = [report for report in reports if report.type == "output_truncated"]
    assert len(truncated) == (sum(map(len, masked.values())) > cap)
    if not truncated:
        assert kept == masked


def test_many_commands_together_mask_no_more_at_once_than_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output that is all secrets takes long to mask: between two of its pieces everybody else has a turn."""
    rounds = 0
    masked: Counter[int] = Counter()
    feed = Masker.feed

    def counted(self: Masker, data: bytes, *, final: bool = False) -> bytes:
        masked[rounds] += len(data)
        return feed(self, data, final=final)

    async def count_rounds() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async def capture_at_once() -> list[tuple[list[Report], Capture]]:
        counting = asyncio.create_task(count_rounds())
        secret = Masking([b"a" * 100])
        writes = [("stdout", b"a" * 40_000)]
        captured = await asyncio.gather(*(_captured(writes, 1 << 20, secret) for _ in range(8)))
        counting.cancel()
        return captured

    monkeypatch.setattr(Masker, "feed", counted)
    for reports, _ in asyncio.run(capture_at_once()):
        assert b"".join(map(_raw, reports)) == b"***"
    assert sum(masked.values()) == 8 * 40_000
    assert max(masked.values()) == MASKED_AT_ONCE_BYTES


async def _captured(
    writes: list[tuple[str, bytes]], cap: int, masking: Masking | None = None
) -> tuple[list[Report], Capture]:
    """Real pipes; the writer lets the reader come between any two writes."""
    reports: list[Report] = []

    async def emit(batch: Sequence[Report]) -> None:
        reports.extend(batch)

    pipes = OutputPipes()
    try:
        capture = Capture(
            pipes.read_fds, emit, output_bytes_max=cap, chunk_bytes_max=LIMIT, window_ms=1, masking=masking
        )
        pump = asyncio.create_task(capture.pump())
        for index, (stream, data) in enumerate(writes):
            os.write(pipes.write_fds[STREAMS.index(stream)], data)
            if index % 2:
                await asyncio.sleep(0)
        capture.finish()
        await pump
    finally:
        pipes.close()
    return reports, capture


def _raw(report: Report) -> bytes:
    encoded = report.fields.get("dataBase64")
    return base64.b64decode(str(encoded)) if encoded is not None else str(report.fields["data"]).encode()


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
