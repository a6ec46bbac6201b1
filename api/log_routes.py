"""Routes of the global log: its checkpoint and its tiles, public and static (PROOF P5.2, C2SP tlog-tiles)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from api.services import services_of
from eventstore.proving import tile_bytes
from evidence.canonical import FormatError
from evidence.record import SEQ_DIGITS_MAX
from evidence.tiles import parse_tile_path
from runs.refusal import Refusal

router = APIRouter(prefix="/log")
CHECKPOINT_CACHING = "public, max-age=1"
TILE_CACHING = "public, max-age=31536000, immutable"


@router.get("/checkpoint")
async def get_log_checkpoint(request: Request) -> Response:
    """The newest published checkpoint, with the cosignatures that it got; needs no key."""
    note = services_of(request).sequencer.published.note
    if not note:
        raise Refusal("not_found", "The log is empty: its first checkpoint follows the first entry.")
    return PlainTextResponse(note, headers={"cache-control": CHECKPOINT_CACHING})


@router.get("/handovers")
async def get_handovers(request: Request) -> Response:
    """The sizes of the log at which one signing key handed over to the next, one a line (P6)."""
    sizes = services_of(request).keys.handover_sizes()
    return PlainTextResponse("".join(f"{size}\n" for size in sizes))


@router.get("/handover/{size}")
async def get_handover(request: Request, size: str) -> Response:
    """The checkpoint of such a size: signed by both keys, so that the old one vouches for the new one."""
    plain = size.isascii() and size.isdigit() and len(size) <= SEQ_DIGITS_MAX
    note = await services_of(request).keys.handover(int(size)) if plain else None
    if note is None:
        raise Refusal("not_found", "No key was handed over at this size. Read /log/handovers.")
    return PlainTextResponse(note)


@router.get("/tile/{path:path}")
async def get_tile(request: Request, path: str) -> Response:
    """A tile or an entry bundle, full or partial; its bytes never change, so that anybody may keep it."""
    services = services_of(request)
    try:
        tile = parse_tile_path(f"tile/{path}")
    except FormatError as error:
        raise Refusal("not_found", f"There is no such tile: {error}.") from error
    if not tile.fits(services.sequencer.published.size):
        raise Refusal("not_found", "The published log does not fill this tile. Read /log/checkpoint first.")
    data = await tile_bytes(services.global_log, tile)
    return Response(data, media_type="application/octet-stream", headers={"cache-control": TILE_CACHING})
