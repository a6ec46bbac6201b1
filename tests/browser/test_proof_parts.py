"""The parts of the page's verifier against published vectors, the reference, and what others wrote."""

import hashlib
import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evidence.canonical import FormatError, ProfileError, canonical, decode, parse
from evidence.note import ED25519, Verifier, is_key_name
from evidence.record import leaf_hash
from tests.browser.judged import PageVerifier
from tests.depth import examples
from tests.evidence_samples import VECTORS as FOREIGN
from tests.spec.vectors import FOLDER

EXACT_MAX = 1 << 53
needs_foreign = pytest.mark.skipif(
    not FOREIGN.is_dir(), reason="the folder of foreign test vectors is not beside the checkout"
)


def read(name: str) -> Any:
    """A JSON file of the published vectors."""
    return json.loads((FOLDER / name).read_bytes())


READ_PAYLOADS = """
async (load, inputs) => {
  const [{ decodeCanonical, ProfileError }, { decodeBase64 }] = [await load("json"), await load("bytes")];
  return inputs.map((input) => {
    try {
      decodeCanonical(decodeBase64(input));
      return null;
    } catch (error) {
      if (error instanceof ProfileError) return "E_NONCANONICAL";
      return error.constructor.name === "FormatError" ? "E_FORMAT" : String(error);
    }
  });
}
"""
REWRITE = """
async (load, inputs) => {
  const [{ parseJson, canonicalText }, bytes] = [await load("json"), await load("bytes")];
  return inputs.map((input) => {
    try {
      return bytes.encodeBase64(bytes.encodeUtf8(canonicalText(parseJson(bytes.decodeBase64(input)))));
    } catch (error) {
      if (error instanceof bytes.FormatError) return null;
      throw error;
    }
  });
}
"""


def payload_code(data: bytes) -> str | None:
    """What the reference says of a payload of these bytes."""
    try:
        decode(data)
    except ProfileError:
        return "E_NONCANONICAL"
    except FormatError:
        return "E_FORMAT"
    return None


def b64(items: list[bytes]) -> list[str]:
    """Each in base64: bytes that a page can be given."""
    return [b64encode(item).decode() for item in items]


def test_every_published_spelling_of_json_is_judged_alike(verifier: PageVerifier) -> None:
    """Its fate as a payload, and its canonical bytes."""
    cases = read("canonical.json")["cases"]
    inputs = [case["input"].encode() if "input" in case else b64decode(case["inputBase64"]) for case in cases]
    assert verifier.call(READ_PAYLOADS, b64(inputs)) == [case["payload"] for case in cases]
    expected = [None if case["canonical"] is None else b64([case["canonical"].encode()])[0] for case in cases]
    assert verifier.call(REWRITE, b64(inputs)) == expected


ODD_JSON = st.sampled_from(
    [
        # numbers
        b'{"a":9007199254740991}', b'{"a":9007199254740992}', b'{"a":9007199254740993}', b'{"a":-0}',
        b'{"a":1.0}', b'{"a":1e2}', b'{"a":1E400}', b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":01}', b"1",
        # surrogates, escapes, separators
        b'{"a":"\\ud800"}', b'{"a":"\\udc00\\ud800"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\\ud83d\\ude00"}',
        b'{"a":"\xf0\x9f\x98\x80"}', b'{"a":"\\u00e9"}', b'{"a":"\\u2028"}', b'{"a":"\xe2\x80\xa8"}',
        b'{"a":"\\u0085"}', b'{"a":"\xc2\x85"}', b'{"a":"\\/"}', b'{"a":"\\u001f"}', b'{"a":"\\u001F"}',
        b'{"a":"\x7f"}', b'{"a":"\x01"}', b'{"a":"\\x"}',
        # names
        b'{"a":1,"a":1}', b'{"b":1,"a":2}', b'{"\xc3\xa9":1}', b'{"__proto__":{"x":1}}',
        b'{"1":1,"10":3,"a":2}', b'{"constructor":1,"toString":2}', b'{"__proto__":1,"__proto__":2}',
        # the whole
        b"[" * 64 + b"]" * 64, b"[" * 65 + b"]" * 65, b'{"a":' * 64 + b"1" + b"}" * 64, b"\xef\xbb\xbf{}",
        b"", b"null", b'""', b"{}\n", b" {}", b"{} {}", b"{", b'{"a"}', b"[1,]",
    ]
)  # fmt: skip
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-EXACT_MAX - 2, EXACT_MAX + 2)
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@settings(examples(30), suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        ODD_JSON | st.binary(max_size=12) | JSON_VALUES.map(lambda value: json.dumps(value).encode()),
        max_size=40,
    )
)
def test_any_json_is_judged_alike(verifier: PageVerifier, inputs: list[bytes]) -> None:
    """Big numbers, lone surrogates, keys twice, names of every object's own: the code is the reference's."""
    assert verifier.call(READ_PAYLOADS, b64(inputs)) == [payload_code(data) for data in inputs]


