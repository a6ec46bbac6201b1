"""Asks a server whether the runs that its log names are there (PROOF P5.6, E_RUN_MISSING)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from witness.fetching import Unreadable, Web
from witness.following import Rounds

_RUN_BYTES_MAX = 16 * 1024 * 1024
_LATER = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


@dataclass(frozen=True, slots=True)
class AskLimits:
    """How hard a server is asked."""

    again_max: int = 20
    """Runs of earlier rounds that are asked for again in each round, in turn."""
    waits_max: int = 10
    """Times in a round that one waits because the server says so; then the rest is left to the next round."""
    wait_s_max: int = 60


class Asker:
    """Asks with a key that may read every run."""

    def __init__(
        self,
        web: Web,
        api_url: str,
        credential: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        limits: AskLimits | None = None,
    ) -> None:
        self._web, self._url, self._credential = web, api_url.rstrip("/"), credential
        self._sleep, self._limits = sleep, limits or AskLimits()

    def __repr__(self) -> str:
        return f"Asker({self._url!r})"

    def round(
        self, runs: Sequence[str], rounds: Rounds, on_progress: Callable[[int, int], None] | None = None
    ) -> int:
        """Ask for the missing ones, the new ones, and some again; answers how many new ones are left.

        Takes what it learns into `rounds`. Raises `Unreadable`.
        """
        waits = 0
        todo = self._todo(runs, rounds)
        for number, (run, is_new) in enumerate(todo, 1):
            while (there := self._is_there(run)) is None:
                if waits == self._limits.waits_max:
                    return len(runs) - rounds.asked
                waits += 1
            if there and run in rounds.missing:
                rounds.missing.remove(run)
            elif not there and run not in rounds.missing:
                rounds.missing.append(run)
            if is_new:
                rounds.asked += 1
            if on_progress is not None:
                on_progress(number, len(todo))
        return 0

    def _todo(self, runs: Sequence[str], rounds: Rounds) -> list[tuple[str, bool]]:
        """Each with whether it is asked for the first time."""
        old = runs[: rounds.asked]
        count = min(self._limits.again_max, len(old))
        turn = [old[(rounds.again + at) % len(old)] for at in range(count)]
        rounds.again = (rounds.again + count) % len(old) if old else 0
        again = [run for run in turn if run not in rounds.missing]
        return [(run, False) for run in [*rounds.missing, *again]] + [
            (run, True) for run in runs[rounds.asked :]
        ]

    def _is_there(self, run: str) -> bool | None:
        """Whether the server has the run; None after a wait that the server asked for."""
        url = f"{self._url}/v1/workspace-runs/{run}"
        answer = self._web.get(url, _RUN_BYTES_MAX, {"Authorization": f"Bearer {self._credential}"})
        match answer.status:
            case HTTPStatus.OK:
                return True
            case HTTPStatus.NOT_FOUND:
                return False
            case status if status in _LATER:
                self._sleep(min(answer.retry_after_s or 1, self._limits.wait_s_max))
                return None
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                raise Unreadable(
                    f"{url} answers {answer.status}: the key may not read every run. Take one with the "
                    "scope audit:read, or follow the log alone with --no-runs."
                )
            case status:
                raise Unreadable(f"{url} answers {status}. Is this the address of a CrowNest API?")
