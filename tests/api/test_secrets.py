"""Project secrets on a real server: who sees them, which value a run gets, and what it may not tell."""

import asyncio
import base64
import hashlib
import json
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli.problems import CliError
from eventstore.sqlite import maintenance
from projections.projector import Projections
from runs.limits import RunLimits
from tests.serving import FINISH_S_MAX, Running, archive, serving

VALUE = "p4ss w0rd/+" + secrets.token_hex(8)


@pytest.fixture(scope="module")
def project(running: Running) -> str:
    """The first project."""
    found: str = running.http.get("/v1/projects").json()["data"][-1]["id"]
    return found


@pytest.fixture
def fresh(running: Running) -> str:
    """A project without secrets."""
    made: str = running.http.post("/v1/projects", json={"name": "fresh"}).json()["project"]["id"]
    return made


def put(running: Running, project: str, name: str, value: object, **headers: str) -> httpx2.Response:
    """Set a secret."""
    return running.http.put(f"/v1/projects/{project}/secrets/{name}", json={"value": value}, headers=headers)


def names(running: Running, project: str) -> list[str]:
    """The project's secrets."""
    listed = running.http.get(f"/v1/projects/{project}/secrets").json()
    assert listed["hasMore"] is False
    return sorted(secret["name"] for secret in listed["data"])


def output(running: Running, run: dict[str, Any]) -> str:
    """What the run wrote to stdout."""
    return "".join(event["data"] for event in running.events(run["id"]) if event["type"] == "stdout")


def client_with(running: Running, **key: object) -> httpx2.Client:
    """A client with a key of its own."""
    secret = running.http.post("/v1/api-keys", json={"name": "k", **key}).json()["secret"]
    return httpx2.Client(
        base_url=running.url, headers={"authorization": f"Bearer {secret}"}, timeout=FINISH_S_MAX
    )


def test_a_secret_is_set_listed_and_deleted_and_never_shown(running: Running, fresh: str) -> None:
    """Answers hold name and times; the organisation's stream tells who did it, without the value."""
    answer = put(running, fresh, "TOKEN", VALUE)
    assert answer.status_code == 200
    secret = answer.json()["secret"]
    assert set(secret) == {"projectId", "name", "createdAt", "updatedAt"}
    changed = put(running, fresh, "TOKEN", VALUE + "2").json()["secret"]
    assert changed["createdAt"] == secret["createdAt"] <= changed["updatedAt"]
    assert names(running, fresh) == ["TOKEN"]
    deleted = running.http.delete(f"/v1/projects/{fresh}/secrets/TOKEN")
    assert (deleted.status_code, deleted.json()["secret"]["name"]) == (200, "TOKEN")
    assert names(running, fresh) == []
    assert running.http.delete(f"/v1/projects/{fresh}/secrets/TOKEN").status_code == 404
    org_id = running.http.get("/v1/orgs").json()["data"][0]["id"]
    lines = running.http.get(f"/v1/orgs/{org_id}/events", headers={"accept": "application/x-ndjson"}).text
    mine = [event for event in map(json.loads, lines.splitlines()) if event.get("projectId") == fresh]
    assert [event["type"] for event in mine][1:] == ["secret_set", "secret_set", "secret_deleted"]
    assert set(mine[-1]) == {"type", "seq", "createdAt", "actor", "projectId", "name"}
    assert VALUE not in lines


def test_a_run_finds_its_projects_secrets_and_names_them(running: Running, fresh: str) -> None:
    """Seq 1, run and evidence have the names, sorted; the command has the values, but of no other project."""
    for name, value in (("B_TOKEN", VALUE), ("A_KEY", "zwölf Boxkämpfer")):
        assert put(running, fresh, name, value).status_code == 200
    seen = "printf '%s' \"$B_TOKEN\" | sha256sum; test \"$A_KEY\" = 'zwölf Boxkämpfer' && echo same"
    run = running.run(seen, projectId=fresh)
    assert output(running, run).split() == [hashlib.sha256(VALUE.encode()).hexdigest(), "-", "same"]
    assert running.events(run["id"])[0]["envKeys"] == run["envKeys"] == ["A_KEY", "B_TOKEN"]
    evidence = running.http.get(f"/v1/workspace-runs/{run['id']}/evidence").json()["evidence"]
    assert evidence["envKeys"] == ["A_KEY", "B_TOKEN"]
    other = running.run("echo ${B_TOKEN-unset}")
    assert (output(running, other), other["envKeys"]) == ("unset\n", [])


