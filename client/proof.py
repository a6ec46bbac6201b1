"""The client's methods of evidence and proof: what auditors ask for (CONTRACT §2.1, PROOF)."""

from __future__ import annotations

from collections.abc import Sequence

from client.runs import RUNS
from client.shapes import JsonObject
from client.wire import Methods, Sink, at, given, idempotency, objects, unwrapped


class ProofMethods(Methods):
    """Evidence, bundles, checkpoints, erasure and the log's keys."""

    def evidence(self, run_id: str) -> JsonObject:
        """GET …/evidence: the Evidence Bundle, with the wire's `proof` key (CONTRACT §3.5, §6.6)."""
        return unwrapped(self._transport.json("GET", at(RUNS, run_id, "evidence")), "evidence")

    def proof_bundle(
        self, run_id: str, out: Sink, *, without: tuple[str, ...] = (), artifacts: bool = False
    ) -> int:
        """Write the proof bundle (PROOF P8), a zip, to `out`; answers its size in bytes."""
        params = given(without=",".join(without) or None, artifacts="true" if artifacts else None)
        return self._download(at(RUNS, run_id, "proof/bundle"), out, "application/zip", params)

    def checkpoint(self, run_id: str) -> str:
        """GET …/proof/checkpoint: the signed note at the present size (PROOF P4.3)."""
        return self._transport.text(at(RUNS, run_id, "proof/checkpoint"))

    def proof_events(self, run_id: str, *, after_seq: int, limit: int) -> bytes:
        """GET …/proof/events: a window of events and its range proof, unchecked (PROOF P3.4)."""
        params = {"afterSeq": after_seq, "limit": limit}
        return self._transport.document(at(RUNS, run_id, "proof/events"), params)

    def proof_consistency(self, run_id: str, size1: int, size2: int) -> bytes:
        """GET …/proof/consistency from `size1` events to `size2`, unchecked (PROOF P3.2)."""
        sizes = {"from": size1, "to": size2}
        return self._transport.document(at(RUNS, run_id, "proof/consistency"), sizes)

    def redact(
        self, run_id: str, targets: Sequence[int], reason: str, *, idempotency_key: str | None = None
    ) -> JsonObject:
        """POST …/redactions: erase the payloads of these output events (PROOF P7)."""
        answer = self._transport.json(
            "POST",
            at(RUNS, run_id, "redactions"),
            body={"targets": list(targets), "reason": reason},
            headers=idempotency(idempotency_key),
        )
        return unwrapped(answer, "redaction")

    def signing_keys(self) -> list[JsonObject]:
        """GET /v1/signing-keys: the log's keys, newest first (PROOF P6)."""
        return objects(self._transport.json("GET", "/v1/signing-keys"))

    def rotate_signing_key(self) -> JsonObject:
        """POST /v1/signing-keys/rotate: a new key, vouched for by the old one (PROOF P6)."""
        return unwrapped(self._transport.json("POST", "/v1/signing-keys/rotate"), "signingKey")

    def policy(self) -> str:
        """GET /v1/proof/policy: whose signatures the proofs carry (PROOF P6). No credential needed."""
        return self._transport.text("/v1/proof/policy")

    def verify_on_server(self, run_id: str) -> JsonObject:
        """POST …/verify: the server's own verdict over its stored bytes, which proves nothing about it."""
        answer = self._transport.json("POST", at(RUNS, run_id, "verify"))
        return unwrapped(answer, "verdict")
