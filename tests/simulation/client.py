"""The client that keeps count: effects under lasting idempotency keys, events, and what was answered."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Self

import httpx2
import orjson

from tests.simulation.ledger import Answer, Call, Ledger, Run
from tests.simulation.steps import RUNS, Request, request_of

REQUEST_S_MAX = 30.0
TRICKLE_BYTES = 64 * 1024
BUSY_RETRIES_MAX = 60
PAGE = 500
RACED = 0.15
"""The part of requests that are sent twice at once, as an impatient client does."""
NDJSON = "application/x-ndjson"
FRAMINGS = ("sse", "ndjson", "pages")


class Gone(Exception):
    """There is no (good) answer: the server is not there any more, or has lost its disk."""


class Client:
    """One server life seen from outside; the ledger lives on over all of them."""

    def __init__(self, url: str, key: str, ledger: Ledger, rng: random.Random) -> None:
        self.ledger = ledger
        self.rng = rng
        self._http = httpx2.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {key}"},
            timeout=REQUEST_S_MAX,
            limits=httpx2.Limits(max_connections=200, max_keepalive_connections=50),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def effect(self, run: Run, name: str) -> None:
        """Ask for an effect until it is acknowledged; one that is acknowledged is not asked for again."""
        call = run.calls.setdefault(name, Call(name))
        if call.answer is not None:
            return
        request = request_of(run, name)
        self.ledger.counts["retries of requests that a crash cut off"] += call.crossed
        again = call.crossed and request.key is not None
        twice = request.key is not None and self.rng.random() < RACED
        self.ledger.counts["requests raced by their own retry"] += twice
        sends = [self._acknowledged(run, call, request) for _ in range(2 if twice else 1)]
        for outcome in await asyncio.gather(*sends, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        if again:
            await self._acknowledged(run, call, request)

    async def repeat(self, run: Run, call: Call) -> Answer:
        """Send an acknowledged request once more, as it was."""
        return await self._send(call, request_of(run, call.name))

    async def _acknowledged(self, run: Run, call: Call, request: Request) -> None:
        answer = await self._send(call, request)
        if not 200 <= answer.status < 300:
            self._refused(f"{run.run_id or run.plan.op}: {call.name}", answer)
            raise Gone(f"{call.name} answered {answer.status}")
        # Of a cancel that came too late nothing is stored: it answers how the run stands (CONTRACT §3.3).
        if call.answer is not None and call.answer != answer and call.name != "cancel":
            text = f"{run.run_id or run.plan.op}: {call.name} answered {call.answer} and then {answer}"
            self.ledger.findings.add("duplicated", text)
        self.ledger.acknowledge(call, answer)
        if call.answer is None:
            raise Gone("the power is off: this answer promises nothing, and nothing may follow it")
        if call.name == "create":
            run.run_id = orjson.loads(call.answer.body)["workspaceRun"]["id"]

    async def _send(self, call: Call, request: Request) -> Answer:
        """One exchange, read to its last byte."""
        headers = {"content-length": str(len(request.body)), **request.headers}
        if request.key:
            headers["idempotency-key"] = request.key
        for _ in range(BUSY_RETRIES_MAX):
            pause_s = self.rng.uniform(0.005, 0.03)
            slowly = len(request.body) > TRICKLE_BYTES
            content = _trickle(request.body, pause_s) if slowly else request.body
            call.in_flight += 1
            try:
                response = await self._http.request(
                    request.method, request.path, content=content, headers=headers
                )
            except (httpx2.TransportError, OSError) as error:
                call.crossed = True
                raise Gone(str(error)) from error
            finally:
                call.in_flight -= 1
            if response.status_code == 409 and b"idempotency_request_in_progress" in response.content:
                await asyncio.sleep(0.2)
                continue
            return Answer(response.status_code, response.content)
        raise Gone(f"{call.name} of {request.path} is in progress for ever")

    def _refused(self, what: str, answer: Answer) -> None:
        if self.ledger.power_is_off:
            self.ledger.counts["refusals after the cut"] += 1
        else:
            self.ledger.findings.add("refused", f"{what} answered {answer.status} {answer.body[:300]!r}")

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """A whole answer of any status."""
        try:
            response = await self._http.get(path, headers=headers)
        except (httpx2.TransportError, OSError) as error:
            raise Gone(str(error)) from error
        if self.ledger.power_is_off:
            raise Gone("the power is off: what is read now proves nothing, for or against the server")
        return Answer(response.status_code, response.content)

    async def body_of(self, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        """The body of a 200; any other status is a finding."""
        answer = await self.get(path, headers)
        if answer.status != 200:
            self._refused(path, answer)
            raise Gone(f"{path} answered {answer.status}")
        return answer.body

    async def json(self, path: str) -> Any:
        """The parsed body of a 200."""
        return orjson.loads(await self.body_of(path))

    async def log_of(self, run_id: str) -> list[bytes]:
        """The stored payloads of the whole run; empty when the server does not know it."""
        path = f"{RUNS}/{run_id}/events"
        answer = await self.get(path, {"accept": NDJSON})
        if answer.status == 404:
            return []
        if answer.status != 200:
            self._refused(path, answer)
            raise Gone(f"{path} answered {answer.status}")
        return answer.body.split(b"\n")[:-1]

    async def list_runs(self, query: str = "") -> list[dict[str, Any]]:
        """All runs of a listing, page by page."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self.json(f"{RUNS}?limit={PAGE}{query}{cursor}")
            found += page["data"]
            if not page["hasMore"]:
                return found
            cursor = f"&cursor={page['nextCursor']}"

    async def follow(self, run: Run, framing: str, after_seq: int) -> None:
        """Read the run's events until `terminal`, or until the server is gone."""
        run.readers += 1
        self.ledger.counts[f"{framing} readers"] += 1
        expected = after_seq + 1
        events = self._pages(run.run_id, after_seq) if framing == "pages" else None
        events = events or self._stream(run.run_id, framing, after_seq)
        try:
            async with contextlib.aclosing(events):
                async for event, payload in events:
                    if event["seq"] != expected:
                        self._out_of_order(run, framing, event["seq"], expected)
                    expected = event["seq"] + 1
                    self.ledger.deliver(run, event["seq"], payload)
                    run.terminal_seen |= event["type"] == "terminal"
                    run.streaming = (run.streaming or event["type"] == "stdout") and not run.terminal_seen
        except (httpx2.TransportError, OSError) as error:
            raise Gone(str(error)) from error
        finally:
            run.readers -= 1
            run.streaming = run.streaming and run.readers > 0

    def _out_of_order(self, run: Run, framing: str, seq: int, expected: int) -> None:
        if self.ledger.power_is_off:
            self.ledger.counts["events out of order after the cut"] += 1
            return
        kind = "lost" if seq > expected else "duplicated"
        text = f"{run.run_id}: a {framing} reader was given seq {seq} where {expected} is next"
        self.ledger.findings.add(kind, text)

    async def _pages(self, run_id: str, after_seq: int) -> AsyncGenerator[tuple[dict[str, Any], bytes]]:
        """Poll JSON pages. Canonical JSON is sorted, and these runs print nothing that it escapes."""
        while True:
            page = await self.json(f"{RUNS}/{run_id}/events?limit=200&afterSeq={after_seq}")
            for event in page["data"]:
                yield event, orjson.dumps(event, option=orjson.OPT_SORT_KEYS)
            if page["data"] and page["data"][-1]["type"] == "terminal":
                return
            after_seq = page.get("nextSeq", after_seq)
            await asyncio.sleep(0.1)

    async def _stream(
        self, run_id: str, framing: str, after_seq: int
    ) -> AsyncGenerator[tuple[dict[str, Any], bytes]]:
        path = f"{RUNS}/{run_id}/events?stream=true&afterSeq={after_seq}"
        accept = NDJSON if framing == "ndjson" else "text/event-stream"
        async with self._http.stream("GET", path, headers={"accept": accept}) as response:
            if response.status_code != 200:
                self._refused(path, Answer(response.status_code, await response.aread()))
                raise Gone(f"{path} answered {response.status_code}")
            async for frame in _frames(response.aiter_raw(), b"\n" if framing == "ndjson" else b"\n\n"):
                if framing == "ndjson":
                    yield orjson.loads(frame), frame
                elif not frame.startswith(b":"):
                    yield _sse(frame)


async def _trickle(body: bytes, pause_s: float) -> AsyncIterator[bytes]:
    for at in range(0, len(body), TRICKLE_BYTES):
        yield body[at : at + TRICKLE_BYTES]
        await asyncio.sleep(pause_s)


async def _frames(chunks: AsyncIterator[bytes], end: bytes) -> AsyncIterator[bytes]:
    """Whole frames only: what a crash cuts in the middle was never delivered."""
    pending = b""
    async for chunk in chunks:
        *frames, pending = (pending + chunk).split(end)
        for frame in frames:
            yield frame


def _sse(frame: bytes) -> tuple[dict[str, Any], bytes]:
    """`id`, `event`, `data` in that order (CONTRACT §6.2), which agree with each other."""
    first, second, third = frame.split(b"\n")
    payload = third.removeprefix(b"data: ")
    event: dict[str, Any] = orjson.loads(payload)
    assert first == b"id: %d" % event["seq"], frame
    assert second == b"event: " + event["type"].encode(), frame
    return event, payload
