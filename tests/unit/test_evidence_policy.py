"""The auditor's policy file: C2SP tlog-policy with our directives in comments (PROOF P6)."""

import pytest

from evidence.canonical import FormatError
from evidence.note import COSIGNATURE, Verifier, format_verifier_key
from evidence.policy import KEYS_MAX, POLICY_BYTES_MAX, Group, format_policy, parse_policy
from tests.evidence_samples import ATTESTATION_KEY, LOG_KEY, ORIGIN, POLICY, signer

LOG = LOG_KEY.verifier_key
OLD = signer(ORIGIN, "old log").verifier_key
ATTEST = ATTESTATION_KEY.verifier_key


def witness_key(name: str) -> str:
    """The verifier key of a witness."""
    public = Verifier.parse(signer("x", name).verifier_key).public_key
    return format_verifier_key(f"witness.example/{name}", public, COSIGNATURE)


W1, W2, W3 = (witness_key(name) for name in ("w1", "w2", "w3"))
SHARED = format_verifier_key("x", Verifier.parse(W1).public_key)
"""The key of a witness, offered for attestations."""


def test_the_servers_policy_names_its_key_and_no_witness() -> None:
    """What `crownest policy` writes is four lines, the first for people."""
    assert POLICY.decode() == (
        f"# Trust policy of {ORIGIN}. Keep it apart from the bundles that it judges.\n"
        f"log {LOG}\n"
        f"#crownest attestation {ATTEST}\n"
        "quorum none\n"
    )
    policy = parse_policy(POLICY)
    assert policy.logs == [Verifier.parse(LOG)]
    assert policy.is_quorum(set())


def test_a_policy_with_everything_is_read_back() -> None:
    """Parser and printer are a pair."""
    data = format_policy(
        LOG,
        attestation_vkeys=[ATTEST],
        retired={OLD: 17},
        witnesses={"w1": W1, "w2": W2},
        quorum="w2",
    )
    policy = parse_policy(data)
    assert [str(key) for key in policy.logs] == [LOG, OLD]
    assert [str(key) for key in policy.attestation_keys] == [ATTEST]
    assert policy.until == {Verifier.parse(OLD).key_id: 17}
    assert {name: str(key) for name, key in policy.witnesses.items()} == {"w1": W1, "w2": W2}
    assert parse_policy(policy.to_bytes()) == policy
    assert policy.is_quorum({"w2"})
    assert not policy.is_quorum({"w1"})


def test_groups_nest_as_the_standard_says() -> None:
    """Thresholds, `any` and `all`, groups in groups, blanks, comments and addresses."""
    text = f"""
      # two of three, and one more
    log {LOG} https://log.example/
    witness a {W1}\thttps://a.example/
    witness b {W2}
    group ab 2 a b
    witness c {W3}
    group either any c
    group both all ab either
    quorum both
    """
    policy = parse_policy(text.encode().lstrip(b"\n") + b"\n")
    assert policy.groups["both"] == Group(2, ("ab", "either"))
    assert policy.is_quorum({"a", "b", "c"})
    assert not policy.is_quorum({"a", "c"})
    assert not policy.is_quorum({"a", "b"})
    assert parse_policy(policy.to_bytes()) == policy


