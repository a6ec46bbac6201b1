"""The commands keys, projects and orgs against a real server: what they change, show, ask and refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.shapes import DEFAULT_KEY_SCOPES, PLANS, ROLES
from runs.access import OPERATOR_SCOPES, ROLE_SCOPES, SCOPES
from runs.accounts import PLANS as SERVER_PLANS
from tests.cli.cli_runner import Shell
from tests.cli.recording_server import RecordingServer, as_json
from tests.serving import Running, serving

NAMED = {"CROWNEST_USER_ID": "usr_dev", "CROWNEST_ROLE": "owner"}


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Running]:
    """A server that listens to the headers that name a person."""
    with serving(tmp_path / "dev", dev_headers=True) as one:
        yield one


@pytest.fixture
def person(
    dev: Running, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """Commands of a person without any key."""
    shell = Shell(tmp_path, dev.url, capfdbinary, monkeypatch)
    del shell.env["CROWNEST_API_KEY"]
    org_id = dev.http.get("/v1/projects").json()["data"][0]["orgId"]
    shell.env |= {**NAMED, "CROWNEST_ORG_ID": org_id}
    return shell


def made_key(owner: Shell, *args: str) -> tuple[str, str]:
    """A new key's id and secret."""
    result = owner("keys", "create", "--name", "ci", *args, "--json")
    assert result.status == 0, result.err
    return result.data["apiKey"]["id"], result.data["secret"]


