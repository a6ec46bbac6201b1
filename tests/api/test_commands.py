"""Commands in a warm sandbox: waited for, in the background, canceled, followed, and their artifacts."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from eventstore.views import ViewRow
from runs.access import Principal
from runs.limits import RunLimits
from tests.serving import Running, serving


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that keeps little output of a command."""
    limits = RunLimits(command_output_bytes_max=100_000, command_answer_bytes_max=1000)
    with serving(tmp_path_factory.mktemp("commands"), runs=limits) as one:
        yield one


@pytest.fixture(scope="module")
def base(running: Running) -> str:
    """The path of a warm sandbox."""
    sandbox = running.http.post("/v1/sandboxes", json={"template": "python"}).json()["sandbox"]
    return f"/v1/sandboxes/{sandbox['id']}"


def run(running: Running, base: str, command: str, **fields: object) -> dict[str, Any]:
    """A command that was waited for."""
    answer = running.http.post(f"{base}/commands", json={"command": command, **fields})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["command"]
    return found


def start(running: Running, base: str, command: str, **fields: object) -> dict[str, Any]:
    """A command in the background."""
    answer = running.http.post(f"{base}/commands", json={"command": command, "background": True, **fields})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()["command"]
    return found


def ended(running: Running, command_id: str) -> dict[str, Any]:
    """Its record once it has ended."""
    while (found := running.http.get(f"/v1/commands/{command_id}").json()["command"])["status"] == "running":
        time.sleep(0.02)
    result: dict[str, Any] = found
    return result


