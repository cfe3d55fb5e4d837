"""Limit of requests in flight: raised while the server keeps up, halved when it refuses.

Additive increase, multiplicative decrease, as in TCP: one more after every round whose answers came
as quickly as before, half after a refusal. Once the server is busy, a higher limit only fills its
queue and delays the answers.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

_FIRST: Final = 2
_SLOWER: Final = 2.0  # times the best round's latency: beyond this, requests only queue


class Limit:
    """Limits the requests in flight; each runs within `slot`.

    Parameters
    ----------
    most
        Highest limit.
    changed
        Called with the new limit and the reason.
    """

    def __init__(self, most: int, changed: Callable[[int, str], None]) -> None:
        self.limit = min(_FIRST, most)
        self._most = most
        self._changed = changed
        self._running = 0
        self._free = asyncio.Condition()
        self._latencies: list[float] = []
        self._best = float("inf")
        self._refused_in_round = False

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a free slot and hold it for one request."""
        async with self._free:
            await self._free.wait_for(lambda: self._running < self.limit)
            self._running += 1
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            yield
            self._answered(clock() - began)
        finally:
            async with self._free:
                self._running -= 1
                # Wake only as many waiters as there are free slots.
                self._free.notify(max(0, self.limit - self._running))

    def refused(self) -> None:
        """Halve the limit, only once for requests that were in flight together."""
        if self._refused_in_round:
            return
        self._refused_in_round = True
        self._latencies.clear()
        self._set(max(1, self.limit // 2), "refused")

    def _answered(self, latency: float) -> None:
        self._latencies.append(latency)
        if len(self._latencies) < self.limit:
            return
        median = statistics.median(self._latencies)
        self._latencies.clear()
        if self._refused_in_round:  # its latencies include the wait after the refusal
            self._refused_in_round = False
            return
        self._best = min(self._best, median)
        if median <= _SLOWER * self._best:
            self._set(min(self._most, self.limit + 1), "answers come as quickly as before")

    def _set(self, limit: int, why: str) -> None:
        if limit != self.limit:
            self.limit = limit
            self._changed(limit, why)