def test_a_new_value_counts_for_the_next_run(running: Running, fresh: str) -> None:
    """Also for one that was created before and starts after; each value is masked in its own runs."""
    put(running, fresh, "TOKEN", "first-value")
    assert output(running, running.run("echo $TOKEN first-value", projectId=fresh)) == "*** ***\n"
    created = running.create("echo $TOKEN first-value second-value", projectId=fresh)
    put(running, fresh, "TOKEN", "second-value")
    running.upload(created, archive({"a": b""}))
    running.http.post(f"/v1/workspace-runs/{created}/start")
    assert output(running, running.finished(created)) == "*** first-value ***\n"


def test_a_secret_that_was_deleted_meanwhile_fails_the_run(running: Running, fresh: str) -> None:
    """Its log promises the name: running without would make the proof say what was not so."""
    put(running, fresh, "TOKEN", VALUE)
    created = running.create("echo $TOKEN", projectId=fresh)
    running.http.delete(f"/v1/projects/{fresh}/secrets/TOKEN")
    running.upload(created, archive({"a": b""}))
    running.http.post(f"/v1/workspace-runs/{created}/start")
    run = running.finished(created)
    assert (run["status"], run["failureClass"]) == ("failed", "user_input")
    assert "TOKEN was deleted after this run was created" in run["failureMessage"]
    assert "startedAt" not in run


def test_a_failed_artifact_does_not_tell_a_secret(running: Running, fresh: str) -> None:
    """The message names where a link leads, which the command chose."""
    put(running, fresh, "TOKEN", VALUE.replace("/", "-"))
    run = running.run('ln -s "$TOKEN" link', projectId=fresh, artifacts=[{"path": "link"}])
    (error,) = run["artifactErrors"]
    assert error["message"] == "link: is a symbolic link; name what it leads to instead: ***."


def test_other_projects_and_organisations_do_not_exist(running: Running, fresh: str, project: str) -> None:
    """Reading, setting and deleting answer 404 alike for unknown, malformed, foreign and unseen projects."""
    put(running, fresh, "TOKEN", VALUE)
    founded = running.http.post("/v1/orgs", json={"name": "Other"}).json()
    stranger = httpx2.Client(
        base_url=running.url,
        headers={"authorization": f"Bearer {founded['secret']}"},
        timeout=FINISH_S_MAX,
    )
    restricted = client_with(running, scopes=["secret:read", "secret:write"], projectIds=[project])
    with stranger, restricted:
        for client in (stranger, restricted):
            answers = [
                client.get(f"/v1/projects/{fresh}/secrets"),
                client.put(f"/v1/projects/{fresh}/secrets/TOKEN", json={"value": "other"}),
                client.delete(f"/v1/projects/{fresh}/secrets/TOKEN"),
                client.get("/v1/projects/prj_unknown/secrets"),
                client.get("/v1/projects/nonsense/secrets"),
            ]
            assert [answer.status_code for answer in answers] == [404] * len(answers)
        assert restricted.get(f"/v1/projects/{project}/secrets").status_code == 200
    run = running.run(f"test \"$TOKEN\" = '{VALUE}' && echo mine", projectId=fresh)
    assert output(running, run) == "mine\n"


def test_each_route_wants_its_scope(running: Running, project: str) -> None:
    """`secret:read` lists, `secret:write` sets and deletes."""
    path = f"/v1/projects/{project}/secrets"
    with client_with(running, scopes=["secret:read"]) as reader:
        assert reader.get(path).status_code == 200
        assert reader.put(f"{path}/A", json={"value": "value"}).status_code == 403
        assert reader.delete(f"{path}/A").status_code == 403
    with client_with(running, scopes=["secret:write"]) as writer:
        assert writer.get(path).status_code == 403


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("PATH", "value", "reserved_env_key"),
        ("1A", "value", "invalid_request"),
        ("A-B", "value", "invalid_request"),
        ("A", "abc", "invalid_request"),
        ("A", "", "invalid_request"),
        ("A", "nul\0nul", "invalid_request"),
        ("A", "é" * 8193, "invalid_request"),
        ("A", 12345, "invalid_request"),
        ("A", None, "invalid_request"),
    ],
)
def test_bad_names_and_values_are_refused_without_repeating_them(
    running: Running, fresh: str, name: str, value: object, code: str
) -> None:
    """400, and nothing is stored."""
    answer = put(running, fresh, name, value)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert not value or str(value) not in answer.text.replace(f'"{name}"', "")
    assert names(running, fresh) == []


