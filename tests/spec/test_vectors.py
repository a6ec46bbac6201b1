"""The published vectors are those that `make vectors` writes, and our code answers each as it should."""

import io
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from evidence.attestation import SealedRun, result_of, statements
from evidence.canonical import FormatError, ProfileError, canonical, decode, parse
from evidence.checkpoint import Checkpoint, parse_checkpoint, split_origin
from evidence.dsse import PAYLOAD_TYPE, pae, parse_envelope
from evidence.logentry import KeyChange, StreamEntry, parse_entry
from evidence.merkle import CompactRange, verify_consistency, verify_inclusion
from evidence.note import BadSignature, NoteError, UnknownKey, Verifier, open_note, split_note
from evidence.policy import parse_policy
from evidence.proofs import parse_consistency_proof, parse_range_proof
from evidence.record import commitment, genesis, leaf_hash, parse_hash, parse_record
from evidence.tiles import TileTree, bundles, parse_tile_path, unpack_entries
from evidence.tlog import cosign, cosigned_at, judge_inclusion, not_after, open_log_checkpoint
from evidence.verdict import CODES, COMPLETE, OPEN_PREFIX, REDACTED, WITHHELD, Verdict, VerificationError
from evidence.verify import verify_bundle
from tests.spec.vectors import DEFAULTS, FOLDER, FORMAT, INDEX, PAGE, build

FILE_BYTES_MAX = 64 * 1024
FOLDER_BYTES_MAX = 2 * 1024 * 1024


def read(name: str) -> Any:
    """A JSON file of the folder."""
    return json.loads((FOLDER / name).read_bytes())


def each(file: str, *lists: str) -> Any:
    """A test for every case in these lists of a file."""
    found = [case for name in lists for case in read(file)[name]]
    return pytest.mark.parametrize(
        "case", found, ids=[str(case.get("name", at)) for at, case in enumerate(found)]
    )


def unb64(texts: list[str]) -> list[bytes]:
    """Hashes, of whatever length."""
    return [b64decode(text) for text in texts]


def input_of(case: dict[str, Any], name: str) -> bytes:
    """Bytes that are given as text, or in base64."""
    return case[name].encode() if name in case else b64decode(case[f"{name}Base64"])


# ---- the folder -----------------------------------------------------------------------------------


def test_the_folder_holds_what_is_made_again() -> None:
    """Byte for byte, and nothing else but the page."""
    made = build()
    there = {str(path.relative_to(FOLDER)): path for path in FOLDER.rglob("*") if path.is_file()}
    assert there.keys() == made.keys() | {PAGE}
    for name, data in made.items():
        assert there[name].read_bytes() == data, f"{name}: make vectors, and look at what changed"