def code(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


def test_a_command_that_is_waited_for_answers_with_its_output(running: Running, base: str) -> None:
    """Exit code, both streams, folder and environment; the answer names variables and no values."""
    body = {"command": 'echo "$GREETING"; pwd; echo bad >&2; exit 3', "env": {"GREETING": "hallo"}}
    for path in ("commands", "commands/run"):
        answer = running.http.post(f"{base}/{path}", json={**body, "cwd": "/workspace"})
        assert answer.status_code == 200
        command = answer.json()["command"]
        assert (command["status"], command["exitCode"]) == ("exited", 3)
        assert command["stdout"].startswith("hallo\n")
        assert command["stderr"] == "bad\n"
        assert (command["envKeys"], command["env"]) == (["GREETING"], {})
        assert command["finishedAt"] >= command["startedAt"]
        assert command["durationMs"] >= 0


def test_a_background_command_goes_on_while_others_run(running: Running, base: str) -> None:
    """The older name answers 202 as well."""
    answer = running.http.post(f"{base}/commands/start", json={"command": "sleep 60"})
    assert answer.status_code == 202
    background = answer.json()["command"]
    assert (background["status"], background["timeoutMs"]) == ("running", 7 * 24 * 60 * 60 * 1000)
    assert run(running, base, "echo meanwhile")["stdout"] == "meanwhile\n"
    assert running.http.get(f"/v1/commands/{background['id']}").json()["command"]["status"] == "running"
    canceled = running.http.post(f"/v1/commands/{background['id']}/cancel").json()["command"]
    assert (canceled["status"], canceled["cancelMode"]) == ("canceled", "graceful")


def test_force_ends_what_takes_no_notice_of_a_polite_cancel(running: Running, base: str) -> None:
    """An unknown mode is refused; canceling what has ended answers it as it stands."""
    stubborn = start(running, base, "trap '' TERM; while :; do sleep 0.1; done")
    path = f"/v1/commands/{stubborn['id']}"
    assert code(running.http.post(f"{path}/cancel", json={"mode": "politely"})) == (400, "invalid_request")
    forced = running.http.post(f"{path}/cancel", json={"mode": "force"}).json()["command"]
    assert (forced["status"], forced["cancelMode"], forced["terminationSignal"]) == (
        "canceled",
        "force",
        "SIGKILL",
    )
    assert running.http.post(f"{path}/cancel").json()["command"] == forced


def test_a_cancel_that_comes_while_the_command_ends_answers_its_end(
    running: Running, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by racing: one of many identical cancels looked before the end and asked after it."""
    commands = running.server.services.commands
    look = commands.get

    async def look_then_let_it_end(who: Principal, command_id: str, scope: str = "command:read") -> ViewRow:
        row = await look(who, command_id, scope)
        while commands.is_running(command_id):  # noqa: ASYNC110 # a poll is all that a test needs
            await asyncio.sleep(0.01)
        return row

    command = start(running, base, "sleep 0.5")
    monkeypatch.setattr(commands, "get", look_then_let_it_end)
    canceled = running.http.post(f"/v1/commands/{command['id']}/cancel").json()["command"]
    assert (canceled["status"], canceled["exitCode"]) == ("exited", 0)


def test_a_command_over_its_time_is_timed_out(running: Running, base: str) -> None:
    """It ends, and says so."""
    command = run(running, base, "sleep 60", timeoutMs=300)
    assert command["status"] == "timed_out"
    assert "exitCode" not in command


def test_logs_are_paged_by_seq_and_streamed_until_the_end(running: Running, base: str) -> None:
    """`nextSeq` fed back as `afterSeq` misses and repeats nothing; frames are LF and end with `terminal`."""
    command = start(running, base, "for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.1; done")
    with running.http.stream("GET", f"/v1/commands/{command['id']}/stream") as stream:
        text = b"".join(stream.iter_raw()).decode()
    assert "\r" not in text
    frames = [frame for frame in text.split("\n\n") if "data: " in frame]
    events = [json.loads(frame.split("data: ", 1)[1]) for frame in frames]
    assert events[-1]["type"] == "terminal"
    assert events[-1]["command"]["status"] == "exited"
    logs = events[:-1]
    assert [event["seq"] for event in logs] == list(range(1, len(logs) + 1))
    for stream_name, word in (("stdout", "out"), ("stderr", "err")):
        data = "".join(event["data"] for event in logs if event["stream"] == stream_name)
        assert data == f"{word} 1\n{word} 2\n{word} 3\n"
    paged: list[dict[str, Any]] = []
    after = 0
    while True:
        page = running.http.get(f"/v1/commands/{command['id']}/logs?afterSeq={after}&limit=2").json()
        paged += page["data"]
        if not page["hasMore"]:
            break
        after = page["nextSeq"]
    assert [(one["seq"], one["stream"], one["data"]) for one in paged] == [
        (one["seq"], one["stream"], one["data"]) for one in logs
    ]
    resumed = running.http.get(f"/v1/commands/{command['id']}/stream?afterSeq={len(logs)}").text
    assert resumed.startswith("event: terminal\n")
    assert running.http.get(f"/v1/commands/{command['id']}/logs?afterSeq=99").json() == {
        "data": [],
        "hasMore": False,
    }


def test_bytes_that_are_no_text_are_kept_beside_their_text(running: Running, base: str) -> None:
    """As `dataBase64`, exactly when they were no UTF-8, in pages and in the stream."""
    command = run(running, base, "printf '\\377a'; exit 0")
    (entry,) = running.http.get(f"/v1/commands/{command['id']}/logs").json()["data"]
    assert (entry["data"], entry["dataBase64"]) == ("\ufffda", "/2E=")
    assert '"dataBase64":"/2E="' in running.http.get(f"/v1/commands/{command['id']}/stream").text


def test_a_command_finds_its_projects_secrets_and_shows_none(running: Running, base: str) -> None:
    """By name in the environment and in `envKeys`; masked in the answer and in what is kept."""
    project_id = running.http.get("/v1/projects").json()["data"][0]["id"]
    path = f"/v1/projects/{project_id}/secrets/DEPLOY_TOKEN"
    assert running.http.put(path, json={"value": "hush-hush-hush"}).status_code == 200
    command = run(running, base, 'echo "<$DEPLOY_TOKEN>"; printf %s "$DEPLOY_TOKEN" | base64')
    assert command["envKeys"] == ["DEPLOY_TOKEN"]
    assert command["stdout"].startswith("<***>\n***")
    logs = running.http.get(f"/v1/commands/{command['id']}/logs").text
    assert "hush" not in logs
    own = run(running, base, 'echo "$DEPLOY_TOKEN"', env={"DEPLOY_TOKEN": "mine"})
    assert own["stdout"] == "mine\n"
    link = run(running, base, 'ln -s "$DEPLOY_TOKEN" link', collect=[{"path": "link"}])
    assert "hush" not in str(link)
    running.http.delete(path)
    assert run(running, base, "true")["envKeys"] == []


def test_output_over_the_cap_is_cut_and_says_so(running: Running, base: str) -> None:
    """The answer is cut sooner than what is kept; the command runs on either way."""
    command = run(running, base, "head -c 5000 /dev/zero | tr '\\0' x; exit 4")
    assert (len(command["stdout"]), command["stdoutTruncated"], command["exitCode"]) == (1000, True, 4)
    flood = run(running, base, "head -c 300000 /dev/zero | tr '\\0' x; exit 5")
    assert (flood["truncated"], flood["exitCode"]) == (True, 5)


def test_one_key_starts_one_command(running: Running, base: str) -> None:
    """A repeated request waits for the same end; another request with the key is refused."""
    headers = {"idempotency-key": "count once"}
    body = {"command": "echo x >> counted; cat counted"}
    answers = [running.http.post(f"{base}/commands", json=body, headers=headers) for _ in range(3)]
    assert {answer.content for answer in answers} == {answers[0].content}
    assert answers[0].json()["command"]["stdout"] == "x\n"
    other = running.http.post(f"{base}/commands", json={"command": "true"}, headers=headers)
    assert code(other) == (409, "idempotency_key_reused")


def test_a_command_keeps_the_files_it_was_asked_for(running: Running, base: str) -> None:
    """Or says which could not be; on success only, when that was wanted."""
    made = run(
        running,
        base,
        "echo 1 > a; echo 2 > b",
        collect=[{"path": "a"}, {"path": "/workspace/b", "name": "B"}],
    )
    assert made["collectStatus"] == "succeeded"
    names = {
        running.http.get(f"/v1/artifacts/{one}").json()["artifact"]["name"] for one in made["artifactIds"]
    }
    assert names == {"a", "B"}
    some = run(running, base, "true", collect=[{"path": "a"}, {"path": "absent"}])
    assert (some["collectStatus"], some["collectErrors"][0]["code"]) == ("partial", "file_not_found")
    failed = run(running, base, "false", collect=[{"path": "a"}], collectOn="success")
    assert failed["collectStatus"] == "skipped"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"command": ""}, (400, "invalid_request")),
        ({"command": " "}, (400, "invalid_request")),
        ({"command": "x" * 40_000}, (400, "invalid_request")),
        ({"command": "a\0b"}, (400, "invalid_request")),
        ({"command": "true", "timeoutMs": 600_001}, (400, "invalid_request")),
        ({"command": "true", "env": {"PATH": "/x"}}, (400, "reserved_env_key")),
        ({"command": "true", "env": {"LD_PRELOAD": "/x"}}, (400, "reserved_env_key")),
        ({"command": "true", "env": {"A B": "x"}}, (400, "invalid_request")),
        ({"command": "true", "env": {"A": 1}}, (400, "invalid_request")),
        ({"command": "true", "cwd": "/etc"}, (400, "path_outside_workspace")),
        ({"command": "true", "collect": [{"path": "../x"}]}, (400, "path_outside_workspace")),
        ({"command": "true", "collect": [{"path": "*.txt"}]}, (400, "invalid_request")),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else None,
)
def test_a_bad_command_is_refused_by_name(
    running: Running, base: str, body: object, expected: tuple[int, str]
) -> None:
    """Nothing is started for it."""
    assert code(running.http.post(f"{base}/commands", json=body)) == expected


def test_commands_of_a_destroyed_sandbox_say_so(running: Running) -> None:
    """A running one is killed; a new one is 410."""
    sandbox = running.http.post("/v1/sandboxes", json={"template": "base"}).json()["sandbox"]
    path = f"/v1/sandboxes/{sandbox['id']}"
    command = start(running, path, "sleep 60")
    running.http.delete(path)
    found = ended(running, command["id"])
    assert (found["status"], found["killedReason"]) == ("killed", "sandbox_destroyed")
    assert code(running.http.post(f"{path}/commands", json={"command": "true"})) == (410, "sandbox_destroyed")
    assert code(running.http.get("/v1/commands/cmd_unknown")) == (404, "not_found")


def test_a_full_disk_leaves_no_command_that_is_said_to_run(tmp_path: Path) -> None:
    """Where its output could not even begin, there is no command, and the next one runs."""
    with serving(tmp_path) as running:
        sandbox = running.http.post("/v1/sandboxes", json={"template": "base"}).json()["sandbox"]
        commands = f"/v1/sandboxes/{sandbox['id']}/commands"
        (tmp_path / "commands").rename(tmp_path / "away")
        refused = running.http.post(commands, json={"command": "true"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "resource_allocation_failed")
        (tmp_path / "away").rename(tmp_path / "commands")
        assert running.http.post(commands, json={"command": "true"}).json()["command"]["exitCode"] == 0
        events = running.http.get(f"/v1/orgs/{sandbox['orgId']}/events?limit=500").json()["data"]
        types = [event["type"] for event in events if event["type"].startswith("command_")]
        assert types == ["command_started", "command_finished"]
