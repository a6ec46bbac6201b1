"""Races in short: three keys and twelve racers for each operation, and a few kills of the server."""

from __future__ import annotations

import random
from pathlib import Path

from tests.races.race import CRASHED, crash_round, opened, operations, race, server_in

KEYS, RACERS = 3, 12


async def test_identical_requests_at_once_have_one_effect_and_one_answer(tmp_path: Path) -> None:
    """For every operation; without a key each request has its own, so that the counting is seen to work."""
    server = server_in(tmp_path)
    server.start()
    try:
        course = await opened(server)
        for operation in operations():
            raced = await race(course, operation, KEYS, RACERS)
            assert not raced.wrong
            assert (raced.effects, raced.answers) == (KEYS, KEYS)
        control = await race(course, "createProject", 1, RACERS, keyed=False)
        assert (control.effects, control.answers) == (RACERS, RACERS)
        assert control.wrong
        course.connections.close()
        course.http.close()
    finally:
        server.kill()


async def test_racers_that_a_kill_cuts_off_get_the_one_answer_after_the_restart(tmp_path: Path) -> None:
    """Kill -9 in the middle of a race: what was stored is answered, and nothing happens twice."""
    rng = random.Random(4)
    server = server_in(tmp_path)
    server.start()
    try:
        course = await opened(server)
        cut_off = 0
        for operation in CRASHED[:3]:
            course, raced = await crash_round(course, operation, RACERS, rng)
            assert not raced.wrong
            cut_off += raced.broken
        assert cut_off > 0
        course.connections.close()
        course.http.close()
    finally:
        server.kill()
