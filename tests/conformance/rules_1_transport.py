"""CONTRACT §1: transport, authentication, ids, timestamps, pagination, scopes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.conformance import mutants, samples
from tests.conformance.registry import rule
from tests.conformance.target import Target, announced, archive, expect, foreign, fresh, must, refused

RUNS = "/v1/workspace-runs"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ID = re.compile(r"[a-z]+_[A-Za-z0-9]+")
ID_SUFFIX = re.compile(r"[a-z2-7]{26}")
PREFIXES = {
    "id": "wsr",
    "orgId": "org",
    "projectId": "prj",
    "sandboxId": "sbx",
    "commandId": "cmd",
    "templateId": "tpl",
    "templateVersionId": "tplv",
}


@rule("1", broken_by={"strict bodies": mutants.instead(f"POST {RUNS}", 400, {"error": {}})})
def rule_1_unknown_fields_are_tolerated(server: Target) -> None:
    """A field that the server does not know changes nothing."""
    body = {"command": "true", "env": {"A": "b"}, "futureField": [1, {"deep": None}]}
    expect(server.post(RUNS, body), 201)


@rule(
    "1",
    broken_by={
        "latin-1": mutants.header("GET **", "content-type", "application/json; charset=latin-1"),
        "text": mutants.header("GET **", "content-type", "text/plain"),
    },
)
def rule_1_json_is_utf_8(server: Target) -> None:
    """JSON answers are `application/json`, in UTF-8."""
    word = f"Grüße {fresh()} 😀"
    run_id = server.base.create(f"echo {word}")["id"]
    answer = server.get(f"{RUNS}/{run_id}")
    kind, _, charset = (answer.header("content-type") or "").lower().partition(";")
    must(kind == "application/json" and charset.strip() in {"", "charset=utf-8"}, f"{kind};{charset}")
    must(answer.json["workspaceRun"]["command"] == f"echo {word}", "the text changed on its way")


@rule(
    "1",
    broken_by={
        "open doors": mutants.asking(
            "GET /v1/projects",
            lambda r: replace(r, headers=(*r.headers, ("x-anyone", "1")), method="GET", path="/healthz"),
        )
    },
)
def rule_1_a_bearer_is_needed(server: Target) -> None:
    """A missing, malformed or unknown credential is 401, and the scheme's case does not matter."""
    for bad in ("", "Bearer", "Bearer ", "Bearer cn_live_unknown", f"Basic {server.key}", server.key):
        refused(server.get("/v1/projects", authorization=bad), 401, "unauthorized", "invalid_api_key")
    expect(server.get("/v1/projects", authorization=f"bearer {server.key}"), 200)


@rule(
    "1",
    broken_by={
        "the body is judged first": mutants.instead(
            f"POST {RUNS}", 400, {"error": {"code": "invalid_request", "message": "x"}}
        )
    },
)
def rule_1_strangers_learn_nothing(server: Target) -> None:
    """Without a credential every product route is 401, whatever was asked."""
    refused(server.post(RUNS, {"command": 1}, authorization=""), 401)
    refused(server.get(f"{RUNS}/{foreign('wsr')}", authorization=""), 401)
    refused(server.delete(f"/v1/artifacts/{foreign('art')}", authorization=""), 401)


@rule(
    "1",
    broken_by={
        "long keys pass": mutants.asking(
            f"POST {RUNS}",
            lambda r: replace(
                r, headers=tuple((n, v[:255] if n == "idempotency-key" else v) for n, v in r.headers)
            ),
        )
    },
)
def rule_1_idempotency_keys_have_1_to_255_characters(server: Target) -> None:
    """1 and 255 characters pass, 256 are refused, and no key is needed."""
    expect(server.post(RUNS, {"command": "true"}), 201)
    expect(server.post(RUNS, {"command": "true"}, idempotency_key="k" * 239 + fresh()), 201)
    refused(server.post(RUNS, {"command": "true"}, idempotency_key="k" * 256), 400, "invalid_request")


