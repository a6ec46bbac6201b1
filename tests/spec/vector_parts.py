"""The vectors of the parts: canonical JSON, records, trees, proofs, notes, policies, log, attestations."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from evidence.attestation import SealedRun, statements
from evidence.bundle import EntryChain
from evidence.canonical import decode, encode
from evidence.dsse import PAYLOAD_TYPE, pae, sign_envelope
from evidence.note import Verifier, format_verifier_key
from evidence.policy import parse_policy
from evidence.proofs import ConsistencyProof, RangeProof, consistency_proof, range_proof
from evidence.record import genesis, leaf_hash
from evidence.tlog import TlogProof, cosign
from tests.evidence_samples import ORIGIN, RUN, event_of
from tests.spec.vector_world import (
    ATTESTATION,
    HEAD_SIZE,
    KEYS,
    LOG,
    LOG_SIZE,
    NEW_LOG,
    POLICIES,
    SEEN_S,
    SMALL,
    W1,
    W2,
    WITNESSES,
    Run,
    Tree,
    anchored_run,
    canceled_run,
    entries,
    example_run,
    log_note,
    logged,
    members_of,
    signed,
    small_run,
)

Case = dict[str, Any]
Part = dict[str, list[Case]]


def b64(data: bytes) -> str:
    """Base64, as everywhere."""
    return b64encode(data).decode()


def b64s(hashes: Iterable[bytes]) -> list[str]:
    """A list of hashes."""
    return [b64(item) for item in hashes]


def textual(data: bytes, name: str) -> Case:
    """Bytes under a name: as a string whose UTF-8 they are, else `<name>Base64`."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}Base64": b64(data)}


# ---- canonical JSON -------------------------------------------------------------------------------

FINE, NONCANONICAL, FORMAT = None, "E_NONCANONICAL", "E_FORMAT"
SPELLINGS: dict[str, tuple[str | None, str | None, bytes]] = {
    # name: what it is as a payload, its canonical bytes if it has some ("=": itself), the spelling
    "empty object": (FINE, "=", b"{}"),
    "sorted keys": (FINE, "=", b'{"":4,"B":3,"a":2,"a b":6,"aa":5,"b":1}'),
    "unsorted keys": (NONCANONICAL, '{"":4,"B":3,"a":2,"b":1}', b'{"b":1,"a":2,"B":3,"":4}'),
    "nested": (FINE, "=", b'{"f":false,"o":{"a":null,"z":[1,[],{}]},"t":true}'),
    "spaces": (NONCANONICAL, '{"a":[1,2]}', b' { "a" : [ 1 , 2 ] }\r\n\t'),
    "largest integers": (FINE, "=", b'{"a":9007199254740991,"b":-9007199254740991,"c":0}'),
    "minus zero": (NONCANONICAL, '{"a":0}', b'{"a":-0}'),
    "two to the 53rd": (NONCANONICAL, None, b'{"a":9007199254740992}'),
    "minus two to the 53rd": (NONCANONICAL, None, b'{"a":-9007199254740992}'),
    "a very long integer": (NONCANONICAL, None, b'{"a":' + b"9" * 400 + b"}"),
    "leading zero": (FORMAT, None, b'{"a":01}'),
    "float": (NONCANONICAL, None, b'{"a":1.0}'),
    "exponent": (NONCANONICAL, None, b'{"a":1e2}'),
    "NaN": (NONCANONICAL, None, b'{"a":NaN}'),
    "Infinity": (NONCANONICAL, None, b'{"a":-Infinity}'),
    "escapes with a letter": (FINE, "=", b'{"a":"\\b\\t\\n\\f\\r\\"\\\\"}'),
    "other controls": (FINE, "=", b'{"a":"\\u0000\\u0001\\u000b\\u001f"}'),
    "hex in capitals": (NONCANONICAL, '{"a":"\\u001f"}', b'{"a":"\\u001F"}'),
    "needless escapes": (NONCANONICAL, '{"a":"/A\u00e9\x7f"}', b'{"a":"\\/\\u0041\\u00e9\\u007f"}'),
    "delete is itself": (FINE, "=", b'{"a":"\x7f"}'),
    "next line raw": (NONCANONICAL, '{"a":"\\u0085"}', '{"a":"\u0085"}'.encode()),
    "next line escaped": (FINE, "=", b'{"a":"\\u0085"}'),
    "line separator raw": (NONCANONICAL, '{"a":"\\u2028"}', '{"a":"\u2028"}'.encode()),
    "line separator escaped": (FINE, "=", b'{"a":"\\u2028"}'),
    "paragraph separator raw": (NONCANONICAL, '{"a":"\\u2029"}', '{"a":"\u2029"}'.encode()),
    "paragraph separator escaped": (FINE, "=", b'{"a":"\\u2029"}'),
    "their neighbours": (FINE, "=", '{"a":"\u0084\u0086\u2027\u202a\ufeff\ufffe\uffff"}'.encode()),
    "beyond the basic plane": (FINE, "=", '{"a":"\U0001f600"}'.encode()),
    "a surrogate pair": (NONCANONICAL, '{"a":"\U0001f600"}', b'{"a":"\\ud83d\\ude00"}'),
    "a lone high surrogate": (NONCANONICAL, None, b'{"a":"\\ud83d"}'),
    "a lone low surrogate": (NONCANONICAL, None, b'{"a":"\\ude00"}'),
    "surrogates in the wrong order": (NONCANONICAL, None, b'{"a":"\\ude00\\ud83d"}'),
    "a surrogate in UTF-8": (FORMAT, None, b'{"a":"\xed\xa0\xbd"}'),
    "composed and decomposed": (FINE, "=", '{"a":"\u00e9 e\u0301"}'.encode()),
    "a key twice": (NONCANONICAL, None, b'{"a":1,"a":1}'),
    "a key twice, spelled twice": (NONCANONICAL, None, b'{"a":1,"\\u0061":1}'),
    "a key that is not ASCII": (NONCANONICAL, None, '{"\u00e9":1}'.encode()),
    "a raw line feed": (FORMAT, None, b'{"a":"\n"}'),
    "not UTF-8": (FORMAT, None, b'{"a":"\xff"}'),
    "byte order mark": (FORMAT, None, b"\xef\xbb\xbf{}"),
    "an array": (FORMAT, "=", b"[1]"),
    "a string": (FORMAT, "=", b'"a"'),
    "null": (FORMAT, "=", b"null"),
    "nothing": (FORMAT, None, b""),
    "two values": (FORMAT, None, b"{}{}"),
    "cut": (FORMAT, None, b'{"a":'),
    "trailing comma": (FORMAT, None, b'{"a":1,}'),
    "single quotes": (FORMAT, None, b"{'a':1}"),
    "64 levels": (FINE, "=", b'{"a":' * 63 + b"[]" + b"}" * 63),
    "65 levels": (NONCANONICAL, None, b'{"a":' * 64 + b"[]" + b"}" * 64),
}


