"""Screens what can never be erased for credentials: command and metadata stand in several events (PROOF P7).

Only shapes that are credentials beyond doubt are refused; what is secret otherwise, nobody but the caller
can know, and the documentation says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from runs.refusal import Refusal

CREDENTIALS = {
    "a CrowNest API key": re.compile(r"\bcn_live_[0-9a-f]{32,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})"),
    "a Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
}


def screen(fields: Iterable[tuple[str, str]]) -> None:
    """Refuse texts, each with the name of its field, that hold a credential."""
    for name, text in fields:
        for what, shape in CREDENTIALS.items():
            if shape.search(text):
                raise Refusal(
                    "invalid_request",
                    f"{name} holds what looks like {what}. Command and metadata are part of the proof and "
                    "can never be erased. Put it into a file of the archive instead.",
                    {"field": name},
                )
