"""Turns: one at a time, in the order of asking, whoever gives up meanwhile."""

import asyncio
import contextlib

from runs.locks import Turns


async def test_turns_are_given_one_by_one_in_the_order_of_asking() -> None:
    """By a call or as a context alike; a free one is given at once."""
    turns, order = Turns(), list[str]()

    async def hold(name: str) -> None:
        async with turns:
            order.append(name)
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    turns.ask(lambda: order.append("first"))
    assert order == ["first"]
    held = asyncio.create_task(hold("context"))
    await asyncio.sleep(0)
    turns.ask(lambda: order.append("last"))
    assert order == ["first"]
    turns.end()
    await held
    assert order == ["first", "context", "context ends", "last"]


async def test_who_gives_up_does_not_keep_the_turn() -> None:
    """Before it is given, and in the moment in which it is."""
    turns = Turns()
    turns.ask(lambda: None)
    waiting = [asyncio.create_task(turns.__aenter__()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    turns.end()
    waiting[1].cancel()
    for given_up in waiting[:2]:
        with contextlib.suppress(asyncio.CancelledError):
            await given_up
        assert given_up.cancelled()
    await asyncio.wait_for(waiting[2], 10)
