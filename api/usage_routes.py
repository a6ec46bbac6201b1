"""The route of usage and quotas (CONTRACT §2, §8)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.services import principal_of, services_of

router = APIRouter(prefix="/v1/usage")


@router.get("")
async def get_usage(request: Request) -> Response:
    """The bare object of CONTRACT §8: what the visible projects used this month, and what is left."""
    services, who = services_of(request), await principal_of(request)
    # Not canonical JSON, which knows no fractions: seconds and minutes may be some.
    return JSONResponse(await services.usage.summary(who))
