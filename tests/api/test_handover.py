"""A change of the signing key, seen by those who hold the old policy: the log itself leads them on (P6)."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from evidence.note import Verifier, open_note
from evidence.policy import Policy, parse_policy
from runs.signing_keys import OlderKey
from tests.serving import Running, serving
from witness.fetching import Web
from witness.following import open_following
from witness.monitor import Monitor, Report
from witness.tilelog import TileLog


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A server with an empty log."""
    with serving(tmp_path / "data") as one:
        yield one


def policy_of(running: Running) -> Policy:
    """The policy of now."""
    return parse_policy(running.http.get("/v1/proof/policy").content)


def look(running: Running, folder: Path, policy: Policy) -> Report:
    """One look of a monitor that follows the log alone."""
    with open_following(folder) as following:
        return Monitor(TileLog(Web(), f"{running.url}/log"), following, policy).round(int(time.time()))


def grow(running: Running) -> None:
    """One more run, and a checkpoint over it."""
    run_id = running.run("true")["id"]
    assert running.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle").status_code == 200


def rotate(running: Running) -> str:
    """A new key; answers its verifier key."""
    answer = running.http.post("/v1/signing-keys/rotate")
    assert answer.status_code == 200, answer.text
    key: str = answer.json()["signingKey"]["verifierKey"]
    return key


def test_an_old_policy_leads_to_the_new_key_long_after_the_change(running: Running, tmp_path: Path) -> None:
    """The monitor follows up to the handover with the key that it trusts, and names the new one."""
    grow(running)
    old = policy_of(running)
    folder = tmp_path / "followed"
    assert look(running, folder, old).exit_code == 0
    new = rotate(running)
    grow(running)
    grow(running)
    report = look(running, folder, old)
    assert report.exit_code == 2
    assert any(new in notice for notice in report.notices)
    assert any("handed over" in text for text in report.unreadable)
    assert look(running, folder, old).findings == []
    caught_up = look(running, folder, policy_of(running))
    assert caught_up.exit_code == 0
    assert not any(new in notice for notice in caught_up.notices)
    assert look(running, folder, old).exit_code == 2  # an older policy than the folder's is no fork
    fresh = look(running, tmp_path / "fresh", old)
    assert any(new in notice for notice in fresh.notices)


def test_each_handover_is_kept_and_signed_by_both(running: Running) -> None:
    """Whichever key somebody trusts, a chain of handovers leads to the present one."""
    keys = [str(policy_of(running).logs[0])]
    for _ in range(2):
        grow(running)
        keys.append(rotate(running))
    sizes = running.http.get("/log/handovers").text.split()
    assert len(sizes) == 2
    for size, pair in zip(sizes, pairwise(keys), strict=True):
        note = running.http.get(f"/log/handover/{size}").content
        assert {str(key) for key in open_note(note, map(Verifier.parse, pair)).verified} == set(pair)
    for size in ("0", "1", "x", "99999999999999999999", "-1"):
        assert running.http.get(f"/log/handover/{size}").status_code == 404


def test_a_lost_list_of_retired_keys_stops_the_start(tmp_path: Path) -> None:
    """Without it earlier proofs would be told to be of an unknown key: the message says what to restore."""
    with serving(tmp_path) as running:
        rotate(running)
        key = running.key
    (tmp_path / "keys" / "retired").unlink()
    with pytest.raises(OlderKey, match="keys/retired"), serving(tmp_path, key):
        pass
