"""The requests of a run's life, from the plan and earlier answers: the same bytes at every retry."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from tests.simulation.ledger import Plan, Run
from tests.simulation.plans import ARTIFACT_PATH, archive, command

RUNS = "/v1/workspace-runs"


@dataclass(frozen=True, slots=True)
class Request:
    """One request with an effect; `key` is its idempotency key, None where the contract has none."""

    method: str
    path: str
    body: bytes
    key: str | None
    headers: Mapping[str, str] = field(default_factory=dict)


def steps(plan: Plan) -> tuple[str, ...]:
    """The effects by which a run gets to its start (or to its cancel), in order."""
    upload = ("transfer", "put", "finalize") if plan.staged else ("upload",)
    return ("create", *upload, *(("start",) if plan.start else ()))


def request_of(run: Run, name: str) -> Request:
    """The request of this step; what it needs from earlier answers must be there."""
    plan, key, path = run.plan, f"{run.plan.op}-{name}", f"{RUNS}/{run.run_id}"
    if name == "create":
        return Request("POST", RUNS, _create_body(plan), key)
    if name in {"start", "cancel"}:
        return Request("POST", f"{path}/{name}", b"", key)
    data, sha256 = packed(plan)
    announced: dict[str, object] = {"sha256": sha256, "sizeBytes": len(data)}
    if name == "upload":
        headers = {
            "content-type": "application/gzip",
            "x-crownest-archive-sha256": sha256,
            "x-crownest-archive-size": str(len(data)),
        }
        return Request("PUT", f"{path}/archive", data, key, headers)
    if name == "transfer":
        return Request("POST", f"{path}/archive-transfer", orjson.dumps(announced), key)
    made = run.acknowledged("transfer")
    assert made is not None, f"{name} follows transfer"
    transfer = orjson.loads(made.body)["transfer"]
    if name == "put":
        return Request("PUT", transfer["uploadUrl"], data, None)
    assert name == "finalize", name
    announced["uploadId"] = transfer["id"]
    return Request("POST", f"{path}/archive/finalize", orjson.dumps(announced), key)


@functools.lru_cache(maxsize=256)
def packed(plan: Plan) -> tuple[bytes, str]:
    """The archive and its lowercase hex sha256."""
    data = archive(plan)
    return data, hashlib.sha256(data).hexdigest()


def _create_body(plan: Plan) -> bytes:
    artifacts = [{"path": ARTIFACT_PATH}] if plan.artifact else []
    return orjson.dumps(
        {
            "command": command(plan),
            "keepSandbox": plan.keep,
            "metadata": {"op": plan.op},
            "artifacts": artifacts,
        }
    )
