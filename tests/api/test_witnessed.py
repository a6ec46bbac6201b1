"""A server whose log real witnesses cosign: what a bundle then proves, and what their absence costs."""

import contextlib
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from cli.problems import CliError
from evidence.policy import parse_policy
from evidence.verdict import Verdict
from evidence.verify import verify_bundle
from tests.serving import Running, serving
from tests.witness_kit import make_state, witness_thread


@dataclass
class Watched:
    """A server, and how to end its witnesses."""

    running: Running
    stop: list[contextlib.ExitStack]

    def policy(self) -> bytes:
        """The policy that the server publishes, witnesses and quorum included."""
        return self.running.http.get("/v1/proof/policy").content

    def bundle(self, run_id: str) -> bytes:
        """The proof bundle."""
        return self.running.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle").content

    def verdict(self, bundle: bytes, **options: bool) -> Verdict:
        """As an auditor judges it who wants the quorum."""
        return verify_bundle(io.BytesIO(bundle), self.policy(), allow_unlogged=False, **options)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A server that asks two witnesses and wants one of them; they learn its key from its policy."""
    with contextlib.ExitStack() as stack:
        own: list[contextlib.ExitStack] = []
        states, lines = [], []
        for name in ("alice", "bob"):
            states.append(make_state(tmp_path / name, name=f"witness.example/{name}"))
            own.append(stack.enter_context(contextlib.ExitStack()))
            server = own[-1].enter_context(witness_thread(states[-1], now_s=_now_s))
            vkey = str(states[-1].key)
            lines.append(f"witness {name} {vkey} http://127.0.0.1:{server.server_address[1]}\n")
        file = tmp_path / "witnesses"
        file.write_text("".join(lines) + "group two 1 alice bob\nquorum two\n")
        running = stack.enter_context(serving(tmp_path / "data", witnesses=file))
        found = Watched(running, own)
        for state in states:
            state.trust(parse_policy(found.policy()))
        yield found


def _now_s() -> int:
    import time

    return int(time.time())


def test_a_witnessed_run_has_a_time_window(watched: Watched) -> None:
    """NotAfter from its cosignatures, notBefore from those on the anchor; nothing is left of REWRITE."""
    watched.bundle(watched.running.run("true")["id"])  # the next run's anchor is cosigned
    bundle = watched.bundle(watched.running.run("echo hi")["id"])
    verdict = watched.verdict(bundle, strict_time=True)
    assert verdict.verdict == "COMPLETE", verdict
    assert verdict.not_before is not None
    assert verdict.not_after is not None
    assert verdict.not_before <= verdict.not_after
    assert not any("rewrite" in sentence for sentence in verdict.not_proven)
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        proof = archive.read("run.tlog-proof").decode()
    assert len(re.findall("\u2014 witness.example/", proof)) == 2


def test_one_witness_of_two_is_enough_and_none_is_not(watched: Watched) -> None:
    """The log goes on without them; the auditor sees what is missing."""
    watched.stop[0].close()
    bundle = watched.bundle(watched.running.run("true")["id"])
    assert watched.verdict(bundle).verdict == "COMPLETE"
    watched.stop[1].close()
    alone = watched.verdict(watched.bundle(watched.running.run("true")["id"]))
    assert (alone.verdict, alone.code) == ("FAILED", "E_WITNESS_QUORUM")


def test_the_log_page_names_who_cosigned_and_who_does_not_answer(watched: Watched) -> None:
    """With the size that each cosigned last, and how far one that is away has fallen behind."""
    watched.bundle(watched.running.run("true")["id"])
    card = _witnesses_card(watched)
    (size, other), behind = re.findall(r"signed (\d+)", card), re.findall(r"is (\d+) \w+ behind", card)
    assert size == other
    assert behind == []
    watched.stop[1].close()
    watched.bundle(watched.running.run("true")["id"])
    card = _witnesses_card(watched)
    alice, bob = re.findall(r"signed (\d+)", card)
    assert int(alice) > int(bob) == int(size)
    assert re.findall(r"is (\d+) \w+ behind", card) == [str(int(alice) - int(bob))]
    assert "Last answer" in card


def _witnesses_card(watched: Watched) -> str:
    """What the page of the global log shows of the witnesses."""
    with httpx2.Client(base_url=watched.running.url) as browser:
        key = {"key": watched.running.key}
        assert browser.post("/sign-in", data=key, headers={"sec-fetch-site": "same-origin"}).is_redirect
        html = browser.get("/log").text
    return html.partition('id="g-witnesses"')[2].partition("</section>")[0]


def test_witnesses_follow_a_change_of_key(watched: Watched) -> None:
    """The old key's signature carries the new one over; later the witnesses want the new policy."""
    watched.bundle(watched.running.run("true")["id"])
    assert watched.running.http.post("/v1/signing-keys/rotate").status_code == 200
    both = watched.running.http.get("/log/checkpoint").text
    assert both.count("\u2014 witness.example/") == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("witness a b\n", "is no witness file"),
        ("quorum a\nquorum a\n", "is no witness file"),
        ("", "is no witness file"),
    ],
)
def test_a_bad_witness_file_stops_the_start(tmp_path: Path, content: str | None, message: str) -> None:
    """The message names the file and what it should hold."""
    file = tmp_path / "witnesses"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CliError, match=message), serving(tmp_path / "data", witnesses=file):
        pass


def test_a_witness_without_an_address_stops_the_start(tmp_path: Path) -> None:
    """A policy may leave the address out; the server that asks may not."""
    state = make_state(tmp_path / "w")
    file = tmp_path / "witnesses"
    file.write_text(f"witness a {state.key}\nquorum a\n")
    with pytest.raises(CliError, match="no address"), serving(tmp_path / "data", witnesses=file):
        pass
