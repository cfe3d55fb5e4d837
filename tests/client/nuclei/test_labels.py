"""Label images are what the table says, in 16 bits or 32."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from tests.releases import FIVE
from tsfd_client.nuclei import labels
from tsfd_client.nuclei.table import Info, Writer, from_nuclei
from tsfd_client.stitching.join import Nucleus

SQUARE = np.ones((3, 2), bool)


@pytest.mark.parametrize(
    ("side", "name", "dtype"), [(40, "labels.png", np.uint16), (260, "labels.tif", np.uint32)]
)
def test_many_nuclei(tmp_path: Path, side: int, name: str, dtype: type) -> None:
    nuclei = [Nucleus(5 * row, 4 * i, SQUARE, 1, 0.5) for row in range(side) for i in range(side)]
    height, width = 5 * side, 4 * side
    info = Info("a.png", width, height, 0.25, 1.0, FIVE)
    with Writer(tmp_path / "nuclei.parquet", info) as writer:
        writer.write(from_nuclei(nuclei, scale=1.0, mpp=0.25, release=FIVE))
    for left in (labels.PNG, labels.TIFF):  # of another run
        (tmp_path / left).touch()

    labels.write(tmp_path / "nuclei.parquet", tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "nuclei.parquet"]
    path = tmp_path / name
    read = tifffile.imread(path) if dtype is np.uint32 else cv2.imread(str(path), -1)
    assert read.dtype == dtype
    expected = np.zeros((height, width), np.uint32)
    for number, nucleus in enumerate(nuclei, start=1):
        expected[nucleus.y : nucleus.y + 3, nucleus.x : nucleus.x + 2] = number
    assert np.array_equal(read, expected)
