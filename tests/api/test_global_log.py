"""The global log over HTTP: public tiles that anybody can follow, and bundles that it covers."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.wiring import log_path
from eventstore.high_water import ForkRefused
from evidence.checkpoint import parse_checkpoint
from evidence.logentry import KeyChange, StreamEntry, parse_entry
from evidence.merkle import CompactRange, inclusion_proof, verify_inclusion
from evidence.note import Verifier, open_note, split_note
from evidence.policy import parse_policy
from evidence.proofs import parse_consistency_proof, parse_range_proof
from evidence.record import leaf_hash
from evidence.tiles import TileTree, bundles, unpack_entries
from evidence.verify import verify_bundle
from tests.serving import Running, serving, settings


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A server with an empty log."""
    with serving(tmp_path) as one:
        yield one


def policy_of(running: Running) -> bytes:
    """The policy that an auditor keeps."""
    return running.http.get("/v1/proof/policy").content


def bundle_of(running: Running, run_id: str, **query: str) -> bytes:
    """The proof bundle."""
    answer = running.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle", params=query)
    assert answer.status_code == 200, answer.text
    return answer.content


def anonymous(running: Running, path: str) -> bytes:
    """A public document, asked for without a key."""
    answer = running.http.get(path, headers={"authorization": ""})
    assert answer.status_code == 200, answer.text
    return answer.content