@settings(examples(30), suppress_health_check=list(HealthCheck))
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=30))
def test_any_text_is_written_alike(verifier: PageVerifier, texts: list[str]) -> None:
    """Over every code point but surrogates (P1.1)."""
    inputs = [canonical({"a": text}) for text in texts]
    assert verifier.call(REWRITE, b64(inputs)) == b64(inputs)


# ---- notes, policies, trees ------------------------------------------------------------------------

OPEN_NOTES = """
async (load, cases) => {
  const [note, bytes] = [await load("note"), await load("bytes")];
  const names = new Map([["BadSignature", "E_SIG_INVALID"], ["UnknownKey", "E_SIG_UNKNOWN_KEY"]]);
  return Promise.all(cases.map(async (one) => {
    try {
      const keys = await Promise.all(one.keys.map((key) => note.Verifier.parse(key)));
      const { verified } = await note.openNote(bytes.decodeBase64(one.note), keys);
      return { code: null, signers: verified.map((key) => key.text) };
    } catch (error) {
      if (!(error instanceof bytes.FormatError)) throw error;
      return { code: names.get(error.constructor.name) ?? "E_FORMAT", signers: [] };
    }
  }));
}
"""
READ_KEYS = """
async (load, keys) => {
  const [{ Verifier }, { FormatError }] = [await load("note"), await load("bytes")];
  return Promise.all(keys.map((key) => Verifier.parse(key).then(() => true, (error) => {
    if (!(error instanceof FormatError)) throw error;
    return false;
  })));
}
"""
READ_POLICIES = """
async (load, policies) => {
  const [{ parsePolicy }, bytes] = [await load("policy"), await load("bytes")];
  return Promise.all(policies.map(async ({ policy, sets }) => {
    try {
      const read = await parsePolicy(bytes.decodeBase64(policy));
      return sets.map((names) => read.isQuorum(names));
    } catch (error) {
      if (!(error instanceof bytes.FormatError)) throw error;
      return null;
    }
  }));
}
"""
INCLUSIONS = """
async (load, cases) => {
  const [{ verifyInclusion }, { decodeBase64 }] = [await load("merkle"), await load("bytes")];
  return cases.map(({ index, size, leaf, path, root }) =>
    verifyInclusion(index, size, decodeBase64(leaf), path.map(decodeBase64), decodeBase64(root)));
}
"""
ROOTS = """
async (load, { leaves, sizes }) => {
  const [{ CompactRange }, bytes] = [await load("merkle"), await load("bytes")];
  return sizes.map((size) => {
    const tree = new CompactRange();
    for (const leaf of leaves.slice(0, size)) tree.append(bytes.decodeBase64(leaf));
    return bytes.encodeBase64(tree.root());
  });
}
"""
SIGNATURES = """
async (load, cases) => {
  const [{ Verifier }, { fromHex }] = [await load("note"), await load("bytes")];
  return Promise.all(cases.map(({ key, message, signature }) =>
    new Verifier("k", "00000000", 1, fromHex(key), "").isValid(fromHex(message), fromHex(signature))));
}
"""
SHA256 = """
async (load, parts) => {
  const [{ Sha256, sha256 }, bytes] = [await load("sha256"), await load("bytes")];
  const hash = new Sha256();
  const fed = [];
  return parts.map((part) => {
    fed.push(bytes.decodeBase64(part));
    const [inPieces, atOnce] = [hash.update(fed.at(-1)).digest(), sha256(...fed)].map(bytes.toHex);
    return inPieces === atOnce ? inPieces : "two answers";
  });
}
"""


def test_published_notes_and_keys_are_judged_alike(verifier: PageVerifier) -> None:
    """Who signed, and why one is refused."""
    published = read("notes.json")
    notes = published["notes"]
    cases = [
        {
            "note": b64([one["note"].encode() if "note" in one else b64decode(one["noteBase64"])])[0],
            "keys": one["keys"],
        }
        for one in notes
    ]
    expected = [
        {"code": one["code"], "signers": one["signers"] if one["code"] is None else []} for one in notes
    ]
    assert verifier.call(OPEN_NOTES, cases) == expected
    keys = published["keys"]
    assert verifier.call(READ_KEYS, [one["key"] for one in keys]) == [one["valid"] for one in keys]


def test_any_character_of_a_key_name_is_judged_alike(verifier: PageVerifier) -> None:
    """All of the plane that holds the spaces; what one language calls a space is none to another."""
    names = ["+", *(f"a{chr(code)}b" for code in range(0x10000) if not 0xD800 <= code < 0xE000)]
    source = """async (load, names) => {
      const { isKeyName } = await load("note");
      return names.filter(isKeyName);
    }"""
    assert verifier.call(source, names) == [name for name in names if is_key_name(name)]