def columns(out: bytes) -> list[dict[str, str]]:
    """The rows of a list as programs get it."""
    header, *rows = [line.split("\t") for line in out.decode().splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_what_the_client_offers_is_what_the_server_knows() -> None:
    """Default scopes as CONTRACT §1.1 has them; plans and roles are the server's."""
    left_out = {"backup", "usage", "api_key", "project"}
    wanted = tuple(scope for scope in SCOPES if scope.partition(":")[0] not in left_out)
    assert wanted == DEFAULT_KEY_SCOPES
    assert tuple(ROLE_SCOPES) == ROLES
    assert tuple(SERVER_PLANS) == PLANS


def test_a_new_key_shows_its_secret_alone_on_stdout_and_works(owner: Shell) -> None:
    """So that `key=$(crownest keys create --name ci)` is all that a script needs."""
    result = owner("keys", "create", "--name", "ci")
    assert result.status == 0
    secret = result.out.decode().removesuffix("\n")
    assert secret.startswith("cn_")
    assert "\n" not in secret
    assert secret not in result.err
    (listed,) = [row for row in columns(owner("keys", "list").out) if row["name"] == "ci"]
    assert listed["id"] in result.err
    assert secret.endswith(listed["last4"])
    assert listed["scopes"].split(",") == sorted(DEFAULT_KEY_SCOPES)
    owner.env["CROWNEST_API_KEY"] = secret
    assert owner("workspace-runs", "list").status == 0
    refused = owner("keys", "list", "--json")
    assert (refused.status, refused.error["code"]) == (1, "forbidden")


def test_scopes_and_projects_restrict_a_key(owner: Shell) -> None:
    """Exactly those that are named."""
    project = owner("projects", "create", "--name", "web", "--json").data["id"]
    key_id, secret = made_key(
        owner, "--scope", "workspace_run:read", "--scope", "usage:read", "--project", project
    )
    key = owner("keys", "get", key_id, "--json").data
    assert sorted(key["scopes"]) == ["usage:read", "workspace_run:read"]
    assert key["projectIds"] == [project]
    assert secret not in json.dumps(key)
    owner.env["CROWNEST_API_KEY"] = secret
    assert [row["id"] for row in columns(owner("projects", "list").out)] == [project]


def test_keys_are_listed_newest_first_page_by_page_with_their_last_use(owner: Shell) -> None:
    """Cursors are opaque; the last page has none."""
    older, newer = made_key(owner)[0], made_key(owner)[0]
    first = owner("keys", "list", "--limit", "2", "--json")
    assert [key["id"] for key in first.data] == [newer, older]
    cursor = json.loads(first.out)["nextCursor"]
    rest = owner("keys", "list", "--limit", "2", "--cursor", cursor, "--json")
    assert [key["name"] for key in rest.data] == ["first key"]
    assert "lastUsedAt" in rest.data[0]
    assert "nextCursor" not in json.loads(rest.out)
    assert f"more: repeat with --cursor {cursor}" in owner("keys", "list", "--limit", "2").err


def test_a_revoked_key_is_refused_and_stays_listed(owner: Shell) -> None:
    """Twice changes nothing."""
    key_id, secret = made_key(owner)
    first = owner("keys", "revoke", key_id, "--yes", "--json")
    again = owner("keys", "revoke", key_id, "--yes", "--json")
    assert first.data["revokedAt"] == again.data["revokedAt"]
    assert f"revoked {key_id} (ci)" in owner("keys", "revoke", key_id, "--yes").err
    (row,) = [row for row in columns(owner("keys", "list").out) if row["id"] == key_id]
    assert row["revokedAt"] == first.data["revokedAt"]
    owner.env["CROWNEST_API_KEY"] = secret
    assert owner("workspace-runs", "list", "--json").error["code"] == "unauthorized"


@pytest.mark.parametrize(
    "args",
    [
        ["keys", "revoke", "key_abc"],
        ["orgs", "remove-user", "usr_abc"],
        ["sandboxes", "kill", "sbx_abc"],
        ["artifacts", "delete", "art_abc"],
    ],
    ids=lambda args: args[0],
)
def test_a_program_says_yes_or_nothing_is_asked_of_the_server(
    shell: Shell, server: RecordingServer, args: list[str]
) -> None:
    """An answer on a pipe does not count."""
    for more in ([], ["--json"]):
        result = shell.process(*args, *more, input_=b"y\n")
        assert result.status == 2
        assert "add --yes" in result.err
    assert server.requests == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["keys", "revoke", "wsr_abc", "--yes"], "they look like key_abc123"),
        (["keys", "create"], "--name"),
        (["keys", "create", "--name", "x", "--project", "web"], "they look like prj_abc123"),
        (["projects", "update", "prj_abc"], "Say what to change"),
        (["projects", "update", "prj_abc", "--limit", "concurrentSandboxes"], "name=number"),
        (["projects", "update", "prj_abc", "--limit", "a=-1"], "name=number"),
        (["projects", "update", "prj_abc", "--limit", "a=1", "--limit", "a=2"], "given twice"),
        (["orgs", "get", "--org", "acme"], "they look like org_abc123"),
        (["orgs", "update"], "Say what to change"),
        (["orgs", "update", "--plan", "platinum"], "platinum"),
        (["orgs", "add-user", "--name", "Eve", "--role", "emperor"], "emperor"),
        (["orgs", "update-user", "usr_abc"], "Say what to change"),
        (["orgs", "events", "--after-seq", "-1"], "at least 0"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, list) else None,
)
def test_bad_input_is_refused_before_the_server_is_asked(
    shell: Shell, server: RecordingServer, args: list[str], said: str
) -> None:
    """Exit 2, with what is wrong."""
    result = shell(*args)
    assert result.status == 2
    assert said in result.err
    assert server.requests == []


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["keys", "create", "--name", "x", "--scope", "root"], "invalid_request", "no scope 'root'"),
        (["keys", "get", "key_unknown"], "not_found", "crownest keys list"),
        (["projects", "get", "prj_unknown"], "not_found", "crownest projects list"),
        (["orgs", "get", "--org", "org_unknown"], "not_found", "crownest orgs list"),
        (["orgs", "update-user", "usr_unknown", "--name", "x"], "not_found", "crownest orgs users"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, list) else None,
)
def test_what_the_server_refuses_comes_with_a_way_on(
    owner: Shell, args: list[str], code: str, said: str
) -> None:
    """Its code, its words, and the command that shows what there is."""
    result = owner(*args, "--json")
    assert (result.status, result.error["code"]) == (1, code)
    assert said in f"{result.error['message']} {result.error['remediation']}"


