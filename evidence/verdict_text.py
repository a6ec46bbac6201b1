"""Owns a verdict in words: what it is, what was shown, what was not, and what to do when it fails."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from evidence.verdict import COMPLETE, EXIT_UNREADABLE, FAILED, OPEN_PREFIX, REDACTED, WITHHELD, Verdict
from evidence.visible import one_line
from evidence.wording import counted

Paint = Callable[[str, str], str]
"""Shows a text in a style, where that can be shown: `bold`, `dim`, or a colour of `COLOURS`."""

COLOURS = {COMPLETE: "green", REDACTED: "yellow", WITHHELD: "yellow", OPEN_PREFIX: "yellow", FAILED: "red"}
TEXT_CHARS_MIN, TEXT_CHARS_MAX = 40, 96

ANOTHER_COPY = (
    "Fetch the proof from the server again. If that one verifies, this copy was altered on its way; if it "
    "fails too, the server's record itself is in question. Keep both files."
)
RIGHT_PAIR = "Check that you were handed the proof you asked for, and that --run names it."
RIGHT_POLICY = (
    "Check that this is the policy of the server that made the proof. Take a policy from that server or "
    "from someone you trust, never from whoever handed you the proof. After a change of its key a server has "
    "a new policy, which the old key vouches for in its log."
)
RIGHT_KEYS = (
    "If your policy has no line `#crownest attestation <key>`, add the one of the server's policy, which "
    "`crownest policy` or GET /v1/proof/policy shows, or leave attestations out with --allow-unattested. If "
    "it has one, fetch the proof again; if that fails too, ask the server's operator."
)
OLDER = (
    "Fetch a new proof of the run. If the server only has older ones, it hides what you saw before: keep "
    "your pin and ask its operator."
)
TWO_HISTORIES = (
    "Keep this proof and what it contradicts: together they show that two histories were signed. Tell the "
    "server's operator and its other users."
)
LATER = "Fetch the proof again once the run has ended. If it has, the end was taken out: ask where it went."
WITNESSES = "Fetch the proof again: cosignatures may come later. If they never do, ask the server's operator."
KEPT_BACK = (
    "If whoever handed you the proof said that output is withheld, accept that with --allow-withheld. "
    "If nobody said so, something was taken out."
)
CLOCKS = (
    "Without --strict-time this is only a warning: a clock may have jumped. With it, treat the times as "
    "unproven and ask the server's operator."
)

ANOTHER_POLICY = (
    "The policy file is no policy. Take the one you kept, or the server's: crownest policy > trust.policy, "
    "which is what GET /v1/proof/policy answers."
)
ANOTHER_PIN = (
    "The pin is no checkpoint of a run that this policy's keys signed. Take the one you kept; without --pin "
    "the proof is judged alone."
)
ANOTHER_ROOTS = (
    "The file of --tsa-roots must hold certificates in PEM: those that the time-stamping authority publishes "
    "as its root. Without --timestamp the proof is judged alone."
)

REMEDIES = {
    "E_SIG_UNKNOWN_KEY": RIGHT_POLICY,
    "E_KEY_RETIRED": RIGHT_POLICY,
    "E_ORIGIN_MISMATCH": RIGHT_PAIR,
    "E_RUN_MISMATCH": RIGHT_PAIR,
    "E_NOT_FINAL": LATER,
    "E_TRUNCATED": LATER,
    "E_REDACTION_UNRECORDED": KEPT_BACK,
    "E_FORK": TWO_HISTORIES,
    "E_ROLLBACK": OLDER,
    "E_DSSE_SIG": RIGHT_KEYS,
    "E_INCLUSION": ("Fetch the proof again: the global log may have covered it since."),
    "E_WITNESS_QUORUM": WITNESSES,
    "E_WITNESS_SIG": WITNESSES,
    "E_TIMESTAMP": (
        "Check that the timestamp was made for this very proof: one that is fetched again may carry a newer "
        "checkpoint. Check that --tsa-roots holds the authority's root. Without --timestamp the proof is "
        "judged alone."
    ),
    "E_TIME_BEFORE_ANCHOR": CLOCKS,
    "E_TIME_AFTER_WITNESS": CLOCKS,
    "E_LOG_FORK": (
        "Keep the monitor's folder, above all what is in forks/, and compare it with what other monitors and "
        "witnesses saw. Ask the operator whether a backup was restored; if not, the log was rewritten."
    ),
    "E_DOUBLE_SEAL": (
        "Fetch the proof of that run now, and compare it with any that was handed out before: the server "
        "signed a second ending of it."
    ),
    "E_RUN_MISSING": (
        "Ask the server's operator for that run. Its creation is signed in the log, so it existed; whoever "
        "holds a proof of it can show what it was."
    ),
    "E_EVIDENCE_DRIFT": (
        "Do not rely on that evidence. Read it anew with crownest workspace-runs evidence, and compare; "
        "if the sealed one differs from its own events, the server's record is in question."
    ),
}
"""What to do for a code; every other one gets `ANOTHER_COPY`."""

_FILES = (
    ("The policy: ", ANOTHER_POLICY),
    ("The pin: ", ANOTHER_PIN),
    ("The TSA's roots: ", ANOTHER_ROOTS),
)


def remedy(verdict: Verdict) -> str | None:
    """What to do next, or None when the proof was accepted."""
    if verdict.ok:
        return None
    if verdict.verdict == OPEN_PREFIX:
        return (
            "The run may still go on. Fetch the proof again when it has ended, or accept the part that is "
            "here with --allow-open."
        )
    if verdict.exit_code == EXIT_UNREADABLE:
        for file, what in _FILES:
            if file in verdict.message:
                return what
    return REMEDIES.get(verdict.code or "", ANOTHER_COPY)


def verdict_text(
    verdict: Verdict, paint: Paint, *, marks: tuple[str, str] = ("+", "-"), width_chars: int = TEXT_CHARS_MAX
) -> str:
    """The whole verdict, one fact a line, to be read from top to bottom.

    `marks` stand before what was proven and before what was not; `width_chars` is that of the terminal.
    """
    word = paint(paint(verdict.verdict, COLOURS[verdict.verdict]), "bold")
    lines = [f"{word}  {_place(verdict)}".rstrip(), *wrapped(verdict.message, "  ", width_chars)]
    if what := remedy(verdict):
        lines += ["", paint("What to do", "bold"), *wrapped(what, "  ", width_chars)]
    lines += ["", *_facts(verdict, paint)]
    for title, mark, colour, sentences in (
        ("Proven", marks[0], "green", verdict.proven),
        ("Not proven", marks[1], "yellow", verdict.not_proven),
    ):
        if sentences:
            lines += ["", paint(title, "bold")]
            for sentence in sentences:
                first, *rest = wrapped(sentence, "    ", width_chars)
                lines += [f"  {paint(mark, colour)} {first[4:]}", *rest]
    return "\n".join(lines) + "\n"


def _place(verdict: Verdict) -> str:
    """The code, the event and the clause, so that they can be looked up."""
    parts = [verdict.code] if verdict.code else []
    if verdict.code and verdict.seq is not None:
        parts.append(f"at event {verdict.seq}")
    if verdict.clause:
        parts.append(f"(PROOF {verdict.clause})")
    return " ".join(parts)


def _facts(verdict: Verdict, paint: Paint) -> list[str]:
    size = None if verdict.size is None else counted(verdict.size, "event")
    root = f", root {verdict.root}" if verdict.root else ""
    facts = {
        "run" if (verdict.stream or "").startswith("wsr_") else "stream": verdict.stream,
        "checkpoint": f"{size}{root}" if size else None,
        "not before": verdict.not_before or "none",
        "not after": verdict.not_after or "none",
    }
    return [
        f"  {paint(f'{name:<11}', 'dim')} {one_line(text)}"
        for name, text in facts.items()
        if text is not None
    ]


def wrapped(text: str, indent: str, width_chars: int = TEXT_CHARS_MAX) -> list[str]:
    """Wrap at words; text from the bundle cannot command the terminal."""
    return textwrap.wrap(
        one_line(text),
        max(TEXT_CHARS_MIN, min(width_chars, TEXT_CHARS_MAX)),
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,  # a key or a hash is there to be copied
    )
