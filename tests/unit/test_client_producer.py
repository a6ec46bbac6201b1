"""The producing side of an append session against servers that break, refuse, forget and mislead."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from client.errors import ApiError, BadAnswer, ClientError, ConnectionFailed
from client.producer import Producer, ProducerLimits

QUICK = ProducerLimits(retry_delays_s=(0.01,), blocked_s_max=0.2, alive_s=3600, connect_s=5)
TEST_S_MAX = 30.0
Frame = dict[str, Any]


class Script:
    """A server that keeps batches like ours does, unless `on_batch` does something else with one."""

    def __init__(self) -> None:
        self.stored: list[Frame] = []
        self.connections = 0
        self.headers: dict[str, str] = {}
        self.refusing: list[tuple[int, dict[str, str], bytes]] = []
        self.on_batch: Callable[[ServerConnection, Frame], Awaitable[bool]] | None = None
        self.last_number: int | None = None

    @property
    def output(self) -> str:
        """All the text that is stored."""
        return "".join(event["data"] for frame in self.stored for event in frame["events"])

    def refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer the next requests like this instead of opening."""
        self.headers = dict(request.headers.raw_items())
        if not self.refusing:
            return None
        status, headers, body = self.refusing.pop(0)
        answer = connection.respond(HTTPStatus(status), "")
        answer.headers.update(headers)
        answer.body = body
        del answer.headers["content-length"]
        answer.headers["content-length"] = str(len(body))
        return answer

    async def serve(self, socket: ServerConnection) -> None:
        """Greet, then take batch after batch."""
        self.connections += 1
        last = len(self.stored) if self.last_number is None else self.last_number
        await socket.send(json.dumps({"head": {"size": last}, "lastNumber": last}))
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                frame = json.loads(text)
                if self.on_batch is not None and await self.on_batch(socket, frame):
                    continue
                if frame["events"] or not self.stored:
                    assert frame["number"] == len(self.stored) + 1
                    self.stored.append(frame)
                await socket.send(json.dumps({"number": frame["number"], "head": {"size": 1}}))


@contextlib.asynccontextmanager
async def scripted(script: Script, limits: ProducerLimits = QUICK) -> AsyncGenerator[Producer]:
    """A producer of a scripted server, not opened yet."""
    # With frames unread it could not see that the client closes too: whoever breaks off here does not wait.
    async with serve(
        script.serve, "127.0.0.1", 0, process_request=script.refuse, max_queue=None, close_timeout=0.1
    ) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"ws://127.0.0.1:{port}/v1/workspace-runs/wsr_a/events/session"
        producer = Producer(url, {"authorization": "Bearer cn_test"}, "p", limits=limits)
        try:
            async with asyncio.timeout(TEST_S_MAX):
                yield producer
        finally:
            await producer.close()


def out(text: str) -> dict[str, str]:
    """A stdout event."""
    return {"type": "stdout", "data": text}


def refusal(code: str, **details: object) -> str:
    """The envelope of a refusal."""
    return json.dumps({"error": {"code": code, "message": "No.", "retryable": False, "details": details}})


async def test_batches_arrive_in_order_with_the_credential() -> None:
    """The beginning is an empty batch with number 1."""
    script = Script()
    async with scripted(script) as producer:
        await producer.open()
        for number in range(50):
            await producer.put([out(f"{number}\n")])
        await producer.drained()
    assert script.stored[0] == {"producerId": "p", "number": 1, "events": []}
    assert script.output == "".join(f"{number}\n" for number in range(50))
    assert script.headers["authorization"] == "Bearer cn_test"


async def test_much_at_once_is_cut_into_batches() -> None:
    """By count and by size; nothing is lost and the order stays."""
    script = Script()
    limits = ProducerLimits(batch_events_max=3, batch_bytes_max=10)
    async with scripted(script, limits) as producer:
        await producer.open()
        await producer.put(
            [out("12345"), out("67890"), out("a"), out("b"), out("c"), out("d" * 30), out("e")]
        )
        await producer.drained()
    sizes = [[len(event["data"]) for event in frame["events"]] for frame in script.stored[1:]]
    assert sizes == [[5, 5], [1, 1, 1], [30], [1]]


