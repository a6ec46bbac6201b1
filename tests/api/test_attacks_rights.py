"""Attacks on rights: what a key, a person or a moment must not lead to."""

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from runs.access import OPERATOR_SCOPES, ROLE_SCOPES
from tests.serving import FINISH_S_MAX, Running, archive, archive_headers


def key(running: Running, *scopes: str, **fields: Any) -> tuple[str, httpx2.Client]:
    """A new key with these scopes: its id, and a client that holds it."""
    made = running.http.post("/v1/api-keys", json={"name": "k", "scopes": scopes, **fields})
    assert made.status_code == 201, made.text
    headers = {"authorization": f"Bearer {made.json()['secret']}"}
    return made.json()["apiKey"]["id"], httpx2.Client(
        base_url=running.url, headers=headers, timeout=FINISH_S_MAX
    )


def code(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


def people(running: Running) -> str:
    """The path of the organisation's people."""
    return f"/v1/orgs/{running.http.get('/v1/orgs').json()['data'][0]['id']}/users"


def owners(running: Running) -> list[str]:
    """The ids of the owners that there are."""
    users = running.http.get(people(running)).json()["data"]
    return [user["id"] for user in users if user["role"] == "owner" and "removedAt" not in user]


Leave = Callable[[httpx2.Client, str], httpx2.Response]
LEAVES: dict[str, Leave] = {
    "removed": lambda http, path: http.delete(path),
    "demoted": lambda http, path: http.patch(path, json={"role": "member"}),
}


@pytest.mark.parametrize("second", LEAVES)
@pytest.mark.parametrize("first", LEAVES)
def test_two_owners_do_not_leave_at_once(running: Running, first: str, second: str) -> None:
    """Of two requests that each would leave the other as the last owner, one is refused."""
    path = people(running)
    for _ in range(8):
        while len(owners(running)) < 2:
            running.http.post(path, json={"name": "o", "role": "owner"})
        with ThreadPoolExecutor(2) as pool:
            ends = [
                pool.submit(LEAVES[how], running.http, f"{path}/{user_id}")
                for how, user_id in zip((first, second), owners(running), strict=True)
            ]
            statuses = sorted(end.result().status_code for end in ends)
        assert statuses == [200, 409]
        assert len(owners(running)) == 1


def test_a_key_makes_nobody_who_may_do_more_than_itself(running: Running) -> None:
    """Else an admin would make a key, the key an owner, and that owner be the admin."""
    path = people(running)
    admin = ROLE_SCOPES["admin"]
    _, as_admin = key(running, *admin)
    _, writer = key(running, "user:write", "user:read")
    owner = owners(running)[0]
    running.http.post(path, json={"name": "second", "role": "owner"})
    with as_admin, writer:
        for http in (as_admin, writer):
            assert code(http.post(path, json={"name": "x", "role": "owner"})) == (403, "forbidden")
            assert code(http.delete(f"{path}/{owner}")) == (403, "forbidden")
            assert code(http.patch(f"{path}/{owner}", json={"role": "member"})) == (403, "forbidden")
        assert code(writer.post(path, json={"name": "x", "role": "member"})) == (403, "forbidden")
        made = as_admin.post(path, json={"name": "x", "role": "admin"}).json()["user"]
        assert code(as_admin.patch(f"{path}/{made['id']}", json={"role": "owner"})) == (403, "forbidden")
        assert "removedAt" in writer.delete(f"{path}/{made['id']}").json()["user"]
        project = running.http.get("/v1/projects").json()["data"][0]["id"]
        limits = {"limits": {"concurrentSandboxes": 1000}}
        assert code(as_admin.patch(f"/v1/projects/{project}", json=limits)) == (403, "forbidden")
    assert not OPERATOR_SCOPES & ROLE_SCOPES["owner"]


def test_a_key_of_some_projects_does_not_reach_the_organisation(running: Running) -> None:
    """Whatever scopes it holds: a person that it made would see every project."""
    project = running.http.post("/v1/projects", json={"name": "narrow"}).json()["project"]["id"]
    scopes = sorted(ROLE_SCOPES["owner"])
    _, narrow = key(running, *scopes, projectIds=[project, project])
    path = people(running)
    with narrow:
        owner = owners(running)[0]
        for answer in (
            narrow.post(path, json={"name": "x", "role": "member"}),
            narrow.patch(f"{path}/{owner}", json={"name": "x"}),
            narrow.delete(f"{path}/{owner}"),
            narrow.patch(path.removesuffix("/users"), json={"name": "mine"}),
            narrow.get(f"{path.removesuffix('/users')}/events"),
        ):
            assert code(answer) == (403, "forbidden")


def begin(running: Running, http: httpx2.Client, method: str, path: str, headers: dict[str, str]) -> Any:
    """Send a request's head: the connection on which its body may follow."""
    url = urlsplit(running.url)
    assert url.hostname is not None
    connection = socket.create_connection((url.hostname, url.port or 0), FINISH_S_MAX)
    lines = {"host": url.netloc, "authorization": http.headers["authorization"], **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    connection.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
    return connection


def settled(running: Running, http: httpx2.Client) -> None:
    """The key works, and a request that was begun before has been looked at."""
    assert http.get("/v1/projects").status_code == 200
    assert running.http.get("/v1/projects").status_code == 200


def test_a_key_that_is_revoked_while_it_sends_does_nothing_more(running: Running) -> None:
    """A request that was let in before the revocation would otherwise make a new key after it."""
    key_id, http = key(running, "api_key:create", "workspace_run:create")
    run_id = running.create()
    data = archive({"a": b"x" * 1000})
    body = json.dumps({"name": "late", "scopes": ["api_key:create"]}).encode()
    with http:
        length = {"content-length": str(len(body))}
        making = begin(running, http, "POST", "/v1/api-keys", length)
        uploading = begin(
            running, http, "PUT", f"/v1/workspace-runs/{run_id}/archive",
            {**archive_headers(data), "content-length": str(len(data))},
        )  # fmt: skip
        with making, uploading:
            making.sendall(body[:5])
            uploading.sendall(data[:5])
            settled(running, http)
            assert running.http.delete(f"/v1/api-keys/{key_id}").status_code == 200
            making.sendall(body[5:])
            uploading.sendall(data[5:])
            for connection in (making, uploading):
                assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
    names = [one["name"] for one in running.http.get("/v1/api-keys?limit=500").json()["data"]]
    assert "late" not in names
    assert running.get(run_id)["status"] == "awaiting_archive"
