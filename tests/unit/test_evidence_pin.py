"""The pin: what an auditor kept is read strictly, and the remedies for their own files are told."""

from __future__ import annotations

import io

import pytest

from evidence.bundle import Bundle
from evidence.checkpoint import Checkpoint
from evidence.note import Ed25519Signer, sign_note
from evidence.pin import PinError, read_pin
from evidence.policy import format_policy, parse_policy
from evidence.report import unreadable_verdict
from evidence.verdict_text import ANOTHER_COPY, ANOTHER_PIN, ANOTHER_POLICY, remedy, verdict_text
from tests.evidence_samples import HONEST, LOG_KEY, ORIGIN, POLICY, RUN, flipped, judge, signer

TRUSTED = parse_policy(POLICY)
NOTE = Bundle(io.BytesIO(HONEST)).checkpoint
TEXT = NOTE.partition(b"\n\n")[0] + b"\n"
STRANGER = Ed25519Signer.generate("elsewhere.example/x")


def test_a_note_and_its_three_lines_are_the_same_pin() -> None:
    """`run.checkpoint` as it lies in a bundle, or what a person copied from it."""
    pin = read_pin(NOTE, TRUSTED)
    assert (pin.origin_line, pin.size) == (f"{ORIGIN}/run/{RUN}", 16)
    assert read_pin(TEXT, TRUSTED) == pin
    assert str(pin).encode() == TEXT
    verdict = judge(HONEST, pin=pin)
    assert verdict.ok
    assert "It continues the checkpoint of 16 events that you pinned." in verdict.proven


def test_a_key_that_the_policy_names_is_enough() -> None:
    """An earlier key that is still listed, and signatures of others beside it."""
    earlier = signer(secret="earlier")
    policy = parse_policy(format_policy(LOG_KEY.verifier_key, retired={earlier.verifier_key: 7}))
    note = sign_note(TEXT.decode(), earlier, STRANGER)
    assert read_pin(note, policy) == read_pin(TEXT, policy)
    with pytest.raises(PinError, match="no signature is by a key"):
        read_pin(note, TRUSTED)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "three lines"),
        (TEXT[:-1], "three lines"),
        (TEXT + b"extension\n", "three lines"),
        (TEXT.replace(b"\n16\n", b"\n016\n"), "leading zeros"),
        (TEXT.replace(b"\n16\n", b"\n17\n") + NOTE[len(TEXT) :], "does not fit"),
        (TEXT.replace(b"\n16\n", b"\n0\n"), "pins nothing"),
        (flipped(NOTE, len(NOTE) - 40), "does not fit"),
        (sign_note(TEXT.decode(), STRANGER), "no signature is by a key"),
        (sign_note("hello\n", LOG_KEY), "three lines"),
        (str(Checkpoint(ORIGIN, 16, bytes(32))).encode(), "run checkpoint"),  # of the global log
        (TEXT.replace(b"/run/", b"/org/"), "run checkpoint"),
        (b"\xff" + TEXT, "ascii"),
        (NOTE + b"x" * 65536, "at most"),
    ],
)
def test_what_is_no_pin_is_refused(data: bytes, part: str) -> None:
    """One spelling, rightly signed if signed at all."""
    with pytest.raises(PinError, match=part):
        read_pin(data, TRUSTED)


@pytest.mark.parametrize(
    ("reason", "what"),
    [
        ("The policy: policy line 1: a control character.", ANOTHER_POLICY),
        ("The pin: not a kept run checkpoint.", ANOTHER_PIN),
        ("The bundle: the zip is cut.", ANOTHER_COPY),
    ],
)
def test_each_of_the_auditors_files_has_its_remedy(reason: str, what: str) -> None:
    """What cannot be read is named, and what to do about that file."""
    verdict = unreadable_verdict(reason)
    assert remedy(verdict) == what
    words = " ".join(verdict_text(verdict, lambda text, _: text).split())
    assert what in words
    assert reason in words


def test_styles_are_for_whoever_shows_it() -> None:
    """The wording asks for styles by name and knows no terminal."""
    asked: set[str] = set()

    def note(text: str, style: str) -> str:
        asked.add(style)
        return f"<{text}>"

    text = verdict_text(judge(HONEST), note, marks=("yes", "no"))
    assert asked == {"bold", "dim", "green", "yellow"}
    assert text.startswith("<<COMPLETE>>\n")
    assert "\n  <yes> The checkpoint of" in text
    assert "\n  <no> That the command told the truth" in text
