"""Commands in warm and kept sandboxes: started, waited for, canceled, their output read (CONTRACT §2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from eventstore.command_logs import CommandLogs
from eventstore.log import Answer, LogError, NewEvent
from eventstore.views import ViewQuery, ViewRow
from evidence.canonical import decode, encode
from evidence.record import format_time
from runs.access import Principal
from runs.dispatch import Store
from runs.environment import check_env_name
from runs.host import CancelMode, CancelRequest, CommandEnd, CommandJob, Owner, SandboxHost
from runs.idempotency import IdempotentRequest
from runs.ids import is_id, new_id
from runs.limits import RunLimits
from runs.organization import OrganizationStream, append_to_organization, rendered
from runs.quotas import QuotaService
from runs.refusal import Refusal, not_found
from runs.requests import check_artifacts
from runs.sandboxes import SandboxService
from runs.screening import screen
from runs.secret_names import secret_names

logger = logging.getLogger(__name__)
WORKSPACE = "/workspace"
_PAGE = 500
_ANSWER_PAGE = 500


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """What a caller asks of a command, every default resolved."""

    command: str
    cwd: str
    timeout_ms: int
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    collect: Sequence[Mapping[str, str]] = ()
    collect_on: Literal["always", "success"] = "always"


@dataclass(slots=True)
class _Running:
    """A command that runs now: how to cancel it, and the task that sees it to its end."""

    cancel: CancelRequest
    task: asyncio.Task[None]


class CommandService:
    """`/v1/sandboxes/{id}/commands` and `/v1/commands`."""

    def __init__(
        self,
        store: Store,
        host: SandboxHost,
        *,
        sandboxes: SandboxService,
        quotas: QuotaService,
        logs: CommandLogs,
        limits: RunLimits,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._host = host
        self._sandboxes = sandboxes
        self._quotas = quotas
        self._limits = limits
        self._now_ms = now_ms
        self._stream = OrganizationStream(store)
        self._running: dict[str, _Running] = {}
        self.logs = logs

    def __repr__(self) -> str:
        return f"CommandService(running={len(self._running)})"

    async def recover(self) -> int:
        """End what was running when the server stopped: its sandbox is gone with it."""
        ended = 0
        for org_id in await self._store.streams("org_"):
            query = ViewQuery(org_id, statuses=["running"], limit=_PAGE)
            while rows := await self._store.list_view("commands", query):
                for row in rows:
                    fields = {"actor": "system", "commandId": row.id, "sandboxId": row.parent,
                              "projectId": row.project_id, "status": "killed",
                              "killedReason": "sandbox_destroyed", "durationMs": 0}  # fmt: skip
                    await append_to_organization(self._store, org_id, NewEvent("command_finished", fields))
                    ended += 1
        return ended

    async def close(self) -> None:
        """Let go of what runs: the next start records its end."""
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def start(
        self,
        who: Principal,
        sandbox_id: str,
        request: CommandRequest,
        idempotent: IdempotentRequest | None,
        *,
        background: bool,
    ) -> Answer:
        """202 `{command}` at once, or 200 when it has ended, with its output.

        One request with one idempotency key starts one command: what is stored is its start, and a repeated
        request waits for the same end.
        """
        who.require("command:run")
        if request.collect:
            who.require("artifact:create")
            who.require("file:read")
        async with self._stream.once(idempotent) as stored:
            answer = stored or await self._start(
                who, sandbox_id, request, idempotent, self._timeout_ms_max(background=background)
            )
        if background:
            return answer
        return await self._finished(str(decode(answer.body)["command"]["id"]))

    def _timeout_ms_max(self, *, background: bool) -> int:
        limits = self._limits
        return limits.background_timeout_ms_max if background else limits.command_timeout_ms_max

    async def _start(
        self,
        who: Principal,
        sandbox_id: str,
        request: CommandRequest,
        idempotent: IdempotentRequest | None,
        timeout_ms_max: int,
    ) -> Answer:
        sandbox = await self._sandboxes.live(who, sandbox_id, "command:run")
        check_command(request, self._limits, timeout_ms_max)
        command_id = new_id("cmd")
        names = await secret_names(self._store, sandbox.org_id, sandbox.project_id)
        own = [name for name in names if name not in request.env]
        job = CommandJob(
            command_id, sandbox_id, sandbox.project_id, request.command, request.cwd, request.timeout_ms,
            request.env, own,
        )  # fmt: skip
        await self._host.admit(job)
        await self._quotas.require_compute(sandbox.org_id, sandbox.project_id)
        fields = {
            "actor": who.key_id,
            "commandId": command_id,
            "sandboxId": sandbox_id,
            "projectId": sandbox.project_id,
            "command": request.command,
            "cwd": request.cwd,
            "envKeys": sorted((*request.env, *own)),
            "timeoutMs": request.timeout_ms,
        }
        with self._output_of(command_id):
            answer = await self._stream.append(
                sandbox.org_id,
                NewEvent("command_started", fields),
                about=("commands", command_id),
                render=rendered("command", 202),
                idempotent=idempotent,
            )
        cancel = CancelRequest()
        task = asyncio.create_task(self._run(sandbox, job, request, cancel), name=f"command {command_id}")
        self._running[command_id] = _Running(cancel, task)
        task.add_done_callback(lambda _: self._running.pop(command_id, None))
        return answer

    @contextmanager
    def _output_of(self, command_id: str) -> Generator[None]:
        """A place for the output while the block tells of the command; nothing of it stays when that fails.

        First, for a full disk must not leave a command that is said to run. Crash window: a file without a
        command, which goes when it is old.
        """
        try:
            self.logs.begin(command_id)
        except OSError as error:
            why = f"The output of commands cannot be kept now: {error.strerror}. Try again later."
            raise Refusal("resource_allocation_failed", why) from error
        try:
            yield
        except BaseException:
            self.logs.end(command_id)
            self.logs.delete(command_id)
            raise

    async def _run(
        self, sandbox: ViewRow, job: CommandJob, request: CommandRequest, cancel: CancelRequest
    ) -> None:
        """To the end of the command, its artifacts, and the event that says so."""

        async def keep(events: Sequence[NewEvent]) -> None:
            await self.logs.append(job.command_id, self._lines(job.command_id, events))

        try:
            try:
                end = await self._host.run(job, keep, cancel)
            except Refusal as refusal:
                end = CommandEnd("failed", None, 0, message=refusal.message)
            except OSError as error:
                logger.exception("the output of %s cannot be kept", job.command_id)
                end = CommandEnd(
                    "failed", None, 0, message=f"Its output could not be kept: {error.strerror}."
                )
            fields = {
                "actor": "system",
                "commandId": job.command_id,
                "sandboxId": job.sandbox_id,
                "projectId": job.project_id,
                **_end_fields(end, cancel, format_time(self._now_ms())),
                **await self._collect(sandbox, job, request, end),
            }
            await append_to_organization(self._store, sandbox.org_id, NewEvent("command_finished", fields))
        except LogError:
            logger.exception("the end of %s is not recorded; the next start does it", job.command_id)
        finally:
            self.logs.end(job.command_id)

    def _lines(self, command_id: str, events: Sequence[NewEvent]) -> list[bytes]:
        first = self.logs.next_seq(command_id)
        created_at = format_time(self._now_ms())
        output = [event for event in events if event.type in {"stdout", "stderr"}]
        return [
            encode(
                {
                    **event.fields,
                    "commandId": command_id,
                    "createdAt": created_at,
                    "seq": seq,
                    "stream": event.type,
                }
            )
            for seq, event in enumerate(output, first)
        ]

    async def _collect(
        self, sandbox: ViewRow, job: CommandJob, request: CommandRequest, end: CommandEnd
    ) -> dict[str, object]:
        if not request.collect:
            return {}
        if end.status != "exited" or (request.collect_on == "success" and end.exit_code != 0):
            return {"collectStatus": "skipped"}
        errors: list[object] = []
        artifact_ids: list[object] = []
        owner = Owner(sandbox.org_id, job.project_id, job.secret_names)
        for wanted in request.collect:
            path = workspace_relative(wanted["path"])
            try:
                async with self._host.collected(owner, job.sandbox_id, path, wanted.get("name")) as event:
                    if event.type == "artifact_error":
                        errors.append(event.fields["error"])
                        continue
                    place = {"actor": "system", "sandboxId": job.sandbox_id, "projectId": job.project_id}
                    found = NewEvent(event.type, {**event.fields, **place})
                    await append_to_organization(self._store, sandbox.org_id, found)
                    artifact_ids.append(event.fields["artifactId"])
            except Refusal as refusal:
                code = "artifact_collect_failed"
                errors.append({"code": code, "message": refusal.message, "path": path})
        status = "partial" if errors and artifact_ids else "failed" if errors else "succeeded"
        fields: dict[str, object] = {"collectStatus": status, "artifactIds": artifact_ids}
        return {**fields, "collectErrors": errors} if errors else fields

    async def _finished(self, command_id: str) -> Answer:
        """200 `{command}` with its output, once it has ended."""
        if running := self._running.get(command_id):
            await asyncio.wait((asyncio.shield(running.task),))
        row = await self._store.get_view("commands", command_id)
        assert row is not None, "a command that was started has a row"
        command = {**decode(row.doc), **await self._output(command_id)}
        return Answer(200, encode({"command": command}))

    async def _output(self, command_id: str) -> dict[str, object]:
        """`stdout` and `stderr`, each cut at the limit, and whether it was."""
        texts: dict[str, str] = {"stdout": "", "stderr": ""}
        after_seq = 0
        while lines := await self.logs.read(command_id, after_seq, _ANSWER_PAGE):
            for line in map(decode, lines):
                if len(texts[line["stream"]]) <= self._limits.command_answer_bytes_max:
                    texts[line["stream"]] += line["data"]
            after_seq += len(lines)
        limit = self._limits.command_answer_bytes_max
        found: dict[str, object] = {}
        for stream, text in texts.items():
            found[stream] = text[:limit]
            if len(text) > limit:
                found[f"{stream}Truncated"] = True
        return found

    async def get(self, who: Principal, command_id: str, scope: str = "command:read") -> ViewRow:
        """The command's record, ended ones included; 404 alike for unknown and other tenants'."""
        who.require(scope)
        row = await self._store.get_view("commands", command_id) if is_id(command_id, "cmd") else None
        if row is None or not who.sees(row.org_id, row.project_id):
            raise not_found("Command", command_id)
        return row

    async def cancel(self, who: Principal, command_id: str, mode: CancelMode) -> ViewRow:
        """Ask it to end; one that has ended answers as it stands."""
        await self.get(who, command_id, "command:cancel")
        if running := self._running.get(command_id):
            running.cancel.ask(mode)
            await asyncio.wait((asyncio.shield(running.task),), timeout=self._limits.command_cancel_wait_s)
        # Read again also when nothing runs: it may have ended while the first look was under way.
        return await self.get(who, command_id, "command:cancel")

    def is_running(self, command_id: str) -> bool:
        """Whether it has not ended yet."""
        return command_id in self._running


def check_command(request: CommandRequest, limits: RunLimits, timeout_ms_max: int) -> None:
    """Raise `Refusal` naming the field that breaks a limit."""
    field_name = ""
    if not request.command.strip() or len(request.command.encode()) > limits.command_bytes_max:
        field_name, rule = "command", f"must be 1 to {limits.command_bytes_max} bytes"
    elif not 1 <= request.timeout_ms <= timeout_ms_max:
        field_name, rule = "timeoutMs", f"must be between 1 and {timeout_ms_max}"
    elif len(request.env) > limits.command_env_max:
        field_name, rule = "env", f"has more than {limits.command_env_max} entries"
    elif _env_bytes(request.env) > limits.command_env_bytes_max:
        field_name, rule = "env", f"is larger than {limits.command_env_bytes_max} bytes"
    elif any("\0" in text for text in (request.command, *request.env.values())):
        field_name, rule = "command", "and env must not contain NUL"
    else:
        rule = ""
    if field_name:
        raise Refusal("invalid_request", f"{field_name} {rule}.", {"field": field_name})
    for name in request.env:
        check_env_name(name)
    check_artifacts([{**one, "path": workspace_relative(one["path"])} for one in request.collect], limits)
    screen([("command", request.command)])


def _env_bytes(env: Mapping[str, str]) -> int:
    return sum(len(name.encode()) + len(value.encode()) for name, value in env.items())


def workspace_relative(path: str) -> str:
    """A path as artifact rules want it: `/workspace/a` and `a` are the same file."""
    if path == WORKSPACE or path.startswith(f"{WORKSPACE}/"):
        return str(PurePosixPath(path).relative_to(WORKSPACE))
    return path


def _end_fields(end: CommandEnd, cancel: CancelRequest, now: str) -> dict[str, Any]:
    """What `command_finished` says; an absent fact is an absent key."""
    fields: dict[str, Any] = {"status": end.status, "durationMs": end.duration_ms}
    if end.exit_code is not None:
        fields["exitCode"] = end.exit_code
    if end.status == "canceled":
        fields |= {"cancelMode": cancel.mode, "canceledAt": now}
    if end.status == "killed":
        fields["killedReason"] = "sandbox_destroyed"
    if end.signal:
        fields["terminationSignal"] = end.signal
    if end.truncated:
        fields["truncated"] = True
    if end.message:
        fields["message"] = end.message
    return fields
