"""A server that is watched: a canary patch every few seconds, a restart when nothing is answered.

Busy is not dead: while the server completes requests, a canary that is late or refused restarts
nothing. A backend process that died is told by Triton itself, mostly one that hangs, too; what
hangs otherwise is told by four canaries in a row without an answer, while no request is completed:
half a minute, in which the slowest machine completes one.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Final

from serving import canary
from serving.health import Health
from serving.server import ServerError, TritonServer

_EVERY: Final = 2.0  # seconds between two canaries
_TIMEOUT: Final = 5.0
_STRIKES: Final = 4
_MOST_RESTARTS: Final = 5  # in a row; one after a calm time begins a new row
_CALM: Final = 300.0
_FIRST_PAUSE: Final = 1.0  # doubled with every restart of a row
_UNTIL_SEEN: Final = 1.0  # that no more is wanted, by whoever looks at the health
_DRAIN: Final = 30.0  # at most
_LAST_CANARIES: Final = 3  # until nothing that was asked before them is under way

logger = logging.getLogger(__name__)


class Supervisor:
    """Keeps a server answering.

    Parameters
    ----------
    server
        Its first start and its end are the caller's.

    Attributes
    ----------
    health
        How the server is now; read by other threads.
    """

    def __init__(self, server: TritonServer) -> None:
        self.server = server
        self.health = Health("starting")
        self._completed = 0
        self._strikes = 0
        self._row = 0
        self._restarted = 0.0

    def watch(self) -> None:
        """Watch the server, which has been started, and restart it where needed, for ever.

        Raises
        ------
        ServerError
            When it does not come back, with the last reason.
        """
        self._restarted = time.monotonic()
        self.health = replace(self.health, state="serving")
        while True:
            time.sleep(_EVERY)
            trouble = self._trouble()
            if trouble is not None:
                self._restart(trouble)

    def drain(self) -> None:
        """Say that no more requests are wanted, and wait for those that are under way.

        Triton's own end lets go of what waits in its queue. A canary that is sent last comes back
        among the last: the network's streams or instances may overtake each other, by one answer.
        """
        self.health = replace(self.health, state="draining", reason="the server is stopping")
        time.sleep(_UNTIL_SEEN)
        deadline = time.monotonic() + _DRAIN
        answered = 0
        while self._has_canary and answered < _LAST_CANARIES and self.server.ended() is None:
            left = deadline - time.monotonic()
            if left <= 0:
                logger.warning("Requests were still under way after %g s.", _DRAIN)
                return
            answer = canary.send(self.server.http_url, left)
            if answer.dead:
                return
            if answer.failure is None:
                answered += 1
            else:
                time.sleep(0.1)

    @property
    def _has_canary(self) -> bool:
        repository = self.server.repository
        return isinstance(repository, str) or (repository / canary.MODEL).is_dir()

    def _trouble(self) -> str | None:
        """Why the server must be restarted, or None."""
        ended = self.server.ended()
        if ended is not None:
            return ended
        if not self._has_canary:
            return None
        answer = canary.send(self.server.http_url, _TIMEOUT)
        if answer.failure is None:
            self._strikes = 0
            self.health = replace(self.health, reason=None, canary_seconds=answer.seconds)
            return None
        done = canary.completed(self.server.metrics_url, _TIMEOUT)
        busy, self._completed = done > self._completed, done
        if busy and not answer.dead:
            self._strikes = 0
            self.health = replace(self.health, reason=None)
            return None
        self._strikes += 1
        self.health = replace(self.health, reason=answer.failure)
        return answer.failure if answer.dead or self._strikes >= _STRIKES else None

    def _restart(self, reason: str) -> None:
        began = time.monotonic()
        if began - self._restarted > _CALM:
            self._row = 0
        while True:
            if self._row == _MOST_RESTARTS:
                raise ServerError(f"Gave up after {self._row} restarts in a row: {reason}")
            self._row += 1
            self.health = Health("restarting", reason, self.health.restarts + 1)
            logger.warning("Restarting the server: %s", reason)
            self.server.stop(drain=False)
            time.sleep(_FIRST_PAUSE * 2 ** (self._row - 1) if self._row > 1 else 0)
            try:
                self.server.start()
            except ServerError as error:
                reason = str(error)
            else:
                break
        self._restarted = time.monotonic()
        self._completed = self._strikes = 0
        self.health = Health("serving", None, self.health.restarts)
        logger.warning("The server answers again after %.1f s.", self._restarted - began)
