"""Owns reading over HTTP, by the standard library alone: bounded in bytes and in time, no redirects."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import IO
from urllib.parse import urlsplit

_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """How long one answer may take; its size is limited by who asks for it."""

    silence_s: float = 15.0
    whole_s: float = 60.0


class Unreadable(Exception):
    """What should be read cannot be; nothing is known, neither good nor bad. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer of any status; `retry_after_s` is what a 429 or 503 asks for, if it does."""

    status: int
    body: bytes
    retry_after_s: int | None = None


class Web:
    """Fetches; `trust_env` lets the environment's proxies apply."""

    def __init__(self, *, trust_env: bool = False, limits: FetchLimits | None = None) -> None:
        self._limits = limits or FetchLimits()
        proxies = urllib.request.ProxyHandler(None if trust_env else {})
        self._opener = urllib.request.build_opener(proxies, _NoRedirects)

    def get(self, url: str, bytes_max: int, headers: Mapping[str, str] | None = None) -> Fetched:
        """GET. Raises `Unreadable` when nobody answers, slowly, or with more than `bytes_max`."""
        _check(url)
        request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310  # http or https, see above
        deadline = time.monotonic() + self._limits.whole_s
        try:
            with self._opener.open(request, timeout=self._limits.silence_s) as answer:
                return Fetched(answer.status, self._read(url, answer, bytes_max, deadline))
        except urllib.error.HTTPError as error:
            with error:
                after = error.headers.get("retry-after", "")
                seconds = int(after) if after.isascii() and after.isdigit() and len(after) < 6 else None
                return Fetched(error.code, b"", seconds)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise Unreadable(
                f"{url} cannot be read ({reason}). Check the address and the network."
            ) from error

    def _read(self, url: str, answer: http.client.HTTPResponse, bytes_max: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        size_bytes = 0
        while part := answer.read1(_CHUNK_BYTES):
            parts.append(part)
            size_bytes += len(part)
            if size_bytes > bytes_max:
                raise Unreadable(f"{url} is longer than {bytes_max} bytes: that is not what belongs there.")
            if time.monotonic() > deadline:
                raise Unreadable(f"{url} takes longer than {self._limits.whole_s:.0f} s. Try again later.")
        if answer.length:
            raise Unreadable(f"{url} broke off. Try again.")
        return b"".join(parts)


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise Unreadable(f"{url!a} is no address: write it like https://crownest.example.org")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is answered as it is: a log and a CrowNest API issue none."""

    def redirect_request(  # noqa: PLR0917  # the standard library calls it so
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> None:
        del req, fp, code, msg, headers, newurl
