"""Previews through the API: made, listed, limited, revoked, expired (CONTRACT §2, §6.7, §7.2)."""

import asyncio
import shutil
import socket
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from evidence.record import parse_time
from runs.idempotency import identify
from runs.previews import PREVIEW_TOKEN, PreviewService
from tests.serving import FINISH_S_MAX, Running, archive, serving

RACERS = 32


def kept(running: Running) -> str:
    """A kept sandbox's id."""
    return str(running.run("true", keepSandbox=True)["sandboxId"])


def create(running: Running, sandbox_id: str, **fields: Any) -> httpx2.Response:
    """Ask for a preview."""
    return running.http.post(f"/v1/sandboxes/{sandbox_id}/previews", json={"port": 3000, **fields})


def created(running: Running, sandbox_id: str, **fields: Any) -> dict[str, Any]:
    """A new preview."""
    answer = create(running, sandbox_id, **fields)
    assert answer.status_code == 201, answer.text
    preview: dict[str, Any] = answer.json()["preview"]
    return preview


def code(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


def inside(running: Running, work: Coroutine[Any, Any, Any]) -> Any:
    """Run it on the server's loop."""
    return asyncio.run_coroutine_threadsafe(work, running.loop).result(FINISH_S_MAX)


def org_events(running: Running) -> list[dict[str, Any]]:
    """The whole stream of the first organisation."""
    org_id = running.http.get("/v1/projects").json()["data"][0]["orgId"]
    events: list[dict[str, Any]] = running.http.get(f"/v1/orgs/{org_id}/events?limit=500").json()["data"]
    return events


def later(running: Running, at_ms: int) -> PreviewService:
    """The same previews with another clock."""
    services = running.server.services
    return PreviewService(services.store, services.runs.limits, lambda: at_ms, running.server.place.url_of)


@pytest.fixture
def sandbox(running: Running) -> Iterator[str]:
    """A kept sandbox that is gone with its previews afterwards."""
    sandbox_id = kept(running)
    yield sandbox_id
    running.http.delete(f"/v1/sandboxes/{sandbox_id}")
    inside(running, running.server.services.previews.expire_overdue())


@pytest.fixture(scope="module")
def stranger(running: Running) -> Iterator[httpx2.Client]:
    """A client in another organisation."""
    answer = running.http.post("/v1/orgs", json={"name": "Other", "plan": "free"})
    headers = {"authorization": f"Bearer {answer.json()['secret']}"}
    with httpx2.Client(base_url=running.url, headers=headers, timeout=FINISH_S_MAX) as client:
        yield client


def test_a_preview_is_the_object_of_the_contract(running: Running, sandbox: str) -> None:
    """§8, with the sandbox's expiry and an address that is its own host."""
    preview = created(running, sandbox, port=8000)
    assert set(preview) == {
        "id", "slug", "orgId", "projectId", "sandboxId", "port", "authMode", "url", "createdAt", "expiresAt",
    }  # fmt: skip
    sandbox_object = running.http.get(f"/v1/sandboxes/{sandbox}").json()["sandbox"]
    assert preview["expiresAt"] == sandbox_object["expiresAt"]
    assert preview["projectId"] == sandbox_object["projectId"]
    assert (preview["port"], preview["authMode"], preview["sandboxId"]) == (8000, "authenticated", sandbox)
    assert preview["url"] == running.server.place.url_of(preview["slug"])
    assert preview["slug"] in preview["url"].split("/")[2].split(".")[0]
    assert running.http.get(f"/v1/previews/{preview['id']}").json() == {"preview": preview}


def test_the_event_names_what_was_opened_and_by_whom(running: Running, sandbox: str) -> None:
    """§6.7; the address is configuration and stands in no event."""
    preview = created(running, sandbox)
    running.http.delete(f"/v1/previews/{preview['id']}")
    made, revoked = (event for event in org_events(running) if event.get("previewId") == preview["id"])
    assert made["type"] == "preview_created"
    facts = ("projectId", "sandboxId", "port", "authMode", "slug", "expiresAt", "createdAt")
    assert {name: made[name] for name in facts} == {name: preview[name] for name in facts}
    assert made["actor"].startswith("key_")
    assert "url" not in made
    assert (revoked["type"], revoked["actor"]) == ("preview_revoked", made["actor"])


def test_a_token_is_shown_once_and_stored_as_a_hash(running: Running, sandbox: str) -> None:
    """In the answer that made it; neither in a listing, an event, nor the data folder."""
    answer = create(running, sandbox, authMode="token").json()
    token, preview = answer["previewToken"], answer["preview"]
    for path in (f"/v1/previews/{preview['id']}", f"/v1/sandboxes/{sandbox}/previews"):
        assert token not in running.http.get(path).text
    assert token not in str(org_events(running))
    for stored in running.data_dir.glob("log.sqlite*"):
        assert token.encode() not in stored.read_bytes()
    assert "previewToken" not in create(running, sandbox).json()


def test_an_idempotent_retry_makes_no_second_preview_and_shows_no_token(
    running: Running, sandbox: str
) -> None:
    """One effect; the token is stored nowhere, so only the first answer has it."""
    send = {"json": {"port": 1, "authMode": "token"}, "headers": {"idempotency-key": "preview once"}}
    path = f"/v1/sandboxes/{sandbox}/previews"
    first, second = (running.http.post(path, **send) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == {"preview": first.json()["preview"]}
    assert len(running.http.get(path).json()["data"]) == 1
    other = {"json": {"port": 2}, "headers": send["headers"]}
    assert code(running.http.post(path, **other)) == (409, "idempotency_key_reused")


@pytest.mark.parametrize(
    "body",
    [{}, {"port": 0}, {"port": 65536}, {"port": "80"}, {"port": 80.5}, {"port": True}, {"port": None},
     {"port": 80, "authMode": "none"}, {"port": 80, "authMode": None}],
)  # fmt: skip
def test_bad_bodies_are_refused_by_name(running: Running, sandbox: str, body: dict[str, object]) -> None:
    """400 `invalid_request` with the field."""
    answer = running.http.post(f"/v1/sandboxes/{sandbox}/previews", json=body)
    assert code(answer) == (400, "invalid_request")
    assert answer.json()["error"]["details"]["field"] in {"port", "authMode"}


def test_previews_are_paged_newest_first_revoked_ones_too(running: Running, sandbox: str) -> None:
    """Also once the sandbox is gone."""
    ids = [created(running, sandbox, port=port)["id"] for port in (1, 2, 3)]
    revoked = running.http.delete(f"/v1/previews/{ids[1]}").json()["preview"]
    assert revoked["revokedAt"]
    running.http.delete(f"/v1/sandboxes/{sandbox}")
    path = f"/v1/sandboxes/{sandbox}/previews"
    page = running.http.get(f"{path}?limit=2").json()
    rest = running.http.get(f"{path}?limit=2&cursor={page['nextCursor']}").json()
    assert [one["id"] for one in page["data"] + rest["data"]] == ids[::-1]
    assert not rest["hasMore"]
    assert all(one["url"] == running.server.place.url_of(one["slug"]) for one in page["data"])


def test_revoking_twice_changes_nothing(running: Running, sandbox: str) -> None:
    """The first time stands, and one event."""
    preview = created(running, sandbox)
    path = f"/v1/previews/{preview['id']}"
    first, second = (running.http.delete(path) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    events = [e for e in org_events(running) if e.get("previewId") == preview["id"]]
    assert len(events) == 2


def test_the_limits_per_sandbox_and_organisation_count_live_ones_alone(running: Running) -> None:
    """3 and 10 (§7.2); a revoked one makes room, and so does the end of a sandbox."""
    sandboxes = [kept(running) for _ in range(4)]
    for number in range(10):
        created(running, sandboxes[number // 3], port=number + 1)
    over_sandbox = create(running, sandboxes[0])
    assert code(over_sandbox) == (429, "quota_exceeded")
    assert over_sandbox.json()["error"]["retryable"] is False
    assert over_sandbox.json()["error"]["details"]["quota"] == "previews_per_sandbox"
    over_organization = create(running, sandboxes[3])
    assert code(over_organization) == (429, "quota_exceeded")
    assert over_organization.json()["error"]["details"]["quota"] == "previews"
    running.http.delete(f"/v1/sandboxes/{sandboxes[0]}")
    created(running, sandboxes[3])
    newest = running.http.get(f"/v1/sandboxes/{sandboxes[1]}/previews").json()["data"][0]
    running.http.delete(f"/v1/previews/{newest['id']}")
    created(running, sandboxes[1])
    for sandbox_id in sandboxes:
        running.http.delete(f"/v1/sandboxes/{sandbox_id}")
    inside(running, running.server.services.previews.expire_overdue())


def test_racing_requests_get_exactly_the_limit(running: Running, sandbox: str) -> None:
    """Many at once: three are made, all others are told why not."""
    with ThreadPoolExecutor(RACERS) as pool:
        answers = list(pool.map(lambda _: create(running, sandbox), range(RACERS)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * (RACERS - 3)


def test_racing_identical_requests_have_one_effect(running: Running, sandbox: str) -> None:
    """The same key from many racers: one preview, identical answers."""
    send = {"json": {"port": 1}, "headers": {"idempotency-key": "racing previews"}}
    path = f"/v1/sandboxes/{sandbox}/previews"
    with ThreadPoolExecutor(RACERS) as pool:
        answers = list(pool.map(lambda _: running.http.post(path, **send), range(RACERS)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len(running.http.get(path).json()["data"]) == 1


def test_a_destroyed_sandbox_is_410_and_an_unknown_one_404(running: Running, sandbox: str) -> None:
    """§7.1, alike for what is no id at all."""
    running.http.delete(f"/v1/sandboxes/{sandbox}")
    assert code(create(running, sandbox)) == (410, "sandbox_destroyed")
    for unknown in ("sbx_" + "a" * 26, "sbx_", "x", "wsr_abc"):
        assert code(create(running, unknown)) == (404, "not_found")


def test_a_sandbox_that_still_executes_its_run_is_a_conflict(running: Running) -> None:
    """409: it is not kept yet, and perhaps never will be."""
    run_id = running.create("sleep 60", keepSandbox=True)
    running.upload(run_id, archive({"a": b""}))
    running.http.post(f"/v1/workspace-runs/{run_id}/start")
    run = running.wait_for_status(run_id, "running")
    assert code(create(running, run["sandboxId"])) == (409, "conflict")
    running.http.post(f"/v1/workspace-runs/{run_id}/cancel")
    running.finished(run_id)


def test_what_another_organisation_knows_by_id_is_not_found(
    running: Running, sandbox: str, stranger: httpx2.Client
) -> None:
    """Every route, as for ids that never were."""
    preview = created(running, sandbox)
    for method, path in (
        ("POST", f"/v1/sandboxes/{sandbox}/previews"),
        ("GET", f"/v1/sandboxes/{sandbox}/previews"),
        ("GET", f"/v1/previews/{preview['id']}"),
        ("DELETE", f"/v1/previews/{preview['id']}"),
        ("GET", "/v1/previews/prv_unknown"),
        ("DELETE", "/v1/previews/..."),
    ):
        answer = stranger.request(method, path, json={"port": 1} if method == "POST" else None)
        assert code(answer) == (404, "not_found"), path
    assert "revokedAt" not in running.http.get(f"/v1/previews/{preview['id']}").json()["preview"]


@pytest.mark.parametrize("scope", ["preview:create", "preview:read", "preview:revoke"])
def test_each_route_needs_its_scope(running: Running, sandbox: str, scope: str) -> None:
    """403 `forbidden` naming it."""
    preview = created(running, sandbox)
    others = sorted({"preview:create", "preview:read", "preview:revoke"} - {scope})
    made = running.http.post("/v1/api-keys", json={"name": "narrow", "scopes": others}).json()
    method, path = {
        "preview:create": ("POST", f"/v1/sandboxes/{sandbox}/previews"),
        "preview:read": ("GET", f"/v1/previews/{preview['id']}"),
        "preview:revoke": ("DELETE", f"/v1/previews/{preview['id']}"),
    }[scope]
    headers = {"authorization": f"Bearer {made['secret']}"}
    answer = running.http.request(
        method, path, headers=headers, json={"port": 1} if method == "POST" else None
    )
    assert code(answer) == (403, "forbidden")
    assert answer.json()["error"]["details"]["requiredScope"] == scope


def test_a_preview_expires_at_its_time_before_anybody_looks(running: Running, sandbox: str) -> None:
    """To the millisecond; the reaper then writes it down, once."""
    preview = created(running, sandbox)
    end_ms = parse_time(preview["expiresAt"])
    assert inside(running, later(running, end_ms - 1).live(preview["slug"])) is not None
    assert inside(running, later(running, end_ms).live(preview["slug"])) is None
    reaper = later(running, end_ms)
    assert inside(running, reaper.expire_overdue()) >= 1
    assert inside(running, reaper.expire_overdue()) == 0
    types = [e["type"] for e in org_events(running) if e.get("previewId") == preview["id"]]
    assert types == ["preview_created", "preview_expired"]
    assert inside(running, running.server.services.previews.live(preview["slug"])) is None


def test_the_end_of_a_sandbox_ends_its_previews_and_their_tokens(running: Running, sandbox: str) -> None:
    """At once for who opens it; the reaper writes it down, with the time that it was."""
    preview = created(running, sandbox, authMode="token")
    services = running.server.services
    assert inside(running, services.store.get_record(PREVIEW_TOKEN, preview["id"])) is not None
    running.http.delete(f"/v1/sandboxes/{sandbox}")
    assert inside(running, services.previews.live(preview["slug"])) is None
    inside(running, services.previews.expire_overdue())
    assert inside(running, services.store.get_record(PREVIEW_TOKEN, preview["id"])) is None
    shown = running.http.get(f"/v1/previews/{preview['id']}").json()["preview"]
    assert shown["expiresAt"] < preview["expiresAt"]
    assert "revokedAt" not in shown


def test_the_reaper_comes_round_by_itself(tmp_path: Path) -> None:
    """Every `reap_interval_s`."""
    from runs.limits import RunLimits

    with serving(tmp_path, runs=RunLimits(reap_interval_s=0.1)) as running:
        sandbox_id = kept(running)
        preview = created(running, sandbox_id)
        running.http.delete(f"/v1/sandboxes/{sandbox_id}")
        deadline = time.monotonic() + FINISH_S_MAX
        while "preview_expired" not in {event["type"] for event in org_events(running)}:
            assert time.monotonic() < deadline, preview
            time.sleep(0.05)


def test_a_claim_that_was_stored_by_another_process_is_answered(running: Running, sandbox: str) -> None:
    """The append decides, not the lock: the racing loser gets the winner's answer."""
    services = running.server.services
    who = inside(running, _first_principal(running))
    request = identify((who.org_id, who.key_id, "POST previews", "k"), b"{}", services.runs.now_ms() + 60_000)

    async def both() -> tuple[Any, Any]:
        one = later(running, services.runs.now_ms())
        other = later(running, services.runs.now_ms())
        return await asyncio.gather(
            *(
                service.create(who, sandbox, port=1, auth_mode="authenticated", idempotent=request)
                for service in (one, other)
            )
        )

    first, second = inside(running, both())
    assert first == second


async def _first_principal(running: Running) -> Any:
    return await running.server.services.authenticate(running.key)


SERVER = "exec python3 -u -m http.server {port} --bind 127.0.0.1"


@pytest.mark.parametrize("provider", ["bubblewrap", "process"])
def test_a_program_in_a_sandbox_is_seen_through_its_preview(tmp_path: Path, provider: str) -> None:
    """A real web server, started by a command of a warm sandbox, from the first 502 to the end of both."""
    if provider == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    with serving(tmp_path, provider=provider) as running:
        path = f"/v1/sandboxes/{warm(running)}"
        file = {"path": "/workspace/hello.txt", "content": "seen from outside"}
        assert running.http.put(f"{path}/files", json=file).status_code == 200
        port = free_port()
        preview = running.http.post(f"{path}/previews", json={"port": port}).json()["preview"]
        url = httpx2.URL(preview["url"])
        headers = {"host": url.netloc.decode(), "authorization": f"Bearer {running.key}"}
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{url.port}", headers=headers, timeout=FINISH_S_MAX
        ) as browser:
            assert code(browser.get("/hello.txt")) == (502, "preview_unavailable")
            command = SERVER.format(port=port)
            started = running.http.post(
                f"{path}/commands", json={"command": command, "background": True, "timeoutMs": 60_000}
            )
            assert started.status_code == 202, started.text
            deadline = time.monotonic() + FINISH_S_MAX
            while (answer := browser.get("/hello.txt")).status_code == 502:
                assert time.monotonic() < deadline, answer.text
                time.sleep(0.1)
            assert (answer.status_code, answer.text) == (200, "seen from outside")
            assert "hello.txt" in browser.get("/").text
            running.http.delete(path)
            assert code(browser.get("/hello.txt")) == (404, "not_found")


def warm(running: Running) -> str:
    """A warm sandbox's id."""
    answer = running.http.post("/v1/sandboxes", json={"template": "python"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["sandbox"]["id"])


def free_port() -> int:
    """A port of loopback that nobody listens on; inside of namespaces every one is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
