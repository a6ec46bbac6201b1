"""The witness as a command and over HTTP: statuses, limits, two processes on one folder, a clean end."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from evidence.note import Verifier, split_note
from evidence.policy import parse_policy
from evidence.tlog import cosigned_at
from evidence.witnessing import BODY_BYTES_MAX, parse_extended
from tests.evidence_samples import ORIGIN
from tests.witness_kit import (
    NOW_S,
    START_S_MAX,
    WITNESS,
    WITNESS_NAME,
    GrowingLog,
    ask,
    at_once,
    make_state,
    statuses,
    submit,
    wait_until,
    witness_process,
    witness_thread,
)
from witness.serving import ServingLimits, WitnessServer
from witness.state import State, origin_id

RACES = 25


@pytest.fixture
def log() -> GrowingLog:
    """A log of eleven entries."""
    return GrowingLog().grow(11)


@pytest.fixture
def state(tmp_path: Path, log: GrowingLog) -> State:
    """A witness that follows it."""
    return make_state(tmp_path / "witness", log.policy())


@pytest.fixture
def server(state: State) -> Iterator[WitnessServer]:
    """The same, answering."""
    with witness_thread(state) as running:
        yield running


def known_size(state: State) -> int:
    """The size that the witness has."""
    return parse_extended(split_note(state.latest(ORIGIN) or b"")[0]).size


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the real command to its end."""
    return subprocess.run(
        [WITNESS, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=START_S_MAX,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )


@contextlib.contextmanager
def connected(server: WitnessServer) -> Iterator[socket.socket]:
    """A raw connection."""
    host, port = server.server_address[:2]
    with socket.create_connection((str(host), int(port)), timeout=START_S_MAX) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            data += part
    return data


def test_each_status_of_the_standard_comes_over_http(server: WitnessServer, log: GrowingLog) -> None:
    """200, 400, 404, 409 with its content type, 422, as tlog-witness has them."""
    good = submit(server.url, log.request(0, 7))
    assert (good.status, good.content_type) == (200, "text/plain; charset=utf-8")
    text, lines = split_note(log.note(7) + good.body.encode())
    assert cosigned_at(text, lines[1], server.state.key) == NOW_S
    assert submit(server.url, b"old").status == 400
    conflict = submit(server.url, log.request(0, 9))
    assert (conflict.status, conflict.body, conflict.content_type) == (409, "7\n", "text/x.tlog.size")
    assert submit(server.url, log.fork(5).grow(5, "x").request(7, 10)).status == 422
    assert ask(server.url + "/other", b"x").status == 404


def test_people_can_read_who_it_is_and_what_it_saw(server: WitnessServer, log: GrowingLog) -> None:
    """The front page names key, logs and sizes; the newest cosigned checkpoint is a note with both lines."""
    link = f"/logs/{origin_id(ORIGIN)}/checkpoint"
    assert "none yet" in ask(server.url + "/").body
    assert ask(server.url + link).status == 404
    submit(server.url, log.request(0, 7))
    page = ask(server.url + "/").body
    assert str(server.state.key) in page
    assert f"{ORIGIN}: 7 entries" in page
    assert link in page
    note = ask(server.url + link).body
    assert [line.name for line in split_note(note.encode())[1]] == [ORIGIN, WITNESS_NAME]
    for path in ("/logs/../key.pem/checkpoint", "/key.pem", "/logs/x/checkpoint", "/logs//checkpoint"):
        assert ask(server.url + path).status == 404


def test_a_connection_serves_many_requests(server: WitnessServer, log: GrowingLog) -> None:
    """Keep-alive, as the standard recommends."""
    host, port = server.server_address[:2]
    connection = http.client.HTTPConnection(str(host), int(port), timeout=START_S_MAX)
    with contextlib.closing(connection):
        connection.connect()
        used = connection.sock
        for old, new in ((0, 3), (3, 8)):
            connection.request("POST", "/add-checkpoint", log.request(old, new))
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
            assert connection.sock is used


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1), b"413"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", b"413"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
        (b"PUT / HTTP/1.1\r\n\r\n", b"501"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"Bad request"),
    ],
)
def test_what_is_too_large_or_no_request_is_refused(
    server: WitnessServer, head: bytes, status: bytes
) -> None:
    """Nothing is read past a limit, and the witness goes on."""
    with connected(server) as connection:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        assert status in read_all(connection).split(b"\r\n")[0]
    assert ask(server.url + "/").status == 200


def test_a_slow_sender_is_cut_off(state: State) -> None:
    """Each byte comes in time, the request does not: its whole time is limited."""
    with (
        witness_thread(state, limits=ServingLimits(request_s_max=0.3)) as server,
        connected(server) as connection,
    ):
        connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 60000\r\n\r\n")

        def is_cut_off() -> bool:
            try:
                connection.sendall(b"x")
            except ConnectionError:
                return True
            return False

        wait_until(is_cut_off, "the connection is closed")


