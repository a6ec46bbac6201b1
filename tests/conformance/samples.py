"""Runs that many rules look at, made once on the server itself and shared between its mutants."""

from __future__ import annotations

import functools
import gzip
import tarfile
from collections.abc import Callable
from typing import Any

from tests.conformance.target import Target, announced, archive, expect, fresh

Json = Any
Make = Callable[[Target], Json]
SEPARATORS = "a\u2028b\u2029c\u0085d"
"""What line splitting libraries take for the end of a line."""
MIB = 1024 * 1024
SWOLLEN_MIB = 1024
_OCTAL = "".join(f"\\{byte:03o}" for byte in SEPARATORS.encode())
CHATTY = (
    f"printf '{_OCTAL}\\n'; sleep 0.1; echo err >&2; sleep 0.1; printf 'raw \\377\\n'; echo kept > kept.txt"
)


def sample(make: Make) -> Make:
    """Made at most once for a server, and never through a mutant."""

    @functools.wraps(make)
    def made(server: Target) -> Json:
        if make.__name__ not in server.shared:
            server.shared[make.__name__] = make(server.base)
        return server.shared[make.__name__]

    return made


@sample
def finished(server: Target) -> Json:
    """A run that succeeded, with output of all kinds, an artifact, and one that was not there."""
    return server.run(
        CHATTY,
        artifacts=[{"path": "kept.txt", "name": "kept"}, {"path": "absent.txt"}],
        metadata={"sample": fresh(), "agent.id": "a1"},
        sourceMetadata={"branch": "main"},
        timeoutMs=50_000,
    )


@sample
def failed(server: Target) -> Json:
    """A run whose command ended with 3."""
    return server.run("echo no; exit 3")


@sample
def killed(server: Target) -> Json:
    """A run whose command died of signal 9."""
    return server.run("kill -9 $$")


@sample
def timed_out(server: Target) -> Json:
    """A run that took longer than it may."""
    return server.run("echo begun; sleep 60", timeoutMs=300)


@sample
def canceled(server: Target) -> Json:
    """A run that was canceled while it ran."""
    run_id = server.started("sleep 60", artifacts=[{"path": "a.txt"}])
    server.finished(run_id, "running")
    expect(server.post(f"/v1/workspace-runs/{run_id}/cancel"), 200)
    return server.finished(run_id)


@sample
def never_started(server: Target) -> Json:
    """A run that was canceled before it had an archive."""
    run_id = server.create()["id"]
    expect(server.post(f"/v1/workspace-runs/{run_id}/cancel"), 200)
    return server.finished(run_id)


def _of_archive(server: Target, data: bytes) -> Json:
    run_id = server.create()["id"]
    expect(server.upload(run_id, data), 200)
    expect(server.post(f"/v1/workspace-runs/{run_id}/start"), 200)
    return server.finished(run_id)


@sample
def bad_archive(server: Target) -> Json:
    """A run whose archive was no tar."""
    return _of_archive(server, gzip.compress(b"no tar at all" * 100))


@sample
def unsafe_archive(server: Target) -> Json:
    """A run whose archive leads out of the workspace."""
    return _of_archive(server, archive({"../outside.txt": b"x"}))


@sample
def swollen_archive(server: Target) -> Json:
    """A run whose archive of half a megabyte holds a gigabyte: gzip members can be repeated."""
    member = tarfile.TarInfo("zeros")
    member.size = SWOLLEN_MIB * MIB
    zeros = gzip.compress(bytes(MIB))
    return _of_archive(server, gzip.compress(member.tobuf()) + zeros * SWOLLEN_MIB + zeros)


@sample
def no_such_sandbox(server: Target) -> Json:
    """A run that asked for a sandbox that is not there."""
    return server.run(sandboxId="sbx_" + "a" * 26, keepSandbox=True)


@sample
def kept(server: Target) -> Json:
    """A run that kept its sandbox."""
    return server.run("echo kept > kept.txt", keepSandbox=True, metadata={"kept": fresh()})


@sample
def waiting(server: Target) -> Json:
    """A run that waits for its archive, for ever."""
    return server.create(metadata={"waits": "1"})


@sample
def open_transfer(server: Target) -> Json:
    """A transfer to which nothing came yet; of a run of its own."""
    run_id = server.create()["id"]
    path = f"/v1/workspace-runs/{run_id}/archive-transfer"
    return expect(server.post(path, announced(archive())), 201)["transfer"]


@sample
def many(server: Target) -> Json:
    """A word in the metadata of 53 runs, with their ids from the oldest to the newest."""
    word = fresh()
    return {"word": word, "ids": [server.create(metadata={"many": word})["id"] for _ in range(53)]}


@sample
def talkative(server: Target) -> Json:
    """A run of more than a hundred events: each line on the other stream than the one before."""
    return server.run("for i in $(seq 60); do echo $i; sleep 0.005; echo $i >&2; sleep 0.005; done")


@sample
def voluminous(server: Target) -> Json:
    """A run that prints 200,000 bytes at once, in characters of two."""
    return server.run("printf '%100000s' | sed 's/ /\\xc3\\xa4/g'")


@sample
def events(server: Target) -> Json:
    """All events of `finished`."""
    return server.events(finished(server)["id"])


@sample
def evidence(server: Target) -> Json:
    """The evidence of `finished`."""
    return expect(server.get(f"/v1/workspace-runs/{finished(server)['id']}/evidence"), 200)["evidence"]


@sample
def sandbox(server: Target) -> Json:
    """A warm sandbox (needs POST /v1/sandboxes)."""
    return expect(server.post("/v1/sandboxes", {"metadata": {"warm.kind": fresh()}}), 201)["sandbox"]


@sample
def command(server: Target) -> Json:
    """A command that ended with 4 in the warm sandbox (needs commands)."""
    body = {"command": "echo out; echo err >&2; exit 4"}
    path = f"/v1/sandboxes/{sandbox(server)['id']}/commands/run"
    return expect(server.post(path, body), 200)["command"]


@sample
def preview(server: Target) -> Json:
    """A preview of a port of the warm sandbox (needs previews)."""
    path = f"/v1/sandboxes/{sandbox(server)['id']}/previews"
    return expect(server.post(path, {"port": 8080}), 201)["preview"]


@sample
def narrow_key(server: Target) -> Json:
    """The secret of a key that may read runs and nothing else (needs POST /v1/api-keys)."""
    made = expect(server.post("/v1/api-keys", {"name": fresh(), "scopes": ["workspace_run:read"]}), 201)
    return made["secret"]


@sample
def second_key(server: Target) -> Json:
    """Another key that may do what runs need (needs POST /v1/api-keys)."""
    scopes = ["workspace_run:create", "workspace_run:read", "workspace_run:cancel"]
    return expect(server.post("/v1/api-keys", {"name": fresh(), "scopes": scopes}), 201)["secret"]
