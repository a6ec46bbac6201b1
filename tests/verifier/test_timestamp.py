"""Timestamps of a real authority (OpenSSL's), and what is no timestamp of this checkpoint (PROOF P5.7)."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, decode_timestamp_response

from evidence.canonical import FormatError
from evidence.record import format_time, parse_time
from evidence.verdict import Timestamp, VerificationError
from tests.requires import need
from tests.tsa_kit import Certified, Tsa, certify, certify_tsa, sequence
from verifier import timestamp as room
from verifier.timestamp import judge_timestamp, open_timestamp, read_roots

NOTE = b"origin/run/wsr_1\n1\nroot\n\n\xe2\x80\x94 origin sig\n"
FLIPS_SEED = 20261122


@dataclass(frozen=True)
class World:
    """A root, a stranger's root, and an authority that the first vouches for."""

    folder: Path
    root: Certified
    stranger: Certified
    tsa: Tsa

    def other(self, name: str, signer: Certified, **more: object) -> Tsa:
        """Another authority with this certificate."""
        return Tsa(self.folder / name, signer, **more)  # type: ignore[arg-type] # handed on as it is


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Made once: nothing in it changes."""
    need("openssl")
    folder = tmp_path_factory.mktemp("tsa")
    root = certify("Root")
    return World(folder, root, certify("Stranger"), Tsa(folder / "tsa", certify_tsa("Honest TSA", root)))


def judge(token: bytes, *roots: Certified, note: bytes = NOTE) -> Timestamp:
    """Judge it by these roots."""
    return judge_timestamp(token, [root.certificate for root in roots], note)


def refused(token: bytes, *roots: Certified, note: bytes = NOTE) -> str:
    """Why it does not fit: always by the one code."""
    with pytest.raises(VerificationError) as caught:
        judge(token, *roots, note=note)
    assert caught.value.code == "E_TIMESTAMP"
    return caught.value.detail


def told_time(token: bytes) -> int:
    """The time that the token tells, in unix milliseconds without its fraction."""
    told = re.search(rb"\x18.(\d{14})(?:\.\d+)?Z", token)
    assert told
    moment = datetime.strptime(told[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000


def test_a_good_one_names_its_authority_and_its_time(world: World) -> None:
    """The time is an upper bound: what follows the second is not read, so it counts as all of it."""
    token = world.tsa.stamp(NOTE)
    assert judge(token, world.stranger, world.root) == Timestamp("CN=Honest TSA", told_time(token) + 1000)


@pytest.mark.parametrize(
    ("options", "more_ms"),
    [
        ("clock_precision_digits = 6", 0),
        ("accuracy = secs:2, millisecs:500, microsecs:100", 2501),
        ("accuracy = secs:3", 3000),
        ("accuracy = millisecs:7", 7),
        ("accuracy = microsecs:1", 1),
        ("tsa_name = yes\nordering = yes", 0),
    ],
)
def test_what_the_clock_may_be_off_is_added(world: World, options: str, more_ms: int) -> None:
    """`accuracy` in every form that RFC 3161 has."""
    token = world.other(f"options{more_ms}", certify_tsa("TSA", world.root), options=options).stamp(NOTE)
    assert judge(token, world.root).not_after_ms == told_time(token) + 1000 + more_ms


def test_a_time_that_cannot_be_written_is_refused(world: World) -> None:
    """An authority of the year 9950 may be right to a second, but not off by what leads past 9999."""
    ages = (-30, 7950 * 365)
    root = certify("Old root", days=ages)
    forger = world.other("old", certify_tsa("TSA", root, days=ages))

    def stamped(accuracy_s: int) -> bytes:
        tsa = world.other("vague", certify_tsa("TSA", world.root), options=f"accuracy = secs:{accuracy_s}")
        return forger.forge(tsa.stamp(NOTE), edit=lambda info: re.sub(rb"\d{14}Z", b"99500101000000Z", info))

    assert format_time(judge(stamped(1), root).not_after_ms) == "9950-01-01T00:00:02.000Z"
    assert refused(stamped(2**31 - 1), root)


def test_other_hashes_of_the_same_bytes_count(world: World) -> None:
    """Whoever asked without crownest may have used SHA-512."""
    query = TimestampRequestBuilder(NOTE, HashAlgorithm.SHA512).build().as_bytes()
    assert judge(world.tsa.answer(query), world.root).authority == "CN=Honest TSA"


def test_a_chain_may_come_with_the_token_or_with_the_roots(world: World) -> None:
    """An intermediate authority counts only under a root."""
    middle = certify("Middle", world.root)
    signer = certify_tsa("TSA", middle)
    whole = world.other("chain", signer, chain=(middle,)).stamp(NOTE)
    assert judge(whole, world.root).authority == "CN=TSA"
    bare = world.other("bare", signer).stamp(NOTE)
    assert "issuer certificate" in refused(bare, world.root)
    assert "issuer certificate" in refused(bare, middle)
    assert judge(bare, world.root, middle).authority == "CN=TSA"


def test_certificates_in_the_order_of_openssl_count(world: World) -> None:
    """It puts the signer's first, DER the smaller one; the library alone refuses what is not DER."""
    middle = certify("Middle", world.root)
    names = ("TSA", "An authority with a name that makes it the larger of the two")
    tokens = [world.other("order", certify_tsa(name, middle), chain=(middle,)).stamp(NOTE) for name in names]
    assert [judge(token, world.root).authority for token in tokens] == [f"CN={name}" for name in names]
    with pytest.raises(ValueError, match="InvalidSetOrdering"):
        decode_timestamp_response(tokens[1])