def test_a_project_is_made_once_renamed_limited_and_relieved(owner: Shell) -> None:
    """A limit that is not named stays; none lifts."""
    make = ["projects", "create", "--name", "web", "--idempotency-key", "k1", "--json"]
    project = owner(*make).data
    assert owner(*make).data == project
    path = ["projects", "update", project["id"], "--json"]
    limits = ["--limit", "concurrentSandboxes=3", "--limit", "artifactBytes=1000"]
    assert owner(*path, "--name", "site", *limits).data["limits"] == {
        "concurrentSandboxes": 3,
        "artifactBytes": 1000,
    }
    lifted = owner(*path, "--limit", "artifactBytes=none").data
    assert (lifted["name"], lifted["limits"]) == ("site", {"concurrentSandboxes": 3})
    rows = columns(owner("projects", "list").out)
    assert [(row["name"], row["limits"]) for row in rows] == [
        ("site", "concurrentSandboxes=3"),
        ("default", ""),
    ]
    assert owner("projects", "get", project["id"]).out.decode().splitlines()[:2] == [
        f"id: {project['id']}", "name: site"
    ]  # fmt: skip


def test_an_organisation_is_made_with_a_key_of_its_own(owner: Shell) -> None:
    """Its secret alone is on stdout; the key rules there, and sees nothing else."""
    result = owner("orgs", "create", "--name", "Acme", "--plan", "builder")
    assert result.status == 0
    assert {row["name"]: row["plan"] for row in columns(owner("orgs", "list").out)}["Acme"] == "builder"
    owner.env["CROWNEST_API_KEY"] = result.out.decode().strip()
    own = owner("orgs", "get", "--json").data
    assert (own["name"], own["plan"]) == ("Acme", "builder")
    assert own["id"] in result.err
    assert [row["id"] for row in columns(owner("orgs", "list").out)] == [own["id"]]
    assert not OPERATOR_SCOPES & set(owner("keys", "list", "--json").data[0]["scopes"])
    assert owner("orgs", "update", "--name", "Acme 2", "--json").data["name"] == "Acme 2"
    assert owner("orgs", "update", "--plan", "scale", "--json").error["code"] == "forbidden"


def test_the_operator_puts_an_organisation_on_another_plan(owner: Shell) -> None:
    """By its id; without one it is the key's own."""
    made = owner("orgs", "create", "--name", "Acme", "--json").data
    org_id = made["organization"]["id"]
    assert owner("orgs", "update", "--org", org_id, "--plan", "scale", "--json").data["plan"] == "scale"
    assert owner("orgs", "get", "--json").data["id"] != org_id


def test_people_are_added_promoted_and_removed(owner: Shell) -> None:
    """Removed ones stay listed; the last owner cannot go."""
    user = owner("orgs", "add-user", "--name", "Ada", "--json").data
    assert user["role"] == "member"
    promoted = owner("orgs", "update-user", user["id"], "--role", "admin", "--name", "Ada L", "--json").data
    assert (promoted["name"], promoted["role"]) == ("Ada L", "admin")
    assert f"removed {user['id']} (Ada L)" in owner("orgs", "remove-user", user["id"], "--yes").err
    rows = {row["name"]: row for row in columns(owner("orgs", "users").out)}
    assert rows["Ada L"]["removedAt"]
    assert not rows["Owner"]["removedAt"]
    last = owner("orgs", "remove-user", rows["Owner"]["id"], "--yes", "--json")
    assert (last.status, last.error["code"]) == (1, "conflict")


def test_an_invitation_needs_a_server_that_people_can_sign_in_to(owner: Shell) -> None:
    """Else nobody is added, and the message says what to leave out."""
    before = owner("orgs", "users").out
    refused = owner("orgs", "add-user", "--name", "Ada", "--email", "ada@example.org", "--json")
    assert (refused.status, refused.error["code"]) == (1, "invalid_request")
    assert "knows no provider. Leave it out." in refused.error["message"]
    assert owner("orgs", "users").out == before


