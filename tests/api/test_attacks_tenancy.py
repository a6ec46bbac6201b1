"""Two organisations on one server: what one knows by id, the other can neither read nor change."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from eventstore.log import Append, NewEvent, Record
from evidence.canonical import encode
from runs.access import OWN_SCOPES, SCOPES
from runs.credentials import KEY_HASH, KEY_PREFIX, new_secret, secret_hash
from runs.ids import new_id
from tests.serving import FINISH_S_MAX, Running, archive, archive_headers


def key_fields(name: str, secret: str, scopes: tuple[str, ...]) -> dict[str, Any]:
    """An API key as its event has it."""
    return {
        "id": new_id("key"),
        "name": name,
        "prefix": KEY_PREFIX,
        "last4": secret[-4:],
        "scopes": sorted(scopes),
        "createdByUserId": new_id("usr"),
    }


def append(running: Running, request: Append) -> None:
    """Behind the API, through the log that the server has open."""
    appended = running.server.services.store.append(request)
    asyncio.run_coroutine_threadsafe(appended, running.loop).result(FINISH_S_MAX)


@pytest.fixture(scope="module")
def stranger(running: Running) -> Iterator[httpx2.Client]:
    """A client with every scope in an organisation of its own, made as the first start makes one."""
    org_id, secret = new_id("org"), new_secret()
    key = key_fields("strange key", secret, (*SCOPES, *OWN_SCOPES))
    events = [
        NewEvent(
            "organization_created",
            {"actor": "system", "orgId": org_id, "name": "Other", "plan": "free", "schema": "events/v1"},
        ),
        NewEvent(
            "project_created",
            {"actor": "system", "projectId": new_id("prj"), "name": "default", "limits": {}},
        ),
        NewEvent("api_key_created", {"actor": "system", "apiKey": key}),
    ]
    record = Record(KEY_HASH, secret_hash(secret), encode({"apiKeyId": key["id"], "orgId": org_id}))
    append(running, Append(org_id, 0, events, records=[record]))
    headers = {"authorization": f"Bearer {secret}"}
    with httpx2.Client(base_url=running.url, headers=headers, timeout=FINISH_S_MAX) as client:
        yield client


@pytest.fixture(scope="module")
def victim(running: Running) -> dict[str, Any]:
    """A finished run with an artifact and a kept sandbox."""
    return running.run("cp a.txt b.txt", artifacts=[{"path": "b.txt"}], keepSandbox=True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/workspace-runs/{run}"),
        ("GET", "/v1/workspace-runs/{run}/events"),
        ("GET", "/v1/workspace-runs/{run}/events?stream=true"),
        ("GET", "/v1/workspace-runs/{run}/evidence"),
        ("GET", "/v1/workspace-runs/{run}/proof/checkpoint"),
        ("GET", "/v1/workspace-runs/{run}/proof/bundle?artifacts=true"),
        ("GET", "/v1/workspace-runs/{run}/proof/events"),
        ("GET", "/v1/workspace-runs/{run}/proof/consistency?from=1"),
        ("GET", "/v1/workspace-runs/{run}/attestations"),
        ("POST", "/v1/workspace-runs/{run}/redactions"),
        ("POST", "/v1/workspace-runs/{run}/verify"),
        ("POST", "/v1/workspace-runs/{run}/start"),
        ("POST", "/v1/workspace-runs/{run}/cancel"),
        ("GET", "/v1/orgs/{org}"),
        ("GET", "/v1/orgs/{org}/events"),
        ("GET", "/v1/orgs/{org}/events?stream=true"),
        ("GET", "/v1/orgs/{org}/proof/checkpoint"),
        ("GET", "/v1/orgs/{org}/proof/bundle"),
        ("GET", "/v1/orgs/{org}/proof/events"),
        ("GET", "/v1/orgs/{org}/proof/consistency?from=1"),
        ("GET", "/v1/artifacts/{artifact}"),
        ("GET", "/v1/artifacts/{artifact}/download"),
        ("POST", "/v1/artifacts/{artifact}/download-url"),
        ("DELETE", "/v1/artifacts/{artifact}"),
        ("GET", "/v1/sandboxes/{sandbox}"),
        ("GET", "/v1/sandboxes/{sandbox}/artifacts"),
        ("DELETE", "/v1/sandboxes/{sandbox}"),
    ],
)
def test_what_belongs_to_another_organisation_is_not_found(
    stranger: httpx2.Client, victim: dict[str, Any], method: str, path: str
) -> None:
    """404, as for an id that never was (§11)."""
    ids = {"run": victim["id"], "artifact": victim["artifactIds"][0], "sandbox": victim["sandboxId"]}
    ids["org"] = victim["orgId"]
    body = {"targets": [7], "reason": "not mine"} if path.endswith("/redactions") else None
    answer = stranger.request(method, path.format(**ids), json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_listings_show_nothing_of_another_organisation(
    stranger: httpx2.Client, victim: dict[str, Any]
) -> None:
    """Neither runs nor sandboxes nor projects, and its project cannot be asked for."""
    for path in ("/v1/workspace-runs", "/v1/sandboxes?include=historical", "/v1/projects"):
        text = stranger.get(path, params={"limit": "500"}).text
        assert victim["orgId"] not in text
    answer = stranger.get("/v1/workspace-runs", params={"projectId": victim["projectId"]})
    assert answer.status_code == 403


def test_another_organisations_transfer_cannot_be_filled(running: Running, stranger: httpx2.Client) -> None:
    """The upload URL is no secret: it needs the key as well."""
    data = archive({"a": b"a"})
    run_id = running.create()
    wanted = {"sha256": archive_headers(data)["x-crownest-archive-sha256"], "sizeBytes": len(data)}
    url = f"/v1/workspace-runs/{run_id}/archive-transfer"
    transfer = running.http.post(url, json=wanted).json()["transfer"]
    assert stranger.put(transfer["uploadUrl"], content=data).status_code == 404
    own = stranger.post("/v1/workspace-runs", json={"command": "true"}).json()["workspaceRun"]["id"]
    borrowed = f"/v1/workspace-runs/{own}/archive-transfer/{transfer['id']}"
    assert stranger.put(borrowed, content=data).status_code == 404


def test_a_run_cannot_enter_or_change_another_organisations_sandbox(
    running: Running, stranger: httpx2.Client, victim: dict[str, Any]
) -> None:
    """It ends with `sandbox_conflict`, and the sandbox's row says what it said before."""
    sandbox_url = f"/v1/sandboxes/{victim['sandboxId']}"
    before = running.http.get(sandbox_url).content
    body = {"command": "true", "sandboxId": victim["sandboxId"], "timeoutMs": 3_600_000}
    run_id = stranger.post("/v1/workspace-runs", json=body).json()["workspaceRun"]["id"]
    data = archive({"a": b"a"})
    stranger.put(f"/v1/workspace-runs/{run_id}/archive", content=data, headers=archive_headers(data))
    stranger.post(f"/v1/workspace-runs/{run_id}/start")
    events = stranger.get(f"/v1/workspace-runs/{run_id}/events", params={"stream": "true"}).text
    assert '"failureReason":"sandbox_conflict"' in events
    assert running.http.get(sandbox_url).content == before
    assert stranger.get(sandbox_url).status_code == 404