def test_the_folder_is_small() -> None:
    """A checkout carries it, and git shows what changes in it."""
    sizes = {path: path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < FOLDER_BYTES_MAX
    assert [path.name for path, size in sizes.items() if size >= FILE_BYTES_MAX] == []


def test_the_page_describes_every_file() -> None:
    """Each file, or the folder it lies in, is named."""
    page = (FOLDER / PAGE).read_text(encoding="utf-8")
    for path in FOLDER.iterdir():
        assert path.name == PAGE or f"`{path.name}{'/' if path.is_dir() else ''}`" in page, path.name


def test_the_index_covers_every_code_and_verdict() -> None:
    """A bundle for each code that a bundle alone shows; the window's code is in range-proofs.json."""
    index = read(INDEX)
    assert index["format"] == FORMAT
    expected = [case["expected"] for case in index["bundles"]]
    shown_elsewhere = {"E_RANGE_PROOF", "E_TIMESTAMP"} | {
        name for name, code in CODES.items() if code.clause == "P5.6"
    }
    assert {case["code"] for case in expected} == CODES.keys() - shown_elsewhere | {None}
    assert {case["verdict"] for case in expected} > {COMPLETE, OPEN_PREFIX, REDACTED, WITHHELD}
    assert {case["code"] for case in read("range-proofs.json")["windows"]} > {"E_RANGE_PROOF"}
    used = {case["bundle"] for case in index["bundles"]}
    assert used == {path for path in index["sha256"] if path.startswith("bundles/")}


# ---- bundles --------------------------------------------------------------------------------------


def judged(case: dict[str, Any]) -> Verdict:
    """What our verifier says of a bundle, with exactly the options of the case."""
    options = DEFAULTS | case["options"]
    assert options.keys() == DEFAULTS.keys()
    bundle, policy = FOLDER / case["bundle"], (FOLDER / case["policy"]).read_bytes()
    given: dict[str, Any] = {
        "expected_run": options["run"],
        "allow_withheld": options["allowWithheld"],
        "allow_unlogged": options["allowUnlogged"],
        "allow_unattested": options["allowUnattested"],
        "strict_time": options["strictTime"],
    }
    if options["evidenceFile"] is not None:
        shown = (FOLDER / options["evidenceFile"]).read_bytes()
        return verify_bundle(io.BytesIO(bundle.read_bytes()), policy, shown=shown, **given)
    pin = None if options["pin"] is None else parse_checkpoint(options["pin"])
    return verify_bundle(bundle, policy, allow_open=options["allowOpen"], pin=pin, **given)


@each(INDEX, "bundles")
def test_a_bundle_gets_the_verdict_that_it_deserves(case: dict[str, Any]) -> None:
    """Verdict, code, clause, event, exit code, and the times of an accepted one."""
    verdict = judged(case)
    told = verdict.to_dict() | {"exitCode": verdict.exit_code}
    expected = case["expected"]
    assert {name: told[name] for name in expected} == expected, verdict.message


# ---- parts ----------------------------------------------------------------------------------------


@each("canonical.json", "cases")
def test_canonical_json(case: dict[str, Any]) -> None:
    """The canonical bytes of each spelling that has some, and its fate as a payload."""
    data, code = input_of(case, "input"), None
    try:
        made: str | None = canonical(parse(data)).decode()
    except FormatError:
        made = None
    assert made == case["canonical"]
    try:
        decode(data)
    except ProfileError:
        code = "E_NONCANONICAL"
    except FormatError:
        code = "E_FORMAT"
    assert code == case["payload"]


def test_records_of_the_run() -> None:
    """Commitments, chain, leaves and every checkpoint of the written-out run."""
    vectors = read("records.json")
    stream = parse_record(vectors["events"][0]["record"].encode()).stream
    prev, tree = genesis(stream, b""), CompactRange()
    for size, head in enumerate(vectors["checkpoints"]):
        checkpoint = parse_checkpoint(head["text"])
        assert (head["size"], checkpoint.size, checkpoint.root) == (size, tree.size, tree.root())
        assert split_origin(checkpoint.origin_line)[1] == stream
        if size == len(vectors["events"]):
            break
        event = vectors["events"][size]
        record = parse_record(event["record"].encode())
        payload = event["payload"].encode()
        assert (record.seq, record.payload_size, record.prev) == (event["seq"], len(payload), prev)
        assert record.commitment == commitment(b64decode(event["salt"]), payload)
        assert decode(payload)["createdAt"] == record.created_at
        prev = leaf_hash(event["record"].encode())
        assert prev == parse_hash(event["leaf"])
        tree.append(prev)
    for start in vectors["genesis"]:
        assert genesis(start["stream"], start["anchor"].encode()) == parse_hash(start["prev"])


@each("records.json", "records")
def test_spellings_of_records(case: dict[str, Any]) -> None:
    """Each value has one spelling."""
    if case["valid"]:
        assert parse_record(case["record"].encode())
    else:
        with pytest.raises(FormatError):
            parse_record(case["record"].encode())


def test_roots() -> None:
    """RFC 6962 roots around powers of two."""
    roots = {case["size"]: parse_hash(case["root"]) for case in read("merkle.json")["roots"]}
    tree = CompactRange()
    for size in range(max(roots) + 1):
        assert roots.get(size, tree.root()) == tree.root()
        tree.append(leaf_hash(b"%d" % size))


@each("merkle.json", "inclusion")
def test_inclusion(case: dict[str, Any]) -> None:
    """RFC 9162 2.1.3.2."""
    leaf, root = unb64([case["leaf"], case["root"]])
    assert verify_inclusion(case["index"], case["size"], leaf, unb64(case["path"]), root) is case["valid"]


@each("merkle.json", "consistency")
def test_consistency(case: dict[str, Any]) -> None:
    """RFC 9162 2.1.4.2."""
    root1, root2 = unb64([case["root1"], case["root2"]])
    valid = verify_consistency(case["size1"], case["size2"], root1, root2, unb64(case["path"]))
    assert valid is case["valid"]


def trusted() -> list[Verifier]:
    """The log's key of the index."""
    return [Verifier.parse(key["verifierKey"]) for key in read(INDEX)["keys"] if key["secret"] == "log"]


def head_of(note: bytes) -> Checkpoint:
    """The checkpoint that a note signs, its signature checked."""
    return parse_checkpoint(open_note(note, trusted()).text)


@each("range-proofs.json", "windows")
def test_range_proofs(case: dict[str, Any]) -> None:
    """A window leads to the signed root, or is named."""
    code = None
    try:
        proof = parse_range_proof(case["proof"].encode())
        proof.check(unb64(case["leaves"]), head_of(proof.note))
    except FormatError:
        code = "E_FORMAT"
    except VerificationError as error:
        code = error.code
    assert code == case["code"]


@each("range-proofs.json", "consistency")
def test_consistency_proofs_of_a_stream(case: dict[str, Any]) -> None:
    """A kept checkpoint leads to the signed one, or is named."""
    code = None
    try:
        proof = parse_consistency_proof(case["proof"].encode())
        proof.check(parse_checkpoint(case["old"]), head_of(proof.note))
    except FormatError:
        code = "E_FORMAT"
    except VerificationError as error:
        code = error.code
    assert code == case["code"]


@each("range-proofs.json", "events")
def test_whole_windows(case: dict[str, Any]) -> None:
    """Nine lines an event, an empty line, the proof (P3.4)."""
    lines, at, leaves = case["text"].split("\n"), 0, list[bytes]()
    while lines[at]:
        record = "".join(f"{line}\n" for line in lines[at : at + 8]).encode()
        _, salt, payload = lines[at + 8].split(" ", 2)
        assert parse_record(record).commitment == commitment(b64decode(salt), payload.encode())
        assert not leaves or parse_record(record).prev == leaves[-1]
        leaves.append(leaf_hash(record))
        at += 9
    proof = parse_range_proof("\n".join(lines[at + 1 :]).encode())
    proof.check(leaves, head_of(proof.note))


@each("notes.json", "keys")
def test_verifier_keys(case: dict[str, Any]) -> None:
    """One spelling, and no weak key."""
    if case["valid"]:
        assert str(Verifier.parse(case["key"])) == case["key"]
    else:
        with pytest.raises(FormatError):
            Verifier.parse(case["key"])


@each("notes.json", "notes")
def test_notes(case: dict[str, Any]) -> None:
    """Who signed, or what is wrong."""
    code, signers = None, list[str]()
    try:
        opened = open_note(case["note"].encode(), [Verifier.parse(key) for key in case["keys"]])
        signers = [str(key) for key in opened.verified]
    except BadSignature:
        code = "E_SIG_INVALID"
    except UnknownKey:
        code = "E_SIG_UNKNOWN_KEY"
    except NoteError:
        code = "E_FORMAT"
    assert (code, signers) == (case["code"], case["signers"])


@each("notes.json", "cosignatures")
def test_cosignatures(case: dict[str, Any]) -> None:
    """The second that a witness signed, or null."""
    (line,) = split_note(f"{case['text']}\n{case['line']}\n".encode())[1]
    assert cosigned_at(case["text"], line, Verifier.parse(case["key"])) == case["timeS"]
    if case["message"] is not None:
        assert cosign(case["text"], case["timeS"]) == case["message"].encode()


@each("policies.json", "good")
def test_policies(case: dict[str, Any]) -> None:
    """What a policy says, and which witnesses are enough."""
    policy = parse_policy(case["policy"].encode())
    assert [str(key) for key in policy.logs] == case["logs"]
    assert [str(key) for key in policy.attestation_keys] == case["attestation"]
    assert {key.hex(): size for key, size in policy.until.items()} == case["until"]
    assert {name: str(key) for name, key in policy.witnesses.items()} == case["witnesses"]
    for some in case["quorum"]:
        assert policy.is_quorum(some["cosigned"]) is some["met"]


@each("policies.json", "bad")
def test_policies_that_are_refused(case: dict[str, Any]) -> None:
    """Nothing is guessed where trust is decided."""
    with pytest.raises(FormatError):
        parse_policy(case["policy"].encode())


@each("log.json", "entries")
def test_entries(case: dict[str, Any]) -> None:
    """A checkpoint of a stream, a change of key, or neither."""
    if case["kind"] is None:
        with pytest.raises(FormatError):
            parse_entry(case["entry"].encode())
    else:
        entry = parse_entry(case["entry"].encode())
        assert isinstance(entry, {"stream": StreamEntry, "key": KeyChange}[case["kind"]])
        assert str(entry) == case["entry"]


@each("log.json", "tilePaths")
def test_tile_paths(case: dict[str, Any]) -> None:
    """One spelling of each."""
    if case["valid"]:
        tile = parse_tile_path(case["path"])
        assert (tile.level, tile.index, tile.width) == (case["level"], case["index"], case["width"])
    else:
        with pytest.raises(FormatError):
            parse_tile_path(case["path"])


def test_the_log_that_is_served() -> None:
    """Tiles, entries and every checkpoint of the log agree; the last one is cosigned by two witnesses."""
    log = FOLDER / "log"
    heads = [
        parse_checkpoint(split_note(case["note"].encode())[0]) for case in read("log.json")["checkpoints"]
    ]
    roots = {head.size: head.root for head in heads}
    tree = CompactRange()
    for tile in bundles(0, max(roots)):
        for entry in unpack_entries((log / tile.path()).read_bytes(), tile.width):
            assert parse_entry(entry)
            tree.append(leaf_hash(entry))
            assert roots.get(tree.size, tree.root()) == tree.root()
    served = TileTree(tree.size, lambda tile: (log / tile.path()).read_bytes())
    assert [served.subtree(8, 0), served.subtree(5, 8)] == tree.stack[:2]
    policy = parse_policy((FOLDER / "policies" / "rotated.policy").read_bytes())
    policy.witnesses = parse_policy((FOLDER / "policies" / "witnessed.policy").read_bytes()).witnesses
    shown = open_log_checkpoint((log / "checkpoint").read_bytes(), policy)
    assert (shown.checkpoint.size, shown.checkpoint.root) == (tree.size, tree.root())
    assert sorted(shown.cosigned) == ["w1", "w2"]


@each("log.json", "proofs")
def test_tlog_proofs(case: dict[str, Any]) -> None:
    """The log holds the entry, and enough witnesses saw it, or what is wrong is named."""
    policy = parse_policy((FOLDER / case["policy"]).read_bytes())
    entry = parse_checkpoint(case["entry"])
    origin, _ = split_origin(entry.origin_line)
    code = seen = None
    try:
        seen = not_after(policy, judge_inclusion(case["proof"].encode(), policy, entry, origin).cosigned)
    except VerificationError as error:
        code = error.code
    assert (code, seen) == (case["code"], case["notAfterS"])


@each("attestations.json", "statements")
def test_statements(case: dict[str, Any]) -> None:
    """Each statement that a run warrants, byte for byte."""
    run = SealedRun(
        case["evidence"].encode(),
        decode(case["seal"].encode()),
        case["checkpoint"].encode(),
        case["logIndex"],
    )
    assert {name: body.decode() for name, body in statements(run).items()} == case["statements"]


@each("attestations.json", "results")
def test_results(case: dict[str, Any]) -> None:
    """PASSED, WARNED, FAILED, or nothing at all."""
    assert result_of(case["evidence"]) == case["result"]


@each("attestations.json", "envelopes")
def test_envelopes(case: dict[str, Any]) -> None:
    """One spelling, one signature, by a key that the policy names."""
    code = None
    try:
        envelope = parse_envelope(case["envelope"].encode())
        if envelope.signer_among([Verifier.parse(key) for key in case["keys"]]) is None:
            code = "E_DSSE_SIG"
        elif code is None:
            assert (envelope.payload.decode(), pae(PAYLOAD_TYPE, envelope.payload).decode()) == (
                case["payload"],
                case["message"],
            )
    except FormatError:
        code = "E_FORMAT"
    assert code == case["code"]


def test_keys_follow_from_their_seeds() -> None:
    """So that another implementation can sign the same notes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    for key in read(INDEX)["keys"]:
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key["seed"]))
        parsed = Verifier.parse(key["verifierKey"])
        assert (parsed.name, parsed.public_key) == (key["name"], private.public_key().public_bytes_raw())


def test_git_keeps_the_bytes() -> None:
    """No checkout may change line ends in files that are compared byte for byte."""
    attributes = (Path(__file__).resolve().parents[2] / ".gitattributes").read_text(encoding="utf-8")
    assert "docs/spec/vectors/** -text" in attributes
