"""No nucleus looks cut where tiles end: straight edges are there as rare as anywhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np

from samples import histology
from serving.server import TritonServer
from tsfd_client import AsyncClient, Client, Nuclei, read_image
from tsfd_client.stitching.between import STRAIGHT
from tsfd_client.stitching.grid import starts
from tsfd_client.stitching.tiling import tiling
from tsfd_client.stitching.versions import EDGE

MPP = 0.5  # enlarged, its nuclei are larger than what two tiles share


def test_outlines_are_not_straight_where_tiles_end(server: TritonServer) -> None:
    half, _ = read_image(histology.path(), mpp=MPP)
    image = np.hstack([half, half[:, ::-1]])
    cut = tiling(image, MPP, 0.25)
    done: list[tuple[int, int]] = []

    with Client(server.grpc_url) as client:
        found = client.segment(image, mpp=MPP, progress=lambda *tiles: done.append(tiles))

    edges = {"y": _edges(starts(cut.plan.height)), "x": _edges(starts(cut.plan.width))}
    straight = [(axis, at in edges[axis]) for axis, at in _straight(found, found.scale)]
    at_edges = sum(is_edge for _, is_edge in straight)
    places = sum(cut.image.shape[:2])
    on_edges = sum(map(len, edges.values()))
    chance = (len(straight) - at_edges) / (places - on_edges) * on_edges
    assert len(found) > 400
    assert at_edges <= 2 * chance
    assert len(cut.plan) < done[-1][0] == done[-1][1] <= 1.2 * len(cut.plan)

    async def again() -> Nuclei:
        async with AsyncClient(server.grpc_url) as client:
            return await client.segment(image, mpp=MPP)

    assert np.array_equal(asyncio.run(again()).instance_map, found.instance_map)


def _straight(nuclei: Nuclei, scale: float) -> Iterator[tuple[str, int]]:
    """The straight edges of all outlines: axis, and where on it; pixels of the network."""
    for contour in nuclei.contours:
        points = np.rint(contour / scale).astype(int)
        lengths = np.abs(np.roll(points, -1, axis=0) - points)
        for (x, y), (across, down) in zip(points.tolist(), lengths.tolist(), strict=True):
            if across >= STRAIGHT and not down:
                yield "y", y
            if down >= STRAIGHT and not across:
                yield "x", x


def _edges(starts: Sequence[int]) -> set[int]:
    """Where tiles end inside the image, and the pixels at which a mask may stop short of it."""
    begins = {start + short for start in starts[1:] for short in range(EDGE + 1)}
    ends = {start + 256 - short for start in starts[:-1] for short in range(EDGE + 1)}
    return begins | ends
