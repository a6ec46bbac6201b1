"""Encrypted values open for their own project and name, with their own key, and tell nothing otherwise."""

import base64
import secrets
import traceback
from pathlib import Path

import pytest

from cli.keys import load_or_make_secrets_key
from cli.problems import CliError
from evidence.canonical import decode, encode
from runs.environment import check_env_name
from runs.refusal import Refusal
from runs.secretbox import KEY_BYTES, SecretBox, SecretValue, WrongSecretsKey

VALUE = SecretValue("correct horse battery staple")


@pytest.fixture
def box() -> SecretBox:
    """A box with a fresh key."""
    return SecretBox(secrets.token_bytes(KEY_BYTES))


def test_a_value_comes_back_and_no_two_ciphertexts_are_equal(box: SecretBox) -> None:
    """The nonce is fresh each time; the length is known without opening."""
    one, other = (box.seal("prj_a", "TOKEN", VALUE) for _ in range(2))
    assert one != other
    assert box.open("prj_a", "TOKEN", one).reveal() == VALUE.reveal()
    assert SecretBox.size_bytes(one) == VALUE.size_bytes


@pytest.mark.parametrize(
    ("project_id", "name"), [("prj_b", "TOKEN"), ("prj_a", "TOKEN2"), ("prj_aTOKEN", "")]
)
def test_a_ciphertext_that_was_moved_does_not_open(box: SecretBox, project_id: str, name: str) -> None:
    """Who can write to the database cannot hand one tenant's secret to another."""
    with pytest.raises(WrongSecretsKey, match="changed or moved"):
        box.open(project_id, name, box.seal("prj_a", "TOKEN", VALUE))


def test_a_ciphertext_with_one_changed_bit_does_not_open(box: SecretBox) -> None:
    """Every byte of nonce and ciphertext is authenticated."""
    stored = decode(box.seal("prj_a", "TOKEN", VALUE))
    for part in ("ciphertext", "nonce"):
        raw = base64.b64decode(stored[part])
        for index in range(len(raw)):
            changed = raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]
            document = encode({**stored, part: base64.b64encode(changed).decode()})
            with pytest.raises(WrongSecretsKey):
                box.open("prj_a", "TOKEN", document)


def test_another_key_is_told_by_its_id(box: SecretBox) -> None:
    """The message names both keys by ids that tell nothing about them."""
    other = SecretBox(secrets.token_bytes(KEY_BYTES))
    with pytest.raises(WrongSecretsKey, match=f"{other.key_id}, here is {box.key_id}"):
        box.open("prj_a", "TOKEN", other.seal("prj_a", "TOKEN", VALUE))


def test_a_fingerprint_needs_the_key() -> None:
    """An idempotency record may outlive the value: without the key nobody can try guesses against it."""
    one, other = (SecretBox(bytes([number]) * KEY_BYTES) for number in range(2))
    assert one.fingerprint(VALUE) == one.fingerprint(SecretValue(VALUE.reveal()))
    assert one.fingerprint(VALUE) != other.fingerprint(VALUE)
    assert one.fingerprint(VALUE) != one.fingerprint(SecretValue("another"))


def test_a_value_is_in_no_repr_and_no_traceback(box: SecretBox) -> None:
    """Neither by itself, nor in what holds it, nor with the local variables of a failure."""
    try:
        box.open("prj_b", "TOKEN", box.seal("prj_a", "TOKEN", VALUE))
    except WrongSecretsKey as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    else:
        pytest.fail("it opened")
    assert "***" in repr({"value": VALUE})
    assert VALUE.reveal() not in repr([VALUE, box]) + str(VALUE) + f"{VALUE}" + shown


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """32 random bytes, mode 0600, the same at every later start."""
    (tmp_path / "keys").mkdir()
    key = load_or_make_secrets_key(tmp_path, needed=False)
    file = tmp_path / "keys" / "secrets.key"
    assert file.read_bytes() == key
    assert (len(key), file.stat().st_mode & 0o777) == (KEY_BYTES, 0o600)
    assert load_or_make_secrets_key(tmp_path, needed=True) == key


@pytest.mark.parametrize(("content", "message"), [(None, "missing"), (b"short", "has 5 bytes")])
def test_a_missing_or_broken_key_is_not_replaced(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A new key in its place would make every secret unreadable for good."""
    file = tmp_path / "keys" / "secrets.key"
    file.parent.mkdir()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CliError, match=message):
        load_or_make_secrets_key(tmp_path, needed=True)
    assert file.exists() == (content is not None)


@pytest.mark.parametrize("name", ["TOKEN", "_", "a1", "PATHS", "PYTHON_TOKEN", "HOMEPAGE", "N" * 128])
def test_ordinary_names_are_taken(name: str) -> None:
    """Also those that only begin like a reserved one."""
    check_env_name(name)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "N" * 129])
def test_what_is_no_name_is_refused(name: str) -> None:
    """A variable that shells cannot name helps nobody."""
    with pytest.raises(Refusal, match="invalid_request"):
        check_env_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "TMPDIR", "LANG", "USER", "LOGNAME", "SHELL", "PWD", "IFS", "ENV", "BASH_ENV"),
        *("LD_PRELOAD", "PYTHONPATH", "PYTHONSTARTUP", "NODE_OPTIONS", "PERL5OPT", "RUBYOPT"),
        *("CROWNEST_SANDBOX", "BASH_FUNC_ls"),
    ],
)
def test_names_that_change_how_commands_run_are_reserved(name: str) -> None:
    """`reserved_env_key` (CONTRACT §7.1)."""
    with pytest.raises(Refusal, match="reserved_env_key"):
        check_env_name(name)