def canonical_json() -> Part:
    """Spellings, the canonical bytes of each that has some, and what a verdict says of it as a payload."""
    return {
        "cases": [
            {
                "name": name,
                **textual(spelling, "input"),
                "canonical": spelling.decode() if told == "=" else told,
                "payload": code,
            }
            for name, (code, told, spelling) in SPELLINGS.items()
        ]
    }


# ---- records --------------------------------------------------------------------------------------


def records() -> Part:
    """The written-out run, event by event; other genesis hashes; and values with a second spelling."""
    run = example_run()
    chain, found = EntryChain(RUN, genesis(RUN, b"")), list[Case]()
    for item in run.rows:
        record = chain.add(item).split(b"\n")[:8]
        text = b"".join(line + b"\n" for line in record).decode()
        shown = {"payload": (item.payload or b"").decode(), "salt": b64(item.salt or b"")}
        found.append({"seq": item.seq, **shown, "record": text, "leaf": b64(chain.prev)})
    anchors = [(RUN, b""), (SMALL, b""), (anchored_run().stream, anchored_run().anchor)]
    starts = [
        {"stream": stream, "anchor": anchor.decode(), "prev": b64(genesis(stream, anchor))}
        for stream, anchor in anchors
    ]
    heads = [{"size": size, "text": run.text(size)} for size in range(17)]
    return {
        "events": found,
        "genesis": starts,
        "checkpoints": heads,
        "records": _record_spellings(found[7]["record"]),
    }


def _record_spellings(good: str) -> list[Case]:
    def case(name: str, old: str = "", new: str = "", *, valid: bool = False) -> Case:
        text = good.replace(old, new, 1) if old else good
        assert valid or text != good
        return {"name": name, "record": text, "valid": valid}

    lines = good.split("\n")
    return [
        case("as it was", valid=True),
        case("an organisation", RUN, "org_o1", valid=True),
        case("another schema", "event/v1", "event/v2"),
        case("no stream", RUN, "wsr_"),
        case("another kind of stream", RUN, "sbx_s1"),
        case("a separator in the stream", RUN, "wsr_a-b"),
        case("leading zero of the seq", "\n8\n", "\n08\n"),
        case("a plus sign", "\n8\n", "\n+8\n"),
        case("16 digits", "\n8\n", f"\n{'1' * 16}\n"),
        case("another digit eight", "\n8\n", "\n\u0668\n"),
        case("a capital in the type", "stdout", "Stdout"),
        case("a long type", "stdout", "s" * 33),
        case("the longest type", "stdout", "s" * 32, valid=True),
        case("no milliseconds", ".050Z", "Z"),
        case("microseconds", ".050Z", ".050000Z"),
        case("an offset", ".050Z", ".050+00:00"),
        case("a space in the time", "T14", " 14"),
        case("no such day", "2026-11-22", "2026-11-31"),
        case("a leap day", "2026-11-22", "2028-02-29", valid=True),
        case("no such leap day", "2026-11-22", "2026-02-29"),
        case("a leap second", "14:03:01", "23:59:60"),
        case("stray bits in base64", lines[6], lines[6][:-2] + chr(ord(lines[6][-2]) + 1) + "="),
        case("no padding", lines[6], lines[6][:-1]),
        case("the other alphabet", lines[6], "-" + lines[6][1:]),
        case("a hash of 31 bytes", lines[6], b64(bytes(31))),
        case("carriage returns", "\n", "\r\n"),
        case("a ninth line", lines[7] + "\n", lines[7] + "\n\n"),
        case("no line feed at the end", lines[7] + "\n", lines[7]),
    ]


