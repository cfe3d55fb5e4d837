"""Progress of an image: a progress bar, a callback and the log of the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from tqdm import tqdm

from tsfd_client.slides.events import Events
from tsfd_client.slides.run import Run
from tsfd_client.stitching.blocks import Block, Plan

Report = Callable[[int, int], None]
"""Called with the number of tiles done and the total, which grows if nuclei are cut by tiles."""


class Progress:
    """Shows a bar, calls a callback and writes the log, as a context manager.

    Parameters
    ----------
    name
        Name of the image.
    plan, run
        The tiles to segment, and the run that holds the blocks already done.
    area
        Segmented area, mm².
    events
        The log.
    report
        Callback, or None.
    bar
        Whether to show a bar; None shows it only on a terminal.
    """

    def __init__(
        self,
        name: str,
        plan: Plan,
        run: Run,
        area: float,
        events: Events,
        report: Report | None,
        bar: bool | None,
    ) -> None:
        self._name = name
        self._plan = plan
        self._area = area
        self._events = events
        self._report = report
        self._show = bar
        self._done = [block for block in plan.blocks if run.has(block)]
        self._tiles_before = sum(len(block.tiles) for block in self._done)
        self._nuclei = 0
        self._tiles = 0
        events.write(
            "begun",
            tiles=len(plan),
            blocks=len(plan.blocks),
            blocks_done=len(self._done),
            tiles_done=self._tiles_before,
            mm2=round(area, 4),
        )

    def __enter__(self) -> Self:
        self._bar = tqdm(
            desc=self._name,
            total=len(self._plan),
            initial=self._tiles_before,
            unit="tile",
            disable=None if self._show is None else not self._show,
        )
        self._began = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def between(self, tiles: int) -> None:
        """Add in-between tiles to the total."""
        self._bar.total += tiles

    def answered(self, tiles: int) -> None:
        """Count tiles as done: answered, or skipped as glass."""
        self._tiles += tiles
        area = self._area * self._tiles / self._bar.total
        speed = area / (time.monotonic() - self._began)
        self._bar.set_postfix_str(f"{speed:.3f} mm²/s, {self._nuclei:,} nuclei", refresh=False)
        self._bar.update(tiles)
        if self._report:
            try:
                self._report(self._tiles_before + self._tiles, self._bar.total)
            except OSError as error:  # must not be taken for a full disk
                raise RuntimeError(f"The progress callback failed: {error}") from error

    def kept(self, block: Block, asked: int, between: int, nuclei: int, seconds: float) -> None:
        """Log that a block has been kept.

        Parameters
        ----------
        asked
            Number of its tiles sent to the server; the others are glass.
        between
            Number of in-between tiles sent.
        nuclei
            Number of its nuclei, without those that other blocks may change.
        seconds
            Time since reading the block began.
        """
        self._nuclei += nuclei
        self._events.write(
            "block",
            name=block.name,
            tiles=len(block.tiles),
            asked=asked,
            between=between,
            nuclei=nuclei,
            seconds=round(seconds, 2),
        )

    def limit(self, requests: int, why: str) -> None:
        """Log a new limit of requests in flight."""
        self._events.write("limit", requests=requests, why=why)