WITH_WITNESS = f"log {LOG}\nwitness a {W1}\nwitness b {W2}\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no log key"),
        ("quorum none\n", "no log key"),
        (f"log {LOG}\n", "exactly one quorum"),
        (f"log {LOG}\nquorum none\nquorum none\n", "line 3: a second quorum"),
        (f"log {LOG}\nquorum none", "ends with LF"),
        (f"log {LOG}\nquorum a\n", "line 2: 'a' is not defined"),
        (f"log {LOG}\nquorum\n", "is no line"),
        (f"log {LOG} a b\nquorum none\n", "is no line"),
        (f"logs {LOG}\nquorum none\n", "'logs' is no line"),
        (f"log {LOG}\nlog {LOG}\nquorum none\n", "line 2: .* twice"),
        (f"log {LOG}\n#crownest attestation {LOG}\nquorum none\n", "twice"),
        (f"log {W1}\nquorum none\n", "type 01"),
        (f"log {LOG}\n#crownest attestation {W1}\nquorum none\n", "type 01"),
        (f"log {LOG}\n#crownest attestation {SHARED}\nwitness w {W1}\nquorum none\n", "twice"),
        (
            f"log {LOG}\n#crownest attestation {ATTEST}\n#crownest attestation {ATTEST}\nquorum none\n",
            "twice",
        ),
        (f"log {LOG}\nwitness w {ATTEST}\nquorum none\n", "type 04"),
        (f"log {LOG}x\nquorum none\n", "base64"),
        (f"log {LOG}\n# crownest until 00000000 5\nquorum none\n", "without a space"),
        (f"log {LOG}\r\nquorum none\n", "control character"),
        (f"log {LOG}\nwitness none {W1}\nquorum none\n", "taken"),
        (f"{WITH_WITNESS}witness a {W3}\nquorum a\n", "taken"),
        (f"{WITH_WITNESS}group a any b\nquorum a\n", "taken"),
        (f"{WITH_WITNESS}group g any a\ngroup g any b\nquorum g\n", "taken"),
        (f"{WITH_WITNESS}group g any x\nquorum g\n", "not defined"),
        (f"{WITH_WITNESS}group g any\nquorum g\n", "at least one"),
        (f"{WITH_WITNESS}group g any a a\nquorum g\n", "once"),
        (f"{WITH_WITNESS}group g 0 a\nquorum g\n", "threshold"),
        (f"{WITH_WITNESS}group g 3 a b\nquorum g\n", "threshold"),
        (f"{WITH_WITNESS}group g 01 a b\nquorum g\n", "leading zeros"),
        (f"{WITH_WITNESS}group g any a\ngroup h any a\nquorum h\n", "one group only"),
        (f"log {LOG}\n#crownest\nquorum none\n", "#crownest line"),
        (f"log {LOG}\n#crownest attest {ATTEST}\nquorum none\n", "#crownest line"),
        (f"log {LOG}\n#crownest until {'0' * 8} 5\nquorum none\n", "no log or attestation key"),
        (f"log {LOG}\n#crownest until {LOG.split('+')[1].upper()}x 5\nquorum none\n", "#crownest line"),
        (f"log {LOG}\n#crownest until {LOG.split('+')[1]} 05\nquorum none\n", "leading zeros"),
    ],
)
def test_a_policy_that_is_not_plain_is_refused(text: str, reason: str) -> None:
    """The message names the line; nothing is guessed where trust is decided."""
    with pytest.raises(FormatError, match=reason):
        parse_policy(text.encode())


def test_a_retirement_said_twice_is_refused() -> None:
    """Two sizes for one key would be two opinions."""
    line = f"#crownest until {LOG.split('+')[1]} 5\n"
    with pytest.raises(FormatError, match="twice"):
        parse_policy(f"log {LOG}\n{line}{line}quorum none\n".encode())


def test_a_policy_is_bounded() -> None:
    """Bytes, keys and groups have named limits; what is not UTF-8 is refused."""
    with pytest.raises(FormatError, match="at most"):
        parse_policy(b"#" * (POLICY_BYTES_MAX + 1))
    with pytest.raises(FormatError, match="UTF-8"):
        parse_policy(b"\xff\n")
    many = "".join(f"witness w{n} {witness_key(str(n))}\n" for n in range(KEYS_MAX))
    with pytest.raises(FormatError, match=f"at most {KEYS_MAX} keys"):
        parse_policy(f"log {LOG}\n{many}quorum none\n".encode())
    first = f"log {LOG}\nwitness w {W1}\ngroup g0 any w\n"
    groups = "".join(f"group g{n} any g{n - 1}\n" for n in range(1, KEYS_MAX + 1))
    with pytest.raises(FormatError, match=f"at most {KEYS_MAX} groups"):
        parse_policy(f"{first}{groups}quorum none\n".encode())
    deepest = "\n".join(groups.split("\n")[: KEYS_MAX - 1])
    assert parse_policy(f"{first}{deepest}\nquorum g{KEYS_MAX - 1}\n".encode()).is_quorum({"w"})


def test_a_weak_key_never_gets_into_a_policy() -> None:
    """A point of low order would make every bundle valid (P6)."""
    weak = format_verifier_key(ORIGIN, bytes([1]) + bytes(31))
    with pytest.raises(FormatError, match="low order"):
        format_policy(weak)
    with pytest.raises(FormatError, match=r"line 1: .*low order"):
        parse_policy(f"log {weak}\nquorum none\n".encode())
