"""The network's features of a result's nuclei.

The server averages them over each nucleus in the tile of the grid in which it lies most centrally.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from tsfd_client.classes.head import FLOOR
from tsfd_client.classes.marked import Nuclei
from tsfd_client.contract import TILE
from tsfd_client.errors import TsfdError
from tsfd_client.files import PARQUET
from tsfd_client.nuclei.assembly import batches
from tsfd_client.nuclei.raster import fill
from tsfd_client.nuclei.table import Info, read_batches, read_info, read_overlapping, rings_of
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.slide import Scaled, Slide
from tsfd_client.server.client import Client
from tsfd_client.stitching.grid import pad, starts


@dataclass(frozen=True)
class _Tile:
    """A tile and the outlines of its nuclei, in its own pixels."""

    y: int
    x: int
    ids: np.ndarray
    offsets: np.ndarray
    corners: np.ndarray

    def instance_map(self) -> np.ndarray:
        numbers = np.arange(1, len(self.ids) + 1)
        return fill(self.offsets, self.corners, numbers, TILE, TILE).astype(np.uint16)


def scaled_for(result: Path, slide: Slide, client: Client) -> Scaled:
    """The image of a result at the scale of the server's network.

    Raises
    ------
    TsfdError
        If the result was segmented at another scale.
    """
    info, mpp = read_info(result / PARQUET), client.release().mpp
    scaled = slide.at(mpp)
    if not np.isclose(scaled.scale, info.scale):
        raise TsfdError(
            f"{result} was segmented at {info.mpp * info.scale:g} µm per pixel, and the server at "
            f"{client.url} works at {mpp:g}: name a server of the same scale."
        )
    return scaled


def features_of(
    result: Path, scaled: Scaled, client: Client, wanted: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ask the server for the features of a result's nuclei, row by row of tiles.

    Parameters
    ----------
    result
        Folder of a finished result.
    scaled
        Its image at the network's scale.
    client
        The server.
    wanted
        int64 [n], ids of nuclei: only tiles that hold some of them are asked for. None for all.

    Yields
    ------
    ids
        int64 [n].
    features
        float16 [n, D].
    """
    parquet = result / PARQUET
    info = read_info(parquet)
    height, width = scaled.grid.shape
    with ThreadPoolExecutor(client.max_in_flight, thread_name_prefix="tsfd") as pool:
        for y in _rows(parquet, info, height, wanted):
            tiles = _tiles(parquet, info, y, height, width, wanted)
            requests = batches(tiles, client.batch_size)
            answers = pool.map(partial(_ask, scaled, client), requests)
            ids, found = zip(*answers, strict=True)
            yield np.concatenate(ids), np.concatenate(found)


def _rows(parquet: Path, info: Info, height: int, wanted: np.ndarray | None) -> list[int]:
    """Tops of the rows of tiles that hold wanted nuclei."""
    tops = np.array(starts(height))
    found: set[int] = set()
    for table in read_batches(parquet, ["id", "centroid_y"]):
        y = table["centroid_y"].to_numpy()
        if wanted is not None:
            y = y[np.isin(table["id"].to_numpy(), wanted)]
        found.update(np.unique(_nearest(y / info.scale, tops)).tolist())
    return [int(tops[row]) for row in sorted(found)]


def _tiles(
    parquet: Path, info: Info, y: int, height: int, width: int, wanted: np.ndarray | None
) -> Iterator[_Tile]:
    """The tiles of a row that hold wanted nuclei."""
    tops, lefts = np.array(starts(height)), np.array(starts(width))
    band = read_overlapping(parquet, y * info.scale, (y + TILE) * info.scale)
    here = tops[_nearest(band["centroid_y"].to_numpy() / info.scale, tops)] == y
    band = band.filter(pa.array(here))
    columns = _nearest(band["centroid_x"].to_numpy() / info.scale, lefts)
    for column in np.unique(columns):
        part = band.filter(pa.array(columns == column)).combine_chunks()
        if wanted is not None and not np.isin(part["id"].to_numpy(), wanted).any():
            continue
        x = int(lefts[column])
        offsets, points = rings_of(part)
        corners = np.rint(points / info.scale).astype(np.int64) - (x, y)
        yield _Tile(y, x, part["id"].to_numpy(), offsets, corners)


def _nearest(centroids: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Index of the tile whose middle is nearest, along one axis."""
    middles = begins + TILE / 2
    return np.searchsorted((middles[1:] + middles[:-1]) / 2, centroids)


def _ask(scaled: Scaled, client: Client, batch: list[_Tile]) -> tuple[np.ndarray, np.ndarray]:
    height, width = scaled.grid.shape
    whole = Box(0, 0, height, width)
    boxes = (Box(t.y, t.x, t.y + TILE, t.x + TILE).intersection(whole) for t in batch)
    pixels = np.stack([pad(scaled.read(box)) for box in boxes])
    found = client.features(pixels, np.stack([tile.instance_map() for tile in batch]))
    # A nucleus that is not drawn, outside of the tile, has none.
    rows = [_filled(rows, len(tile.ids)) for rows, tile in zip(found, batch, strict=True)]
    return np.concatenate([tile.ids for tile in batch]), np.concatenate(rows)


def _filled(rows: np.ndarray, count: int) -> np.ndarray:
    filled = np.zeros((count, rows.shape[1]), np.float16)
    filled[: len(rows)] = rows
    return filled


def split(features: np.ndarray, classes: int) -> Nuclei:
    """Separate what `features_of` yields into features and the network's shares of its classes.

    Parameters
    ----------
    features
        float16 [n, F + C], the last C of them logarithms of probabilities given a nucleus.
    classes
        C, the number of the network's own classes.
    """
    logs = features[:, -classes:].astype(np.float64)
    shares = np.exp(logs) * (1 + FLOOR * classes) - FLOOR
    return Nuclei(features[:, :-classes].astype(np.float32), shares)