def test_events_replay_every_change_of_the_organisation(
    owner: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pages, from any place, as JSON or as lines."""
    monkeypatch.setattr("cli.orgs.EVENTS_PER_PAGE", 2)
    key_id, secret = made_key(owner)
    lines = owner("orgs", "events", "--json").out.splitlines()
    events = [json.loads(line)["data"] for line in lines]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "organization_created"
    assert (events[-1]["type"], events[-1]["apiKey"]["id"]) == ("api_key_created", key_id)
    assert secret.encode() not in b"".join(lines)
    (line,) = owner("orgs", "events", "--after-seq", str(len(events) - 1)).out.decode().splitlines()
    seq, _, kind, actor, told = line.split("\t")
    assert (seq, kind, actor) == (str(len(events)), "api_key_created", events[-1]["actor"])
    assert f"apiKey={key_id}" in told


def test_events_can_be_followed_until_the_reader_goes(owner: Shell) -> None:
    """What happens while one watches is shown when it happens; a closed pipe ends it quietly."""
    with owner.popen(["orgs", "events", "--follow", "--json"], stdout=-1, stderr=-1) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        seen = [json.loads(process.stdout.readline())["data"]["type"] for _ in range(4)]
        assert seen == ["organization_created", "user_added", "project_created", "api_key_created"]
        owner("projects", "create", "--name", "seen")
        assert json.loads(process.stdout.readline())["data"]["name"] == "seen"
        process.stdout.close()
        owner("projects", "create", "--name", "unseen")
        assert process.wait(30) == 141
        assert process.stderr.read() == b""


def test_a_person_without_a_key_makes_one_on_a_development_server(person: Shell, dev: Running) -> None:
    """As the published command line does: three headers, no bearer (CONTRACT §1, §9)."""
    key_id, secret = made_key(person)
    assert person("keys", "get", key_id, "--json").data["createdByUserId"] == "usr_dev"
    assert key_id in {row["id"] for row in columns(person("keys", "list").out)}
    assert person("keys", "revoke", key_id, "--yes").status == 0
    assert "revokedAt" in dev.http.get(f"/v1/api-keys/{key_id}").json()["apiKey"]
    assert secret.startswith("cn_")


def test_a_server_that_is_not_for_development_says_how_to_get_in(running: Running, person: Shell) -> None:
    """The remedy names both ways."""
    result = person("keys", "list", "--api-url", running.url, "--json")
    assert (result.status, result.error["code"]) == (1, "unauthorized")
    assert "CROWNEST_DEV_HEADERS=true" in result.error["remediation"]
    assert "CROWNEST_API_KEY" in result.error["remediation"]


def test_the_environment_decides_who_asks(shell: Shell, server: RecordingServer) -> None:
    """A key in the environment wins over a person; a person wins over a stored key."""
    server.routes["GET /v1/api-keys"] = lambda _: as_json({"data": [], "hasMore": False})
    shell.env |= {**NAMED, "CROWNEST_ORG_ID": "org_1"}
    shell("keys", "list")
    assert server.requests[-1].headers["authorization"] == "Bearer cn_test"
    assert not {name for name in server.requests[-1].headers if name.endswith(("-org-id", "-role"))}
    del shell.env["CROWNEST_API_KEY"]
    assert shell("login", "--api-url", "http://127.0.0.1:1", "--api-key", "cn_stored").status == 0
    shell("keys", "list")
    headers = server.requests[-1].headers
    assert "authorization" not in headers
    assert [headers[f"x-crownest-{name}"] for name in ("org-id", "user-id", "role")] == [
        "org_1",
        "usr_dev",
        "owner",
    ]
    del shell.env["CROWNEST_ROLE"]
    shell("keys", "list")
    assert server.requests[-1].headers["authorization"] == "Bearer cn_stored"
    assert shell("projects", "list").status == 1  # no route: but asked with the key
    assert server.requests[-1].headers["authorization"] == "Bearer cn_stored"


def test_a_person_that_is_half_named_is_told_what_is_missing(person: Shell, lonely_shell: Shell) -> None:
    """And one whose values cannot be headers; --api-url wins over everything, 127.0.0.1:8787 is the last."""
    del person.env["CROWNEST_ROLE"]
    result = person("keys", "list", "--json")
    assert (result.status, result.error["code"]) == (1, "missing_credential")
    assert "CROWNEST_ROLE must be set as well" in result.error["message"]
    lonely_shell.env |= {**NAMED, "CROWNEST_ORG_ID": "org_\r\nx: y"}
    assert "holds characters" in lonely_shell("keys", "list").err
    lonely_shell.env["CROWNEST_ORG_ID"] = "org_1"
    assert lonely_shell("keys", "list", "--api-url", "http://127.0.0.1:1", "--json").error["details"][
        "origin"
    ] == ("http://127.0.0.1:1")