def test_more_connections_than_the_limit_are_turned_away(state: State) -> None:
    """They get 503 and a time to come back; a place that is freed is given again."""
    with witness_thread(state, limits=ServingLimits(connections_max=2)) as server:
        with connected(server) as first, connected(server) as second:
            for connection in (first, second):
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert b" 200 " in connection.recv(65536)
            with connected(server) as third:
                assert b" 503 " in read_all(third)
        wait_until(lambda: ask(server.url + "/").status == 200, "a place is free")


def test_a_folder_that_cannot_be_written_cosigns_nothing(
    server: WitnessServer, log: GrowingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 and nothing else; the reason stays in the witness's own messages."""
    monkeypatch.setattr(State, "keep", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    answered = submit(server.url, log.request(0, 7))
    assert answered.status == 503
    assert "cosigned" in answered.body
    assert "space" not in answered.body
    (server.state.folder / "logs.policy").write_text("broken")
    assert ask(server.url + "/").status == 503


def test_two_processes_race_and_exactly_one_wins(state: State, log: GrowingLog) -> None:
    """Two histories of one log, asked of two processes on one folder at once: one is cosigned, never both."""
    with witness_process(state.folder) as (_, one), witness_process(state.folder) as (_, two):
        assert submit(one, log.request(0)).status == 200
        for number in range(RACES):
            size = len(log.entries)
            left, right = log.fork(size).grow(3, f"left {number}"), log.fork(size).grow(3, f"right {number}")
            answers = at_once(
                partial(submit, one, left.request(size)), partial(submit, two, right.request(size))
            )
            assert statuses(answers) == [200, 409]
            log = left if answers[0].status == 200 else right
            assert submit(one, log.request(size + 3)).status == 200
            assert submit(two, log.request(size + 3)).status == 200
    assert known_size(state) == len(log.entries)


def test_many_threads_race_and_the_size_never_shrinks(server: WitnessServer, log: GrowingLog) -> None:
    """The race that the standard warns of: of N and N+K at once, one is refused."""
    submit(server.url, log.request(0, 2))
    bodies = [log.request(2, new) for new in range(4, 12)]
    answers = at_once(*(partial(submit, server.url, body) for body in bodies))
    assert statuses(answers) == [200] + [409] * 7
    won = next(at for at, answer in enumerate(answers) if answer.status == 200)
    assert known_size(server.state) == won + 4


def test_a_witness_that_was_killed_remembers(state: State, log: GrowingLog) -> None:
    """After kill -9 it still knows the size, and refuses another history."""
    with witness_process(state.folder) as (process, url):
        assert submit(url, log.request(0, 7)).status == 200
        process.kill()
    with witness_process(state.folder) as (_, url):
        assert submit(url, log.request(0, 9)).body == "7\n"
        assert submit(url, log.fork(5).grow(6, "other").request(7)).status == 422
        assert submit(url, log.request(7, 9)).status == 200


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(state: State, stop: signal.Signals) -> None:
    """Exit 0 although somebody keeps an idle connection."""
    with witness_process(state.folder) as (process, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=START_S_MAX) as idle:
            idle.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert b" 200 " in idle.recv(65536)
            process.send_signal(stop)
            assert process.wait(START_S_MAX) == 0


def test_the_steps_of_the_help_make_a_witness(tmp_path: Path, log: GrowingLog) -> None:
    """Init prints a line for policies, trust takes one, serve answers and learns of logs while it runs."""
    folder, policy = tmp_path / "w", tmp_path / "trust.policy"
    made = command("init", "--state", folder, "--name", "witness.example/alice", "--url", "https://w.example")
    assert made.returncode == 0
    word, name, vkey, url = made.stdout.split()
    assert (word, name, url) == ("witness", "witness.example/alice", "https://w.example")
    assert Verifier.parse(vkey).type == 4
    with_witness = parse_policy(
        log.policy().replace(b"quorum none", made.stdout.encode() + b"quorum " + name.encode())
    )
    assert with_witness.quorum == name
    with witness_process(folder) as (_, answering):
        assert submit(answering, log.request(0)).status == 404
        policy.write_bytes(log.policy())
        trusted = command("trust", "--state", folder, policy)
        assert trusted.stdout == f"log {log.key.verifier_key}\n"
        assert submit(answering, log.request(0)).status == 200


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--help"], 0, "cosigns only when the log has kept all"),
        ([], 2, "init | trust | serve"),
        (["serve", "--state", "nowhere"], 1, "crownest-witness init"),
        (["init", "--state", "w", "--name", "a b"], 1, "no spaces"),
        (["serve", "--state", "w", "--port", "x"], 2, "0 to 65535"),
    ],
)
def test_it_says_what_to_do(tmp_path: Path, arguments: list[str], status: int, says: str) -> None:
    """Help, usage and refusals name the next step, and no trace of the program."""
    arguments = [str(tmp_path / word) if word in {"nowhere", "w"} else word for word in arguments]
    done = command(*arguments)
    assert done.returncode == status
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_policy_that_is_none_is_refused(state: State, tmp_path: Path) -> None:
    """The line is named, and nothing is trusted."""
    bad = tmp_path / "bad.policy"
    bad.write_text("log x\nquorum none\n")
    done = command("trust", "--state", state.folder, bad)
    assert (done.returncode, "policy line 1" in done.stderr) == (1, True)
    assert len(state.trusted().logs) == 1
