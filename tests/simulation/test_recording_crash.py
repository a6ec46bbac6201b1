"""Kill -9 of the server under producers: what was acknowledged is there, once and in order; they go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.recording_kit import batch, out, raw
from tests.simulation.server import ServerProcess

PRODUCERS = 8
KILLS = 4
IN_FLIGHT = 24
"""Batches that a producer has sent and not heard of."""
ACKNOWLEDGED_MIN = 60
"""By each producer, before the server is hit."""
LIFE_S_MAX = 60.0
STRUCK_S_MAX = 2.0
RUNS = "/v1/workspace-runs"


def _event(number: int) -> dict[str, str]:
    """What batch `number` holds: text, sometimes bytes, sometimes of the other stream."""
    if number % 5 == 0:
        return raw(b"%d \xff\n" % number)
    return {**out(f"{number}\n"), "type": "stderr" if number % 3 == 0 else "stdout"}


class Recorder:
    """One producer of one run, over all lives of the server."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.acknowledged = 0
        self.sent = 0
        self.lost: list[str] = []

    async def live(self, url: str, key: str) -> None:
        """Produce until the connection breaks."""
        address = f"ws{url.removeprefix('http')}{RUNS}/{self.run_id}/events/session?producerId=p"
        headers = {"authorization": f"Bearer {key}"}
        try:
            async with connect(address, additional_headers=headers, proxy=None) as socket:
                await self._produce(socket)
        except (ConnectionClosed, InvalidHandshake, OSError):
            return

    async def _produce(self, socket: ClientConnection) -> None:
        last = json.loads(await socket.recv())["lastNumber"]
        if not self.acknowledged <= last <= self.sent:
            self.lost.append(f"{last} is stored, {self.acknowledged} were acknowledged, {self.sent} sent")
        self.acknowledged = self.sent = last
        waiting: deque[int] = deque()
        while True:
            while len(waiting) < IN_FLIGHT:
                waiting.append(self.sent + 1)
                await socket.send(json.dumps(batch(self.sent + 1, _event(self.sent + 1), producer="p")))
                self.sent += 1
            answer = json.loads(await socket.recv())
            assert answer["number"] == waiting.popleft()
            self.acknowledged = answer["number"]


async def test_producers_go_on_over_kill_nine_of_the_server(tmp_path: Path) -> None:
    """Nothing acknowledged is lost, nothing is there twice, the runs are not ended, and all verify."""
    server = ServerProcess(tmp_path / "data", tmp_path / "home", environment={"CROWNEST_PROVIDER": "process"})
    rng, recorders = random.Random(5), []
    try:
        for life in range(KILLS + 1):
            server.start()
            await server.wait_ready()
            key: str = json.loads(server.config.read_text())["apiKey"]
            async with httpx2.AsyncClient(
                base_url=server.url, headers={"authorization": f"Bearer {key}"}, timeout=60
            ) as http:
                if not life:
                    recorders = [Recorder(await _created(http)) for _ in range(PRODUCERS)]
                async with _producing(server.url, key, recorders):
                    await asyncio.sleep(rng.uniform(0, 0.1))
                    if life < KILLS:
                        server.strike()
                if life < KILLS:
                    server.bury()
                    continue
                for recorder in recorders:
                    await _check(http, recorder)
            assert await server.stop() == 0
        assert server.rebuild_check() is None
    finally:
        server.kill()


async def _created(http: httpx2.AsyncClient) -> str:
    answer = await http.post(RUNS, json={"command": "make test", "template": "external"})
    run_id: str = answer.json()["workspaceRun"]["id"]
    return run_id


@contextlib.asynccontextmanager
async def _producing(url: str, key: str, recorders: list[Recorder]) -> AsyncGenerator[None]:
    """All produce at once; entered when each has got somewhere, left when none has a connection any more."""
    before = [recorder.acknowledged for recorder in recorders]
    tasks = [asyncio.create_task(recorder.live(url, key)) for recorder in recorders]
    async with asyncio.timeout(LIFE_S_MAX):
        while any(  # noqa: ASYNC110 # no event tells
            recorder.acknowledged < begun + ACKNOWLEDGED_MIN
            for recorder, begun in zip(recorders, before, strict=True)
        ):
            await asyncio.sleep(0.01)
    yield
    _, going = await asyncio.wait(tasks, timeout=STRUCK_S_MAX)
    for task in going:  # the last server was left alone
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
    assert [lost for recorder in recorders for lost in recorder.lost] == []


async def _check(http: httpx2.AsyncClient, recorder: Recorder) -> None:
    """The log holds each batch once, at least all that were acknowledged."""
    answer = await http.get(f"{RUNS}/{recorder.run_id}/events", headers={"accept": "application/x-ndjson"})
    events: list[dict[str, Any]] = [json.loads(line) for line in answer.text.splitlines()]
    kept = [event for event in events if event["type"] in {"stdout", "stderr"}]
    numbers = [event["producer"]["number"] for event in kept]
    assert numbers == list(range(1, len(numbers) + 1))
    assert recorder.acknowledged <= len(numbers) <= recorder.sent
    for event, number in zip(kept, numbers, strict=True):
        wanted = _event(number)
        assert event["type"] == wanted["type"]
        assert wanted.get("dataBase64") == event.get("dataBase64")
    finished = await http.post(f"{RUNS}/{recorder.run_id}/finish", json={"exitCode": 0})
    assert finished.json()["workspaceRun"]["status"] == "succeeded"
    verdict = (await http.post(f"{RUNS}/{recorder.run_id}/verify")).json()["verdict"]
    assert verdict["verdict"] == "COMPLETE"