def test_one_of_another_checkpoint_is_refused(world: World) -> None:
    """Even if a single byte of a signature differs."""
    assert "something else" in refused(world.tsa.stamp(NOTE), world.root, note=NOTE + b"x")


def test_one_that_no_root_vouches_for_is_refused(world: World) -> None:
    """Neither a stranger's root nor the authority's own certificate, nor one with the right name."""
    token = world.tsa.stamp(NOTE)
    assert "issuer certificate" in refused(token, world.stranger)
    assert refused(token, certify("Root"))
    alone = world.other("self-signed", certify_tsa("Self", None)).stamp(NOTE)
    assert "self-signed" in refused(alone, world.root)


@pytest.mark.parametrize(("days", "why"), [((-30, -1), "expired"), ((1, 30), "not yet valid")])
def test_a_certificate_that_did_not_count_at_that_time_is_refused(
    world: World, days: tuple[int, int], why: str
) -> None:
    """What counts is the time in the token."""
    token = world.other(why, certify_tsa("TSA", world.root, days=days)).stamp(NOTE)
    assert why in refused(token, world.root)


def test_one_whose_certificate_expired_since_still_counts(world: World) -> None:
    """A timestamp outlives the certificate of its day: the clock of whoever verifies is not asked."""
    token, last_week = world.tsa.stamp(NOTE), datetime.now(UTC) - timedelta(days=7)
    told = f"{last_week:%Y%m%d%H%M%S}".encode()
    expired = world.other("last-week", certify_tsa("Old TSA", world.root, days=(-30, -1)))
    old = expired.forge(token, edit=lambda info: re.sub(rb"\d{14}Z", told + b"Z", info))
    assert judge(old, world.root) == Timestamp("CN=Old TSA", told_time(old) + 1000)
    assert told_time(old) < told_time(token)


@pytest.mark.parametrize(
    ("purpose", "critical"),
    [(ExtendedKeyUsageOID.CODE_SIGNING, True), (ExtendedKeyUsageOID.TIME_STAMPING, False)],
)
def test_a_certificate_for_another_purpose_is_refused(
    world: World, purpose: x509.ObjectIdentifier, *, critical: bool
) -> None:
    """Any other certificate under the root signs what a genuine token says: it is no authority for time."""
    thief = certify("Server", world.root, purpose=purpose, critical=critical)
    forger = world.other("thief", thief)
    assert "purpose" in refused(forger.forge(world.tsa.stamp(NOTE)), world.root)


def test_the_forger_of_these_tests_makes_good_tokens(world: World) -> None:
    """Otherwise they would show nothing: with an authority's certificate its tokens count."""
    forger = world.other("again", certify_tsa("Second TSA", world.root))
    assert judge(forger.forge(world.tsa.stamp(NOTE)), world.root).authority == "CN=Second TSA"


@pytest.mark.parametrize("name", ["Fake", "A famous authority of which everybody believes everything"])
def test_a_certificate_that_nobody_signed_lends_neither_purpose_nor_name(world: World, name: str) -> None:
    """One beside the signer's, before or behind it, that claims its issuer and number."""
    thief = certify("Server", world.root, purpose=ExtendedKeyUsageOID.CODE_SIGNING)
    for signer in (thief, certify_tsa("Real TSA", world.root)):
        forger = world.other("twin", signer)
        assert refused(forger.forge(world.tsa.stamp(NOTE), _twin(signer.certificate, name)), world.root)