def test_the_same_key_and_value_set_a_secret_once(running: Running, fresh: str) -> None:
    """A retry gets the first answer; another value under the same key is refused, and neither is stored."""
    key = {"idempotency-key": "set-once"}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: put(running, fresh, "TOKEN", VALUE, **key), range(16)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    refused = put(running, fresh, "TOKEN", "another value", **key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert put(running, fresh, "TOKEN", "another value").status_code == 200


def test_a_project_has_so_many_secrets_and_no_more(tmp_path: Path) -> None:
    """Racing requests for the last places do not get past the limits, of number and of bytes."""
    limits = RunLimits(secrets_max=4, secrets_bytes_max=200)
    with serving(tmp_path / "data", runs=limits) as running:
        project = running.http.get("/v1/projects").json()["data"][0]["id"]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: put(running, project, f"S{n}", "value"), range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 4
        (first, *_) = names(running, project)
        assert put(running, project, first, "v" * 177).status_code == 200  # 179 and three of 2 + 5 bytes
        assert put(running, project, first, "v" * 178).status_code == 429


def test_rebuilt_views_list_the_same_secrets(running: Running, fresh: str) -> None:
    """Set, changed, deleted and set anew: the fold of the log is what the live views say."""
    for step in (("A", "first"), ("A", "second"), ("B", "third")):
        put(running, fresh, *step)
    running.http.delete(f"/v1/projects/{fresh}/secrets/A")
    put(running, fresh, "A", "fourth")
    running.http.delete(f"/v1/projects/{fresh}/secrets/B")
    copy = running.data_dir / "copy.sqlite"
    maintenance.copy_to(running.data_dir / "log.sqlite", copy)
    before = [row for row in maintenance.dump_views(copy) if row[0] == "secrets"]
    maintenance.rebuild(copy, Projections())
    assert [row for row in maintenance.dump_views(copy) if row[0] == "secrets"] == before
    assert len([row for row in before if row[1].startswith(fresh)]) == 2
    copy.unlink()


def test_another_key_fails_runs_clearly_and_secrets_can_be_set_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A lost key: the server starts with a new one that the operator made, and tells what to do.

    What the server is to blame for stands in its own log as well, under the run's id.
    """
    with serving(tmp_path / "data") as running:
        key, project = running.key, running.http.get("/v1/projects").json()["data"][0]["id"]
        put(running, project, "TOKEN", VALUE)
    file = tmp_path / "data" / "keys" / "secrets.key"
    file.rename(tmp_path / "away")
    with pytest.raises(CliError, match=r"secrets\.key is missing"), serving(tmp_path / "data", key):
        pass
    file.write_bytes(secrets.token_bytes(32))
    with serving(tmp_path / "data", key) as running:
        run = running.run("echo $TOKEN")
        assert (run["failureReason"], run["failureClass"]) == ("internal_error", "platform")
        assert "TOKEN cannot be decrypted (encrypted with key" in run["failureMessage"]
        assert any(run["id"] in line and run["failureMessage"] in line for line in caplog.messages)
        put(running, project, "TOKEN", VALUE)
        assert output(running, running.run("echo $TOKEN")) == "***\n"


def test_a_copy_of_the_database_does_not_tell_a_secret(running: Running, fresh: str) -> None:
    """Without `keys/secrets.key` there is ciphertext only, and a deleted secret's is gone from its place."""
    value = secrets.token_hex(16)
    put(running, fresh, "TOKEN", value, **{"idempotency-key": "for-the-copy"})
    stored = asyncio.run_coroutine_threadsafe(
        running.server.services.store.get_record("secret", f"{fresh}/TOKEN"), running.loop
    ).result(FINISH_S_MAX)
    assert stored is not None
    assert set(json.loads(stored.doc)) == {"ciphertext", "keyId", "nonce"}
    shutil.copytree(running.data_dir, running.data_dir.with_name("stolen"))
    stolen = [
        path.read_bytes()
        for path in running.data_dir.with_name("stolen").rglob("*")
        if path.is_file() and path.parent.name != "keys"
    ]
    for form in (value.encode(), base64.b64encode(value.encode()), hashlib.sha256(value.encode()).digest()):
        assert not any(form in content or form.hex().encode() in content for content in stolen)
    running.http.delete(f"/v1/projects/{fresh}/secrets/TOKEN")
    gone = asyncio.run_coroutine_threadsafe(
        running.server.services.store.get_record("secret", f"{fresh}/TOKEN"), running.loop
    ).result(FINISH_S_MAX)
    assert gone is not None
    assert gone.doc == b"{}"
