"""Routes of the signing keys: which there are, and the change to a new one (CONTRACT §2.1, PROOF P6)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.queries import json_response
from api.services import principal_of, services_of
from evidence.canonical import encode

router = APIRouter(prefix="/v1/signing-keys")


@router.get("")
async def list_signing_keys(request: Request) -> Response:
    """A page of `{keyId, verifierKey, status, from, until?}`, newest first; sizes are of the global log."""
    services, who = services_of(request), await principal_of(request)
    return json_response(encode({"data": services.keys.listed(who), "hasMore": False}))


@router.post("/rotate")
async def rotate_signing_key(request: Request) -> Response:
    """`{signingKey}`: the new key, already in force and vouched for by the old one."""
    services, who = services_of(request), await principal_of(request)
    return json_response(encode({"signingKey": await services.keys.rotate(who)}))
