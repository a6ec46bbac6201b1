"""Organisations, people, projects and keys: made, changed, restricted and revoked, each change an event."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from runs.access import OPERATOR_SCOPES
from runs.credentials import KEY_PREFIX
from runs.limits import RunLimits
from tests.serving import FINISH_S_MAX, Running, archive, serving

LOOPBACK_HEADERS = {"x-crownest-role": "owner", "x-crownest-user-id": "usr_dev"}
REVOKED_S_MAX = 5.0
"""What the issue allows; the test fails by its own patience, not by comparing times."""


def client(running: Running, secret: str) -> httpx2.Client:
    """A client of the same server with another key."""
    return httpx2.Client(
        base_url=running.url, headers={"authorization": f"Bearer {secret}"}, timeout=FINISH_S_MAX
    )


def make_key(running: Running, **fields: Any) -> tuple[dict[str, Any], str]:
    """A new key, made with the first one."""
    answer = running.http.post(
        "/v1/api-keys", json={"name": "ci", "scopes": ["workspace_run:read"], **fields}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["apiKey"], answer.json()["secret"]


def refused(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The error of a refusal with this status and code."""
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


@pytest.fixture(scope="module")
def other(running: Running) -> Iterator[tuple[dict[str, Any], httpx2.Client]]:
    """Another organisation as it was made, and a client with its first key."""
    answer = running.http.post("/v1/orgs", json={"name": "Acme", "plan": "free"})
    assert answer.status_code == 201, answer.text
    with client(running, answer.json()["secret"]) as http:
        yield answer.json(), http


def org_events(running: Running) -> list[dict[str, Any]]:
    """The stream of the first organisation."""
    org_id = running.http.get("/v1/projects").json()["data"][0]["orgId"]
    events: list[dict[str, Any]] = running.http.get(f"/v1/orgs/{org_id}/events?limit=500").json()["data"]
    return events


def test_a_key_is_shown_once_works_and_is_listed_without_its_secret(running: Running) -> None:
    """Prefix and last four characters are all that is ever shown again."""
    key, secret = make_key(running, name="reader")
    assert secret.startswith(KEY_PREFIX)
    assert (key["prefix"], key["last4"], key["scopes"]) == (KEY_PREFIX, secret[-4:], ["workspace_run:read"])
    assert "lastUsedAt" not in key
    with client(running, secret) as http:
        assert http.get("/v1/workspace-runs").status_code == 200
        refused(http.get("/v1/usage-of-nothing"), 404, "not_found")
        error = refused(http.get("/v1/api-keys"), 403, "forbidden")
        assert error["details"] == {"requiredScope": "api_key:read"}
    listed = running.http.get("/v1/api-keys").text
    assert secret not in listed
    shown = running.http.get(f"/v1/api-keys/{key['id']}").json()["apiKey"]
    assert shown["lastUsedAt"] >= shown["createdAt"]
    event = next(one for one in org_events(running) if one.get("apiKey", {}).get("id") == key["id"])
    assert secret not in str(event)
    assert event["actor"].startswith("key_")


def test_a_key_gets_no_more_than_its_maker_has(running: Running) -> None:
    """Neither a scope nor a project; and unknown scopes are named."""
    project = running.http.post("/v1/projects", json={"name": "narrow"}).json()["project"]
    _, secret = make_key(
        running, scopes=["api_key:create", "api_key:read", "workspace_run:read"], projectIds=[project["id"]]
    )
    with client(running, secret) as http:
        refused(http.post("/v1/api-keys", json={"name": "x", "scopes": ["usage:read"]}), 403, "forbidden")
        wide = {"name": "x", "scopes": ["workspace_run:read"]}
        narrowed = http.post("/v1/api-keys", json=wide).json()["apiKey"]
        assert narrowed["projectIds"] == [project["id"]]
        first = running.http.get("/v1/projects").json()["data"][-1]["id"]
        refused(http.post("/v1/api-keys", json={**wide, "projectIds": [first]}), 403, "forbidden")
        seen = {key["id"] for key in http.get("/v1/api-keys").json()["data"]}
        assert narrowed["id"] in seen
        assert len(seen) == 2
    bad = running.http.post("/v1/api-keys", json={"name": "x", "scopes": ["run:everything"]})
    assert "run:everything" in refused(bad, 400, "invalid_request")["message"]
    for body in ({"name": "x", "scopes": []}, {"name": " ", "scopes": ["usage:read"]}, {"scopes": ["a"]}):
        refused(running.http.post("/v1/api-keys", json=body), 400, "invalid_request")


def test_keys_are_paged_newest_first(running: Running) -> None:
    """With a cursor that leads through all of them, each once."""
    for number in range(3):
        make_key(running, name=f"page {number}")
    seen: list[str] = []
    cursor = ""
    while True:
        page = running.http.get(f"/v1/api-keys?limit=2{cursor}").json()
        seen += [key["id"] for key in page["data"]]
        if not page["hasMore"]:
            break
        cursor = f"&cursor={page['nextCursor']}"
    everything = running.http.get("/v1/api-keys?limit=500").json()["data"]
    assert seen == [key["id"] for key in everything]
    assert len(set(seen)) == len(seen)
    times = [key["createdAt"] for key in everything]
    assert times == sorted(times, reverse=True)