def test_published_policies_are_judged_alike(verifier: PageVerifier) -> None:
    """Which are refused, and which witnesses are enough."""
    published = read("policies.json")
    good = [
        {"policy": b64([one["policy"].encode()])[0], "sets": [each["cosigned"] for each in one["quorum"]]}
        for one in published["good"]
    ]
    assert verifier.call(READ_POLICIES, good) == [
        [each["met"] for each in one["quorum"]] for one in published["good"]
    ]
    bad = [
        {
            "policy": b64([one["policy"].encode() if "policy" in one else b64decode(one["policyBase64"])])[0],
            "sets": [],
        }
        for one in published["bad"]
    ]
    assert verifier.call(READ_POLICIES, bad) == [None] * len(bad)


def test_published_trees_are_judged_alike(verifier: PageVerifier) -> None:
    """Roots around powers of two, and audit paths."""
    published = read("merkle.json")
    paths = published["inclusion"]
    assert verifier.call(INCLUSIONS, paths) == [one["valid"] for one in paths]
    sizes = [one["size"] for one in published["roots"]]
    leaves = b64([leaf_hash(str(number).encode()) for number in range(max(sizes))])
    assert verifier.call(ROOTS, {"leaves": leaves, "sizes": sizes}) == [
        one["root"] for one in published["roots"]
    ]


@settings(examples(30), suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=200), max_size=30))
def test_a_digest_that_is_fed_in_pieces_is_right(verifier: PageVerifier, parts: list[bytes]) -> None:
    """However the pieces lie to the blocks of 64 bytes."""
    running = hashlib.sha256()
    expected = []
    for part in parts:
        running.update(part)
        expected.append(running.hexdigest())
    assert verifier.call(SHA256, b64(parts)) == expected


# ---- what others wrote -----------------------------------------------------------------------------


@needs_foreign
def test_foreign_inclusion_proofs_are_judged_alike(verifier: PageVerifier) -> None:
    """Proofs of another implementation, good and bad."""
    files = sorted((FOREIGN / "merkle" / "inclusion").rglob("*.json"))
    assert files
    cases = [json.loads(path.read_bytes()) for path in files]
    inputs = [
        {
            "index": case["leafIdx"],
            "size": case["treeSize"],
            "leaf": case["leafHash"] or "",
            "path": case["proof"] or [],
            "root": case["root"] or "",
        }
        for case in cases
    ]
    inside = [case for case in inputs if case["index"] < EXACT_MAX and case["size"] < EXACT_MAX]
    wanted = [
        not case["wantErr"]
        for case, one in zip(cases, inputs, strict=True)
        if one["index"] < EXACT_MAX and one["size"] < EXACT_MAX
    ]
    assert verifier.call(INCLUSIONS, inside) == wanted


@needs_foreign
def test_foreign_signatures_are_judged_as_the_reference_judges_them(verifier: PageVerifier) -> None:
    """Edge cases of Ed25519: what one of both accepted alone could be shown to one and not to the other."""
    groups = json.loads((FOREIGN / "wycheproof-ed25519.json").read_bytes())["testGroups"]
    cases = [
        {"key": group["publicKey"]["pk"], "message": test["msg"], "signature": test["sig"]}
        for group in groups
        for test in group["tests"]
    ]
    assert cases
    reference = [
        Verifier("k", b"\0\0\0\0", ED25519, bytes.fromhex(case["key"])).is_valid(
            bytes.fromhex(case["message"]), bytes.fromhex(case["signature"])
        )
        for case in cases
    ]
    assert verifier.call(SIGNATURES, cases) == reference


@needs_foreign
def test_foreign_json_is_written_alike(verifier: PageVerifier) -> None:
    """The RFC 8785 inputs, as far as the profile reaches: the reference says which."""
    inputs = [path.read_bytes() for path in sorted((FOREIGN / "jcs" / "input").iterdir())]
    expected: list[str | None] = []
    for data in inputs:
        try:
            expected.append(b64([canonical(parse(data))])[0])
        except FormatError:
            expected.append(None)
    assert verifier.call(REWRITE, b64(inputs)) == expected


def test_the_modules_know_nothing_of_the_page() -> None:
    """They can be run by themselves: document, storage and network are the task of few."""
    folder = Path(__file__).parents[2] / "api" / "dashboard" / "static" / "proof"
    pages = {
        "panel.js",
        "views.js",
        "rows.js",
        "ruler.js",
        "pins.js",
        "obstacle.js",
        "worker.js",
        "fetching.js",
        "trust.js",
    }
    for path in folder.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert path.name in pages or not any(word in text for word in ("document.", "localStorage", "fetch("))
