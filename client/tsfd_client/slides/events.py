"""The log of a run: one line of JSON per event, with its time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Self

FILE = "events.jsonl"


class Events:
    """Appends to the log of a run, as a context manager."""

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        before = path.read_bytes() if path.is_file() else b""
        self._file = path.open("a", buffering=1)
        if before and not before.endswith(b"\n"):  # truncated when a process was killed
            self._file.write("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, event: str, **facts: Any) -> None:
        """Append an event with its facts and the time in seconds since 1970."""
        self._file.write(
            json.dumps({"time": round(time.time(), 3), "event": event, **facts}) + "\n"
        )


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Read the events of a run, earliest first; truncated and damaged lines are skipped."""
    path = folder / FILE
    events = []
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.keys() >= {"time", "event"}:
            events.append(event)
    return events
