"""Read, segment, stitch and keep the blocks of an image, several at a time.

While the server works on the tiles of one block, the next block is read and the previous one is
stitched. At most three blocks are in memory, whatever the size of the image. Once all tiles of a
block are answered, nuclei that they cut are segmented again in in-between tiles.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tsfd_client.contract import TILE
from tsfd_client.errors import ServerError
from tsfd_client.nuclei.assembly import TileResult
from tsfd_client.nuclei.table import from_nuclei
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.slide import Scaled
from tsfd_client.pixels.tissue import is_glass
from tsfd_client.release import Release
from tsfd_client.server.async_client import AsyncClient
from tsfd_client.slides.concurrency import Limit
from tsfd_client.slides.lock import Lock
from tsfd_client.slides.progress import Progress
from tsfd_client.slides.run import Run
from tsfd_client.stitching.between import replace, wanted
from tsfd_client.stitching.blocks import Block, Plan, PlannedTile
from tsfd_client.stitching.grid import pad
from tsfd_client.stitching.seams import split, to_table
from tsfd_client.stitching.versions import Corner, TileNuclei, Version, versions

_IN_MEMORY: Final = 3  # blocks


@dataclass(frozen=True)
class Pipeline:
    """Segments the blocks of an image that are not done yet.

    Attributes
    ----------
    scaled, plan, run
        The image at the network's scale, its tiles, and where results are kept.
    lock
        Lock on the run: nothing is kept once another process has taken it over.
    client
        The server.
    limit
        Limits the requests in flight; the client's own limit is not used.
    release
        The release that must answer all tiles, with the thresholds to request.
    progress
        Notified of every answer and every block that is kept.
    everywhere
        Segment bare glass, too.
    """

    scaled: Scaled
    plan: Plan
    run: Run
    lock: Lock
    client: AsyncClient
    limit: Limit
    release: Release
    progress: Progress
    everywhere: bool

    async def segment(self) -> None:
        """Segment all blocks.

        Raises
        ------
        ImageError
            If a part of the image cannot be read.
        ServerUnavailableError, ServerError
            If the server stops answering, refuses, or switches to another release.
        LockedError, OSError
            If another process has taken over the run, or a block cannot be written.
        """
        room = asyncio.Semaphore(_IN_MEMORY)

        async def segment_one(block: Block) -> None:
            try:
                await self._segment(block)
            finally:
                room.release()

        try:
            async with asyncio.TaskGroup() as group:
                for block in self.plan.blocks:
                    if not self.run.has(block):
                        await room.acquire()
                        group.create_task(segment_one(block))
        except BaseExceptionGroup as failed:
            raise _first(failed) from None

    async def _segment(self, block: Block) -> None:
        began = time.monotonic()
        pixels, tiles = await asyncio.to_thread(self._read, block)
        self.progress.answered(len(block.tiles) - len(tiles))
        size = self.client.batch_size
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._ask(block, tiles[first : first + size], pixels))
                for first in range(0, len(tiles), size)
            ]
        del pixels
        found = [version for task in tasks for version in task.result()]
        corners = await asyncio.to_thread(wanted, found, block.inner)
        self.progress.between(len(corners))
        async with asyncio.TaskGroup() as group:
            more = [
                group.create_task(self._ask_between(corners[first : first + size]))
                for first in range(0, len(corners), size)
            ]
        between = [tile for task in more for tile in task.result()]
        nuclei = await asyncio.to_thread(self._keep, block, found, between)
        seconds = time.monotonic() - began
        self.progress.kept(block, len(tiles), len(corners), nuclei, seconds)

    def _read(self, block: Block) -> tuple[np.ndarray, tuple[PlannedTile, ...]]:
        """Read the pixels of a block and choose the tiles to segment."""
        pixels = self.scaled.read(block.box.intersection(self._whole))
        if self.everywhere:
            return pixels, block.tiles
        # The mask is coarse and has a margin; the pixels themselves show bare glass exactly.
        mpp = self.release.mpp
        stained = (tile for tile in block.tiles if not is_glass(_cut(block, tile, pixels), mpp))
        return pixels, tuple(stained)

    async def _ask(
        self, block: Block, tiles: tuple[PlannedTile, ...], pixels: np.ndarray
    ) -> list[Version]:
        # Keep the slot to the end, so that no more answers are held than requests may be in flight.
        async with self.limit.slot():
            batch = np.stack([_cut(block, tile, pixels) for tile in tiles])
            answers = await self._nuclei([tile.corner for tile in tiles], batch)
            return await asyncio.to_thread(_versions, tiles, answers)

    async def _ask_between(self, corners: Sequence[Corner]) -> list[TileNuclei]:
        async with self.limit.slot():
            batch = await asyncio.to_thread(self._read_between, corners)
            return await self._nuclei(corners, batch)

    def _read_between(self, corners: Sequence[Corner]) -> np.ndarray:
        """Read the pixels of a few in-between tiles, whose block is no longer in memory."""
        boxes = (Box(y, x, y + TILE, x + TILE).intersection(self._whole) for y, x in corners)
        return np.stack([pad(self.scaled.read(box)) for box in boxes])

    @property
    def _whole(self) -> Box:
        return Box(0, 0, self.plan.height, self.plan.width)

    async def _nuclei(self, corners: Sequence[Corner], batch: np.ndarray) -> list[TileNuclei]:
        """Segment tiles, of which `batch` holds the pixels, and check the answers."""
        answers = await self._answers(corners, batch)
        self._check(answers)
        self.progress.answered(len(answers))
        return [a.at(y, x, self.plan) for (y, x), a in zip(corners, answers, strict=True)]

    async def _answers(self, corners: Sequence[Corner], batch: np.ndarray) -> list[TileResult]:
        return await self.client.segment_tiles(
            batch, settings=self.release.settings, refused=self.limit.refused
        )

    def _check(self, answers: list[TileResult]) -> None:
        for answer in answers:
            if answer.release != self.release.served:
                raise ServerError(
                    f"The server at {self.client.url} switched from release {self.release.served} "
                    f"to {answer.release} in the middle of {self.scaled.slide.path.name}: serve "
                    "the first one again to resume."
                )

    def _keep(self, block: Block, found: list[Version], between: list[TileNuclei]) -> int:
        """Stitch a block and write it; return the number of its closed nuclei."""
        found = replace(found, block.inner, between, self.plan.height, self.plan.width)
        closed, left_open = split(found, block.own)
        table = from_nuclei(
            closed,
            scale=self.scaled.scale,
            mpp=self.scaled.slide.mpp,
            release=self.release,
        )
        self.lock.check()
        self.run.write(block, closed=table, left_open=to_table(left_open))
        return len(table)


def _cut(block: Block, tile: PlannedTile, pixels: np.ndarray) -> np.ndarray:
    y, x = tile.y - block.box.top, tile.x - block.box.left
    return pad(pixels[y : y + TILE, x : x + TILE])


def _versions(tiles: Sequence[PlannedTile], answers: list[TileNuclei]) -> list[Version]:
    """Extract the versions from the answers, whose instance maps are too large to keep."""
    return [
        v for tile, nuclei in zip(tiles, answers, strict=True) for v in versions(nuclei, tile.inner)
    ]


def _first(failed: BaseException) -> BaseException:
    """Return the error that ended a group of tasks, unwrapped from nested groups."""
    while isinstance(failed, BaseExceptionGroup):
        failed = failed.exceptions[0]
    return failed
