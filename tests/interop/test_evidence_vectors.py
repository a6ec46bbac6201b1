"""Our proofs against what others wrote: Merkle proofs, canonical JSON, Ed25519, the written-out run."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from evidence.canonical import ProfileError, canonical, encode, parse
from evidence.merkle import verify_consistency, verify_inclusion
from evidence.note import ED25519, Verifier
from tests.evidence_samples import (
    EXAMPLE_EVIDENCE,
    EXAMPLE_PAYLOADS,
    VECTORS,
    Recorded,
    StoredRow,
    checkpoint_of,
    event_of,
    example_rows,
    judge,
    members,
    record,
)

EXAMPLE_PAGE = VECTORS.parent / "EXAMPLE.md"
needs_vectors = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the folder of foreign test vectors is not beside the checkout"
)
needs_page = pytest.mark.skipif(
    not EXAMPLE_PAGE.is_file(), reason="the page with the written-out run is not beside the checkout"
)


def cases(folder: str) -> list[dict[str, Any]]:
    """All JSON vectors below a folder."""
    return [json.loads(path.read_bytes()) for path in sorted((VECTORS / folder).rglob("*.json"))]


def unb64(text: str | None) -> bytes:
    """Base64, where null stands for nothing."""
    return base64.b64decode(text or "")


@needs_vectors
def test_inclusion_proofs_are_judged_as_others_judge_them() -> None:
    """Every good proof is accepted, every bad one refused."""
    vectors = cases("merkle/inclusion")
    assert len(vectors) > 90
    for case in vectors:
        proof = [unb64(node) for node in case["proof"] or []]
        accepted = verify_inclusion(
            case["leafIdx"], case["treeSize"], unb64(case["leafHash"]), proof, unb64(case["root"])
        )
        assert accepted is not case["wantErr"], case["desc"]


@needs_vectors
def test_consistency_proofs_are_judged_as_others_judge_them() -> None:
    """The same, except that we refuse roots that are not hashes (P3.2), as one vector has them."""
    vectors = cases("merkle/consistency")
    assert len(vectors) > 90
    for case in vectors:
        proof = [unb64(node) for node in case["proof"] or []]
        root1, root2 = unb64(case["root1"]), unb64(case["root2"])
        accepted = verify_consistency(case["size1"], case["size2"], root1, root2, proof)
        if len(root1) != 32 or len(root2) != 32:
            assert not accepted
        else:
            assert accepted is not case["wantErr"], case["desc"]


@needs_vectors
def test_canonical_json_is_that_of_the_standard_within_the_profile() -> None:
    """Vectors inside the profile give the standard's bytes; the others are refused for a stated reason."""
    refused: dict[str, str] = {}
    for path in sorted((VECTORS / "jcs" / "input").glob("*.json")):
        expected = (VECTORS / "jcs" / "output" / path.name).read_bytes()
        in_hex = (VECTORS / "jcs" / "outhex" / path.with_suffix(".txt").name).read_text()
        assert bytes.fromhex(in_hex) == expected
        try:
            value = parse(path.read_bytes())
        except ProfileError as error:
            refused[path.stem] = "floats" if "floats" in str(error) else "keys"
        else:
            assert canonical(value) == encode(value) == expected
    assert refused == {"french": "keys", "structures": "floats", "values": "floats", "weird": "keys"}


@needs_vectors
def test_ed25519_signatures_are_judged_as_others_judge_them() -> None:
    """All of wycheproof's edge cases, through the verifier that notes use."""
    groups = json.loads((VECTORS / "wycheproof-ed25519.json").read_bytes())["testGroups"]
    count = 0
    for group in groups:
        key = Verifier("wycheproof", b"", ED25519, bytes.fromhex(group["publicKey"]["pk"]))
        for test in group["tests"]:
            valid = key.is_valid(bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
            assert valid is (test["result"] == "valid"), test["comment"]
            count += 1
    assert count == 151


@needs_page
def test_the_written_out_run_is_the_one_we_test_with() -> None:
    """The page's payloads, record, checkpoint and evidence are, byte for byte, those of the tests."""
    blocks = _blocks(EXAMPLE_PAGE)
    assert blocks[0].split(b"\n") == EXAMPLE_PAYLOADS
    assert blocks[3] == EXAMPLE_EVIDENCE
    assert blocks[2].decode() + "\n" == checkpoint_of(example_rows())
    log = _log_of(example_rows())
    assert blocks[1].split(b"\n") == log[7 * 9 : 8 * 9]
    assert b"1462 bytes, sha256 31f9076a4f8b6cf16390d6cc7f273847e5d7c0e0eb4bcadedcd49582df2ca133" in (
        EXAMPLE_PAGE.read_bytes()
    )


@needs_page
def test_recording_the_events_of_the_page_gives_its_end() -> None:
    """Evidence, terminal and seal of the page are what our folds make of its first fourteen events."""
    payloads = _blocks(EXAMPLE_PAGE)[0].split(b"\n")
    recorded = record([event_of(item) for item in example_rows()[:14]])
    assert [item.payload for item in recorded.rows] == payloads
    assert judge(Recorded(recorded.rows, recorded.evidence).bundle()).ok


def _blocks(page: Path) -> list[bytes]:
    """The fenced blocks of a page."""
    return [block.strip(b"\n") for block in page.read_bytes().split(b"```")[1::2]]


def _log_of(rows: list[StoredRow]) -> list[bytes]:
    """The lines of events.log."""
    return members(Recorded(rows, EXAMPLE_EVIDENCE).bundle())["events.log"].split(b"\n")
