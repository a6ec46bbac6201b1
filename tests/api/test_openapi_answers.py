"""What a running server answers is what its OpenAPI document says, and the two know the same routes."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT202012
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from api.app import BROWSER_ROUTES
from api.openapi import document_bytes
from api.operations import BY_ID, OPERATIONS
from evidence.canonical import decode
from tests.serving import Running

DOCUMENT: dict[str, Any] = decode(document_bytes())
PARAMETER = re.compile(r"\{[^}]*\}")

AWAITED: frozenset[str] = frozenset()
"""Operations that the table describes and the server does not answer yet. Take out what is built."""


def _real_routes(running: Running) -> set[tuple[str, str]]:
    app: Any = running.server.app
    while not isinstance(app, Starlette):
        app = app._app
    found: set[tuple[str, str]] = set()
    _collect(app.routes, found)
    return found


def _collect(routes: list[Any], found: set[tuple[str, str]]) -> None:
    for route in routes:
        if isinstance(route, Route):
            methods = (route.methods or set()) - {"HEAD"}
            found |= {(method, PARAMETER.sub("{}", route.path)) for method in methods}
        elif not isinstance(route, WebSocketRoute):  # FastAPI keeps a router that was included as one route
            _collect(route.original_router.routes, found)


def test_the_table_and_the_server_know_the_same_routes(running: Running) -> None:
    """Nothing but pages for browsers is served and not described, and nothing is described in vain."""
    pages: set[tuple[str, str]] = set()
    for router in BROWSER_ROUTES:
        _collect(router.routes, pages)
    described = {o.id: (o.method, PARAMETER.sub("{}", o.path)) for o in OPERATIONS}
    real = _real_routes(running)
    assert len(real) > 50, "the routes of the application were not found"
    assert real - set(described.values()) == pages
    assert {name for name, route in described.items() if route not in real} == AWAITED


@cache
def _validator(pointer: str) -> Draft202012Validator:
    """Checks against a schema of the document, its references and formats too."""
    registry = Registry().with_resource("urn:openapi", DRAFT202012.create_resource(DOCUMENT))
    return Draft202012Validator({"$ref": f"urn:openapi#{pointer}"}, registry=registry)


def check(answer: httpx2.Response, operation_id: str) -> Any:
    """The parsed answer, once it is what the operation says for this status."""
    operation = BY_ID[operation_id]
    path = f"/paths/{operation.path.replace('~', '~0').replace('/', '~1')}/{operation.method.lower()}"
    responses = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]
    assert str(answer.status_code) in responses, answer.text
    response = responses[str(answer.status_code)]
    pointer = f"{path}/responses/{answer.status_code}"
    if "$ref" in response:
        pointer = response["$ref"].removeprefix("#")
    assert answer.headers["content-type"] == "application/json"
    value = answer.json()
    _validator(f"{pointer}/content/application~1json/schema").validate(value)
    return value


def check_schema(value: Any, name: str) -> None:
    """The value is what the component schema says."""
    _validator(f"/components/schemas/{name}").validate(value)


def run_to_its_end(running: Running) -> Mapping[str, Any]:
    """A run that printed to both streams, kept its sandbox, and left one of two artifacts asked for."""
    return running.run(
        "echo out; echo err >&2; printf x > kept.txt; printf '\\377'; exit 3",
        keepSandbox=True,
        metadata={"branch": "main"},
        artifacts=[{"path": "kept.txt"}, {"path": "missing.txt"}],
    )


@pytest.fixture(scope="module")
def ended(running: Running) -> Mapping[str, Any]:
    """Such a run, which every test leaves as it is."""
    return run_to_its_end(running)


def test_a_run_is_as_described(running: Running, ended: Mapping[str, Any]) -> None:
    """Created, ended, and in a page."""
    fresh = running.http.post("/v1/workspace-runs", json={"command": "true"})
    check(fresh, "createWorkspaceRun")
    check(running.http.get(f"/v1/workspace-runs/{ended['id']}"), "getWorkspaceRun")
    page = check(running.http.get("/v1/workspace-runs", params={"limit": 1}), "listWorkspaceRuns")
    assert page["hasMore"]
    assert page["nextCursor"]


def test_usage_is_as_described(running: Running, ended: Mapping[str, Any]) -> None:
    """With a limit that an owner set."""
    path = f"/v1/projects/{ended['projectId']}"
    assert running.http.patch(path, json={"limits": {"artifactBytes": 10**9}}).status_code == 200
    found = check(running.http.get("/v1/usage"), "getUsage")
    assert found["quotas"]["artifact_bytes"]["projectId"] == ended["projectId"]
    running.http.patch(path, json={"limits": {"artifactBytes": None}})


def test_a_preview_is_as_described(running: Running, ended: Mapping[str, Any]) -> None:
    """Opened with a token, looked at, in a page, closed; and what it is refused with."""
    path = f"/v1/sandboxes/{ended['sandboxId']}/previews"
    made = check(running.http.post(path, json={"port": 8000, "authMode": "token"}), "createPreview")
    own = f"/v1/previews/{made['preview']['id']}"
    assert check(running.http.get(own), "getPreview") == {"preview": made["preview"]}
    assert check(running.http.get(path), "listPreviews")["data"] == [made["preview"]]
    check(running.http.delete(own), "revokePreview")
    for _ in range(3):
        check(running.http.post(path, json={"port": 8000}), "createPreview")
    over = running.http.post(path, json={"port": 8000})
    assert over.status_code == 429
    check(over, "createPreview")


def test_a_transfer_is_as_described(running: Running) -> None:
    """The leave to upload, and a refusal of its kind."""
    run_id = running.create()
    sizes = {"sha256": "ab" * 32, "sizeBytes": 5}
    made = running.http.post(f"/v1/workspace-runs/{run_id}/archive-transfer", json=sizes)
    transfer = check(made, "createWorkspaceRunArchiveTransfer")["transfer"]
    early = running.http.post(
        f"/v1/workspace-runs/{run_id}/archive/finalize", json={**sizes, "uploadId": transfer["id"]}
    )
    assert early.status_code == 409
    check(early, "finalizeWorkspaceRunArchive")


def test_events_are_as_described(running: Running, ended: Mapping[str, Any]) -> None:
    """Each event of a run is one of the union, by its own type, in the page and in NDJSON."""
    page = check(running.http.get(f"/v1/workspace-runs/{ended['id']}/events"), "listWorkspaceRunEvents")
    events = running.events(ended["id"])
    assert page["data"] == events
    types = {event["type"] for event in events}
    assert types == {
        "status", "stdout", "stderr", "artifact_collected", "artifact_error", "cleanup", "outcome",
        "terminal",
    }  # fmt: skip
    for event in events:
        check_schema(event, "RunEvent")


def test_an_event_of_another_shape_is_found(running: Running, ended: Mapping[str, Any]) -> None:
    """The check above would fail for an event without its facts or with a wrong id."""
    terminal = running.events(ended["id"])[-1]
    del terminal["workspaceRun"]["status"]
    with pytest.raises(ValidationError):
        check_schema(terminal, "RunEvent")
    with pytest.raises(ValidationError):
        check_schema({**ended, "id": "run_1"}, "WorkspaceRun")
    with pytest.raises(ValidationError):
        check_schema({**ended, "finishedAt": "2026-01-01T00:00:00Z"}, "WorkspaceRun")


def test_evidence_and_proofs_are_as_described(running: Running, ended: Mapping[str, Any]) -> None:
    """The bundle, the server's verdict, the attestations, and evidence that is not there yet."""
    run = f"/v1/workspace-runs/{ended['id']}"
    check(running.http.get(f"{run}/evidence"), "getWorkspaceRunEvidence")
    check(running.http.post(f"{run}/verify"), "verifyWorkspaceRun")
    assert check(running.http.get(f"{run}/attestations"), "listWorkspaceRunAttestations")["data"]
    early = running.http.get(f"/v1/workspace-runs/{running.create()}/evidence")
    assert check(early, "getWorkspaceRunEvidence")["error"]["details"]["reason"] == "evidence_not_available"
    targets = {"targets": [1], "reason": "not output"}
    assert running.http.post(f"{run}/redactions", json=targets).status_code == 400
    check(running.http.get("/v1/signing-keys"), "listSigningKeys")


