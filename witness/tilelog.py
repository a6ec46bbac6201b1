"""Owns reading a log that is served as tiles: its checkpoint and its entries (C2SP tlog-tiles, P5.2)."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

from evidence.canonical import FormatError
from evidence.note import NOTE_BYTES_MAX
from evidence.policy import KEYS_MAX
from evidence.tiles import ENTRY_BYTES_MAX, TILE_WIDTH, Tile, bundles, unpack_entries
from witness.fetching import Unreadable, Web

_BUNDLE_BYTES_MAX = TILE_WIDTH * (2 + ENTRY_BYTES_MAX)


class TileLog:
    """A log at an address; what it answers proves nothing until it is compared with what was signed."""

    def __init__(self, web: Web, url: str) -> None:
        """`url` is what stands before `/checkpoint` and `/tile/…`."""
        self._web, self.url = web, url.rstrip("/")

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint. Raises `Unreadable`."""
        url = f"{self.url}/checkpoint"
        answer = self._web.get(url, NOTE_BYTES_MAX)
        if answer.status != HTTPStatus.OK:
            raise Unreadable(
                f"{url} answers {answer.status}. Is this the address of a CrowNest server whose log has "
                "begun, or of a copy of a log?"
            )
        return answer.body

    def handovers(self) -> Iterator[bytes]:
        """The checkpoints at which one signing key handed over to the next, newest first (P6).

        Of a copy of a log, which has none, nothing. Raises `Unreadable`.
        """
        answer = self._web.get(f"{self.url}/handovers", NOTE_BYTES_MAX)
        words = answer.body.decode("ascii", "replace").split() if answer.status == HTTPStatus.OK else []
        for size in reversed(words[:KEYS_MAX]):
            if size.isdecimal():
                note = self._web.get(f"{self.url}/handover/{size}", NOTE_BYTES_MAX)
                if note.status == HTTPStatus.OK:
                    yield note.body

    def bundles(self, start: int, size: int) -> Iterator[tuple[int, list[bytes]]]:
        """The entries [start, size) of a log of `size`, bundle by bundle, each with its first index.

        Raises `Unreadable` and, for a bundle that is none, `FormatError`.
        """
        for tile in bundles(start, size) if start < size else ():
            first = tile.index * TILE_WIDTH
            skipped = max(0, start - first)
            yield first + skipped, self._bundle(tile)[skipped:]

    def _bundle(self, tile: Tile) -> list[bytes]:
        answer = self._web.get(f"{self.url}/{tile.path()}", _BUNDLE_BYTES_MAX)
        width = tile.width
        if answer.status == HTTPStatus.NOT_FOUND and width < TILE_WIDTH:
            # The log has grown since, and keeps a partial bundle only until the full one is there.
            tile = Tile(None, tile.index)
            answer = self._web.get(f"{self.url}/{tile.path()}", _BUNDLE_BYTES_MAX)
        if answer.status != HTTPStatus.OK:
            raise Unreadable(
                f"{self.url}/{tile.path()} answers {answer.status}: the log does not hand out what it "
                "signed. Try again; if it stays so, ask its operator."
            )
        try:
            return unpack_entries(answer.body, tile.width)[:width]
        except FormatError as error:
            raise FormatError(f"{tile.path()}: {error}") from error
