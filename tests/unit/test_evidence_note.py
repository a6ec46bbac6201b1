"""Signed notes, the keys behind them, and the checkpoints that they carry (PROOF P4.3, P6)."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from evidence.canonical import FormatError
from evidence.checkpoint import (
    Checkpoint,
    format_checkpoint,
    parse_checkpoint,
    run_origin,
    split_origin,
)
from evidence.note import (
    COSIGNATURE,
    NOTE_BYTES_MAX,
    SIGNATURES_MAX,
    BadSignature,
    Ed25519Signer,
    NoteError,
    UnknownKey,
    Verifier,
    format_verifier_key,
    open_note,
    sign_note,
    split_note,
)
from evidence.record import encode_base64
from tests.evidence_samples import LOG_KEY, ORG, ORIGIN, RUN, signer

TEXT = "hello\n\nworld\n"
OTHER = signer("example.org/other", "other")
TRUSTED = Verifier.parse(LOG_KEY.verifier_key)
# The example of C2SP signed-note's own Go implementation: name, key and signed text.
PETER_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6"
    "RyyBwJnAM=\n"
).encode()


def test_a_note_that_another_implementation_signed_is_accepted() -> None:
    """Key id, signature line and signed bytes are those of the field."""
    opened = open_note(PETER_NOTE, [Verifier.parse(PETER_KEY)])
    assert opened.text.startswith("If you think")
    assert [key.name for key in opened.verified] == ["PeterNeumann"]


def test_a_note_opens_with_the_keys_that_signed_it() -> None:
    """Text, trusted signers and unknown lines come apart; the text may hold empty lines."""
    note = sign_note(TEXT, LOG_KEY, OTHER)
    opened = open_note(note, [TRUSTED])
    assert opened.text == TEXT
    assert opened.verified == (TRUSTED,)
    assert len(opened.unknown) == 1
    assert opened.unknown[0].startswith("\u2014 example.org/other ")
    assert len(open_note(note, [TRUSTED, Verifier.parse(OTHER.verifier_key)]).verified) == 2


def test_a_changed_text_is_a_bad_signature() -> None:
    """A signature by a known key that does not fit rejects the note, whoever else signed."""
    note = sign_note(TEXT, LOG_KEY, OTHER).replace(b"hello", b"hullo")
    with pytest.raises(BadSignature, match="changed"):
        open_note(note, [TRUSTED, Verifier.parse(OTHER.verifier_key)])


def test_a_note_without_a_known_signer_is_not_opened() -> None:
    """Same name and another key, or same key and another name, are strangers."""
    for stranger in (signer(ORIGIN, "another"), signer("example.org/x", "log"), OTHER):
        with pytest.raises(UnknownKey):
            open_note(sign_note(TEXT, stranger), [TRUSTED])


def test_a_key_signs_once() -> None:
    """The same line twice would be a second spelling of the note."""
    with pytest.raises(NoteError, match="twice"):
        open_note(sign_note(TEXT, LOG_KEY, LOG_KEY), [TRUSTED])


def test_a_cosignature_key_does_not_verify_plain_signatures() -> None:
    """Keys of type 04 sign other bytes, so `open_note` leaves their lines alone."""
    raw = TRUSTED.public_key
    witness = Verifier.parse(format_verifier_key("w", raw, COSIGNATURE))
    with pytest.raises(UnknownKey):
        open_note(sign_note(TEXT, LOG_KEY), [witness])


GOOD = sign_note(TEXT, LOG_KEY).decode()
LINE = GOOD.split("\n\n")[-1]


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        (b"", "text of a note"),
        (b"\n", "text of a note"),
        (b"\n\n", "text of a note"),
        (b"text\n", "text of a note"),
        (b"text", "text of a note"),
        (f"\n\n{LINE}".encode(), "text of a note"),
        (b"\xff" + GOOD.encode(), "byte 0 is not"),
        (GOOD[:-1].encode(), "end with LF"),
        (b"text\n\n", "end with LF"),
        (GOOD.replace("\u2014 ", "- ").encode(), "em dash"),
        (GOOD.replace("\u2014 ", "\u2014  ").encode(), "em dash"),
        (GOOD.replace(ORIGIN, "a+b").encode(), "em dash"),
        (GOOD.replace("=\n", "\n").encode(), "base64"),
        (GOOD.replace("hello", "hel\tlo").encode(), "control characters"),
        (f"{TEXT}\n\u2014 {ORIGIN} {encode_base64(b'abcd')}\n".encode(), "too short"),
        ((TEXT + "\n" + LINE * (SIGNATURES_MAX + 1)).encode(), f"at most {SIGNATURES_MAX} signatures"),
        (b"x" * NOTE_BYTES_MAX + GOOD.encode(), f"at most {NOTE_BYTES_MAX} bytes"),
    ],
)
def test_a_malformed_note_is_refused(note: bytes, reason: str) -> None:
    """No guessing: every note has one shape and bounded size."""
    with pytest.raises(NoteError, match=reason):
        open_note(note, [TRUSTED])


def test_split_note_shows_lines_that_print_themselves() -> None:
    """A signature line is the pair of its parser."""
    text, lines = split_note(GOOD.encode())
    assert text == TEXT
    assert [f"{line}\n" for line in lines] == [LINE]


@pytest.mark.parametrize("text", ["", "\n", "no newline", "tab\there\n"])
def test_a_text_that_no_note_can_hold_is_not_signed(text: str) -> None:
    """What could not be opened again is refused before it is signed."""
    with pytest.raises(NoteError):
        sign_note(text, LOG_KEY)


def test_a_note_needs_a_signer() -> None:
    """An unsigned note is no note."""
    with pytest.raises(ValueError, match="at least one signer"):
        sign_note(TEXT)


def test_a_key_survives_its_file() -> None:
    """PKCS#8 PEM out and in is the same key; what it shows of itself is public (P6)."""
    key = Ed25519Signer.generate("example.org/log")
    again = Ed25519Signer.from_pem("example.org/log", key.to_pem())
    assert again.verifier_key == key.verifier_key
    assert str(Verifier.parse(key.verifier_key)) == key.verifier_key
    assert key.to_pem().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert repr(key) == f"Ed25519Signer({key.verifier_key})"
    assert key.name == "example.org/log"