def test_an_idempotency_key_belongs_to_one_credential(running: Running, stranger: httpx2.Client) -> None:
    """The same key of another organisation gets a run of its own, not the stored answer (§5)."""
    answers = [
        client.post("/v1/workspace-runs", json={"command": "true"}, headers={"idempotency-key": "shared"})
        for client in (running.http, stranger)
    ]
    mine, other = (answer.json()["workspaceRun"] for answer in answers)
    assert mine["id"] != other["id"]
    assert mine["orgId"] != other["orgId"]


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/workspace-runs/{run}/proof/events", "workspace_run:read"),
        ("GET", "/v1/workspace-runs/{run}/proof/consistency?from=1", "workspace_run:read"),
        ("GET", "/v1/workspace-runs/{run}/proof/bundle", "workspace_run:read"),
        ("GET", "/v1/workspace-runs/{run}/attestations", "workspace_run:read"),
        ("POST", "/v1/workspace-runs/{run}/redactions", "workspace_run:redact"),
        ("GET", "/v1/orgs/{org}/events", "audit:read"),
        ("GET", "/v1/orgs/{org}/proof/bundle", "audit:read"),
        ("GET", "/v1/signing-keys", "audit:read"),
        ("POST", "/v1/signing-keys/rotate", "signing_key:rotate"),
    ],
)
def test_a_key_of_the_same_organisation_without_the_scope_is_refused(
    running: Running, victim: dict[str, Any], method: str, path: str, scope: str
) -> None:
    """403 with the scope that it lacks, and nothing is done."""
    secret = new_secret()
    scopes = tuple({*SCOPES, *OWN_SCOPES} - {scope, *(["audit:read"] if scope.endswith("read") else [])})
    key = key_fields("narrow key", secret, scopes)
    record = Record(KEY_HASH, secret_hash(secret), encode({"apiKeyId": key["id"], "orgId": victim["orgId"]}))
    created = NewEvent("api_key_created", {"actor": "system", "apiKey": key})
    append(running, Append(victim["orgId"], None, [created], records=[record]))
    policy = running.http.get("/v1/proof/policy").text
    body = {"targets": [7], "reason": "no"} if path.endswith("/redactions") else None
    answer = running.http.request(
        method,
        path.format(run=victim["id"], org=victim["orgId"]),
        json=body,
        headers={"authorization": f"Bearer {secret}"},
    )
    assert (answer.status_code, answer.json()["error"]["details"]) == (403, {"requiredScope": scope})
    assert running.http.get("/v1/proof/policy").text == policy


