"""Signs what a sealed run attests, for its bundle and for the route (PROOF P11)."""

from __future__ import annotations

from api.services import Services
from eventstore.views import ViewRow
from evidence.attestation import SealedRun, attest
from evidence.canonical import decode


async def attested(
    services: Services, evidence: ViewRow, checkpoint: bytes, log_index: int | None
) -> dict[str, bytes]:
    """The envelopes by their members of the bundle; `evidence` is the run's row of that view.

    They name the checkpoint, so they are made for each, and the same inputs give the same bytes.
    """
    after_seq = int(evidence.labels["lastPublicSeq"])
    (seal,) = await services.store.read(evidence.id, after_seq, 1, public=False)
    assert seal.payload is not None, "a seal is never redacted"
    return attest(
        SealedRun(evidence.doc, decode(seal.payload), checkpoint, log_index), services.attestation_signer
    )
