"""The label image holds every nucleus to the pixel, and is valid OME-Zarr 0.5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05.image_label import ImageLabel

from tests.client import made
from tests.client.export.run_folder import SIDE, finished, label_image
from tsfd_client.export import export, to_ome_zarr


@pytest.mark.parametrize("scale", [1.0, 0.5, 1.25, 1 / 3, 0.25 / 0.2527])
def test_pixels_are_those_of_the_masks_at_every_scale(tmp_path: Path, scale: float) -> None:
    group = zarr.open_group(export(finished(tmp_path, scale), "ome-zarr"), mode="r")

    expected = label_image()
    # A slide is a whole number of pixels of its own, so its last one may be cut.
    found = group["0"][:]
    height, width = (min(pair) for pair in zip(found.shape, expected.shape, strict=True))
    assert min(height, width) >= SIDE - 2
    assert np.array_equal(found[:height, :width], expected[:height, :width])
    assert found.dtype == np.uint32


def test_pixels_do_not_depend_on_what_is_written_as_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_ome_zarr, "_SHARD", 96)
    monkeypatch.setattr(to_ome_zarr, "_CHUNK", 32)

    group = zarr.open_group(export(folder, "ome-zarr"), mode="r")

    for level in range(5):
        assert np.array_equal(group[str(level)][:], label_image()[:: 2**level, :: 2**level])


def test_metadata_are_valid_and_in_micrometres(tmp_path: Path) -> None:
    side = 20 * made.PITCH
    path = export(finished(tmp_path, 0.5, made.field(20), side), "ome-zarr")

    ome = ImageLabel.from_zarr(zarr.open_group(path, mode="r")).attributes.ome

    (image,) = ome.multiscales
    assert [(axis.name, axis.unit) for axis in image.axes] == [
        ("y", "micrometer"),
        ("x", "micrometer"),
    ]
    assert [level.coordinateTransformations[0].scale for level in image.datasets] == [
        [0.25, 0.25],
        [0.5, 0.5],
    ]
    assert zarr.open_array(path / "0", mode="r").shards is not None


def test_without_nuclei_all_is_background(empty: Path) -> None:
    group = zarr.open_group(export(empty, "ome-zarr"), mode="r")

    assert group["0"].shape == (SIDE, SIDE)
    assert not group["0"][:].any()