def test_a_project_in_a_query_opens_nothing(running: Running) -> None:
    """A key of one project that asks for another one's sandboxes is refused, and sees no foreign project."""
    projects = [
        running.http.post("/v1/projects", json={"name": name}).json()["project"]["id"]
        for name in ("mine", "theirs")
    ]
    sandbox = running.http.post("/v1/sandboxes", json={"projectId": projects[1]}).json()["sandbox"]["id"]
    scopes = ["sandbox:read", "workspace_run:read"]
    made = running.http.post("/v1/api-keys", json={"name": "k", "scopes": scopes, "projectIds": projects[:1]})
    headers = {"authorization": f"Bearer {made.json()['secret']}"}
    for path in ("/v1/sandboxes?include=historical", "/v1/sandboxes", "/v1/workspace-runs"):
        answer = running.http.get(path, params={"projectId": projects[1]}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden"), answer.text
    answer = running.http.get("/v1/projects", params={"projectId": projects[1]}, headers=headers)
    assert [project["id"] for project in answer.json()["data"]] == projects[:1]
    running.http.delete(f"/v1/sandboxes/{sandbox}")


def test_a_key_of_some_projects_manages_neither_people_nor_organisations(running: Running) -> None:
    """Whatever its scopes are: what it would change holds for every project (decision 0881)."""
    project = running.http.get("/v1/projects").json()["data"][-1]
    scopes = [*SCOPES, *OWN_SCOPES]
    body = {"name": "k", "scopes": scopes, "projectIds": [project["id"]]}
    headers = {"authorization": f"Bearer {running.http.post('/v1/api-keys', json=body).json()['secret']}"}
    org = f"/v1/orgs/{project['orgId']}"
    owner = running.http.get(f"{org}/users").json()["data"][0]["id"]
    policy = running.http.get("/v1/proof/policy").text
    for method, path, json in (
        ("PATCH", org, {"name": "Mine"}),
        ("GET", f"{org}/users", None),
        ("POST", f"{org}/users", {"name": "Eve", "role": "owner"}),
        ("PATCH", f"{org}/users/{owner}", {"name": "Eve"}),
        ("DELETE", f"{org}/users/{owner}", None),
        ("POST", "/v1/orgs", {"name": "Third"}),
        ("POST", "/v1/signing-keys/rotate", None),
    ):
        answer = running.http.request(method, path, json=json, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden"), answer.text
    assert running.http.get("/v1/proof/policy").text == policy
