"""The client's methods of sandboxes and of commands in them (CONTRACT §2, §8)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from client.errors import BadAnswer
from client.follow import follow
from client.shapes import Command, CommandEvent, CommandRequest, JsonObject, LogPage, Page, Sandbox
from client.wire import (
    Methods,
    at,
    given,
    idempotency,
    labelled,
    objects,
    page_of,
    set_fields,
    unwrapped,
)

SANDBOXES = "/v1/sandboxes"
COMMANDS = "/v1/commands"


class SandboxMethods(Methods):
    """Sandboxes from creation to destruction, and what runs in them."""

    def create_sandbox(
        self,
        *,
        template: str | None = None,
        project_id: str | None = None,
        ttl_ms: int | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Sandbox:
        """POST /v1/sandboxes: a warm one; the server decides what is left out."""
        body = set_fields(
            template=template, projectId=project_id, ttlMs=ttl_ms, metadata=dict(metadata or {}) or None
        )
        answer = self._transport.json("POST", SANDBOXES, body=body, headers=idempotency(idempotency_key))
        return _sandbox(answer)

    def list_sandboxes(
        self,
        *,
        metadata: Mapping[str, str] | None = None,
        historical: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Sandbox]:
        """GET /v1/sandboxes: the live ones, newest first; `historical` adds those that are gone."""
        include = "historical" if historical else None
        params = given(include=include, limit=limit, cursor=cursor) | labelled(metadata)
        answer = self._transport.json("GET", SANDBOXES, params=params)
        return cast("Page[Sandbox]", page_of(answer, cursor))

    def get_sandbox(self, sandbox_id: str) -> Sandbox:
        """GET /v1/sandboxes/{id}; destroyed ones stay readable."""
        return _sandbox(self._transport.json("GET", at(SANDBOXES, sandbox_id)))

    def delete_sandbox(self, sandbox_id: str) -> Sandbox:
        """DELETE /v1/sandboxes/{id}."""
        return _sandbox(self._transport.json("DELETE", at(SANDBOXES, sandbox_id)))

    def extend_sandbox(self, sandbox_id: str, ttl_ms: int, *, idempotency_key: str | None = None) -> Sandbox:
        """POST …/ttl: the time to live starts anew, counted from now."""
        path, headers = at(SANDBOXES, sandbox_id, "ttl"), idempotency(idempotency_key)
        return _sandbox(self._transport.json("POST", path, body={"ttlMs": ttl_ms}, headers=headers))

    # ---- commands

    def run_command(
        self,
        sandbox_id: str,
        request: CommandRequest,
        *,
        background: bool = False,
        idempotency_key: str | None = None,
    ) -> Command:
        """POST …/commands: waits for its end (200), or with `background` answers once it was taken (202)."""
        body = {**request.body(), **({"background": True} if background else {})}
        path, headers = at(SANDBOXES, sandbox_id, "commands"), idempotency(idempotency_key)
        return _command(self._transport.json("POST", path, body=body, headers=headers))

    def get_command(self, command_id: str) -> Command:
        """GET /v1/commands/{id}."""
        return _command(self._transport.json("GET", at(COMMANDS, command_id)))

    def cancel_command(self, command_id: str, *, force: bool = False) -> Command:
        """POST …/cancel: asks it to end, or with `force` kills it; an ended one answers its state."""
        body: JsonObject = {"mode": "force" if force else "graceful"}
        return _command(self._transport.json("POST", at(COMMANDS, command_id, "cancel"), body=body))

    def command_logs(self, command_id: str, *, after_seq: int = 0, limit: int | None = None) -> LogPage:
        """GET …/logs: one page of what it has written so far."""
        params = given(afterSeq=after_seq or None, limit=limit)
        answer = self._transport.json("GET", at(COMMANDS, command_id, "logs"), params=params)
        logs = [_command_event({**item, "type": "log"}) for item in objects(answer)]
        return LogPage(logs, answer.get("hasMore") is True)

    def stream_command(
        self, command_id: str, *, after_seq: int = 0, reconnect: bool = True
    ) -> Iterator[CommandEvent]:
        """GET …/stream: follow its output up to and including `terminal` (see `client.follow`)."""
        return follow(lambda seq: self._open_command(command_id, seq), after_seq, reconnect=reconnect)

    @contextmanager
    def _open_command(self, command_id: str, after_seq: int) -> Generator[Iterator[CommandEvent]]:
        path = at(COMMANDS, command_id, "stream")
        with self._frames(path, given(afterSeq=after_seq or None)) as frames:
            yield (_command_event(frame) for frame in frames)


def _sandbox(answer: JsonObject) -> Sandbox:
    return cast("Sandbox", unwrapped(answer, "sandbox", "id", "status"))


def _command(answer: JsonObject) -> Command:
    return cast("Command", unwrapped(answer, "command", "id", "status"))


def _command_event(fields: JsonObject) -> CommandEvent:
    """One frame of a command's stream: output is numbered, the end holds the command."""
    if not isinstance(fields.get("type"), str):
        raise BadAnswer("The command's stream holds an event without a type.")
    if fields["type"] == "log" and type(fields.get("seq")) is not int:
        raise BadAnswer("The command's stream holds output without seq.")
    if fields["type"] == "terminal":
        _command(fields)
    return cast("CommandEvent", fields)