def test_a_revoked_key_opens_nothing_and_what_it_has_open_ends(running: Running) -> None:
    """The stream of a run that goes on ends by itself; the next request is 401."""
    run_id = running.create("sleep 60")
    running.upload(run_id, archive({"a": b""}))
    running.http.post(f"/v1/workspace-runs/{run_id}/start")
    key, secret = make_key(running)
    began, ended = threading.Event(), threading.Event()

    def read() -> None:
        with (
            client(running, secret) as http,
            http.stream("GET", f"/v1/workspace-runs/{run_id}/events?stream=true") as stream,
        ):
            for _ in stream.iter_raw():
                began.set()
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert began.wait(FINISH_S_MAX)
    revoked = running.http.delete(f"/v1/api-keys/{key['id']}").json()["apiKey"]
    assert ended.wait(REVOKED_S_MAX)
    reader.join()
    assert running.get(run_id)["status"] in {"starting", "extracting", "running"}
    with client(running, secret) as http:
        refused(http.get("/v1/workspace-runs"), 401, "unauthorized")
    again = running.http.delete(f"/v1/api-keys/{key['id']}").json()["apiKey"]
    assert again["revokedAt"] == revoked["revokedAt"]
    assert [event["type"] for event in org_events(running) if event.get("apiKeyId") == key["id"]] == [
        "api_key_revoked"
    ]
    running.http.post(f"/v1/workspace-runs/{run_id}/cancel")


def test_the_last_use_of_a_key_survives_a_restart(tmp_path: Any) -> None:
    """It is written beside the log now and then, and when the server stops."""
    with serving(tmp_path, runs=RunLimits(key_use_interval_s=0.1)) as running:
        key, secret = make_key(running)
        with client(running, secret) as http:
            http.get("/v1/workspace-runs")
        before = running.http.get(f"/v1/api-keys/{key['id']}").json()["apiKey"]["lastUsedAt"]
        first = running.key
    with serving(tmp_path, first) as running:
        assert running.http.get(f"/v1/api-keys/{key['id']}").json()["apiKey"]["lastUsedAt"] == before


