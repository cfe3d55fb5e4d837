"""Reading, stitching and writing on a machine that has no gRPC."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

PROGRAM = """
import sys
from pathlib import Path

sys.modules["tritonclient"] = sys.modules["grpc"] = None  # importing them fails

import numpy as np
import tsfd_client
from tsfd_client.nuclei.assembly import Assembly, TileResult
from tsfd_client.release import NucleusClass, Release
from tsfd_client.stitching.tiling import tiling

picture, _ = tsfd_client.read_image(sys.argv[1], mpp=0.25)
cut = tiling(picture, 0.25, 0.25)
maps = np.zeros((256, 256), np.uint16)
maps[100:120, 60:90] = 1
nuclei = np.zeros((1, 11), np.float32)
nuclei[0, 2:9] = 60, 100, 90, 120, 600, 2, 0.9
tissues = np.full(19, 1 / 19, np.float32)
answers = [(tile, TileResult(maps, nuclei, tissues, "lite-0")) for tile in cut]
release = Release(
    name="lite-0",
    mpp=0.25,
    classes=(NucleusClass("red", (255, 0, 0)), NucleusClass("blue", (0, 0, 255))),
    settings=tsfd_client.Settings(),
    preset="lite",
    precision="float",
)
found = Assembly(cut, answers).nuclei([], release)
tsfd_client.save(found, picture, Path(sys.argv[2]))
print(found.counts()["blue"])

try:
    tsfd_client.Client
except ImportError as error:
    print(error)
"""


def test_offline_half_needs_no_grpc(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((256, 256, 3), 200, np.uint8))

    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "a.png", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    count, refusal = run.stdout.splitlines()
    assert count == "1"
    assert "tritonclient" in refusal
    assert (tmp_path / "out" / "nuclei.geojson").is_file()
