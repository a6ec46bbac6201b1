"""Owns the options of a check in words, for both commands that have them."""

from __future__ import annotations

SUMMARY = "Check a proof offline, trusting only a policy file."
EXITS = "Exits 0 when the proof is accepted, 1 when it is not, 2 when a file cannot be read."
FILE = "PROOF.ZIP|EVIDENCE.JSON"

POLICY = "Whose signatures you trust: the file of crownest policy, kept apart from proofs."
RUN = "The run that the proof must be of."
BUNDLE = "The proof that an evidence.json is checked against."
PIN = "A run.checkpoint that you kept from earlier: the proof must continue it."
TIMESTAMP = "A timestamp of the proof, as crownest timestamp writes it."
TSA_ROOTS = "Root certificates (PEM) of the authorities that you believe."
JOBS = "Processes that share the work; more than one pays from some 300,000 events on."
JSON = 'Print { "data": verdict }.'

TSA_ABSENT = "Timestamps need the package rfc3161-client, which is not installed."
TSA_INSTALL = "Type: pip install 'crownest-server[tsa]', or for crownest-verify: pip install rfc3161-client."

JOBS_MAX = 64
"""Processes that a check may start."""

FLAGS = {
    "allow_open": "Accept the proof of a run that has not ended.",
    "allow_withheld": "Accept output that was withheld when the proof was shared.",
    "allow_unlogged": "Accept a sealed run that the server's global log is not shown to hold.",
    "allow_unattested": "Accept a sealed run without attestations, or a policy without a key for them.",
    "strict_time": "Fail, not only warn, on times outside the proven window.",
}
"""The flags that loosen or tighten the check, by the names that `evidence.verdict.Options` has for them."""


def flag(name: str) -> str:
    """How a flag is written: `--allow-open`."""
    return f"--{name.replace('_', '-')}"