def test_a_project_is_made_once_per_idempotency_key_renamed_and_limited(running: Running) -> None:
    """The same request again answers the same project; a null lifts a limit."""
    headers = {"idempotency-key": "make-it"}
    answers = [running.http.post("/v1/projects", json={"name": "web"}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    project = answers[0].json()["project"]
    path = f"/v1/projects/{project['id']}"
    limits = {"concurrentSandboxes": 3, "artifactBytes": 1000}
    changed = running.http.patch(path, json={"name": "site", "limits": limits}).json()["project"]
    assert (changed["name"], changed["limits"]) == ("site", limits)
    lifted = running.http.patch(path, json={"limits": {"artifactBytes": None}}).json()["project"]
    assert lifted["limits"] == {"concurrentSandboxes": 3}
    events = [event for event in org_events(running) if event.get("projectId") == project["id"]]
    assert [event["type"] for event in events] == ["project_created", "project_updated", "project_updated"]
    running.http.patch(path, json={"name": "site"})
    assert len([e for e in org_events(running) if e.get("projectId") == project["id"]]) == len(events)
    assert running.http.get(path).json()["project"] == lifted


def test_a_key_of_some_projects_sees_only_those(running: Running) -> None:
    """Runs of others are 404, in lists absent, to be created in 403; it makes no projects."""
    mine = running.http.post("/v1/projects", json={"name": "mine"}).json()["project"]["id"]
    scopes = ["workspace_run:read", "workspace_run:create", "project:create", "audit:read"]
    _, secret = make_key(running, scopes=scopes, projectIds=[mine])
    foreign_run = running.create()
    first = running.get(foreign_run)["projectId"]
    with client(running, secret) as http:
        assert [project["id"] for project in http.get("/v1/projects").json()["data"]] == [mine]
        refused(http.get(f"/v1/projects/{first}"), 404, "not_found")
        refused(http.patch(f"/v1/projects/{first}", json={"name": "x"}), 404, "not_found")
        refused(http.post("/v1/projects", json={"name": "x"}), 403, "forbidden")
        refused(http.get(f"/v1/workspace-runs/{foreign_run}"), 404, "not_found")
        body = {"command": "true"}
        refused(http.post("/v1/workspace-runs", json={**body, "projectId": first}), 403, "forbidden")
        made = http.post("/v1/workspace-runs", json=body).json()["workspaceRun"]
        assert made["projectId"] == mine
        assert [run["id"] for run in http.get("/v1/workspace-runs").json()["data"]] == [made["id"]]
        org_id = made["orgId"]
        refused(http.get(f"/v1/orgs/{org_id}/events"), 403, "forbidden")


def test_an_organisation_of_its_own_sees_nothing_of_the_first(
    running: Running, other: tuple[dict[str, Any], httpx2.Client]
) -> None:
    """Its first key holds every scope but those of the server's operator."""
    made, http = other
    assert not OPERATOR_SCOPES & set(made["apiKey"]["scopes"])
    assert made["organization"]["plan"] == "free"
    mine = running.http.get("/v1/projects").json()["data"][0]
    refused(http.get(f"/v1/orgs/{mine['orgId']}"), 404, "not_found")
    refused(http.patch(f"/v1/orgs/{mine['orgId']}", json={"name": "x"}), 404, "not_found")
    refused(http.get(f"/v1/orgs/{mine['orgId']}/users"), 404, "not_found")
    refused(http.get(f"/v1/projects/{mine['id']}"), 404, "not_found")
    refused(http.post("/v1/orgs", json={"name": "third"}), 403, "forbidden")
    refused(http.patch(f"/v1/orgs/{made['organization']['id']}", json={"plan": "scale"}), 403, "forbidden")
    assert [org["id"] for org in http.get("/v1/orgs").json()["data"]] == [made["organization"]["id"]]
    assert len(http.get("/v1/api-keys").json()["data"]) == 1


def test_the_operator_lists_organisations_and_changes_a_plan(
    running: Running, other: tuple[dict[str, Any], httpx2.Client]
) -> None:
    """The change is an event of that organisation, with the operator's key as actor."""
    made, http = other
    path = f"/v1/orgs/{made['organization']['id']}"
    assert made["organization"]["id"] in {org["id"] for org in running.http.get("/v1/orgs").json()["data"]}
    assert running.http.patch(path, json={"plan": "builder"}).json()["organization"]["plan"] == "builder"
    last = http.get(f"{path}/events?limit=500").json()["data"][-1]
    assert (last["type"], last["plan"]) == ("organization_updated", "builder")
    assert http.patch(path, json={"name": "Acme 2"}).json()["organization"]["name"] == "Acme 2"
    refused(running.http.patch(path, json={"plan": "platinum"}), 400, "invalid_request")
    refused(running.http.patch(path, json={"name": "Mine"}), 404, "not_found")


def test_people_are_added_changed_and_removed_but_never_the_last_owner(
    other: tuple[dict[str, Any], httpx2.Client],
) -> None:
    """Removed ones stay readable; their record says since when."""
    made, http = other
    base = f"/v1/orgs/{made['organization']['id']}/users"
    owner = http.get(base).json()["data"][0]
    refused(http.delete(f"{base}/{owner['id']}"), 409, "conflict")
    refused(http.patch(f"{base}/{owner['id']}", json={"role": "member"}), 409, "conflict")
    added = http.post(base, json={"name": "Ada", "role": "member"})
    assert added.status_code == 201
    user = added.json()["user"]
    assert http.patch(f"{base}/{user['id']}", json={"role": "owner"}).json()["user"]["role"] == "owner"
    assert "removedAt" in http.delete(f"{base}/{owner['id']}").json()["user"]
    assert "removedAt" in http.delete(f"{base}/{owner['id']}").json()["user"]
    refused(http.patch(f"{base}/{owner['id']}", json={"name": "x"}), 404, "not_found")
    refused(http.post(base, json={"name": "Eve", "role": "emperor"}), 400, "invalid_request")


def test_headers_that_name_a_person_count_only_where_they_were_switched_on(
    running: Running, tmp_path: Any
) -> None:
    """And there only from loopback under a loopback name: a page of a stranger has another host."""
    org_id = running.http.get("/v1/projects").json()["data"][0]["orgId"]
    headers = {**LOOPBACK_HEADERS, "x-crownest-org-id": org_id}
    refused(httpx2.get(f"{running.url}/v1/api-keys", headers=headers), 401, "unauthorized")
    with serving(tmp_path, dev_headers=True) as dev:
        org_id = dev.http.get("/v1/projects").json()["data"][0]["orgId"]
        headers = {**LOOPBACK_HEADERS, "x-crownest-org-id": org_id}
        made = httpx2.post(
            f"{dev.url}/v1/api-keys", headers=headers, json={"name": "mine", "scopes": ["usage:read"]}
        )
        assert made.status_code == 201
        assert made.json()["apiKey"]["createdByUserId"] == "usr_dev"
        member = {**headers, "x-crownest-role": "member"}
        refused(httpx2.get(f"{dev.url}/v1/api-keys", headers=member), 403, "forbidden")
        for wrong in (
            {"host": "evil.example"},
            {"x-crownest-org-id": "org_nobody"},
            {"x-crownest-role": "root"},
        ):
            refused(httpx2.get(f"{dev.url}/v1/api-keys", headers={**headers, **wrong}), 401, "unauthorized")


def test_changes_outside_of_runs_are_proved_like_runs(running: Running) -> None:
    """The stream's signed checkpoint counts exactly its events."""
    events = org_events(running)
    org_id = events[0]["orgId"]
    note = running.http.get(f"/v1/orgs/{org_id}/proof/checkpoint").text.split("\n")
    assert int(note[1]) >= len(events)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert time.strptime(events[-1]["createdAt"], "%Y-%m-%dT%H:%M:%S.%fZ")
