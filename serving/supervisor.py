"""Watch a server: send a canary patch every few seconds and restart the server if it is dead.

Busy is not dead: while the server completes requests, a late or refused canary does not cause a
restart. Triton itself reports a backend process that has died, and usually one that hangs. Any
other hang is detected by four canaries in a row without an answer while no request is completed;
this takes half a minute, in which even the slowest machine completes a request.
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
_MOST_RESTARTS: Final = 5  # in a row
_CALM: Final = 300.0  # seconds after a restart; the next one starts a new row
_FIRST_PAUSE: Final = 1.0  # seconds; doubled with every restart in a row
_UNTIL_SEEN: Final = 1.0  # seconds for load balancers to notice that the server is draining
_DRAIN: Final = 30.0  # seconds, at most
_LAST_CANARIES: Final = 3  # once these are answered, no earlier request is pending

logger = logging.getLogger(__name__)


class Supervisor:
    """Keeps a server answering.

    Parameters
    ----------
    server
        The server; the caller starts and stops it.

    Attributes
    ----------
    health
        Current state of the server; read by other threads.
    """

    def __init__(self, server: TritonServer) -> None:
        self.server = server
        self.health = Health("starting")
        self._completed = 0
        self._strikes = 0
        self._row = 0
        self._restarted = 0.0

    def watch(self) -> None:
        """Watch the running server, and restart it when needed; never returns.

        Raises
        ------
        ServerError
            If the server does not come back, with the last reason.
        """
        self._restarted = time.monotonic()
        self.health = replace(self.health, state="serving")
        while True:
            time.sleep(_EVERY)
            trouble = self._trouble()
            if trouble is not None:
                self._restart(trouble)

    def drain(self) -> None:
        """Announce that no more requests should be sent, and wait for pending ones.

        Left to itself, Triton drops queued requests when it stops. A canary that is sent last is
        answered among the last; several are needed, because streams or instances of the network may
        overtake each other by one answer.
        """
        self.health = replace(self.health, state="draining", reason="the server is stopping")
        time.sleep(_UNTIL_SEEN)
        deadline = time.monotonic() + _DRAIN
        answered = 0
        while self._has_canary and answered < _LAST_CANARIES and self.server.ended() is None:
            left = deadline - time.monotonic()
            if left <= 0:
                logger.warning("Requests were still pending after %g s.", _DRAIN)
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
        """Check the server; return why it must be restarted, or None."""
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