def test_a_key_of_another_kind_is_refused() -> None:
    """The message says what to do next."""
    pem = Ed448PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="make a new one"):
        Ed25519Signer.from_pem("example.org/log", pem)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b", "a\u0085b", "a\x9bb", "x" * 256])
def test_a_name_with_spaces_or_plus_is_no_key_name(name: str) -> None:
    """Names stand between spaces and plus signs, so they hold neither."""
    with pytest.raises(ValueError, match="key name"):
        Ed25519Signer.generate(name)


VKEY = LOG_KEY.verifier_key
NAME, ID, KEY = VKEY.split("+", 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "name\\+id\\+key"),
        (f"{NAME}+{ID}", "name\\+id\\+key"),
        (f"a b+{ID}+{KEY}", "name\\+id\\+key"),
        (f"{NAME}+{ID.upper()}+{KEY}", "mistyped"),
        (f"{NAME}x+{ID}+{KEY}", "mistyped"),
        (f"{NAME}+{ID}+{KEY[:-1]}", "base64"),
        (f"{NAME}+{ID}+{encode_base64(bytes([2]) + bytes(32))}", "only Ed25519"),
        (f"{NAME}+{ID}+{encode_base64(bytes([1]) + bytes(31))}", "only Ed25519"),
    ],
)
def test_a_verifier_key_has_one_spelling(text: str, reason: str) -> None:
    """A mistyped key is found by its id; other key types are refused."""
    with pytest.raises(FormatError, match=reason):
        Verifier.parse(text)


LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
]
NOT_REDUCED = [
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


@pytest.mark.parametrize(
    ("key", "reason"), [(k, "low order") for k in LOW_ORDER] + [(k, "not canonical") for k in NOT_REDUCED]
)
def test_a_weak_key_is_refused_before_it_is_trusted(key: str, reason: str) -> None:
    """Points of small order sign anything, and unreduced ones have a twin (P6)."""
    with pytest.raises(FormatError, match=reason):
        Verifier.parse(format_verifier_key("example.org/log", bytes.fromhex(key)))


def test_a_checkpoint_is_three_lines() -> None:
    """Runs and organisations have origin lines of their own kind (P2.3a, P4.3)."""
    for stream, kind in ((RUN, "run"), (ORG, "org")):
        text = format_checkpoint(ORIGIN, stream, 7, b"r" * 32)
        assert text == f"{ORIGIN}/{kind}/{stream}\n7\n{encode_base64(b'r' * 32)}\n"
        parsed = parse_checkpoint(text)
        assert parsed == Checkpoint(f"{ORIGIN}/{kind}/{stream}", 7, b"r" * 32)
        assert str(parsed) == text
        assert split_origin(parsed.origin_line) == (ORIGIN, stream)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        f"a\n01\n{encode_base64(bytes(32))}\n",
        f"a\n1\n{encode_base64(bytes(31))}\n",
        f"a b\n1\n{encode_base64(bytes(32))}\n",
        f"a\n1\n{encode_base64(bytes(32))}\nextension\n",
        f"a\n1\n{encode_base64(bytes(32))}",
        f"a\n1\n{encode_base64(bytes(32))}\nextension",
    ],
)
def test_a_checkpoint_has_one_spelling(text: str) -> None:
    """Extension lines, leading zeros and short roots are refused."""
    with pytest.raises(FormatError):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    "line", ["a/run/org_x", "a/org/wsr_x", "wsr_x", "run/wsr_x", "/run/wsr_x", "a/run/wsr_", ORIGIN]
)
def test_an_origin_line_names_one_kind_of_stream(line: str) -> None:
    """A run is never an organisation, and neither is the log itself."""
    with pytest.raises(FormatError):
        split_origin(line)


@pytest.mark.parametrize(
    ("origin", "stream"), [("a b", RUN), ("", RUN), ("a+b", RUN), ("a", "key_1"), ("a", "wsr_a b")]
)
def test_an_origin_line_is_made_only_of_what_can_be_read_back(origin: str, stream: str) -> None:
    """What the parser would refuse is not printed."""
    with pytest.raises(ValueError, match="origin line"):
        run_origin(origin, stream)