@rule(
    "1",
    broken_by={
        "no id on answers": mutants.header("GET /v1/projects", "x-request-id", None),
        "no id on refusals": mutants.header("GET **", "x-request-id", None, mutants.is_error),
        "always the same": mutants.header("GET **", "x-request-id", "req_same"),
        "another id in the error": mutants.setting("GET **", "error.requestId", "req_x", mutants.is_error),
        "no id in the error": mutants.without("GET **", "error.requestId", when=mutants.is_error),
    },
)
def rule_1_every_answer_has_a_request_id(server: Target) -> None:
    """`x-request-id` is on every answer, unlike any other, and an error's `requestId` is the same."""
    seen = set[str]()
    path = f"{RUNS}/{samples.finished(server)['id']}/events?stream=true"
    for asked in ("/v1/projects", "/v1/nowhere", f"{RUNS}/{foreign('wsr')}", path):
        answer = server.get(asked)
        named = answer.header("x-request-id")
        must(named and named not in seen, f"x-request-id of {asked} is {named}")
        seen.add(str(named))
        must(answer.status < 400 or answer.json["error"]["requestId"] == named, "requestId differs")


@rule(
    "1",
    broken_by={
        "no retryable": mutants.without("* **", "error.retryable", when=mutants.is_error),
        "a string": mutants.setting("* **", "error.retryable", "false", mutants.is_error),
        "everything can be retried": mutants.setting("* **", "error.retryable", True, mutants.is_error),
    },
)
def rule_1_errors_say_whether_to_retry(server: Target) -> None:
    """`error.retryable` is a boolean, false for what never gets better."""
    for answer in (
        server.get("/v1/nowhere"),
        server.post(RUNS, {}),
        server.get("/v1/projects", authorization=""),
    ):
        must(refused(answer, answer.status)["retryable"] is False, "retryable is not false")


