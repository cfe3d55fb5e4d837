"""Progress of the images in a folder, read from the files of their runs."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Final

from tsfd_client.files import RUN, replacing
from tsfd_client.names import shown
from tsfd_client.nuclei import summary
from tsfd_client.slides.events import FILE, Events, read_events
from tsfd_client.slides.lock import is_held

LOCK: Final = "lock"
"""Name of the lock in a run's folder."""
DONE: Final = "DONE"
"""Name of the file that marks a run as done."""
SUMMARY: Final = "summary.csv"
_REWRITES: Final = 5


@dataclass(frozen=True)
class Status:
    """State of an image's run.

    Attributes
    ----------
    slide
        Name of its folder.
    state
        ``"done"``, ``"running"``, ``"failed"``, or ``"stopped"``, which can be resumed.
    tiles, tiles_done
        Number of tiles to segment, and of those in blocks that are kept.
    between
        Number of in-between tiles segmented for the blocks that are kept.
    nuclei
        Number of nuclei when done; until then of those in the blocks that are kept, without their
        borders.
    mm2
        Area to segment, mm²; 0 while unknown.
    seconds
        Time spent on it.
    error
        Why it failed, or an empty string.
    """

    slide: str
    state: str
    tiles: int
    tiles_done: int
    between: int
    nuclei: int
    mm2: float
    seconds: float
    error: str


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a whole result, of a run or of `tsfd_client.save`."""
    # `save` makes no run; it writes the summary last.
    saved = (folder / summary.FILE).is_file() and not (folder / RUN).is_file()
    return saved or (folder / DONE).is_file()


def status_of(folder: Path) -> Status:
    """Return the state of the run in `folder`."""
    if not (folder / DONE).is_file():
        return _read(folder, done=False)
    path = folder / FILE
    return _read_done(folder, path.stat().st_mtime_ns if path.is_file() else 0)


@cache
def _read_done(folder: Path, changed: int) -> Status:
    # The summary of a thousand slides is written a thousand times, with most of them done.
    return _read(folder, done=True)


def _read(folder: Path, *, done: bool) -> Status:
    events = read_events(folder)
    kept = {event["name"]: event for event in events if event["event"] == "block"}
    starts = [number for number, event in enumerate(events) if event["event"] == "begun"]
    begun = events[starts[-1]] if starts else {}
    # A killed process may have kept a block without logging it; "begun" counts it on resuming.
    since = [e for e in events[starts[-1] :] if e["event"] == "block"] if starts else []
    last = events[-1] if events else {"event": "stopped"}
    finished: dict[str, Any] = next((e for e in reversed(events) if e["event"] == "done"), {})
    if done:
        state = "done"
    elif is_held(folder / LOCK):
        state = "running"
    else:
        state = "failed" if last["event"] == "failed" else "stopped"
    return Status(
        slide=shown(folder.name),
        state=state,
        tiles=begun.get("tiles", 0),
        tiles_done=begun.get("tiles_done", 0) + sum(block["tiles"] for block in since),
        between=sum(block["between"] for block in kept.values()),
        nuclei=finished.get("nuclei", sum(block["nuclei"] for block in kept.values())),
        mm2=begun.get("mm2", 0.0),
        seconds=_seconds(events),
        error=shown(last.get("error", "")) if state == "failed" else "",
    )


def statuses(folder: Path) -> list[Status]:
    """Return the states of all runs below `folder`, or of `folder` if it is a run itself."""
    if (folder / FILE).is_file():
        return [status_of(folder)]
    return [status_of(path.parent) for path in sorted(folder.glob(f"*/{FILE}"))]


def note_failure(folder: Path, error: Exception) -> None:
    """Record in a folder why its image could not even be started."""
    with Events(folder) as events:
        events.write("failed", error=str(error))


def write_summary(folder: Path) -> None:
    """Write ``summary.csv``: the states of all runs below `folder`.

    Several processes may do so at once; each writes again if something has changed meanwhile.
    """
    for _ in range(_REWRITES):
        rows = statuses(folder)
        with replacing(folder / SUMMARY) as partial:
            _write(rows, partial)
        if statuses(folder) == rows:
            return


def _write(rows: Iterable[Status], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Status)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _seconds(events: list[dict[str, Any]]) -> float:
    """Sum the time from each start to the last event before the next start."""
    total, began, last = 0.0, None, 0.0
    for event in events:
        if event["event"] == "begun":
            total += last - began if began is not None else 0.0
            began = event["time"]
        last = event["time"]
    total += last - began if began is not None else 0.0
    return round(total, 1)
