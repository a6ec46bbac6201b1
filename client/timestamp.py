"""Asks a time-stamping authority over HTTP (RFC 3161 section 3.4); what it answers is judged by who asked."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from http import HTTPStatus

import httpx2

from client.errors import BadAnswer, ClientError, ConnectionFailed
from client.transport import DEFAULT_PORTS, SDK_MARKER, origin_of, translated

QUERY_TYPE, REPLY_TYPE = "application/timestamp-query", "application/timestamp-reply"


@dataclass(frozen=True, slots=True)
class TsaLimits:
    """How long an authority may take, and how much it may say."""

    connect_s: float = 10.0
    read_s: float = 20.0
    whole_s: float = 30.0
    answer_bytes_max: int = 64 * 1024


async def ask_authority(
    url: str, query: bytes, *, trust_env: bool = False, limits: TsaLimits | None = None
) -> bytes:
    """Send a request (DER); answers the body of what came back with status 200.

    Raises `ClientError`: no address, nobody there, not in time, another status, too long a body.
    """
    limits = limits or TsaLimits()
    target = _checked(url)
    # Reading the system's certificates takes 100 ms, so only for https; see client.transport.
    verify = True if target.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    timeout = httpx2.Timeout(limits.read_s, connect=limits.connect_s)
    headers = {"user-agent": SDK_MARKER, "content-type": QUERY_TYPE, "accept": REPLY_TYPE}
    try:
        async with (
            asyncio.timeout(limits.whole_s),
            httpx2.AsyncClient(verify=verify, trust_env=trust_env, timeout=timeout) as http,
        ):
            with translated(origin_of(target)):
                async with http.stream("POST", target, content=query, headers=headers) as response:
                    return await _body(response, limits.answer_bytes_max)
    except TimeoutError as error:
        raise ConnectionFailed("timeout", origin_of(target), f"more than {limits.whole_s} s") from error


async def _body(response: httpx2.Response, bytes_max: int) -> bytes:
    if response.is_redirect:
        there = response.headers.get("location", "(nowhere)")
        raise BadAnswer(
            f"The authority answers with a redirect to {there}: name that address, if you trust it."
        )
    if response.status_code != HTTPStatus.OK:
        raise BadAnswer(f"The authority answers with status {response.status_code} and no timestamp.")
    data = b""
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > bytes_max:
            raise BadAnswer(f"The authority's answer is longer than {bytes_max} bytes: it is no timestamp.")
    return data


def _checked(url: str) -> httpx2.URL:
    try:
        target = httpx2.URL(url.strip())
    except (httpx2.InvalidURL, ValueError) as error:
        raise ClientError("invalid_address", f"{url!r} is not an address: {error}") from error
    if target.scheme not in DEFAULT_PORTS or not target.host:
        raise ClientError("invalid_address", f"{url!r} is no address of http or https.")
    return target
