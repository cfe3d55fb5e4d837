"""How many requests are under way: as many as are answered without delay."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine

import pytest

from tsfd_client.slides.concurrency import Limit

Change = tuple[int, str]


class Clock(selectors.SelectSelector):
    """Time that passes only while everything waits, however busy the machine is."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list:
        self.now += timeout or 0.0
        return super().select(0)


def run(coroutine: Coroutine) -> object:
    clock = Clock()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(coroutine)


async def drive(limit: Limit, requests: int, capacity: int, refuse_at: int = 10**9) -> int:
    """Send requests to a server that answers `capacity` at a time; most that were under way."""
    server = asyncio.Semaphore(capacity)
    under_way = most = 0

    async def request(number: int) -> None:
        nonlocal under_way, most
        async with limit.slot():
            under_way += 1
            most = max(most, under_way)
            if number == refuse_at:
                limit.refused()
            async with server:
                await asyncio.sleep(0.01)
            under_way -= 1

    await asyncio.gather(*(request(number) for number in range(requests)))
    return most


def test_it_grows_to_what_the_server_does_at_once() -> None:
    changes: list[Change] = []
    limit = Limit(32, lambda to, why: changes.append((to, why)))
    most = run(drive(limit, 400, capacity=6))
    assert 6 <= most <= 16  # above twice its capacity a request waits longer than it is answered
    assert [to for to, _ in changes] == list(range(3, most + 1))


def test_it_grows_no_further_than_allowed() -> None:
    limit = Limit(3, lambda to, why: None)
    assert run(drive(limit, 60, capacity=100)) == 3


def test_a_refusal_halves_it_once_in_a_round() -> None:
    changes: list[Change] = []

    async def refuse() -> None:
        limit = Limit(32, lambda to, why: changes.append((to, why)))
        await drive(limit, 300, capacity=100)
        before = limit.limit
        changes.clear()
        limit.refused()
        limit.refused()
        assert changes == [(before // 2, "refused")]
        await drive(limit, before, capacity=100)
        (grown, _) = changes[-1]
        limit.refused()
        assert changes[-1] == (grown // 2, "refused")

    run(refuse())


def test_a_request_that_fails_gives_its_place_back() -> None:
    async def fail() -> None:
        limit = Limit(1, lambda to, why: None)
        for _ in range(3):
            with pytest.raises(ValueError, match="no"):
                async with limit.slot():
                    raise ValueError("no")
        async with asyncio.timeout(1), limit.slot():
            pass

    run(fail())