def _values(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _values(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, name)
    else:
        yield name, value


@rule(
    "1",
    broken_by={
        "seconds": mutants.setting("GET **", "workspaceRun.createdAt", "2026-06-17T12:00:00Z"),
        "microseconds": mutants.setting("GET **", "workspaceRun.finishedAt", "2026-06-17T12:00:00.000000Z"),
        "an offset": mutants.setting("GET **/events", "data.createdAt", "2026-06-17T12:00:00.000+00:00"),
        "a number": mutants.setting("GET **", "artifact.createdAt", 1781697600),
    },
)
def rule_1_timestamps_are_utc_with_milliseconds(server: Target) -> None:
    """Every `…At` is ISO 8601 in UTC with milliseconds and `Z`."""
    run = samples.finished(server)
    path = f"{RUNS}/{run['id']}"
    for asked in (
        path,
        f"{path}/events",
        f"{path}/evidence",
        f"/v1/artifacts/{run['artifactIds'][0]}",
        f"/v1/sandboxes/{run['sandboxId']}",
        "/v1/projects",
    ):
        for name, value in _values(expect(server.get(asked), 200)):
            timely = not name.endswith("At") or (isinstance(value, str) and TIME.fullmatch(value))
            must(timely, f"{name} is {value!r}")


@rule(
    "1",
    broken_by={
        "another prefix": mutants.setting(
            "GET **", "workspaceRun.sandboxId", lambda i: i.replace("sbx", "box")
        ),
        "two underscores": mutants.setting("GET **", "workspaceRun.id", lambda i: i.replace("_", "_x_")),
        "a uuid": mutants.setting("GET **", "workspaceRun.orgId", "8c5c2f0e-9a0b-4a66-8f3a-0d9f0e9b1c11"),
        "a short suffix": mutants.setting("GET **", "workspaceRun.commandId", "cmd_abc"),
    },
)
def rule_1_ids_have_a_prefix_and_a_plain_suffix(server: Target) -> None:
    """`<prefix>_<suffix>` with one underscore; our suffixes are 26 characters of base32 (§11)."""
    run = expect(server.get(f"{RUNS}/{samples.finished(server)['id']}"), 200)["workspaceRun"]
    found = {**{PREFIXES[name]: run[name] for name in PREFIXES}, "art": run["artifactIds"][0]}
    for prefix, named in found.items():
        must(ID.fullmatch(named) and named.startswith(f"{prefix}_"), f"{named!r} is no {prefix} id")
        ours = prefix.startswith("tpl") or ID_SUFFIX.fullmatch(named.partition("_")[2])
        must(ours, f"the suffix of {named!r} is not of 26 characters")


@rule(
    "1",
    broken_by={
        "upper case is refused": mutants.instead(f"POST {RUNS}/*/archive-transfer", 400, {"error": {}}),
        "kept as it came": mutants.setting("PUT **/archive", "archive.sha256", str.upper),
    },
)
def rule_1_digests_are_normalised(server: Target) -> None:
    """A sha256 is accepted in either case, and shown in lower case."""
    data, run_id = archive(), server.base.create()["id"]
    digest = announced(data)["sha256"]
    body = {"sha256": digest.upper(), "sizeBytes": len(data)}
    expect(server.post(f"{RUNS}/{run_id}/archive-transfer", body), 201)
    shown = expect(server.upload(run_id, data, x_crownest_archive_sha256=digest.upper()), 200)
    must(shown["archive"]["sha256"] == digest, f"the digest is shown as {shown['archive']['sha256']}")


@rule(
    "1",
    broken_by={
        "the cursor does not change": mutants.setting(f"GET {RUNS}", "nextCursor", "c3R1Y2s"),
        "hasMore without a cursor": mutants.without(f"GET {RUNS}", "nextCursor"),
        "a cursor on the last page": mutants.edited(
            f"GET {RUNS}", lambda p: {**p, "nextCursor": p.get("nextCursor", "x")}
        ),
        "null on the last page": mutants.edited(f"GET {RUNS}", lambda p: {"nextCursor": None, **p}),
        "hasMore missing": mutants.without(f"GET {RUNS}", "hasMore"),
        "the last row again": mutants.setting(f"GET {RUNS}", "data", lambda d: [*d, d[-1]]),
        "a row is lost": mutants.setting(f"GET {RUNS}", "data", lambda d: d[:-1]),
    },
)
def rule_1_pages_lead_to_every_row_once(server: Target) -> None:
    """`nextCursor` changes, is there exactly while `hasMore`, and the pages hold each row once."""
    many, cursor, seen = samples.many(server), "", list[str]()
    cursors = set[str]()
    for _ in range(10):
        page = expect(server.get(f"{RUNS}?metadata.many={many['word']}&limit=20{cursor}"), 200)
        seen += [run["id"] for run in page["data"]]
        must(isinstance(page["hasMore"], bool), "hasMore is no boolean")
        must(("nextCursor" in page) == page["hasMore"], "nextCursor and hasMore disagree")
        if not page["hasMore"]:
            break
        must(page["nextCursor"] not in cursors, "the cursor does not change")
        cursors.add(page["nextCursor"])
        cursor = f"&cursor={page['nextCursor']}"
    must(
        seen == many["ids"][::-1], f"{len(seen)} rows, {len(set(seen))} different ones, of {len(many['ids'])}"
    )


@rule(
    "1",
    broken_by={
        "clamped silently": mutants.query(f"GET {RUNS}", lambda p: re.sub(r"limit=[^&]*", "limit=50", p)),
        "cursors are not read": mutants.query(f"GET {RUNS}", lambda p: re.sub(r"cursor=[^&]*", "a=b", p)),
    },
)
def rule_1_limits_are_1_to_500(server: Target) -> None:
    """`limit` 1 and 500 pass; outside, or no number, is 400; so is a cursor that nobody gave out."""
    for good in ("1", "500"):
        expect(server.get(f"{RUNS}?limit={good}"), 200)
    for bad in ("0", "501", "-1", "1.5", "ten", ""):
        refused(server.get(f"{RUNS}?limit={bad}"), 400, "invalid_request")
    refused(server.get(f"{RUNS}?cursor=%21%21"), 400, "invalid_request")


@rule(
    "1.1",
    needs="api_keys",
    broken_by={"scopes are not asked for": mutants.instead(f"POST {RUNS}", 201, {"workspaceRun": {}})},
)
def rule_1_1_a_missing_scope_is_403(server: Target) -> None:
    """A key without the scope is `forbidden`; projects need none."""
    narrow = f"Bearer {samples.narrow_key(server)}"
    run = samples.finished(server)
    refused(server.post(RUNS, {"command": "true"}, authorization=narrow), 403, "forbidden")
    refused(server.post(f"{RUNS}/{run['id']}/cancel", authorization=narrow), 403, "forbidden")
    refused(server.get(f"/v1/artifacts/{run['artifactIds'][0]}", authorization=narrow), 403, "forbidden")
    refused(server.get("/v1/sandboxes", authorization=narrow), 403, "forbidden")
    expect(server.get(f"{RUNS}/{run['id']}", authorization=narrow), 200)
    expect(server.get("/v1/projects", authorization=narrow), 200)


@rule("1.1", broken_by={"foreign ids are 403": mutants.status("GET **", 403, mutants.is_error)})
def rule_1_1_invisible_resources_are_404(server: Target) -> None:
    """An id that is foreign, unknown or malformed is 404 `not_found`."""
    for path in (RUNS, "/v1/artifacts", "/v1/sandboxes"):
        for named in (foreign("wsr"), foreign("art"), foreign("sbx"), "x", "..%2f..", "wsr_"):
            refused(server.get(f"{path}/{named}"), 404, "not_found")


@rule(
    "1",
    needs="rate_limits",
    on="limited",
    broken_by={
        "no Retry-After": mutants.header("GET **", "retry-after", None),
        "a date that is none": mutants.header("GET **", "retry-after", "soon"),
        "no X-RateLimit-Limit": mutants.header("GET **", "x-ratelimit-limit", None),
    },
)
def rule_1_rate_limits_are_told(server: Target) -> None:
    """Over the limit 429 `rate_limited` with Retry-After in seconds; X-RateLimit headers on answers."""
    for _ in range(12):
        answer = server.get("/v1/projects")
        must(int(answer.header("x-ratelimit-limit") or -1) > 0, "no X-RateLimit-Limit")
        must(answer.status == 429 or int(answer.header("x-ratelimit-remaining") or -1) >= 0, "no remainder")
    must(refused(answer, 429, "rate_limited")["retryable"] is True, "429 that must not be retried")
    must(int(answer.header("retry-after") or 0) >= 1, "no Retry-After in seconds")


HUMAN = {"authorization": "", "x_crownest_user_id": "usr_" + "a" * 26, "x_crownest_role": "owner"}


@rule("1", broken_by={"anybody is an owner": mutants.instead("GET /v1/api-keys", 200, {"data": []})})
def rule_1_human_headers_prove_nothing(server: Target) -> None:
    """Outside of the development mode `x-crownest-org-id`, `-user-id` and `-role` are no credential."""
    org_id = samples.waiting(server)["orgId"]
    refused(server.get("/v1/api-keys", x_crownest_org_id=org_id, **HUMAN), 401)


@rule(
    "1",
    needs="api_keys",
    on="dev_headers",
    broken_by={"a bearer is needed": mutants.without_header("* **", "x-crownest-role")},
)
def rule_1_human_headers_in_development(server: Target) -> None:
    """In the development mode a person named by headers lists and makes keys."""
    person = {**HUMAN, "x_crownest_org_id": samples.waiting(server)["orgId"]}
    expect(server.get("/v1/api-keys", **person), 200)
    body = {"name": fresh(), "scopes": ["workspace_run:read"]}
    must(expect(server.post("/v1/api-keys", body, **person), 201)["secret"], "no secret")
