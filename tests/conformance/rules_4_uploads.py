"""CONTRACT §4: archives, put directly or staged."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from tests.conformance import mutants, samples
from tests.conformance.proxy import Mutation
from tests.conformance.registry import rule
from tests.conformance.target import (
    Json,
    Target,
    announced,
    archive,
    expect,
    foreign,
    must,
    refused,
)
from tests.conformance.wire import Answer, chunked, request_bytes

RUNS = "/v1/workspace-runs"
DIRECT = f"PUT {RUNS}/*/archive"
TRANSFER = f"POST {RUNS}/*/archive-transfer"
STAGED = f"PUT {RUNS}/*/archive-transfer/*"
FINALIZE = f"POST {RUNS}/*/archive/finalize"
CAP_BYTES = 8 * 1024 * 1024
FIELDS = (
    "id",
    "workspaceRunId",
    "checksumAlgorithm",
    "method",
    "uploadUrl",
    "headers",
    "expiresAt",
    "maxSizeBytes",
    "status",
)


def _transfer(server: Target, data: bytes) -> Json:
    run_id = server.create()["id"]
    return expect(server.post(f"{RUNS}/{run_id}/archive-transfer", announced(data)), 201)["transfer"]


def _finalize(server: Target, transfer: Json, body: Json) -> Answer:
    return server.post(
        f"{RUNS}/{transfer['workspaceRunId']}/archive/finalize", {"uploadId": transfer["id"], **body}
    )


@rule(
    "4.1",
    broken_by={"headers are optional": mutants.instead(DIRECT, 200, {"archive": {}, "workspaceRun": {}})},
)
def rule_4_1_the_headers_are_required(server: Target) -> None:
    """Without or with malformed x-crownest-archive-sha256 or -size the PUT is 400."""
    run_id, data = samples.waiting(server)["id"], archive()
    for name in ("x_crownest_archive_sha256", "x_crownest_archive_size"):
        for bad in ("", "x", "-1"):
            refused(server.upload(run_id, data, **{name: bad}), 400, "invalid_request")


@rule(
    "4.1",
    broken_by={
        "another digest": mutants.setting(DIRECT, "archive.sha256", "0" * 64),
        "another size": mutants.setting(DIRECT, "archive.sizeBytes", 1),
        "the state before": mutants.setting(DIRECT, "workspaceRun.status", "awaiting_archive"),
    },
)
def rule_4_1_the_direct_put(server: Target) -> None:
    """The PUT answers digest and size of what came, and the run as `archive_uploaded`."""
    data = archive({"b.txt": b"b" * 1000})
    answer = expect(server.upload(server.base.create()["id"], data), 200)
    found = {name: answer["archive"][name] for name in ("sha256", "sizeBytes")}
    must(found == announced(data), f"{found}")
    run = answer["workspaceRun"]
    must(run["status"] == "archive_uploaded" and run["archive"] == answer["archive"], f"{run['status']}")


@rule(
    "4.1",
    broken_by={
        "nothing is compared": mutants.instead(DIRECT, 200, {"archive": {}, "workspaceRun": {}}),
        "one code for both": mutants.setting(DIRECT, "error.code", "invalid_request", mutants.is_error),
        "422": mutants.status(DIRECT, 422, mutants.is_error),
    },
)
def rule_4_1_other_bytes_than_announced(server: Target) -> None:
    """Another digest is 400 `upload_checksum_mismatch`, another size `upload_size_mismatch`."""
    run_id, data = server.base.create()["id"], archive()
    wrong = server.upload(run_id, data, x_crownest_archive_sha256="0" * 64)
    refused(wrong, 400, "upload_checksum_mismatch")
    wrong = server.upload(run_id, data, x_crownest_archive_size=str(len(data) + 1))
    refused(wrong, 400, "upload_size_mismatch")
    must(server.base.show(run_id)["status"] == "awaiting_archive", "the run does not wait any more")
    expect(server.base.upload(run_id, data), 200)


@rule(
    "4.1",
    broken_by={
        "a smaller cap": mutants.asking(
            DIRECT,
            lambda r: replace(
                r,
                headers=tuple(
                    (n, str(int(v) + 1) if n == "x-crownest-archive-size" else v) for n, v in r.headers
                ),
            ),
        ),
        "another code": mutants.setting(DIRECT, "error.code", "invalid_request", mutants.is_error),
    },
)
def rule_4_1_the_cap_is_8_mib(server: Target) -> None:
    """8,388,608 bytes pass, one more is 413 `file_too_large`, announced or not."""
    largest = bytes(CAP_BYTES)
    refused(server.upload(samples.waiting(server)["id"], largest + b"\0"), 413, "file_too_large")
    expect(server.upload(server.base.create()["id"], largest), 200)


@rule(
    "4.2",
    broken_by={
        **{f"no {name}": mutants.without(TRANSFER, f"transfer.{name}") for name in FIELDS},
        "another method": mutants.setting(TRANSFER, "transfer.method", "POST"),
        "another algorithm": mutants.setting(TRANSFER, "transfer.checksumAlgorithm", "md5"),
        "another status": mutants.setting(TRANSFER, "transfer.status", "open"),
    },
)
def rule_4_2_the_transfer(server: Target) -> None:
    """A transfer has its nine fields, is PUT and sha256, and `pending`."""
    run_id = server.base.create()["id"]
    body = announced(archive())
    transfer = expect(server.post(f"{RUNS}/{run_id}/archive-transfer", body), 201)["transfer"]
    must(not (missing := [name for name in FIELDS if name not in transfer]), f"no {missing}")
    told = (transfer["method"], transfer["checksumAlgorithm"], transfer["status"], transfer["workspaceRunId"])
    must(told == ("PUT", "sha256", "pending", run_id), f"{told}")
    must(transfer["id"].startswith("upl_") and transfer["maxSizeBytes"] >= CAP_BYTES, f"{transfer}")


@rule(
    "4.2",
    broken_by={
        "only with Content-Length": Mutation(
            request=lambda r: mutants.made(411, {"error": {}}, {}) if r.header("transfer-encoding") else None
        ),
        "another digest": mutants.setting(FINALIZE, "archive.sha256", "0" * 64),
    },
)
def rule_4_2_chunked_or_not(server: Target) -> None:
    """The staged PUT takes a body with Content-Length and one in chunks."""
    data = archive({"b.bin": hashlib.sha256(b"seed").digest() * 4000})
    for split in (False, True):
        transfer = _transfer(server.base, data)
        headers = server.headers(content_type="application/gzip", **transfer["headers"])
        headers |= {"transfer-encoding": "chunked"} if split else {"content-length": str(len(data))}
        body = chunked(data, 1000) if split else data
        with server.connect() as connection:
            connection.send(request_bytes("PUT", transfer["uploadUrl"], headers, body))
            must((status := connection.answer().status) == 204, f"{status} with chunks: {split}")
        finalized = expect(_finalize(server, transfer, announced(data)), 200)["archive"]
        must(finalized["sha256"] == announced(data)["sha256"], "other bytes arrived")


@rule(
    "4.2",
    broken_by={
        "finalize believes": mutants.instead(FINALIZE, 200, {"archive": {}, "workspaceRun": {}}),
        "one code for all": mutants.setting(FINALIZE, "error.code", "invalid_request", mutants.is_error),
        "422": mutants.status(FINALIZE, 422, mutants.is_error),
    },
)
def rule_4_2_finalize_verifies(server: Target) -> None:
    """Finalize is 409 before the bytes, 404 for another upload, 400 for another digest or size."""
    data = archive()
    transfer = _transfer(server.base, data)
    body = announced(data)
    refused(_finalize(server, transfer, body), 409, "upload_incomplete")
    must(server.base.put(transfer["uploadUrl"], data).status == 204, "the bytes are not taken")
    refused(_finalize(server, {**transfer, "id": foreign("upl")}, body), 404, "upload_not_found")
    refused(_finalize(server, transfer, {**body, "sha256": "0" * 64}), 400, "upload_checksum_mismatch")
    refused(_finalize(server, transfer, {**body, "sizeBytes": 1}), 400, "upload_size_mismatch")
    answer = expect(
        server.base.post(
            f"{RUNS}/{transfer['workspaceRunId']}/archive/finalize", {"uploadId": transfer["id"], **body}
        ),
        200,
    )
    must(answer["workspaceRun"]["status"] == "archive_uploaded", "the run does not move on")


@rule("4.2", broken_by={"finalize again is a conflict": mutants.status(FINALIZE, 409)})
def rule_4_2_finalize_again(server: Target) -> None:
    """The same finalize again, and the same upload by the other way, answer the same."""
    data = archive()
    transfer = _transfer(server.base, data)
    server.base.put(transfer["uploadUrl"], data)
    first = expect(_finalize(server, transfer, announced(data)), 200)
    must(expect(_finalize(server, transfer, announced(data)), 200) == first, "another answer")
    again = expect(server.upload(transfer["workspaceRunId"], data), 200)
    must(again["archive"] == first["archive"], "another archive")


@rule("4.2", broken_by={"transfers of others": mutants.instead(STAGED, 204)})
def rule_4_2_transfers_belong_to_their_run(server: Target) -> None:
    """A transfer is found only below its own run."""
    transfer, other = samples.open_transfer(server), server.base.create()["id"]
    path = f"{RUNS}/{other}/archive-transfer/{transfer['id']}"
    refused(server.put(path, archive()), 404, "upload_not_found", "not_found")


@rule("4.2", broken_by={"a different bearer is fine": mutants.instead(STAGED, 204)})
def rule_4_2_the_staged_put_needs_the_bearer(server: Target) -> None:
    """The staged PUT is authenticated as every other route."""
    refused(server.put(samples.open_transfer(server)["uploadUrl"], archive(), authorization=""), 401)


@rule(
    "4.2",
    broken_by={
        "finalize is not needed": mutants.instead(f"POST {RUNS}/*/start", 200, {"workspaceRun": {}}),
        "another archive than sent": mutants.setting("GET **/events", "data.data", lambda d: d and "x"),
    },
)
def rule_4_2_the_order_of_run_archive(server: Target) -> None:
    """The calls of `run-archive` in their order end in the output of the files that were sent."""
    data = archive({"hello.txt": b"hello\n"})
    run_id = server.create("cat hello.txt")["id"]
    path = f"{RUNS}/{run_id}"
    transfer = expect(server.post(f"{path}/archive-transfer", announced(data)), 201)["transfer"]
    must(server.put(transfer["uploadUrl"].removeprefix(server.origin), data).status == 204, "no 204")
    refused(server.post(f"{path}/start"), 409, "upload_incomplete", "conflict")
    expect(_finalize(server, transfer, announced(data)), 200)
    expect(server.post(f"{path}/start"), 200)
    server.base.finished(run_id)
    printed = [event["data"] for event in server.events(run_id) if event["type"] == "stdout"]
    must(printed == ["hello\n"], f"{printed}")


@rule("4", broken_by={"no details": mutants.without(TRANSFER, "error.details", when=mutants.is_error)})
def rule_4_bad_announcements(server: Target) -> None:
    """A transfer needs a sha256 and a size that are some."""
    path = f"{RUNS}/{samples.waiting(server)['id']}/archive-transfer"
    good = announced(archive())
    for bad in (
        {},
        {**good, "sha256": "x"},
        {**good, "sizeBytes": -1},
        {**good, "sizeBytes": "5"},
        {**good, "sizeBytes": 1.5},
    ):
        must(refused(server.post(path, bad), 400, "invalid_request").get("details"), "no field is named")