async def test_a_broken_connection_is_made_again_and_nothing_comes_twice() -> None:
    """Whether the batch was stored before it broke or not, the server's greeting decides."""
    script = Script()

    async def break_off(socket: ServerConnection, frame: Frame) -> bool:
        if frame["number"] % 7 == 0 and script.connections < 20:
            if frame["number"] % 2 and len(script.stored) < frame["number"]:
                script.stored.append(frame)  # stored, and its answer lost
            await socket.close(1011)
            return True
        return False

    script.on_batch = break_off
    async with scripted(script) as producer:
        await producer.open()
        for number in range(60):
            await producer.put([out(f"{number}\n")])
        await producer.drained()
        assert producer.given_up is None
    assert script.connections > 3
    assert script.output == "".join(f"{number}\n" for number in range(60))


async def test_a_server_that_is_starting_again_is_waited_for() -> None:
    """Answers of a proxy, 503 of the server: not the end of the recording."""
    script = Script()

    async def close_once(socket: ServerConnection, frame: Frame) -> bool:
        if frame["number"] == 2 and script.connections == 1:
            script.refusing = [(502, {}, b"<html>"), (503, {}, refusal("slow_down").encode())]
            await socket.close(1012)
            return True
        return False

    script.on_batch = close_once
    async with scripted(script) as producer:
        await producer.open()
        await producer.put([out("x")])
        await producer.drained()
    assert script.output == "x"


async def test_an_ended_run_is_told_as_such() -> None:
    """`ended` has the status; what comes later is taken and forgotten."""
    script = Script()

    async def canceled(socket: ServerConnection, frame: Frame) -> bool:
        if frame["number"] < 3:
            return False
        await socket.send(refusal("conflict", reason="run_ended", status="canceled"))
        await socket.close(1008)
        return True

    script.on_batch = canceled
    async with scripted(script) as producer:
        await producer.open()
        await producer.put([out("kept")])
        await producer.put([out("lost")])
        await asyncio.wait_for(producer.over.wait(), 10)
        assert producer.ended is not None
        assert producer.ended.details == {"reason": "run_ended", "status": "canceled"}
        assert producer.given_up is None
        await producer.put([out("later")])
        await producer.drained()
    assert script.output == "kept"


@pytest.mark.parametrize("code", ["conflict", "unauthorized", "invalid_request"])
async def test_a_refusal_in_the_middle_ends_the_recording(code: str) -> None:
    """It would be refused again however often it is sent."""
    script = Script()

    async def refuse(socket: ServerConnection, frame: Frame) -> bool:
        if frame["number"] == 1:
            return False
        await socket.send(refusal(code))
        await socket.close(1008)
        return True

    script.on_batch = refuse
    async with scripted(script) as producer:
        await producer.open()
        await producer.put([out("x")])
        await asyncio.wait_for(producer.over.wait(), 10)
        assert isinstance(producer.given_up, ApiError)
        assert producer.given_up.code == code


async def test_a_refused_beginning_is_raised() -> None:
    """Nothing may run then."""
    script = Script()
    script.refusing = [(403, {}, refusal("forbidden").encode())]
    async with scripted(script) as producer:
        with pytest.raises(ApiError) as error:
            await producer.open()
        assert (error.value.status, error.value.code) == (403, "forbidden")


async def test_nobody_there_is_raised_as_such() -> None:
    """With the address, for the advice that goes with it."""
    producer = Producer("ws://127.0.0.1:9/v1/x", {}, "p", limits=QUICK)
    with pytest.raises(ConnectionFailed) as error:
        await producer.open()
    assert (error.value.kind, error.value.origin) == ("refused", "ws://127.0.0.1:9")


async def test_a_redirect_is_not_followed() -> None:
    """The credential goes to the API alone."""
    script, other = Script(), Script()
    async with serve(other.serve, "127.0.0.1", 0, process_request=other.refuse) as elsewhere:
        port = elsewhere.sockets[0].getsockname()[1]
        script.refusing = [(302, {"location": f"ws://127.0.0.1:{port}/"}, b"")]
        async with scripted(script) as producer:
            with pytest.raises(ApiError) as error:
                await producer.open()
    assert error.value.status == 302
    assert other.headers == {}


