"""SIGTERM and SIGINT: a training ends within seconds, and what was done is saved."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

_PATIENCE = 6  # seconds that compiled code has to come back before the process ends without it
STOPPED = 130
"""Exit code of a training that was asked to end."""


class Stopped(BaseException):
    """The process was asked to end; the state of the training is saved.

    No `Exception`: the backends turn those that pass through them into others.
    """


class Stopping:
    """Within this context signals end the training by `Stopped`.

    At once, while a step is compiled or the weights are scored, too; only not while `unsaved`.

    Parameters
    ----------
    state
        The training's checkpoint.

    Attributes
    ----------
    asked
        Whether a signal has come.
    unsaved
        Whether steps were done that no checkpoint holds: whoever sets it looks at `asked` then.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._over = threading.Event()
        self._handlers: dict[signal.Signals, object] = {}
        self.asked = False
        self.unsaved = False

    def __enter__(self) -> Stopping:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        # Python's handlers wait for compiled code to return: this pipe does not.
        signal.set_wakeup_fd(writer)
        threading.Thread(target=self._watch, args=(reader,), daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        self._over.set()
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self.asked and kind is None:  # after the last step
            raise Stopped

    def _ask(self, number: int, frame: object) -> None:
        first, self.asked = not self.asked, True
        if first and not self.unsaved:
            raise Stopped

    def _watch(self, signals: int) -> None:
        while os.read(signals, 1)[0] not in (signal.SIGTERM, signal.SIGINT):
            pass
        while not self._over.wait(_PATIENCE):
            if not self.unsaved:
                print(f"\ntrain: {last_words(self._state)}", file=sys.stderr, flush=True)
                os._exit(STOPPED)


def last_words(state: Path) -> str:
    """What is left of a training that was stopped."""
    if state.exists():
        return "stopped; --resume goes on from the last checkpoint."
    return "stopped before the first step was done: nothing is lost, begin again."
