"""The client as others get it: its wheel, in an empty environment, with the oldest packages."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import tifffile
from packaging.requirements import Requirement

from samples.synthetic import generate
from serving.environment import ROOT
from serving.server import TritonServer
from tsfd_client import Client
from tsfd_client.nuclei.table import read_batches, rings_of


def call(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def oldest(wheel: Path) -> list[str]:
    """The oldest version of each package that the wheel says it works with."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        stated = message_from_bytes(archive.read(name)).get_all("Requires-Dist")
    pinned = []
    for requirement in map(Requirement, stated):
        bounds = {bound.operator: bound.version for bound in requirement.specifier}
        assert set(bounds) == {">=", "<"}, f"{requirement} needs both bounds"
        pinned.append(f"{requirement.name}=={bounds['>=']}")
    return pinned


@pytest.fixture(scope="module")
def tsfd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, where nothing else is installed."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--outdir", folder, ROOT / "client")
    (wheel,) = folder.glob("*.whl")
    assert len(list(folder.glob("*.tar.gz"))) == 1
    (folder / "oldest.txt").write_text("\n".join(oldest(wheel)))
    environment = folder / "environment"
    venv.create(environment)
    python = environment / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    call(*pip, "install", "--no-compile", "--constraint", folder / "oldest.txt", f"{wheel}[slides]")
    return environment / "bin/tsfd"


def test_wheel_segments_through_the_server(
    server: TritonServer, tsfd: Path, tmp_path: Path
) -> None:
    image = generate(300, 420, nuclei=60, seed=4).image
    cv2.imwrite(str(tmp_path / "picture.png"), image[..., ::-1])
    tifffile.imwrite(
        tmp_path / "slide.tif",
        image,
        photometric="rgb",
        tile=(64, 64),
        compression="deflate",
        description="Aperio |MPP = 0.25",
    )
    options = [f"--server={server.grpc_url}", f"--out={tmp_path}"]

    call(tsfd, "segment", tmp_path / "picture.png", tmp_path / "slide.tif", *options)

    remote = [tsfd, "segment", "https://host/a.svs", *options]
    said = subprocess.run(remote, capture_output=True, text=True, check=False).stderr
    advice = "https://host/a.svs needs another package: pip install 'tsfd-client[remote]'."
    assert said == f"tsfd: {advice}\n"

    with Client(server.grpc_url) as client:
        expected = client.segment(image)
    found = cv2.imread(str(tmp_path / "picture" / "labels.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(found, expected.instance_map)
    table = pa.concat_tables(read_batches(tmp_path / "slide" / "nuclei.parquet"))
    offsets, points = rings_of(table)
    assert len(table) == len(expected) > 20
    for contour, begin, end in zip(expected.contours, offsets[:-1], offsets[1:], strict=True):
        assert np.array_equal(points[begin : end - 1], contour)  # of a ring the last is the first