async def test_a_server_that_forgot_what_it_acknowledged_ends_the_recording() -> None:
    """Restored from a backup: going on would leave a hole."""
    script = Script()

    async def forget(socket: ServerConnection, frame: Frame) -> bool:
        if frame["number"] < 4:
            return False
        script.last_number = 1
        await socket.close(1012)
        return True

    script.on_batch = forget
    async with scripted(script) as producer:
        await producer.open()
        for number in range(3):
            await producer.put([out(str(number))])
        await asyncio.wait_for(producer.over.wait(), 10)
        assert isinstance(producer.given_up, BadAnswer)
        assert "backup" in producer.given_up.message


@pytest.mark.parametrize("frame", ["[]", "x", "{}", '{"lastNumber":"0"}', '{"lastNumber":9}'])
async def test_a_greeting_that_makes_no_sense_is_raised(frame: str) -> None:
    """Whatever listens there is no append session of ours."""

    async def greet(socket: ServerConnection) -> None:
        await socket.send(frame)
        await socket.wait_closed()

    async with serve(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        producer = Producer(f"ws://127.0.0.1:{port}/", {}, "p", limits=QUICK)
        with pytest.raises(BadAnswer):
            await producer.open()


async def test_a_full_buffer_without_a_server_is_given_up() -> None:
    """The command waits for a while, and then goes on without being recorded."""
    script = Script()
    limits = ProducerLimits(
        buffer_bytes_max=1000, blocked_s_max=0.1, retry_delays_s=(0.01,), connect_s=5, alive_s=3600
    )
    async with scripted(script, limits) as producer:
        await producer.open()
        script.refusing = [(503, {}, b"")] * 10_000

        async def break_off(socket: ServerConnection, _: Frame) -> bool:
            await socket.close(1012)
            return True

        script.on_batch = break_off
        for _ in range(20):
            await producer.put([out("x" * 200)])
        assert producer.given_up is not None
        assert producer.given_up.code == "buffer_full"


async def test_a_slow_server_holds_the_command_up_and_loses_nothing() -> None:
    """With a connection a full buffer waits, however long it takes."""
    script = Script()

    async def slow(_: ServerConnection, __: Frame) -> bool:
        await asyncio.sleep(0.02)
        return False

    script.on_batch = slow
    limits = ProducerLimits(buffer_bytes_max=500, blocked_s_max=0.01)
    async with scripted(script, limits) as producer:
        await producer.open()
        for number in range(30):
            await producer.put([out(f"{number:>100}\n")])
        await producer.drained()
        assert producer.given_up is None
    assert len(script.output.splitlines()) == 30


async def test_silence_is_broken_by_signs_of_life() -> None:
    """So that the server knows that the command still runs; they use up no number."""
    script = Script()
    signs: list[Frame] = []
    enough = asyncio.Event()

    async def watch(_: ServerConnection, frame: Frame) -> bool:
        if not frame["events"] and frame["number"] > 1:
            signs.append(frame)
            if len(signs) == 3:
                enough.set()
        return False

    script.on_batch = watch
    async with scripted(script, ProducerLimits(alive_s=0.02)) as producer:
        await producer.open()
        await asyncio.wait_for(enough.wait(), 10)
        await producer.put([out("x")])
        await producer.drained()
    assert {sign["number"] for sign in signs} == {2}
    assert script.output == "x"


async def test_what_is_said_not_to_be_kept_is_not_sent() -> None:
    """Once the server's cap is reached the rest of the output stays here."""
    script = Script()

    async def truncate(socket: ServerConnection, frame: Frame) -> bool:
        script.stored.append(frame)
        head = {"size": 1, "truncated": True} if frame["number"] > 1 else {"size": 1}
        await socket.send(json.dumps({"number": frame["number"], "head": head}))
        return True

    script.on_batch = truncate
    async with scripted(script) as producer:
        await producer.open()
        await producer.put([out("kept")])
        await producer.drained()
        await producer.put([out("not sent")])
        await producer.drained()
        assert producer.truncated
    assert script.output == "kept"


async def test_giving_up_lets_go_of_everything() -> None:
    """A person that does not want to wait any longer."""
    script = Script()

    async def never(_: ServerConnection, frame: Frame) -> bool:
        return bool(frame["events"])

    script.on_batch = never
    async with scripted(script) as producer:
        await producer.open()
        await producer.put([out("x")])
        producer.give_up(ClientError("interrupted", "Stopped."))
        await producer.drained()
        assert producer.given_up is not None
        assert producer.given_up.code == "interrupted"