def test_the_log_can_be_followed_by_anybody(running: Running) -> None:
    """Checkpoint, tiles and entries need no key, agree with each other, and show every run twice."""
    runs = [running.run("true")["id"] for _ in range(2)]
    bundle_of(running, runs[-1])  # waits until the log covers its seal
    note = anonymous(running, "/log/checkpoint")
    policy = parse_policy(policy_of(running))
    signed = parse_checkpoint(open_note(note, policy.logs).text)
    entries: list[bytes] = []
    for tile in bundles(0, signed.size):
        entries += unpack_entries(anonymous(running, f"/log/{tile.path()}"), tile.width)
    tree = CompactRange()
    for entry in entries:
        tree.append(leaf_hash(entry))
    assert tree.root() == signed.root
    shown = [parse_entry(entry) for entry in entries]
    assert all(isinstance(entry, StreamEntry) for entry in shown)
    assert [entry.stream for entry in shown if isinstance(entry, StreamEntry) and entry.is_run].count(
        runs[0]
    ) == 2
    tiles = TileTree(signed.size, lambda tile: anonymous(running, f"/log/{tile.path()}"))
    path = inclusion_proof(0, signed.size, tiles.subtree)
    assert verify_inclusion(0, signed.size, leaf_hash(entries[0]), path, signed.root)
    immutable = running.http.get(f"/log/{next(bundles(0, signed.size)).path()}").headers["cache-control"]
    assert "immutable" in immutable


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/999",
        "tile/0/000.p/255",
        "tile/0/0",
        "tile/entries/000",
        "tile/5/000.p/1",
    ],
)
def test_what_the_log_does_not_hold_is_not_found(running: Running, path: str) -> None:
    """In the envelope, whatever is asked for."""
    answer = running.http.get(f"/log/{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_a_bundle_is_covered_by_the_log(running: Running) -> None:
    """It carries the inclusion proof of its checkpoint, right after the run ended."""
    run = running.run("echo hi")
    bundle = bundle_of(running, run["id"])
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        assert "run.tlog-proof" in archive.namelist()
    verdict = verify_bundle(
        io.BytesIO(bundle), policy_of(running), expected_run=run["id"], allow_unlogged=False
    )
    assert verdict.verdict == "COMPLETE", verdict
    assert any("global log" in sentence for sentence in verdict.proven)


def test_a_second_run_is_anchored_in_the_log(running: Running) -> None:
    """Its genesis commits to the newest checkpoint that was published before it (P2.3)."""
    first = running.run("true")["id"]
    bundle_of(running, first)
    note = anonymous(running, "/log/checkpoint")
    second = running.run("true")["id"]
    with zipfile.ZipFile(io.BytesIO(bundle_of(running, second))) as archive:
        assert archive.read("anchor.note") == note


def test_windows_over_http_prove_themselves(running: Running) -> None:
    """Nine lines an event, an empty line, a range proof that leads to the signed checkpoint (P3.4)."""
    run_id = running.run("seq 5; echo e >&2")["id"]
    base = f"/v1/workspace-runs/{run_id}/proof"
    size = parse_checkpoint(split_note(running.http.get(f"{base}/checkpoint").content)[0]).size
    for after, limit in ((0, 500), (3, 2), (size, 1), (size - 1, 10)):
        data = running.http.get(f"{base}/events", params={"afterSeq": after, "limit": limit}).content
        head, _, rest = data.partition(b"\ncrownest/range-proof@v1\n")
        lines = head.split(b"\n") if head else []
        proof = parse_range_proof(b"crownest/range-proof@v1\n" + rest)
        leaves = [
            leaf_hash(b"".join(line + b"\n" for line in lines[at : at + 8]))
            for at in range(0, len(lines) - 1, 9)
        ]
        assert len(leaves) == min(limit, size - after)
        policy = parse_policy(policy_of(running))
        proof.check(leaves, parse_checkpoint(open_note(proof.note, policy.logs).text))


def test_consistency_over_http(running: Running) -> None:
    """From the checkpoint of creation to the present one; sizes out of range are refused by name."""
    run_id = running.create()
    base = f"/v1/workspace-runs/{run_id}/proof"
    old = parse_checkpoint(split_note(running.http.get(f"{base}/checkpoint").content)[0])
    assert running.http.post(f"/v1/workspace-runs/{run_id}/cancel").status_code == 200
    answer = running.http.get(f"{base}/consistency", params={"from": 1})
    proof = parse_consistency_proof(answer.content)
    proof.check(old, parse_checkpoint(split_note(proof.note)[0]))
    same = parse_consistency_proof(
        running.http.get(f"{base}/consistency", params={"from": 1, "to": 1}).content
    )
    same.check(old, old)
    for query in ({"from": 0}, {"from": 99}, {"from": 3, "to": 2}, {"from": 1, "to": 2}, {"from": "x"}, {}):
        refused = running.http.get(f"{base}/consistency", params=query)
        assert refused.status_code == 400, query
    beyond = running.http.get(f"{base}/events", params={"afterSeq": 99})
    assert beyond.status_code == 400
    assert beyond.json()["error"]["details"]["field"] == "afterSeq"


def test_keys_are_rotated_in_full_view(tmp_path: Path) -> None:
    """The new key is in the log and vouched for by the old one; what was proved before stays provable."""
    with serving(tmp_path) as running:
        run_id = running.run("true")["id"]
        before, old_policy = bundle_of(running, run_id), policy_of(running)
        old_key = parse_policy(old_policy).logs[0]
        answer = running.http.post("/v1/signing-keys/rotate")
        assert answer.status_code == 200, answer.text
        new = Verifier.parse(answer.json()["signingKey"]["verifierKey"])
        assert new != old_key
        both = open_note(anonymous(running, "/log/checkpoint"), [old_key, new])
        assert set(both.verified) == {old_key, new}
        listed = running.http.get("/v1/signing-keys").json()["data"]
        assert [key["status"] for key in listed] == ["active", "retired"]
        assert listed[0]["from"] <= listed[1]["until"]
        size = parse_checkpoint(both.text).size
        (entry,) = [
            entry
            for tile in bundles(0, size)
            for entry in map(
                parse_entry, unpack_entries(anonymous(running, f"/log/{tile.path()}"), tile.width)
            )
            if isinstance(entry, KeyChange)
        ]
        assert entry.key == new
        policy = policy_of(running)
        for bundle in (before, bundle_of(running, run_id)):
            verdict = verify_bundle(io.BytesIO(bundle), policy, expected_run=run_id)
            assert verdict.verdict == "COMPLETE", verdict
        assert verify_bundle(io.BytesIO(before), old_policy).verdict == "COMPLETE"
        assert verify_bundle(io.BytesIO(bundle_of(running, run_id)), old_policy).code == "E_SIG_UNKNOWN_KEY"
        later = running.run("true")["id"]
        assert verify_bundle(io.BytesIO(bundle_of(running, later)), policy).verdict == "COMPLETE"
        assert not (tmp_path / "keys" / "next.pem").exists()
        key = running.key
    with serving(tmp_path, key) as again:
        assert policy_of(again) == policy
        assert verify_bundle(io.BytesIO(bundle_of(again, run_id)), policy).verdict == "COMPLETE"


@pytest.mark.parametrize("named", [True, False])
def test_an_interrupted_rotation_is_finished_or_forgotten(tmp_path: Path, named: bool) -> None:  # noqa: FBT001  # pytest passes it by name
    """A key that the log names comes into force at the next start; one that nobody knows is discarded."""
    with serving(tmp_path) as running:
        key, old_policy = running.key, policy_of(running)
        old_key = (tmp_path / "keys" / "log.pem").read_bytes()
        running.http.post("/v1/signing-keys/rotate")
        new_policy = policy_of(running)
    keys = tmp_path / "keys"
    if named:  # as it was just before the old key was retired
        (keys / "log.pem").rename(keys / "next.pem")
        (keys / "log.pem").write_bytes(old_key)
        (keys / "retired").unlink()
    else:
        (keys / "next.pem").write_bytes((keys / "attestation.pem").read_bytes())
    with serving(tmp_path, key) as again:
        assert not (keys / "next.pem").exists()
        again.http.get("/log/checkpoint")
        assert policy_of(again).splitlines()[:2] == new_policy.splitlines()[:2]
        assert len(parse_policy(policy_of(again)).until) == 1
    assert old_policy != new_policy


def test_a_database_from_a_backup_does_not_start(tmp_path: Path) -> None:
    """The message says what happened and what to restore."""
    with serving(tmp_path) as running:
        key = running.key
        bundle_of(running, running.run("true")["id"])
    old = log_path(tmp_path).read_bytes()
    with serving(tmp_path, key) as running:
        bundle_of(running, running.run("true")["id"])
    log_path(tmp_path).write_bytes(old)
    with pytest.raises(ForkRefused, match="Restore the newest copy"), serving(tmp_path, key):
        pass
    assert settings(tmp_path).data_dir == tmp_path
