"""The log's side of a witness: it learns sizes, takes verified lines of one key only, names what failed."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from client.errors import ClientError, ConnectionFailed
from client.witness import WitnessClient, WitnessError, WitnessLimits
from evidence.note import Verifier, split_note
from evidence.policy import format_policy, parse_policy
from evidence.tlog import cosigned_at, open_log_checkpoint
from evidence.witnessing import sign_cosignature, signature_lines, witness_key
from tests.cli.recording_server import Recorded, RecordingServer, Reply
from tests.evidence_samples import LOG_KEY, ORIGIN, signer
from tests.witness_kit import NOW_S, WITNESS_NAME, GrowingLog, make_state, submit, witness_thread
from witness.serving import WitnessServer

ROUTE = "POST /add-checkpoint"
ROGUE = signer(WITNESS_NAME, "rogue")
PLAIN = {"content-type": "text/plain"}


@pytest.fixture
def log() -> GrowingLog:
    """A log of eleven entries."""
    return GrowingLog().grow(11)


@pytest.fixture
def server(tmp_path: Path, log: GrowingLog) -> Iterator[WitnessServer]:
    """The real witness on loopback."""
    with witness_thread(make_state(tmp_path / "w", log.policy())) as running:
        yield running


@pytest.fixture
async def client(server: WitnessServer) -> AsyncIterator[WitnessClient]:
    """A client that knows its key."""
    async with WitnessClient(server.url, server.state.key) as made:
        yield made


@pytest.fixture
def rogue() -> Iterator[RecordingServer]:
    """Something that answers as it is told."""
    with RecordingServer().serving() as running:
        yield running


class Prover:
    """Hands out proofs of a log, and remembers for which sizes it was asked."""

    def __init__(self, log: GrowingLog) -> None:
        self.log, self.asked = log, list[tuple[int, int]]()

    async def __call__(self, old: int, new: int) -> Sequence[bytes]:
        """The consistency proof."""
        self.asked.append((old, new))
        return self.log.proof(old, new)


async def test_a_growing_log_is_cosigned_and_the_size_is_remembered(
    client: WitnessClient, server: WitnessServer, log: GrowingLog
) -> None:
    """From nothing without a proof, then from the size that the witness has; the line goes to the note."""
    prover = Prover(log)
    policy = parse_policy(
        format_policy(LOG_KEY.verifier_key, witnesses={"w1": str(server.state.key)}, quorum="w1")
    )
    for size in (3, 3, 8, 11):
        line = await client.cosign(log.note(size), prover)
        assert open_log_checkpoint(log.note(size) + line.encode(), policy).cosigned == {"w1": NOW_S}
        assert client.size == size
    assert prover.asked == [(3, 8), (8, 11)]


async def test_after_a_restart_the_size_is_learnt(
    client: WitnessClient, server: WitnessServer, log: GrowingLog
) -> None:
    """The first 409 tells it; the proof is made for that size."""
    assert submit(server.url, log.request(0, 5)).status == 200
    prover = Prover(log)
    assert await client.cosign(log.note(9), prover)
    assert prover.asked == [(5, 9)]


async def failure(client: WitnessClient, log: GrowingLog, size: int | None = None) -> WitnessError:
    """What a request fails with."""
    with pytest.raises(WitnessError) as caught:
        await client.cosign(log.note(size), Prover(log))
    return caught.value


async def test_each_refusal_is_named(client: WitnessClient, server: WitnessServer, log: GrowingLog) -> None:
    """Unknown log, unknown key, another history, a larger size: each says who does what."""
    stranger = GrowingLog(signer("other.example/log", "x")).grow(2)
    unknown = await failure(client, stranger)
    assert (unknown.code, unknown.retryable) == ("witness_unknown_log", False)
    assert "crownest-witness trust" in unknown.message
    thief = GrowingLog(signer(ORIGIN, "thief")).grow(2)
    assert (await failure(client, thief)).code == "witness_unknown_key"
    submit(server.url, log.request(0, 7))
    more = await failure(client, log, 5)
    assert (more.code, "7" in more.message) == ("witness_saw_more", True)
    other = log.fork(4).grow(6, "other")
    assert (await failure(client, other)).code == "witness_saw_another_history"
    assert (await failure(client, log.fork(4).grow(3, "other"))).code == "witness_saw_another_history"
    assert await client.cosign(log.note(7), Prover(log))


def lines(*signers: Callable[[str], str]) -> Callable[[Recorded], Reply]:
    """A witness that signs whatever comes, without looking."""

    def route(request: Recorded) -> Reply:
        text = split_note(request.body.partition(b"\n\n")[2])[0]
        return Reply(200, "".join(sign(text) for sign in signers).encode(), PLAIN)

    return route


def by(name: str, secret: str, *, over: str | None = None) -> Callable[[str], str]:
    """A cosignature of this key."""
    return lambda text: signature_lines([sign_cosignature(over or text, NOW_S, signer(name, secret))])


@pytest.mark.parametrize(
    "route",
    [
        lines(by(WITNESS_NAME, "impostor")),
        lines(by("other.example", "rogue")),
        lines(by(WITNESS_NAME, "rogue", over=str(GrowingLog().grow(3).checkpoint()))),
        lines(by(WITNESS_NAME, "rogue"), by(WITNESS_NAME, "rogue")),
        lines(),
        lambda _: Reply(200, b"fine\n", PLAIN),
        lambda _: Reply(200, b"\xff", PLAIN),
        lambda _: Reply(200, b"x" * 20_000, PLAIN),
        lambda _: Reply(409, b"0\n", {"content-type": "text/x.tlog.size"}),
        lambda _: Reply(409, b"07\n", {"content-type": "text/x.tlog.size"}),
        lambda _: Reply(409, b"\xff\n", {"content-type": "text/x.tlog.size"}),
    ],
)
async def test_only_a_valid_line_of_the_one_key_is_taken(
    rogue: RecordingServer, route: Callable[[Recorded], Reply]
) -> None:
    """Strangers, signatures over something else, two lines, none, nonsense and floods are a bad answer."""
    rogue.routes[ROUTE] = route
    async with WitnessClient(rogue.url, witness_key(ROGUE)) as client:
        found = await failure(client, GrowingLog().grow(5))
        assert found.code == "witness_bad_answer"
        assert client.size == 0


async def test_lines_of_other_keys_are_never_passed_on(rogue: RecordingServer) -> None:
    """A witness may have several keys; the one that we were told is taken, the rest dropped."""
    rogue.routes[ROUTE] = lines(by("other.example", "o"), by(WITNESS_NAME, "rogue"))
    log = GrowingLog().grow(5)
    async with WitnessClient(rogue.url + "/", witness_key(ROGUE)) as client:
        line = await client.cosign(log.note(), Prover(log))
    text, parsed = split_note(log.note() + line.encode())
    assert [one.name for one in parsed] == [ORIGIN, WITNESS_NAME]
    assert cosigned_at(text, parsed[1], witness_key(ROGUE)) == NOW_S


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "witness_refused", False),
        (301, "witness_refused", False),
        (429, "witness_busy", True),
        (500, "witness_busy", True),
        (503, "witness_busy", True),
    ],
)
async def test_other_statuses_say_whether_to_try_again(
    rogue: RecordingServer, status: int, code: str, *, retryable: bool
) -> None:
    """What the witness wrote is quoted in one line."""
    rogue.routes[ROUTE] = lambda _: Reply(
        status, b"not\nnow\x1b", PLAIN | {"location": "http://127.0.0.1:1/"}
    )
    async with WitnessClient(rogue.url, witness_key(ROGUE)) as client:
        found = await failure(client, GrowingLog().grow(5))
    assert (found.code, found.retryable) == (code, retryable)
    assert "not now?" in found.message
    assert len(rogue.requests) == 1


async def test_a_size_that_always_moves_ends_somewhere(rogue: RecordingServer) -> None:
    """Two servers that sign for one origin are told so, instead of racing for ever."""
    known = iter(range(1, 99))
    rogue.routes[ROUTE] = lambda _: Reply(409, b"%d\n" % next(known), {"content-type": "text/x.tlog.size"})
    async with WitnessClient(rogue.url, witness_key(ROGUE)) as client:
        found = await failure(client, GrowingLog().grow(50))
    assert (found.code, found.retryable) == ("witness_busy", True)
    assert len(rogue.requests) == WitnessLimits().conflicts_max + 1


async def test_a_size_that_was_named_by_mistake_is_asked_for_again(rogue: RecordingServer) -> None:
    """One wrong answer, from the witness or from a proxy, does not end its cosignatures."""
    size_type = {"content-type": "text/x.tlog.size"}
    rogue.routes[ROUTE] = lambda _: Reply(409, b"999999999\n", size_type)
    log = GrowingLog().grow(5)
    async with WitnessClient(rogue.url, witness_key(ROGUE)) as client:
        found = await failure(client, log)
        assert (found.code, "999999999" in found.message) == ("witness_saw_more", True)
        rogue.routes[ROUTE] = lines(by(WITNESS_NAME, "rogue"))
        assert await client.cosign(log.note(), Prover(log))


async def test_a_witness_that_is_gone_or_silent_is_a_failed_connection(rogue: RecordingServer) -> None:
    """Nobody listens; nobody answers; bytes drip so slowly that only the whole time ends it."""
    log, key = GrowingLog().grow(5), witness_key(ROGUE)
    async with WitnessClient("http://127.0.0.1:9", key) as client:
        with pytest.raises(ConnectionFailed) as refused:
            await client.cosign(log.note(), Prover(log))
    assert refused.value.kind == "refused"
    ended = threading.Event()

    def drip(_: Recorded) -> Reply:
        return Reply(200, headers=PLAIN, parts=[b"x", lambda: ended.wait(20)])

    rogue.routes[ROUTE] = drip
    for limits in (WitnessLimits(read_s=0.2), WitnessLimits(whole_s=0.2)):
        async with WitnessClient(rogue.url, key, limits=limits) as client:
            with pytest.raises(ConnectionFailed) as silent:
                await client.cosign(log.note(), Prover(log))
        assert silent.value.kind == "timeout"
    ended.set()


def test_a_key_of_a_log_is_no_witness() -> None:
    """Told before anything is sent; and so is an address that is none."""
    with pytest.raises(ValueError, match="04"):
        WitnessClient("http://127.0.0.1", Verifier.parse(LOG_KEY.verifier_key))
    with pytest.raises(ClientError, match="not an"):
        WitnessClient("nowhere", witness_key(ROGUE))
