"""The append session: batches up a WebSocket, acknowledgements down, resumed by number (CONTRACT §2.1)."""

import asyncio
import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from api.limits import ApiLimits
from evidence.canonical import decode
from tests.recording_kit import (
    append,
    appended,
    batch,
    closed_with,
    finish,
    out,
    output,
    raw,
    received,
    recorded,
    send,
    session,
    session_url,
)
from tests.serving import Running, serving


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with small limits, which looks at keys often."""
    limits = ApiLimits(
        session_idle_s=1.0, session_batches_max=2, json_body_bytes_max=4096, streams_per_key_max=2,
        revocation_poll_s=0.1,
    )  # fmt: skip
    data_dir: Path = tmp_path_factory.mktemp("hasty")
    with serving(data_dir, api=limits) as server:
        yield server


def test_every_batch_is_acknowledged_in_order_with_its_number(running: Running) -> None:
    """Many at once: each keeps its number, whatever shares an append."""
    run_id = running.create("make", template="external")
    with session(running, run_id) as socket:
        assert received(socket) == {"head": {"size": 1}, "lastNumber": 0}
        for number in range(1, 301):
            send(socket, batch(number, out(f"{number}\n")))
        answers = [received(socket) for _ in range(300)]
    assert answers == [{"number": n, "head": {"size": n + 3}} for n in range(1, 301)]
    events = [event for event in running.events(run_id) if event["type"] == "stdout"]
    assert [event["producer"]["number"] for event in events] == list(range(1, 301))
    assert finish(running, run_id).status_code == 200
    verdict = running.http.post(f"/v1/workspace-runs/{run_id}/verify").json()["verdict"]
    assert verdict["verdict"] == "COMPLETE"


def test_what_is_acknowledged_can_be_read_at_once(running: Running) -> None:
    """An acknowledgement means that it is in the log."""
    run_id = recorded(running)
    with session(running, run_id) as socket:
        received(socket)
        for number in range(2, 12):
            send(socket, batch(number, out(".")))
            received(socket)
            assert output(running, run_id) == b"." * (number - 1)


def test_a_session_and_posts_share_their_numbers(running: Running) -> None:
    """One protocol in two forms: text frames, binary frames and requests."""
    run_id = recorded(running)
    with session(running, run_id) as socket:
        received(socket)
        socket.send(json.dumps(batch(2, raw(b"\xff"))).encode())
        assert received(socket) == {"number": 2, "head": {"size": 4}}
        assert appended(running, run_id, batch(3, out("x"))) == 5
        send(socket, batch(4, out("y")))
        assert received(socket) == {"number": 4, "head": {"size": 6}}
    assert output(running, run_id) == b"\xffxy"


def test_the_greeting_says_where_to_go_on(running: Running) -> None:
    """The last number of the producer that is named in the query; without one only the head."""
    run_id = recorded(running, batch(1, out("a")), batch(2, out("b")))
    for producer, expected in (("kit", 2), ("other", 0)):
        with session(running, run_id, producer) as socket:
            assert received(socket) == {"head": {"size": 5}, "lastNumber": expected}
    with session(running, run_id, None) as socket:
        assert received(socket) == {"head": {"size": 5}}


def test_a_client_that_lost_its_connection_goes_on_without_loss(running: Running) -> None:
    """Connections are dropped at random moments; everything is stored once and in order."""
    run_id, rng, total = running.create("make", template="external"), random.Random(7), 200
    last = connections = 0
    while last < total:
        connections += 1
        with session(running, run_id) as socket:
            last = received(socket)["lastNumber"]
            for number in range(last + 1, min(last + rng.randrange(1, 30), total) + 1):
                send(socket, batch(number, out(f"{number}\n")))
            for _ in range(rng.randrange(0, 3)):
                if last < total:
                    received(socket)
            if rng.random() < 0.5:
                socket.socket.close()  # without a word
        with session(running, run_id) as socket:
            last = received(socket)["lastNumber"]
    assert connections > 5
    assert output(running, run_id) == b"".join(b"%d\n" % n for n in range(1, total + 1))


def test_two_sessions_of_one_producer_store_each_batch_once(running: Running) -> None:
    """A client that believes its first connection dead, while it is not."""
    run_id = recorded(running)
    with session(running, run_id) as first, session(running, run_id) as second:
        received(first)
        received(second)
        for number in range(2, 22):
            send(first, batch(number, out(f"{number}\n")))
            send(second, batch(number, out(f"{number}\n")))
            assert received(first) == received(second) == {"number": number, "head": {"size": number + 2}}
    assert output(running, run_id) == b"".join(b"%d\n" % n for n in range(2, 22))


def test_a_refusal_ends_the_session_behind_what_was_good(running: Running) -> None:
    """The batches before it are acknowledged; the refusal has its number; nothing behind it is taken."""
    run_id = recorded(running)
    with session(running, run_id) as socket:
        received(socket)
        for number in (2, 3, 7, 4):
            send(socket, batch(number, out(f"{number}")))
        assert [received(socket)["number"] for _ in range(2)] == [2, 3]
        error = received(socket)
        assert (error["number"], error["error"]["code"]) == (7, "conflict")
        assert error["error"]["details"] == {"reason": "number_gap", "expectedNumber": 4}
        assert closed_with(socket) == 1008


@pytest.mark.parametrize("frame", ["", "{", "[]", "null", '{"number":1}', b"\xff\xfe"], ids=repr)
def test_a_frame_that_is_no_batch_ends_the_session(running: Running, frame: str | bytes) -> None:
    """With the envelope of every refusal, and without a number."""
    run_id = recorded(running)
    with session(running, run_id) as socket:
        received(socket)
        send(socket, batch(2, out("x")))
        socket.send(frame)
        assert received(socket)["number"] == 2
        error = received(socket)
        assert error.keys() == {"error"}
        assert error["error"]["code"] == "invalid_request"
        assert error["error"]["requestId"].startswith("req_")
        assert closed_with(socket) == 1008
    assert output(running, run_id) == b"x"


def test_frames_of_random_bytes_do_no_harm(running: Running) -> None:
    """A small fuzz: mutants of a good batch are refused or stored, and the server goes on."""
    rng, good = random.Random(11), json.dumps(batch(2, out("x" * 20))).encode()
    for _ in range(60):
        run_id = recorded(running)
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data))
            match rng.randrange(3):
                case 0:
                    data[at] = rng.randrange(256)
                case 1:
                    del data[at]
                case _:
                    data[at:at] = rng.randbytes(rng.randrange(4))
        with session(running, run_id) as socket:
            received(socket)
            socket.send(bytes(data))
            answer = received(socket)
        assert "head" in answer or answer["error"]["code"] in {"invalid_request", "conflict"}
    assert running.http.get("/healthz").status_code == 200


def test_a_canceled_run_tells_its_sessions_at_once(running: Running) -> None:
    """A producer that waits for output hears of it without sending anything."""
    run_id = recorded(running)
    with session(running, run_id) as socket:
        received(socket)
        running.http.post(f"/v1/workspace-runs/{run_id}/cancel")
        error = received(socket)["error"]
        assert error["details"] == {"reason": "run_ended", "status": "canceled"}
        assert closed_with(socket) == 1008


def test_an_idle_session_is_closed_and_a_sign_of_life_keeps_it(hasty: Running) -> None:
    """An empty batch is enough, and is acknowledged."""
    run_id = recorded(hasty)
    with session(hasty, run_id) as socket:
        received(socket)
        for _ in range(8):
            send(socket, batch(2))
            assert received(socket) == {"number": 2, "head": {"size": 3}}
            threading.Event().wait(0.1)
        assert closed_with(socket) == 1001


def test_a_frame_over_the_limit_of_bodies_is_refused(hasty: Running) -> None:
    """1009, by whoever sees it first."""
    run_id = recorded(hasty)
    with session(hasty, run_id) as socket:
        received(socket)
        send(socket, batch(2, out("x" * 5000)))
        assert closed_with(socket) == 1009
    assert output(hasty, run_id) == b""


def test_more_in_flight_than_is_allowed_waits(hasty: Running) -> None:
    """Backpressure and no refusal: whoever sends a thousand gets a thousand answers."""
    run_id = recorded(hasty)
    with session(hasty, run_id) as socket:
        received(socket)
        answers: list[Any] = []
        reader = threading.Thread(target=lambda: answers.extend(received(socket) for _ in range(1000)))
        reader.start()
        for number in range(2, 1002):
            send(socket, batch(number, out(".")))
        reader.join(60)
    assert [answer["number"] for answer in answers] == list(range(2, 1002))


def test_a_key_has_only_so_many_sessions(hasty: Running) -> None:
    """One too many is refused before it opens, with the envelope."""
    run_id = recorded(hasty)
    with session(hasty, run_id) as first, session(hasty, run_id) as second:
        received(first)
        received(second)
        with pytest.raises(InvalidStatus) as refusal, session(hasty, run_id):
            pass
    assert refusal.value.response.status_code == 429
    assert decode(refusal.value.response.body or b"")["error"]["code"] == "slow_down"


def test_a_revoked_key_ends_its_session(hasty: Running) -> None:
    """Within seconds, with the reason; what it had stored stays."""
    body = {"name": "producer", "scopes": ["workspace_run:append"]}
    made = hasty.http.post("/v1/api-keys", json=body).json()
    run_id = recorded(hasty)
    with session(hasty, run_id, key=made["secret"]) as socket:
        received(socket)
        send(socket, batch(2, out("x")))
        received(socket)
        hasty.http.delete(f"/v1/api-keys/{made['apiKey']['id']}")
        error = received(socket)["error"]
        assert error["code"] == "unauthorized"
        assert closed_with(socket) == 1008
    with pytest.raises(InvalidStatus) as refusal, session(hasty, run_id, key=made["secret"]):
        pass
    assert refusal.value.response.status_code == 401
    assert output(hasty, run_id) == b"x"


def test_a_revoked_key_appends_nothing_more(running: Running) -> None:
    """What was looked up before the revocation does not count after it."""
    body = {"name": "producer", "scopes": ["workspace_run:append"]}
    made = running.http.post("/v1/api-keys", json=body).json()
    run_id, headers = recorded(running), {"authorization": f"Bearer {made['secret']}"}
    for number in (2, 3):
        assert append(running, run_id, batch(number, out("x")), **headers).status_code == 200
    running.http.delete(f"/v1/api-keys/{made['apiKey']['id']}")
    assert append(running, run_id, batch(4, out("y")), **headers).status_code == 401
    assert output(running, run_id) == b"xx"


@pytest.mark.parametrize(
    ("key", "run", "status", "code"),
    [
        ("cn_live_nonsense", "own", 401, "unauthorized"),
        ("", "own", 401, "unauthorized"),
        ("owner", "wsr_" + "a" * 26, 404, "not_found"),
        ("owner", "nonsense", 404, "not_found"),
        ("owner", "executed here", 409, "conflict"),
        ("reader", "own", 403, "forbidden"),
    ],
)
def test_a_session_is_refused_like_any_request(
    running: Running, key: str, run: str, status: int, code: str
) -> None:
    """Before it opens: status, envelope and request id."""
    run_id = {"own": recorded(running), "executed here": running.create()}.get(run, run)
    made = running.http.post("/v1/api-keys", json={"name": "r", "scopes": ["workspace_run:read"]}).json()
    secret = {"owner": running.key, "reader": made["secret"]}.get(key, key)
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    with (
        pytest.raises(InvalidStatus) as refusal,
        connect(session_url(running, run_id), additional_headers=headers, proxy=None),
    ):
        pass
    answer = refusal.value.response
    assert answer.status_code == status
    error = decode(answer.body or b"")["error"]
    assert (error["code"], error["requestId"]) == (code, answer.headers["x-request-id"])


@pytest.mark.parametrize("path", ["/v1/workspace-runs", "/v1/workspace-runs/a/b/events/session", "/x"])
def test_no_other_route_speaks_websocket(running: Running, path: str) -> None:
    """404 in the envelope, as before."""
    url = f"ws{running.url.removeprefix('http')}{path}"
    headers = {"authorization": f"Bearer {running.key}"}
    with pytest.raises(InvalidStatus) as refusal, connect(url, additional_headers=headers, proxy=None):
        pass
    assert refusal.value.response.status_code == 404
    assert decode(refusal.value.response.body or b"")["error"]["code"] == "not_found"


def test_a_session_of_another_organisations_run_is_404(running: Running) -> None:
    """Nobody learns that it exists."""
    made = running.http.post("/v1/orgs", json={"name": "Other"}).json()
    run_id = recorded(running)
    with pytest.raises(InvalidStatus) as refusal, session(running, run_id, key=made["secret"]):
        pass
    assert refusal.value.response.status_code == 404
    # It is in memory by now, and still nobody else's.
    with session(running, run_id) as socket:
        received(socket)
    with pytest.raises(InvalidStatus) as refusal, session(running, run_id, key=made["secret"]):
        pass
    assert refusal.value.response.status_code == 404


def test_sessions_end_when_the_server_stops_and_go_on_after_it(tmp_path: Path) -> None:
    """1012 (service restart): the client comes back, and its next batch is the next number."""
    with serving(tmp_path) as running:
        key, run_id = running.key, recorded(running)
        with session(running, run_id) as socket:
            received(socket)
            send(socket, batch(2, out("x")))
            received(socket)
            running.loop.call_soon_threadsafe(running.server.services.closing.set)
            assert closed_with(socket) == 1012
    with serving(tmp_path, key) as running, session(running, run_id) as socket:
        assert received(socket) == {"head": {"size": 4}, "lastNumber": 2}
        send(socket, batch(3, out("y")))
        assert received(socket) == {"number": 3, "head": {"size": 5}}


def test_a_client_that_never_reads_holds_nobody_up(running: Running) -> None:
    """Its own session waits; other producers of the same run go on."""
    run_id = recorded(running)

    async def flood() -> None:
        from websockets.asyncio.client import connect as connect_async

        headers = {"authorization": f"Bearer {running.key}"}
        url = session_url(running, run_id, "deaf")
        async with connect_async(
            url, additional_headers=headers, proxy=None, max_queue=1, ping_interval=None
        ) as socket:
            for number in range(1, 400):
                await socket.send(json.dumps(batch(number, out("d"), producer="deaf")))
            appended(running, run_id, batch(2, out("heard")))

    asyncio.run(asyncio.wait_for(flood(), 60))
    assert b"heard" in output(running, run_id)