# ---- Merkle trees ---------------------------------------------------------------------------------

SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257)
PAIRS = (
    (1, 1), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4), (3, 7), (4, 7), (4, 8), (5, 8), (6, 8), (7, 8), (7, 9),
    (8, 8), (8, 9), (8, 16), (15, 16), (15, 17), (16, 17), (31, 33), (32, 33), (32, 64), (33, 64), (63, 65),
    (127, 129),
    (128, 129), (255, 256), (255, 257), (256, 257), (1, 257),
)  # fmt: skip


def merkle() -> Part:
    """Leaf n is the leaf hash of n as a decimal. Roots, audit paths, consistency paths, good and bad."""
    tree = Tree([leaf_hash(b"%d" % number) for number in range(257)])
    roots = [{"size": size, "root": b64(tree.root(size))} for size in SIZES]
    included = [
        _inclusion(f"{index} of {size}", index, size, tree, tree.inclusion(index, size))
        for size in SIZES[1:]
        for index in sorted({0, size // 2, size - 1})
    ]
    path = tree.inclusion(5, 9)
    included += [
        _inclusion("another index", 4, 9, tree, path, leaf=5),
        _inclusion("another size", 5, 17, tree, path, root=9),
        _inclusion("another leaf", 5, 9, tree, path, leaf=6),
        _inclusion("another root", 5, 9, tree, path, root=8),
        _inclusion("one hash less", 5, 9, tree, path[:-1]),
        _inclusion("one hash more", 5, 9, tree, (*path, bytes(32))),
        _inclusion("two hashes swapped", 5, 9, tree, (path[1], path[0], *path[2:])),
        _inclusion("a short hash", 5, 9, tree, (path[0][:31], *path[1:])),
        _inclusion("index beyond the size", 9, 9, tree, path, leaf=8),
        _inclusion("an empty tree", 0, 0, tree, (), leaf=0),
        _inclusion("a hash too many for one leaf", 0, 1, tree, (bytes(32),), leaf=0),
    ]
    kept = [_consistency(f"{a} to {b}", a, b, tree, tree.consistency(a, b)) for a, b in PAIRS]
    path = tree.consistency(6, 9)
    kept += [
        _consistency("other old root", 6, 9, tree, path, root1=5),
        _consistency("other new root", 6, 9, tree, path, root2=8),
        _consistency("other old size", 5, 9, tree, path, root1=6),
        _consistency("one hash less", 6, 9, tree, path[:-1]),
        _consistency("one hash more", 6, 9, tree, (*path, bytes(32))),
        _consistency("no hash", 6, 9, tree, ()),
        _consistency("a long hash", 6, 9, tree, (path[0] + b"\0", *path[1:])),
        _consistency("from nothing", 0, 9, tree, ()),
        _consistency("to a smaller size", 9, 6, tree, path),
        _consistency("equal sizes with a hash", 9, 9, tree, (bytes(32),)),
        _consistency("equal sizes, other roots", 9, 9, tree, (), root1=8),
    ]
    return {"roots": roots, "inclusion": included, "consistency": kept}


def _inclusion(
    name: str,
    index: int,
    size: int,
    tree: Tree,
    path: Sequence[bytes],
    *,
    leaf: int | None = None,
    root: int | None = None,
) -> Case:
    valid = leaf is None and root is None and 0 <= index < size and tuple(path) == tree.inclusion(index, size)
    return {
        "name": name, "index": index, "size": size, "leaf": b64(tree.leaves[index if leaf is None else leaf]),
        "path": b64s(path), "root": b64(tree.root(size if root is None else root)), "valid": valid,
    }  # fmt: skip


def _consistency(
    name: str,
    size1: int,
    size2: int,
    tree: Tree,
    path: Sequence[bytes],
    *,
    root1: int | None = None,
    root2: int | None = None,
) -> Case:
    valid = (
        root1 is None
        and root2 is None
        and 1 <= size1 <= size2
        and tuple(path) == tree.consistency(size1, size2)
    )
    return {
        "name": name, "size1": size1, "size2": size2, "path": b64s(path), "valid": valid,
        "root1": b64(tree.root(size1 if root1 is None else root1)),
        "root2": b64(tree.root(size2 if root2 is None else root2)),
    }  # fmt: skip


# ---- range and consistency proofs -----------------------------------------------------------------


def range_proofs() -> Part:
    """Windows of the written-out run; `events` are whole answers of the route (P3.4)."""
    run = example_run()
    tree = Tree(run.leaves())
    note = signed(run.text())

    def window(name: str, start: int, end: int, code: str | None = None, **more: Any) -> Case:
        proof = more.get("proof") or range_proof(start, end, 16, tree.subtree, note)
        text = proof.to_bytes().decode() if isinstance(proof, RangeProof) else proof
        return {
            "name": name,
            "proof": text,
            "leaves": b64s(more.get("leaves", tree.leaves[start:end])),
            "code": code,
        }

    spans = [(0, 16), (0, 0), (16, 16), (0, 1), (15, 16), (7, 8), (5, 7), (8, 12), (3, 13), (11, 11)]
    good = range_proof(5, 7, 16, tree.subtree, note)
    text = good.to_bytes().decode()
    lies: dict[str, RangeProof] = {
        "left swapped": replace(good, left=good.left[::-1]),
        "left too short": replace(good, left=good.left[:-1]),
        "left too long": replace(good, left=(*good.left, bytes(32))),
        "right exchanged": replace(good, right=(bytes(32), *good.right[1:])),
        "right too short": replace(good, right=good.right[:-1]),
        "right too long": replace(good, right=(*good.right, bytes(32))),
        "start moved": replace(good, start=4),
        "end moved": replace(good, end=8),
        "end beyond the tree": replace(good, end=17),
        "start behind the end": replace(good, start=9),
    }
    spellings = {
        "another version": text.replace("@v1", "@v2"),
        "leading zero": text.replace("range 5 7", "range 05 7"),
        "two spaces": text.replace("range 5 7", "range  5 7"),
        "count too large": text.replace("left 2", "left 3"),
        "count too small": text.replace("left 2", "left 1"),
        "no right": text.replace("right ", "rite "),
        "a line too many": text.replace("\n\n", "\nmore\n\n", 1),
        "no empty line": text.replace("\n\n", "\n"),
        "stray bits": text.replace(b64(good.left[0]), b64(good.left[0])[:-2] + "B="),
    }
    windows = [window(f"[{a}, {b}) of 16", a, b) for a, b in spans]
    windows += [window(name, 5, 7, "E_RANGE_PROOF", proof=lie) for name, lie in lies.items()]
    windows += [window("an event too few", 5, 7, "E_RANGE_PROOF", leaves=tree.leaves[5:6])]
    windows += [window("events swapped", 5, 7, "E_RANGE_PROOF", leaves=tree.leaves[6:4:-1])]
    windows += [window(name, 5, 7, "E_FORMAT", proof=bad) for name, bad in spellings.items()]
    return {
        "windows": windows,
        "consistency": _stream_consistency(run, tree, note),
        "events": _answers(run, tree, note),
    }


def _stream_consistency(run: Run, tree: Tree, note: bytes) -> list[Case]:
    def case(
        name: str, size1: int, code: str | None = None, text: str | None = None, old: str | None = None
    ) -> Case:
        proof = consistency_proof(size1, 16, tree.subtree, note)
        shown = proof.to_bytes().decode() if text is None else text
        return {"name": name, "proof": shown, "old": run.text(size1) if old is None else old, "code": code}

    good: ConsistencyProof = consistency_proof(7, 16, tree.subtree, note)
    text = good.to_bytes().decode()
    other = run.text(7).replace(b64(tree.root(7)), b64(bytes(32)))
    return [
        *(case(f"{size} to 16", size) for size in (1, 2, 7, 8, 15, 16)),
        case("another history", 7, "E_FORK", old=other),
        case("another old size", 7, "E_FORK", old=run.text(8)),
        case("a hash too few", 7, "E_FORK", replace(good, path=good.path[:-1]).to_bytes().decode()),
        case("another version", 7, "E_FORMAT", text.replace("@v1", "@v2")),
        case("one size", 7, "E_FORMAT", text.replace("sizes 7 16", "sizes 7")),
        case("a plus sign", 7, "E_FORMAT", text.replace("sizes 7 16", "sizes +7 16")),
        case("no padding", 7, "E_FORMAT", text.replace("=\n", "\n", 1)),
    ]


def _answers(run: Run, tree: Tree, note: bytes) -> list[Case]:
    log = members_of(run)["events.log"].split(b"\n")
    found: list[Case] = []
    for after, end in ((0, 3), (6, 9), (14, 16), (16, 16)):
        lines = b"".join(line + b"\n" for line in log[9 * after : 9 * end])
        proof = range_proof(after, end, 16, tree.subtree, note).to_bytes()
        found.append(
            {
                "name": f"afterSeq={after}&limit={max(end - after, 1)}",
                "text": (lines + b"\n" + proof).decode(),
            }
        )
    return found


# ---- notes and keys -------------------------------------------------------------------------------


def notes() -> Part:
    """Verifier keys, signed notes and cosignatures; `code` as a run checkpoint in a bundle would get it."""
    text = example_run().text()
    good = signed(text).decode()
    line = good.split("\n\n")[1]
    log, new = LOG.verifier_key, NEW_LOG.verifier_key
    by_thief = signed(text, KEYS["thief"]).decode()

    def note(
        name: str,
        note: str,
        code: str | None = None,
        keys: Sequence[str] = (log,),
        signers: Sequence[str] = (),
    ) -> Case:
        return {"name": name, "note": note, "keys": list(keys), "code": code, "signers": list(signers)}

    stray = line[:-3] + chr(ord(line[-3]) + 1) + line[-2:]
    found = [
        note("one signature", good, signers=[log]),
        note("two signatures", signed(text, LOG, NEW_LOG).decode(), keys=[log, new], signers=[new, log]),
        note("a text with an empty line", signed("a\n\nb\n").decode(), signers=[log]),
        note("other letters", signed("\u00e9\u2028\n").decode(), signers=[log]),
        note("an edited text", good.replace("\n16\n", "\n15\n"), "E_SIG_INVALID"),
        note(
            "another signature of the same key",
            good.replace(line, signed("x\n").decode().split("\n\n")[1]),
            "E_SIG_INVALID",
        ),
        note("an unknown key", by_thief, "E_SIG_UNKNOWN_KEY"),
        note("our name, another key id", by_thief, "E_SIG_UNKNOWN_KEY", [log]),
        note("no empty line", good.replace("\n\n", "\n"), "E_FORMAT"),
        note("no signature", good.replace(line, ""), "E_FORMAT"),
        note("no line feed at the end", good[:-1], "E_FORMAT"),
        note("a hyphen for the dash", good.replace("\u2014", "-"), "E_FORMAT"),
        note("two spaces", good.replace("\u2014 ", "\u2014  "), "E_FORMAT"),
        note("stray bits", good.replace(line, stray), "E_FORMAT"),
        note("a short signature", good.replace(line, f"\u2014 {ORIGIN} AAAAAA==\n"), "E_FORMAT"),
        note("signed twice by one key", good + line, "E_FORMAT"),
        note("a control character", good.replace("\n16\n", "\n\t16\n"), "E_FORMAT"),
        note("65 signatures", good + line * 64, "E_FORMAT"),
    ]
    return {"keys": _keys(), "notes": found, "cosignatures": _cosignatures()}


def _keys() -> list[Case]:
    log = KEYS["log"].verifier_key
    name, key_id, material = log.split("+", 2)

    def weak(y: int) -> str:
        return format_verifier_key("example.org/weak", y.to_bytes(32, "little"))

    prime = 2**255 - 19
    low = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
    p256 = b64(b"\x02" + bytes(32))
    p256_id = sha256(name.encode() + b"\n\x02" + bytes(32)).hexdigest()[:8]
    keys = [
        ("Ed25519", log, True),
        ("a witness", WITNESSES["w1"], True),
        ("another id", f"{name}+{'0' * 8}+{material}", False),
        ("a capital in the id", f"{name}+{key_id.upper()}x+{material}", False),
        ("another name", f"{name}x+{key_id}+{material}", False),
        ("no name", f"+{key_id}+{material}", False),
        ("a space in the name", f"a b+{key_id}+{material}", False),
        ("two parts", f"{name}+{key_id}", False),
        ("no padding", log[:-1], False),
        (
            "another type",
            f"{name}+{p256_id}+{p256}",
            False,
        ),
        ("y = 0", weak(0), False),
        ("y = 1, the neutral point", weak(1), False),
        ("y = 1 with the sign bit", weak(1 | 1 << 255), False),
        ("y = p - 1, of order 2", weak(prime - 1), False),
        ("a point of order 8", weak(low), False),
        ("y = p, not reduced", weak(prime), False),
        ("y = p + 1, not reduced", weak(prime + 1), False),
    ]
    return [{"name": name, "key": key, "valid": valid} for name, key, valid in keys]


def _cosignatures() -> list[Case]:
    note = log_note(HEAD_SIZE, seen=[(W1, SEEN_S)]).decode()
    text, lines = note.split("\n\n")
    cosignature = lines.split("\n")[1]
    head, encoded = cosignature.rsplit(" ", 1)
    raw = Verifier.parse(WITNESSES["w1"]).key_id + SEEN_S.to_bytes(8, "big")
    assert b64(raw)[:14] == encoded[:14]
    earlier = b64(raw[:4] + (SEEN_S - 1).to_bytes(8, "big"))  # twelve bytes: sixteen characters
    eternal = 2**60
    forever = b64(raw[:4] + eternal.to_bytes(8, "big") + KEYS["w1"].sign(cosign(f"{text}\n", eternal)))

    def case(name: str, line: str, time: int | None, checkpoint: str = text, key: str = "w1") -> Case:
        told = {"text": f"{checkpoint}\n", "line": line, "key": WITNESSES[key], "timeS": time}
        return {
            "name": name,
            **told,
            "message": f"cosignature/v1\ntime {time}\n{checkpoint}\n" if time else None,
        }

    return [
        case("as it was", cosignature, SEEN_S),
        case("the time moved", f"{head} {earlier}{encoded[16:]}", None),
        case("another size", cosignature, None, text.replace("\n260\n", "\n261\n")),
        case("another witness", cosignature, None, key="w2"),
        case("a year with five digits", f"{head} {forever}", None),
        case("too short", f"{head} {b64(raw)}", None),
    ]


# ---- policies -------------------------------------------------------------------------------------


def policies() -> Part:
    """What a policy file says, and files that are refused."""
    log, attestation = LOG.verifier_key, ATTESTATION.verifier_key
    w1, w2, w3 = WITNESSES.values()
    head = f"log {log}\nwitness a {w1}\nwitness b {w2}\n"
    key_id = log.split("+")[1]
    shared = format_verifier_key("x", Verifier.parse(w1).public_key)
    weak = format_verifier_key(ORIGIN, bytes([1]) + bytes(31))
    good = {
        **{name: data.decode() for name, data in POLICIES.items() if name != "broken.policy"},
        "groups": (
            f"  # two of two, or one\nlog {log} https://log.example/\n\nwitness a {w1}\thttps://a.example/\n"
            f"witness b {w2}\ngroup ab all a b\nwitness c {w3}\ngroup one any c\n"
            "group both 2 ab one\nquorum both\n"
        ),
        "a comment that is none of ours": f"log {log}\n#crownests a\n# crownest says until\nquorum none\n",
    }
    bad = {
        "empty": "",
        "no log": "quorum none\n",
        "a directive with a space": f"log {log}\n# crownest until 00000000 5\nquorum none\n",
        "no quorum": f"log {log}\n",
        "two quorums": f"log {log}\nquorum none\nquorum none\n",
        "no line feed at the end": f"log {log}\nquorum none",
        "carriage returns": f"log {log}\r\nquorum none\r\n",
        "an unknown quorum": f"log {log}\nquorum a\n",
        "an unknown line": f"log {log}\nkey {log}\nquorum none\n",
        "words too many": f"log {log} a b\nquorum none\n",
        "one key twice": f"log {log}\nlog {log}\nquorum none\n",
        "one key for two uses": f"log {log}\n#crownest attestation {log}\nquorum none\n",
        "one public key twice": f"{head}#crownest attestation {shared}\nquorum none\n",
        "a witness as log": f"log {w1}\nquorum none\n",
        "a log as witness": f"log {log}\nwitness w {attestation}\nquorum none\n",
        "a weak key": f"log {weak}\nquorum none\n",
        "a name taken": f"{head}witness a {w3}\nquorum a\n",
        "the name none": f"log {log}\nwitness none {w1}\nquorum none\n",
        "a group without members": f"{head}group g any\nquorum g\n",
        "a member twice": f"{head}group g any a a\nquorum g\n",
        "a member of two groups": f"{head}group g any a\ngroup h any a\nquorum h\n",
        "a member from below": f"{head}group g any c\nwitness c {w3}\nquorum g\n",
        "threshold 0": f"{head}group g 0 a\nquorum g\n",
        "threshold too large": f"{head}group g 3 a b\nquorum g\n",
        "threshold with a leading zero": f"{head}group g 01 a\nquorum g\n",
        "an unknown directive": f"log {log}\n#crownest attest {attestation}\nquorum none\n",
        "until of an unknown key": f"log {log}\n#crownest until 00000000 5\nquorum none\n",
        "until twice": f"log {log}\n#crownest until {key_id} 5\n#crownest until {key_id} 5\nquorum none\n",
        "until with a leading zero": f"log {log}\n#crownest until {key_id} 05\nquorum none\n",
    }
    return {
        "good": [_policy(name, text) for name, text in good.items()],
        "bad": [{"name": name, "policy": text} for name, text in bad.items()],
    }


def _policy(name: str, text: str) -> Case:
    policy = parse_policy(text.encode())
    names = list(policy.witnesses)
    sets = [[names[at] for at in range(len(names)) if mask >> at & 1] for mask in range(1 << len(names))]
    return {
        "name": name,
        "policy": text,
        "logs": [str(key) for key in policy.logs],
        "attestation": [str(key) for key in policy.attestation_keys],
        "until": {key.hex(): size for key, size in policy.until.items()},
        "witnesses": {name: str(key) for name, key in policy.witnesses.items()},
        "quorum": [{"cosigned": some, "met": policy.is_quorum(some)} for some in sets],
    }


# ---- the global log -------------------------------------------------------------------------------


def log() -> Part:
    """Entries, paths of tiles, checkpoints of the log in `log/`, and proofs that it holds an entry."""
    from tests.spec.vector_world import KEY_CHANGE_INDEX

    all_entries = [entry.decode() for entry in entries()]
    run, change = all_entries[103], all_entries[KEY_CHANGE_INDEX]
    good = [
        ("a run", run, "stream"),
        ("an organisation", all_entries[1], "stream"),
        ("a change of key", change, "key"),
    ]
    bad = {
        "of no stream": run.replace(f"/run/{SMALL}", ""),
        "an organisation as run": all_entries[1].replace("/org/", "/run/"),
        "four lines": f"{run}\n",
        "no line feed at the end": run[:-1],
        "signed": signed(run).decode(),
        "leading zero": run.replace("\n11\n", "\n011\n"),
        "a change by another name": change.replace(f"v1\n{ORIGIN}", "v1\nexample.org/x"),
        "a change without size": change.replace(f"from {KEY_CHANGE_INDEX + 1}", "from"),
        "a change to a witness's key": change.replace(NEW_LOG.verifier_key, WITNESSES["w1"]),
        "another version of a change": change.replace("key/v1", "key/v2"),
    }
    shown = [{"name": name, "entry": text, "kind": kind} for name, text, kind in good]
    shown += [{"name": name, "entry": text, "kind": None} for name, text in bad.items()]
    notes = [log_note(100), log_note(HEAD_SIZE), log_note(290, LOG, NEW_LOG), log_note(LOG_SIZE, NEW_LOG)]
    heads = [{"size": int(note.split(b"\n")[1]), "note": note.decode()} for note in notes]
    return {"entries": shown, "tilePaths": _tile_paths(), "checkpoints": heads, "proofs": _tlog_proofs()}


def _tile_paths() -> list[Case]:
    good = [
        ("tile/0/000", 0, 0, 256),
        ("tile/0/000.p/1", 0, 0, 1),
        ("tile/0/001.p/44", 0, 1, 44),
        ("tile/1/000.p/1", 1, 0, 1),
        ("tile/63/x001/x234/067", 63, 1234067, 256),
        ("tile/entries/000.p/255", None, 0, 255),
        ("tile/entries/x001/000", None, 1000, 256),
    ]
    bad = (
        "tile/0/0", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/0/x000/000", "tile/0/001/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256", "tile/0/000.p/01", "tile/-1/000", "tile/data/000", "/tile/0/000", "tile/0/000/",
        "tile/0/x009/x007/x199/x254/x740/992",
    )  # fmt: skip
    told = [
        {"path": path, "level": level, "index": index, "width": width} for path, level, index, width in good
    ]
    return [{**case, "valid": True} for case in told] + [{"path": path, "valid": False} for path in bad]


def _tlog_proofs() -> list[Case]:
    """`policy` is a file in policies/, `entry` what is to be proved, `origin` whose log."""
    text = small_run().text()
    seen = [(W1, SEEN_S), (W2, SEEN_S + 10)]
    good, cosigned = logged()(text), logged(seen=seen)(text)

    def case(name: str, proof: TlogProof | str, code: str | None = None, **more: Any) -> Case:
        shown = proof if isinstance(proof, str) else proof.to_bytes().decode()
        told = {"policy": "policies/trust.policy", "entry": text, "notAfterS": None} | more
        return {"name": name, "proof": shown, "code": code, **told}

    spelled = good.to_bytes().decode()
    witnessed = {"policy": "policies/witnessed.policy"}
    return [
        case("without witnesses", good),
        case(
            "at the end of the log",
            logged(LOG_SIZE, NEW_LOG)(entries()[299].decode()),
            policy="policies/rotated.policy",
            entry=entries()[299].decode(),
        ),
        case("with a quorum", cosigned, **witnessed, notAfterS=SEEN_S + 10),
        case("below the quorum", logged(seen=seen[:1])(text), "E_WITNESS_QUORUM", **witnessed),
        case("a witness twice", logged(seen=[seen[0], seen[0]])(text), "E_WITNESS_SIG", **witnessed),
        case("witnesses that the policy does not name", cosigned, "E_INCLUSION"),
        case("another entry", good, "E_INCLUSION", entry=example_run().text()),
        case("another index", replace(good, index=good.index - 1), "E_INCLUSION"),
        case("an index beyond the log", replace(good, index=HEAD_SIZE), "E_INCLUSION"),
        case("a hash too few", replace(good, path=good.path[:-1]), "E_INCLUSION"),
        case("a hash too many", replace(good, path=(*good.path, bytes(32))), "E_INCLUSION"),
        case("an unknown key", replace(good, note=log_note(HEAD_SIZE, KEYS["thief"])), "E_INCLUSION"),
        case("another version", spelled.replace("@v1", "@v2"), "E_INCLUSION"),
        case("leading zero", spelled.replace("index 103", "index 0103"), "E_INCLUSION"),
        case("an extra line", spelled.replace("index 103", "extra AAAA\nindex 103"), "E_INCLUSION"),
        case("no checkpoint", spelled.split("\n\n")[0] + "\n", "E_INCLUSION"),
    ]


# ---- attestations ---------------------------------------------------------------------------------


def attestations() -> Part:
    """Statements of three runs, envelopes good and bad, and the rule for the result of a test."""
    made: list[Case] = []
    for run, index in (
        (example_run(), 101),
        (anchored_run(), 107),
        (canceled_run(), 106),
        (example_run(), None),
    ):
        seal, note = event_of(run.rows[-1]), members_of(run)["run.checkpoint"]
        bodies = statements(SealedRun(run.evidence or b"", seal, note, index))
        made.append(
            {
                "evidence": (run.evidence or b"").decode(),
                "seal": encode(seal).decode(),
                "checkpoint": note.decode(),
                "logIndex": index,
                "statements": {name: body.decode() for name, body in bodies.items()},
            }
        )
    return {"statements": made, "envelopes": _envelopes(), "results": _results()}


def _results() -> list[Case]:
    """The result by status, exit code, reason of failure and number of artifact errors (P11.2)."""
    rows: list[tuple[str, int | None, str | None, int, str | None]] = [
        ("succeeded", 0, None, 0, "PASSED"),
        ("succeeded", 0, None, 1, "WARNED"),
        ("succeeded", 3, None, 0, "FAILED"),
        ("succeeded", None, None, 0, None),
        ("failed", 1, "command_exit", 0, "FAILED"),
        ("failed", None, "timeout", 0, "FAILED"),
        ("failed", None, "archive_invalid", 0, None),
        ("failed", None, "internal_error", 0, None),
        ("canceled", None, None, 0, None),
    ]
    found: list[Case] = []
    for status, exit_code, reason, errors, result in rows:
        fields = {"status": status, "exitCode": exit_code, "failureReason": reason}
        facts: Case = {name: value for name, value in fields.items() if value is not None}
        found.append({"evidence": facts | {"artifactErrors": [{}] * errors}, "result": result})
    return found


def _envelopes() -> list[Case]:
    statement = b'{"_type":"https://in-toto.io/Statement/v1"}'
    good = sign_envelope(statement, ATTESTATION).to_bytes().decode()
    value = decode(good.encode())
    only = value["signatures"][0]
    key = ATTESTATION.verifier_key

    def case(name: str, envelope: Any, code: str | None = None) -> Case:
        text = envelope if isinstance(envelope, str) else encode(envelope).decode()
        return {"name": name, "envelope": text, "keys": [key], "code": code}

    signed_text = pae(PAYLOAD_TYPE, statement).decode()
    return [
        case("as it was", good) | {"message": signed_text, "payload": statement.decode()},
        case("another payload", value | {"payload": b64(b"{}")}, "E_DSSE_SIG"),
        case("by another key", sign_envelope(statement, LOG).to_bytes().decode(), "E_DSSE_SIG"),
        case(
            "another keyid",
            value | {"signatures": [only | {"keyid": f"{ORIGIN}/attestation+00000000"}]},
            "E_DSSE_SIG",
        ),
        case("spaces", good.replace(":", ": ", 1), "E_FORMAT"),
        case("a line feed", f"{good}\n", "E_FORMAT"),
        case("another type", value | {"payloadType": "text/plain"}, "E_FORMAT"),
        case("a field too many", value | {"more": 1}, "E_FORMAT"),
        case("no signature", value | {"signatures": []}, "E_FORMAT"),
        case("two signatures", value | {"signatures": [only, only]}, "E_FORMAT"),
        case("no keyid", value | {"signatures": [{"sig": only["sig"]}]}, "E_FORMAT"),
        case(
            "a keyid in capitals",
            value | {"signatures": [only | {"keyid": f"{ORIGIN}+ABCDEF00"}]},
            "E_FORMAT",
        ),
        case("no padding", value | {"payload": value["payload"].rstrip("=") + "A"}, "E_FORMAT"),
        case("a short signature", value | {"signatures": [only | {"sig": b64(bytes(63))}]}, "E_FORMAT"),
    ]


PARTS = {
    "canonical.json": canonical_json,
    "records.json": records,
    "merkle.json": merkle,
    "range-proofs.json": range_proofs,
    "notes.json": notes,
    "policies.json": policies,
    "log.json": log,
    "attestations.json": attestations,
}
