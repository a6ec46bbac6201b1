"""Every live sandbox of this runner: which run uses it, how long a kept or warm one stays, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from runner.link import SandboxUnavailable
from runner.provider import Provider
from runner.sandbox import Sandbox
from runner.templates import Template
from runner.uninterrupted import uninterrupted

OnExpired = Callable[[str], Awaitable[None]]
"""Told the id of a kept or warm sandbox whose time was over, or that ended by itself."""


class SandboxConflict(Exception):
    """The sandbox asked for is in use, destroyed, expired or was never here (`sandbox_conflict`)."""


@dataclass(slots=True)
class _Entry:
    sandbox: Sandbox
    template: Template
    busy: bool = True
    """True while a run uses it."""
    expires_at_ms: int = 0
    extended: bool = False
    """True when its owner set the time of its end while the run used it."""
    expired: bool = False
    ending: bool = False
    """True once `destroy` was asked for: whoever did knows of the end."""
    timer: asyncio.TimerHandle | None = None

    @property
    def usable(self) -> bool:
        return not (self.sandbox.gone or self.sandbox.destroyed or self.expired)


class Registry:
    """Sandboxes by id. A sandbox serves one run at a time."""

    def __init__(
        self, provider: Provider, *, ttl_ms: int, now_ms: Callable[[], int], on_expired: OnExpired | None
    ) -> None:
        self._provider = provider
        self._ttl_ms = ttl_ms
        self._now_ms = now_ms
        self.on_expired = on_expired
        self._entries: dict[str, _Entry] = {}
        self._booting: set[str] = set()
        self._expiring: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"Registry(busy={self.busy()}, kept={self.kept()})"

    def busy(self) -> list[str]:
        """Ids of sandboxes that a run uses."""
        return [sandbox_id for sandbox_id, entry in self._entries.items() if entry.busy]

    def kept(self) -> dict[str, int]:
        """Ids of kept and warm sandboxes that no run uses, with the time at which each is ended."""
        return {name: entry.expires_at_ms for name, entry in self._entries.items() if not entry.busy}

    @property
    def closed(self) -> bool:
        """True once the runner is being closed."""
        return self._closed

    async def boot(self, sandbox_id: str, template: Template) -> Sandbox:
        """A new sandbox, in use; raises `SandboxUnavailable`, or `SandboxConflict` for an id that lives.

        A caller that is canceled meanwhile leaves no half-booted sandbox: it is booted, ended, and only then
        is the cancel delivered.
        """
        booting = asyncio.ensure_future(self._boot(sandbox_id, template))
        try:
            return await asyncio.shield(booting)
        except asyncio.CancelledError:
            await uninterrupted(self._undo(booting))
            raise

    async def _boot(self, sandbox_id: str, template: Template) -> Sandbox:
        if sandbox_id in self._entries or sandbox_id in self._booting:
            raise SandboxConflict(f"Sandbox {sandbox_id} exists already.")
        if self._closed:
            raise SandboxUnavailable("The server is being stopped.")
        if template.missing:
            raise SandboxUnavailable(f"The template {template.slug} cannot run here: {template.missing}.")
        self._booting.add(sandbox_id)
        try:
            interpreters = [tool.interpreter for tool in template.tools]
            sandbox = await self._provider.boot(sandbox_id, interpreters, template.search_path)
        finally:
            self._booting.discard(sandbox_id)
        entry = self._entries[sandbox_id] = _Entry(sandbox, template)
        sandbox.when_it_dies(lambda: self._died(entry))
        if self._closed:
            await self.destroy(sandbox_id)
            raise SandboxUnavailable("The server is being stopped.")
        return sandbox

    async def _undo(self, booting: asyncio.Future[Sandbox]) -> None:
        try:
            sandbox = await booting
        except (SandboxConflict, SandboxUnavailable):
            return
        await self.destroy(sandbox.id)

    def take(self, sandbox_id: str) -> tuple[Sandbox, Template]:
        """A kept sandbox for one more run, in use until `keep` or `destroy`; raises `SandboxConflict`."""
        entry = self._unused(sandbox_id)
        entry.busy = True
        if entry.timer:
            entry.timer.cancel()
        return entry.sandbox, entry.template

    def use(self, sandbox_id: str, *, beside_a_run: bool) -> Sandbox:
        """A sandbox for a command or a file; raises `SandboxConflict`.

        What could change what a run does or leaves there is not let in beside one.
        """
        entry = self._usable(sandbox_id) if beside_a_run else self._unused(sandbox_id)
        return entry.sandbox

    def extend(self, sandbox_id: str, ttl_ms: int) -> int:
        """End it so long after now, sooner or later than before: that time. Raises `SandboxConflict`.

        While a run uses the sandbox its time does not come; it counts again when the run is over.
        """
        entry = self._usable(sandbox_id)
        entry.extended = entry.busy
        self._set_end(entry, self._now_ms() + ttl_ms)
        return entry.expires_at_ms

    def keep(self, sandbox_id: str, ttl_ms: int | None = None) -> int:
        """The run is over, or there was none, and the sandbox stays: the time at which it will be ended.

        A run prolongs that time if need be and never brings it forward, unless its owner set it meanwhile.
        """
        entry = self._entries[sandbox_id]
        at_ms = self._now_ms() + (self._ttl_ms if ttl_ms is None else ttl_ms)
        at_ms = entry.expires_at_ms if entry.extended else max(entry.expires_at_ms, at_ms)
        entry.busy = entry.extended = False
        self._set_end(entry, at_ms)
        return entry.expires_at_ms

    def _usable(self, sandbox_id: str) -> _Entry:
        entry = self._entries.get(sandbox_id)
        if entry is None or not entry.usable:
            raise SandboxConflict(
                f"Sandbox {sandbox_id} is not here: it was destroyed or has expired. "
                "Run without it, or keep a new one."
            )
        return entry

    def _unused(self, sandbox_id: str) -> _Entry:
        entry = self._usable(sandbox_id)
        if entry.busy:
            raise SandboxConflict(
                f"Sandbox {sandbox_id} is in use by another run. Wait for its end, or run without it."
            )
        return entry

    def _set_end(self, entry: _Entry, at_ms: int) -> None:
        entry.expires_at_ms = at_ms
        if entry.timer:
            entry.timer.cancel()
        if not entry.busy:
            delay_s = max(0, at_ms - self._now_ms()) / 1000
            entry.timer = asyncio.get_running_loop().call_later(delay_s, self._expire, entry)

    async def destroy(self, sandbox_id: str) -> bool | None:
        """End a sandbox, in use or not: whether all of it could be removed, None when it is not here."""
        entry = self._entries.get(sandbox_id)
        if entry is None:
            return None
        entry.ending = True
        if entry.timer:
            entry.timer.cancel()
        removed = await entry.sandbox.destroy()
        self._entries.pop(sandbox_id, None)
        return removed

    async def close(self) -> None:
        """End every sandbox, and take no new one."""
        self._closed = True
        await asyncio.gather(*(self.destroy(sandbox_id) for sandbox_id in tuple(self._entries)))
        await asyncio.gather(*self._expiring)

    def gave_up(self, sandbox_id: str) -> None:
        """A command that could not be ended took its sandbox with it: tell of it as of one that died."""
        entry = self._entries.get(sandbox_id)
        if entry and entry.sandbox.destroyed and not (entry.busy or entry.ending or entry.expired):
            self._end(entry)

    def _died(self, entry: _Entry) -> None:
        if not entry.busy:  # else the run notices, and removes it
            self._expire(entry)

    def _expire(self, entry: _Entry) -> None:
        if not entry.sandbox.destroyed:
            self._end(entry)

    def _end(self, entry: _Entry) -> None:
        entry.expired = True  # from here on nobody takes or extends it
        task = asyncio.ensure_future(self._expired(entry.sandbox.id))
        self._expiring.add(task)
        task.add_done_callback(self._expiring.discard)

    async def _expired(self, sandbox_id: str) -> None:
        await self.destroy(sandbox_id)
        if self.on_expired:
            await self.on_expired(sandbox_id)
