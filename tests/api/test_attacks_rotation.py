"""Rotations that fail half-way, come all at once, or never end: every key that ever signed stays known."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from eventstore.log import LogError, StorageUnavailable
from evidence.note import Ed25519Signer, Verifier, open_note
from evidence.policy import KEYS_MAX, parse_policy
from evidence.verify import verify_bundle
from tests.serving import Running, serving

ROTATIONS_AT_ONCE = 20


def policy_of(running: Running) -> bytes:
    """The policy that an auditor keeps."""
    answer = running.http.get("/v1/proof/policy")
    assert answer.status_code == 200, answer.text
    return answer.content


def bundle_of(running: Running, run_id: str) -> bytes:
    """The proof bundle."""
    return running.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle").content


def judge(bundle: bytes, policy: bytes) -> str:
    """The verdict's word, or its code."""
    verdict = verify_bundle(io.BytesIO(bundle), policy)
    return verdict.code or verdict.verdict


def failing(error: Exception) -> Callable[..., Any]:
    """A function that only fails."""

    def called(*_: Any, **__: Any) -> Any:
        raise error

    return called


@pytest.mark.parametrize("step", ["publish", "finish"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_rotation_that_failed_half_way_loses_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, *, restarts: bool
) -> None:
    """The old key vouches for the new one before it goes, also when the disk was full in between."""
    with serving(tmp_path) as running:
        key, run_id = running.key, running.run("true")["id"]
        before, old_policy = bundle_of(running, run_id), policy_of(running)
        keyring, sequencer = running.server.keyring, running.server.services.sequencer
        with monkeypatch.context() as disk:  # every call fails: the sequencer publishes on its own too
            if step == "publish":
                disk.setattr(sequencer, "publish", failing(StorageUnavailable("the disk is full")))
            else:
                disk.setattr(keyring, "finish", failing(OSError("the disk is full")))
            failed = running.http.post("/v1/signing-keys/rotate", headers={"connection": "close"})
        assert failed.status_code >= 500
        if not restarts:
            assert running.http.post("/v1/signing-keys/rotate").status_code == 200
            check(running, tmp_path, run_id, before, old_policy)
    with serving(tmp_path, key) as again:
        check(again, tmp_path, run_id, before, old_policy)


def check(running: Running, folder: Path, run_id: str, before: bytes, old_policy: bytes) -> None:
    """What was proved stays provable, and who trusts the first key is led to the present one."""
    policy = policy_of(running)
    assert judge(before, policy) == "COMPLETE"
    assert judge(bundle_of(running, run_id), policy) == "COMPLETE"
    assert judge(bundle_of(running, running.run("true")["id"]), policy) == "COMPLETE"
    keys = parse_policy(policy).logs
    assert parse_policy(old_policy).logs[0] in keys
    current = Ed25519Signer.from_pem(keys[0].name, (folder / "keys" / "log.pem").read_bytes())
    assert Verifier.parse(current.verifier_key) == keys[0]
    assert not (folder / "keys" / "next.pem").exists()


def test_many_rotations_at_once_are_one_after_the_other(tmp_path: Path) -> None:
    """Each key hands over to the next, and none is left out."""
    with serving(tmp_path) as running:
        run_id = running.run("true")["id"]
        before = bundle_of(running, run_id)
        with ThreadPoolExecutor(ROTATIONS_AT_ONCE) as pool:
            asked = [
                pool.submit(running.http.post, "/v1/signing-keys/rotate", timeout=60)
                for _ in range(ROTATIONS_AT_ONCE)
            ]
            runs = [pool.submit(running.run, "true") for _ in range(3)]
        answers = [one.result() for one in asked]
        assert {answer.status_code for answer in answers} == {200}
        made = {answer.json()["signingKey"]["keyId"] for answer in answers}
        policy = policy_of(running)
        assert len(made) == ROTATIONS_AT_ONCE
        assert made <= {key.key_id.hex() for key in parse_policy(policy).logs}
        for bundle in (before, *(bundle_of(running, run.result()["id"]) for run in runs)):
            assert judge(bundle, policy) == "COMPLETE"
        listed = running.http.get("/v1/signing-keys").json()["data"]
        ends = [key["until"] for key in listed[1:]]
        assert ends == sorted(ends, reverse=True)


def test_no_rotation_makes_more_keys_than_a_policy_holds(tmp_path: Path) -> None:
    """One more would leave every auditor without a policy: it is refused, and nothing is changed."""
    with serving(tmp_path) as running:
        key, run_id = running.key, running.run("true")["id"]
        origin = running.server.keyring.origin
    room = KEYS_MAX - 3  # the present key, the one for attestations, and one more
    lines = [f"{Ed25519Signer.generate(origin).verifier_key} until 1\n" for _ in range(room)]
    (tmp_path / "keys" / "retired").write_text("".join(lines))
    with serving(tmp_path, key) as running:
        assert running.http.post("/v1/signing-keys/rotate").status_code == 200
        policy = policy_of(running)
        refused = running.http.post("/v1/signing-keys/rotate")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
        assert policy_of(running) == policy
        assert judge(bundle_of(running, run_id), policy) == "COMPLETE"
        assert len(parse_policy(policy).logs) + 1 == KEYS_MAX
        note = running.http.get("/log/checkpoint").content
        assert open_note(note, [parse_policy(policy).logs[0]]).verified


@pytest.mark.parametrize("restored", [["log.pem"], ["log.pem", "retired", "high-water"]])
def test_a_key_from_a_backup_does_not_sign(tmp_path: Path, restored: list[str]) -> None:
    """The log says which key signs: an older one, or the folder of an older day, is refused at start."""
    with serving(tmp_path) as running:
        key = running.key
        running.run("true")
        keys = tmp_path / "keys"
        old = {name: (keys / name).read_bytes() for name in ("log.pem", "high-water")}
        assert running.http.post("/v1/signing-keys/rotate").status_code == 200
        newer = {
            name: (tmp_path / "keys" / name).read_bytes() for name in ("log.pem", "retired", "high-water")
        }
    for name in restored:
        (tmp_path / "keys" / name).unlink()
        if name in old:
            (tmp_path / "keys" / name).write_bytes(old[name])
    with pytest.raises(LogError, match=r"restore .*keys"), serving(tmp_path, key):
        pass
    for name, content in newer.items():
        (keys / name).write_bytes(content)
    with serving(tmp_path, key) as again:
        assert parse_policy(policy_of(again)).until
