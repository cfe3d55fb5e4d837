"""The result of a segmentation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tsfd_client.contract import TISSUES
from tsfd_client.release import Release
from tsfd_client.stitching.outline import outline
from tsfd_client.stitching.stitch import Stitched
from tsfd_client.stitching.tiling import Tiling


@dataclass(frozen=True)
class Nuclei:
    """Every nucleus of an image; row i - 1 of each array describes instance id i.

    Coordinates are pixels of the image that was given; a pixel's corner is (0, 0), its centre
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
        float32 [n, 2]; x, y.
    boxes
        float32 [n, 4]; x_min, y_min, x_max, y_max.
    contours
        n arrays float32 [k, 2]; x, y of the outline's corners along the edges of pixels at the
        network's scale, open (the first does not repeat): a valid polygon with the area of the
        mask.
    areas_um2
        float32 [n]; square micrometres.
    tissue_probs
        float32 [19]; mean over the tiles, weighted by how much tissue they hold.
    mpp
        Micrometres per pixel of the image.
    release
        Which network, post-processing and thresholds found them.
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
    release: Release

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def class_names(self) -> list[str]:
        """Name of each nucleus' class."""
        names = self.release.class_names
        return [names[c] for c in self.classes]

    @property
    def tissue(self) -> str:
        """The most likely tissue; the shipped weights know few, see their model card."""
        return TISSUES[int(self.tissue_probs.argmax())]

    @property
    def area_mm2(self) -> float:
        """Area of the whole image."""
        height, width = self.instance_map.shape
        return float(height * width * self.mpp**2 / 1e6)

    def counts(self) -> dict[str, int]:
        """Number of nuclei by class name, zeros included."""
        names = self.release.class_names
        numbers = np.bincount(self.classes, minlength=len(names))
        return {name: int(numbers[c]) for c, name in enumerate(names) if c}

    def where(self, kept: np.ndarray) -> Nuclei:
        """Some of them, numbered anew: bool [n]."""
        ids = np.zeros(len(self) + 1, np.int32)
        ids[1:][kept] = np.arange(1, kept.sum() + 1)
        return replace(
            self,
            instance_map=ids[self.instance_map],
            classes=self.classes[kept],
            class_probs=self.class_probs[kept],
            centroids=self.centroids[kept],
            boxes=self.boxes[kept],
            contours=[self.contours[row] for row in np.flatnonzero(kept)],
            areas_um2=self.areas_um2[kept],
        )

    def table(self) -> dict[str, np.ndarray | list[str]]:
        """Columns by name, one row per nucleus; ``pandas.DataFrame(nuclei.table())`` works."""
        return {
            "id": np.arange(1, len(self) + 1),
            "class": self.class_names,
            "class_prob": self.class_probs,
            "centroid_x": self.centroids[:, 0],
            "centroid_y": self.centroids[:, 1],
            "x_min": self.boxes[:, 0],
            "y_min": self.boxes[:, 1],
            "x_max": self.boxes[:, 2],
            "y_max": self.boxes[:, 3],
            "area_um2": self.areas_um2,
        }


def describe(
    stitched: Stitched,
    tiling: Tiling,
    shape: tuple[int, int],
    mpp: float,
    tissue: np.ndarray,
    release: Release,
) -> Nuclei:
    """Measure the stitched nuclei and carry them back to the pixels of the image given.

    Parameters
    ----------
    stitched
        Nuclei at the network's scale.
    shape
        Height and width of the image given.
    """
    scale = tiling.scale
    count = len(stitched.nuclei)
    centroids = np.zeros((count, 2), np.float32)
    areas = np.zeros(count, np.float32)
    contours = []
    for row, nucleus in enumerate(stitched.nuclei):
        ys, xs = np.nonzero(nucleus.mask)
        centroids[row] = nucleus.x + xs.mean() + 0.5, nucleus.y + ys.mean() + 0.5
        areas[row] = len(ys)
        contours.append(outline(nucleus.mask, nucleus.x, nucleus.y).astype(np.float32) / scale)
    instance_map = stitched.instance_map
    if scale != 1:
        rows, columns = (
            np.minimum(((np.arange(length) + 0.5) * scale).astype(np.intp), end - 1)
            for length, end in zip(shape, instance_map.shape, strict=True)
        )
        instance_map = instance_map[rows[:, None], columns]
    pixel_um2 = (mpp / scale) ** 2
    return Nuclei(
        instance_map=instance_map,
        classes=stitched.classes,
        class_probs=stitched.class_probs,
        centroids=centroids / scale,
        boxes=stitched.boxes.astype(np.float32) / scale,
        contours=contours,
        areas_um2=areas * pixel_um2,
        tissue_probs=tissue,
        mpp=mpp,
        release=release,
    )