def test_what_a_run_leaves_behind_is_as_described(running: Running) -> None:
    """Its artifact and its kept sandbox, one by one and in pages, live and gone."""
    ended = run_to_its_end(running)
    artifact_id, sandbox_id = ended["artifactIds"][0], ended["sandboxId"]
    check(running.http.get(f"/v1/artifacts/{artifact_id}"), "getArtifact")
    check(running.http.post(f"/v1/artifacts/{artifact_id}/download-url"), "createArtifactDownloadUrl")
    assert check(running.http.get(f"/v1/sandboxes/{sandbox_id}/artifacts"), "listArtifacts")["data"]
    assert check(running.http.get("/v1/sandboxes"), "listSandboxes")["data"]
    check(running.http.get(f"/v1/sandboxes/{sandbox_id}"), "getSandbox")
    check(running.http.delete(f"/v1/sandboxes/{sandbox_id}"), "killSandbox")
    check(running.http.delete(f"/v1/artifacts/{artifact_id}"), "deleteArtifact")


def test_accounts_are_as_described(running: Running) -> None:
    """Projects, keys, organisations and their people, made and listed; the organisation's events."""
    http = running.http
    check(http.post("/v1/projects", json={"name": "payments"}), "createProject")
    project = check(http.get("/v1/projects"), "listProjects")["data"][0]
    check(http.patch(f"/v1/projects/{project['id']}", json={"name": "billing"}), "updateProject")
    made = check(http.post("/v1/api-keys", json={"name": "k", "scopes": ["usage:read"]}), "createApiKey")
    check(http.get("/v1/api-keys"), "listApiKeys")
    check(http.delete(f"/v1/api-keys/{made['apiKey']['id']}"), "revokeApiKey")
    check(http.post("/v1/orgs", json={"name": "Acme", "plan": "free"}), "createOrganization")
    check(http.get("/v1/orgs"), "listOrganizations")
    org = f"/v1/orgs/{project['orgId']}"
    check(http.get(org), "getOrganization")
    user = check(http.post(f"{org}/users", json={"name": "Ada", "role": "member"}), "createUser")["user"]
    check(http.patch(f"{org}/users/{user['id']}", json={"role": "admin"}), "updateUser")
    check(http.get(f"{org}/users"), "listUsers")
    check(http.delete(f"{org}/users/{user['id']}"), "removeUser")
    assert check(http.get(f"{org}/events"), "listOrganizationEvents")["data"]


def test_refusals_are_as_described(running: Running) -> None:
    """Without a key, without such a thing, with a body that is none."""
    check(httpx2.get(f"{running.url}/v1/workspace-runs"), "listWorkspaceRuns")
    check(running.http.get("/v1/workspace-runs/wsr_none"), "getWorkspaceRun")
    check(running.http.post("/v1/workspace-runs", content=b"{"), "createWorkspaceRun")
    check(running.http.get("/v1/workspace-runs?limit=0"), "listWorkspaceRuns")
