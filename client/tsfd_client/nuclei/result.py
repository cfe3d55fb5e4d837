"""The nuclei of an image in memory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from tsfd_client.contract import TISSUES
from tsfd_client.nuclei import wkb
from tsfd_client.nuclei.raster import draw_whole
from tsfd_client.nuclei.table import SCHEMA, boxes_of, classes_of, rings_of, sides
from tsfd_client.release import Release
from tsfd_client.stitching.tiling import Tiling


@dataclass(frozen=True, repr=False)
class Nuclei:
    """Every nucleus of an image; row i - 1 of each array describes instance id i.

    Coordinates are pixels of the original image; the first pixel's corner is (0, 0), its centre
    (0.5, 0.5).

    Attributes
    ----------
    instance_map
        int32 [H, W]; 0 is background. At the network's scale every instance is one 4-connected
        piece without holes; at another scale the map is resampled from there.
    classes
        uint8 [n]; class id, which begins with 1.
    class_probs
        float32 [n]; share of the class in the nucleus, 0..1.
    centroids
        float64 [n, 2]; x, y.
    boxes
        float64 [n, 4]; x_min, y_min, x_max, y_max.
    contours
        n arrays float64 [k, 2]; x, y of the outline's corners. The outline runs along pixel edges
        at the network's scale and is open (the first corner is not repeated): a valid polygon with
        the area of the mask.
    areas_um2
        float32 [n]; square micrometres.
    tissue_probs
        float32 [19]; mean over the tiles, weighted by the tissue in each.
    mpp
        Micrometres per pixel of the image.
    scale
        Pixels of the image per pixel of the network.
    release
        The network, post-processing and thresholds that found them.
    """

    instance_map: np.ndarray
    classes: np.ndarray
    class_probs: np.ndarray
    centroids: np.ndarray
    boxes: np.ndarray
    contours: list[np.ndarray]
    areas_um2: np.ndarray
    tissue_probs: np.ndarray
    mpp: float
    scale: float
    release: Release

    def __len__(self) -> int:
        return len(self.classes)

    def __repr__(self) -> str:
        height, width = self.instance_map.shape
        named = ", ".join(f"{n} {name}" for name, n in self.counts().items() if n)
        return f"<Nuclei: {named or 'none'}; {width} x {height} pixels at {self.mpp:g} µm>"

    @property
    def class_names(self) -> list[str]:
        """Class name of each nucleus."""
        names = self.release.class_names
        return [names[c] for c in self.classes]

    @property
    def tissue(self) -> str:
        """The most likely tissue; the shipped weights know only a few, see their model card."""
        return TISSUES[int(self.tissue_probs.argmax())]

    @property
    def area_mm2(self) -> float:
        """Area of the whole image, mm²."""
        height, width = self.instance_map.shape
        return float(height * width * self.mpp**2 / 1e6)

    def counts(self) -> dict[str, int]:
        """Number of nuclei by class name, zeros included."""
        names = self.release.class_names
        numbers = np.bincount(self.classes, minlength=len(names))
        return {name: int(numbers[c]) for c, name in enumerate(names) if c}

    def table(self) -> pa.Table:
        """Return a table of one row per nucleus, with the columns of ``nuclei.parquet``."""
        rings = [np.concatenate([contour, contour[:1]]) for contour in self.contours]
        columns = {
            "id": np.arange(1, len(self) + 1),
            "class": self.class_names,
            "class_prob": self.class_probs,
            "area_um2": self.areas_um2,
            "centroid_x": np.ascontiguousarray(self.centroids[:, 0]),
            "centroid_y": np.ascontiguousarray(self.centroids[:, 1]),
            "bbox": sides(self.boxes),
            "geometry": wkb.encode(
                np.cumsum([0, *map(len, rings)]), np.concatenate([np.empty((0, 2)), *rings])
            ),
        }
        return pa.table(columns, schema=SCHEMA)


def from_table(table: pa.Table, tiling: Tiling, tissue: np.ndarray, release: Release) -> Nuclei:
    """Build `Nuclei` from a table.

    Parameters
    ----------
    table
        A table made by `tsfd_client.nuclei.table.from_nuclei`.
    tiling
        The image.
    tissue
        Tissue probabilities, float32 [19].
    release
        The release that found the nuclei.
    """
    table = table.combine_chunks()
    offsets, points = rings_of(table)
    return Nuclei(
        instance_map=draw_whole(table, tiling.scale, tiling.shape),
        classes=classes_of(table, release.class_names),
        class_probs=table["class_prob"].to_numpy(),
        centroids=np.column_stack(
            [table[name].to_numpy() for name in ("centroid_x", "centroid_y")]
        ),
        boxes=boxes_of(table),
        # Each ring repeats its first corner at its end.
        contours=[points[a : b - 1] for a, b in pairwise(offsets)],
        areas_um2=table["area_um2"].to_numpy(),
        tissue_probs=tissue,
        mpp=tiling.given_mpp,
        scale=tiling.scale,
        release=release,
    )