def _twin(model: x509.Certificate, name: str) -> Certified:
    """A certificate that claims to be `model`, with this name, another key and the right purpose."""
    own = certify_tsa(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(own.certificate.subject)
        .issuer_name(model.issuer)
        .public_key(own.key.public_key())
        .serial_number(model.serial_number)
        .not_valid_before(own.certificate.not_valid_before_utc)
        .not_valid_after(own.certificate.not_valid_after_utc)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    )
    return Certified(builder.sign(own.key, model.signature_hash_algorithm), own.key)  # type: ignore[arg-type] # ours


def test_no_flipped_bit_moves_the_time_or_the_authority(world: World) -> None:
    """Each byte in turn: refused by its code, or (bytes that mean nothing) the same answer; nothing else."""
    token = world.tsa.stamp(NOTE)
    honest, bits = judge(token, world.root), random.Random(FLIPS_SEED)
    codes: Counter[str] = Counter()
    for at in range(len(token)):
        edited = bytearray(token)
        edited[at] ^= 1 << bits.randrange(8)
        try:
            assert judge(bytes(edited), world.root) == honest
            codes["accepted"] += 1
        except VerificationError as error:
            codes[error.code] += 1
    assert codes.keys() <= {"accepted", "E_TIMESTAMP"}
    assert codes["accepted"] < len(token) // 20


def test_rubbish_is_refused(world: World) -> None:
    """Nothing raises anything but the code."""
    token = world.tsa.stamp(NOTE)
    bare = decode_timestamp_response(token).time_stamp_token()
    empty = [b"", b"\x00", b"<html></html>", b"\x30\x80", sequence(bytes(300)), bytes(70_000)]
    for data in (*empty, token[:-1], token + b"\n", bare, b"\x30\x03\x02\x01\x00", token[:9]):
        assert refused(data, world.root)
    assert "65536" in refused(token + bytes(room.TIMESTAMP_BYTES_MAX), world.root)


def test_a_refusal_of_the_authority_is_told_in_its_words(world: World) -> None:
    """What comes back for a request that it does not understand."""
    assert "Bad request format" in refused(world.tsa.answer(b"\x30\x00"), world.root)


def test_an_open_timestamp_is_not_judged(world: World) -> None:
    """What it is over is compared, whose it is not."""
    token = world.tsa.stamp(NOTE)
    assert open_timestamp(token, NOTE).tst_info.policy.dotted_string == "1.2.3.4.1"
    with pytest.raises(VerificationError, match="something else"):
        open_timestamp(token, b"x")


def test_roots_are_certificates_in_pem() -> None:
    """One or several, within limits; else a sentence that says so."""
    one = certify("Root")
    assert read_roots(one.pem * 2) == [one.certificate] * 2
    der = one.certificate.public_bytes(Encoding.DER)
    cut = one.pem.replace(b"MII", b"MIX", 1)
    for data in (b"", b"\xff", der, cut, one.pem * (room.ROOTS_MAX + 1), bytes(room.ROOTS_BYTES_MAX + 1)):
        with pytest.raises(FormatError):
            read_roots(data)


def test_openssl_agrees(world: World) -> None:
    """`openssl ts -verify` accepts the token that crownest's request brought, over the same bytes alone."""
    token = world.tsa.stamp(NOTE)
    folder = world.tsa.folder
    (folder / "root.pem").write_bytes(world.root.pem)
    (folder / "run.tsr").write_bytes(token)
    (folder / "run.checkpoint").write_bytes(NOTE)
    args = ("ts", "-verify", "-data", "run.checkpoint", "-in", "run.tsr", "-CAfile", "root.pem")
    assert "Verification: OK" in world.tsa.openssl(*args)
    shown = world.tsa.openssl("ts", "-reply", "-in", "run.tsr", "-text")
    assert format_time(told_time(token))[:4] in shown
    assert parse_time(format_time(told_time(token))) == told_time(token)
    (folder / "run.checkpoint").write_bytes(NOTE + b"x")
    with pytest.raises(AssertionError, match="mismatch"):
        world.tsa.openssl(*args)
