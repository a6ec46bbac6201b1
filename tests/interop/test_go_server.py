"""What a real server publishes, judged by Go's own packages: its log, its proofs, its witness's word."""

import io
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from evidence.checkpoint import parse_checkpoint
from evidence.note import split_note
from evidence.policy import Policy, parse_policy
from evidence.proofs import parse_consistency_proof
from evidence.record import encode_base64, leaf_hash
from evidence.tiles import bundles, hash_tiles
from evidence.tlog import parse_tlog_proof
from tests.interop.conftest import GoProgram
from tests.interop.test_go_tlog import lines
from tests.serving import Running, serving
from tests.witness_kit import make_state, witness_thread


@dataclass
class Published:
    """A server with a witness, one run that ended, and what they let everybody see."""

    running: Running
    run_id: str
    members: dict[str, bytes]
    policy: Policy

    def get(self, path: str) -> bytes:
        """A document of the server."""
        answer = self.running.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.content


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Two runs, so that the log has more than one leaf."""
    folder = tmp_path_factory.mktemp("published")
    state = make_state(folder / "w")
    with witness_thread(state, now_s=lambda: int(time.time())) as witness:
        file = folder / "witnesses"
        file.write_text(f"witness w {state.key} http://127.0.0.1:{witness.server_address[1]}\nquorum w\n")
        with serving(folder / "data", witnesses=file) as running:
            state.trust(parse_policy(running.http.get("/v1/proof/policy").content))
            running.run("true")
            run_id = running.run("echo hi")["id"]
            bundle = running.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle").content
            with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
            policy = parse_policy(running.http.get("/v1/proof/policy").content)
            yield Published(running, run_id, members, policy)


def test_go_opens_the_checkpoints_of_a_server(notecheck: GoProgram, published: Published) -> None:
    """Run checkpoint, the log's checkpoint, and its cosignature."""
    (log_key,), (witness,) = published.policy.logs, published.policy.witnesses.values()
    assert notecheck.lines(log_key, stdin=published.members["run.checkpoint"]) == [log_key.name]
    note = published.get("/log/checkpoint")
    found = notecheck.lines(log_key, witness, stdin=note)
    assert [line.split()[0] for line in found] == [log_key.name, witness.name]


def test_go_finds_the_run_in_the_log(tlogcheck: GoProgram, published: Published) -> None:
    """The inclusion proof of the bundle leads from the checkpoint's text to the signed root."""
    proof = parse_tlog_proof(published.members["run.tlog-proof"])
    log = parse_checkpoint(split_note(proof.note)[0])
    leaf = encode_base64(leaf_hash(split_note(published.members["run.checkpoint"])[0].encode()))
    arguments = ("inclusion", log.size, encode_base64(log.root), proof.index, leaf)
    assert tlogcheck(*arguments, stdin=lines(proof.path)) == (True, "")
    assert not tlogcheck(*arguments[:3], proof.index - 1, leaf, stdin=lines(proof.path))[0]


def test_go_checks_the_consistency_of_a_run(tlogcheck: GoProgram, published: Published) -> None:
    """From the checkpoint at creation to the present one, as the server proves it."""
    base = f"/v1/workspace-runs/{published.run_id}/proof"
    proof = parse_consistency_proof(published.get(f"{base}/consistency?from=1"))
    first = parse_consistency_proof(published.get(f"{base}/consistency?from=1&to=1"))
    old, new = (parse_checkpoint(split_note(one.note)[0]) for one in (first, proof))
    arguments = ("consistency", old.size, encode_base64(old.root), new.size, encode_base64(new.root))
    assert tlogcheck(*arguments, stdin=lines(proof.path)) == (True, "")
    assert not tlogcheck(*arguments, stdin=lines(proof.path[1:]))[0]


def test_go_reads_the_tiles_of_a_server(tlogcheck: GoProgram, published: Published, tmp_path: Path) -> None:
    """Fetched as files, they give the signed root, and the entries hash to their leaves."""
    log = parse_checkpoint(split_note(published.get("/log/checkpoint"))[0])
    for tile in (*hash_tiles(log.size), *bundles(0, log.size)):
        path = tmp_path / tile.path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(published.get(f"/log/{tile.path()}"))
    found, *leaves = tlogcheck.lines("tiles", tmp_path, log.size)
    assert found == encode_base64(log.root)
    assert len(leaves) == log.size
    assert all(len(set(line.split())) == 1 for line in leaves)
