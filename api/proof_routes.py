"""Routes of the proof: checkpoint, bundle, the server's own verdict, the trust policy (CONTRACT §2.1)."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from api.attesting import attested
from api.bundles import write_bundle_file
from api.checking import verify_run as verified
from api.files import WholeFile
from api.queries import SEQ_MAX, after_seq, flag, integer, json_response
from api.services import Services, principal_of, services_of
from api.windows import consistency_text, signed_checkpoint, window_text
from evidence.canonical import encode
from runs.refusal import Refusal

router = APIRouter(prefix="/v1")
WITHHOLDABLE = frozenset({"stdout", "stderr"})
"""Only output can be held back: everything else is needed to fold the evidence again (P7)."""


@router.get("/proof/policy")
async def get_policy(request: Request) -> Response:
    """The policy file an auditor keeps apart from every bundle; needs no key."""
    return PlainTextResponse(services_of(request).policy())


@router.get("/workspace-runs/{run_id}/proof/checkpoint")
async def get_checkpoint(request: Request, run_id: str) -> Response:
    """The signed run checkpoint at the present size (P4.3)."""
    services, who = services_of(request), await principal_of(request)
    await services.runs.get(who, run_id)
    return PlainTextResponse((await signed_checkpoint(services, run_id))[1])


@router.get("/workspace-runs/{run_id}/proof/events")
async def get_proof_events(request: Request, run_id: str) -> Response:
    """A window of events, internal ones included, that proves itself against the signed root (P3.4)."""
    services, who = services_of(request), await principal_of(request)
    await services.runs.get(who, run_id)
    return await window_answer(request, services, run_id)


@router.get("/workspace-runs/{run_id}/proof/consistency")
async def get_proof_consistency(request: Request, run_id: str) -> Response:
    """That the first `from` events are unchanged among `to`, which is the present size if left out (P3.2)."""
    services, who = services_of(request), await principal_of(request)
    await services.runs.get(who, run_id)
    return await consistency_answer(request, services, run_id)


@router.get("/workspace-runs/{run_id}/proof/bundle")
async def get_bundle(request: Request, run_id: str) -> Response:
    """The proof bundle; `without=stdout,stderr` holds output back, `artifacts=true` adds contents."""
    services, who = services_of(request), await principal_of(request)
    await services.runs.get(who, run_id)
    artifacts = flag(request, "artifacts")
    if artifacts:
        who.require("artifact:read")
    without = frozenset(filter(None, request.query_params.get("without", "").split(",")))
    if not without <= WITHHOLDABLE:
        raise Refusal("invalid_request", "without may name stdout and stderr.", {"field": "without"})
    return bundle_answer(
        run_id, await write_bundle_file(services, run_id, without=without, artifacts=artifacts)
    )


@router.get("/workspace-runs/{run_id}/attestations")
async def get_attestations(request: Request, run_id: str) -> Response:
    """A page of DSSE envelopes, signed over the run as it stands; none before it has ended (P11)."""
    services, who = services_of(request), await principal_of(request)
    await services.runs.get(who, run_id)
    evidence = await services.store.get_view("evidence", run_id)
    envelopes: list[bytes] = []
    if evidence is not None:
        checkpoint, note = await signed_checkpoint(services, run_id)
        index = await services.global_log.index_of(run_id, checkpoint.size)
        envelopes = list((await attested(services, evidence, note, index)).values())
    return json_response(b'{"data":[' + b",".join(envelopes) + b'],"hasMore":false}')


@router.post("/workspace-runs/{run_id}/verify")
async def verify_run(request: Request, run_id: str) -> Response:
    """`{verdict}`: the auditor's own code over the stored bytes. A convenience, no substitute for it."""
    services, who = services_of(request), await principal_of(request)
    run = await services.runs.get(who, run_id)
    return json_response(encode({"verdict": await verified(services, run)}))


async def window_answer(request: Request, services: Services, stream: str) -> Response:
    """`afterSeq` and `limit` of a window of a stream that the caller may read."""
    limits = services.limits
    limit = integer(request, ("limit",), limits.events_page_default, 1, limits.events_page_max)
    return PlainTextResponse(await window_text(services, stream, after_seq(request), limit))


async def consistency_answer(request: Request, services: Services, stream: str) -> Response:
    """`from` and `to` of a stream that the caller may read."""
    size1 = integer(request, ("from",), 0, 1, SEQ_MAX)
    size2 = integer(request, ("to",), 0, 1, SEQ_MAX) if "to" in request.query_params else None
    return PlainTextResponse(await consistency_text(services, stream, size1, size2))


def bundle_answer(stream: str, path: Path) -> Response:
    """The bundle of a stream, removed once it is sent."""
    headers = {"content-disposition": f'attachment; filename="{stream}.proof.zip"'}
    return WholeFile(path, media_type="application/zip", headers=headers, remove=True)
