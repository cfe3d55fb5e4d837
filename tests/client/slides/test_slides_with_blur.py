"""A slide that is partly out of focus: segmented and said, or left out when asked for."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from samples.synthetic import generate
from serving.server import TritonServer
from tsfd_client.cli import main

HEIGHT, WIDTH = 800, 1600


def test_blur_is_said_and_left_out_when_asked_for(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = generate(HEIGHT, WIDTH, nuclei=300, seed=5).image
    image[:, : WIDTH // 2] = cv2.GaussianBlur(image, (0, 0), 16)[:, : WIDTH // 2]
    path = tmp_path / "slide.svs"
    tifffile.imwrite(
        *(path, image),
        photometric="rgb",
        tile=(256, 256),
        description="Aperio Image Library |AppMag = 40|MPP = 0.25",
        metadata=None,
    )
    command = ["segment", str(path), f"--server={server.grpc_url}"]
    assert main([*command, f"--out={tmp_path / 'all'}"]) == 0
    (warned,) = capsys.readouterr().err.splitlines()
    assert main([*command, f"--out={tmp_path / 'sharp'}", "--without-blur"]) == 0
    whole, sharp = (
        json.loads((tmp_path / name / "slide/summary.json").read_text())
        for name in ("all", "sharp")
    )
    mm2 = sharp["artifacts"]["blur"]
    said = f"tsfd: {path}: blur of {mm2:.2f} mm² was left out."
    assert capsys.readouterr().err.splitlines() == [said]
    told = f"{mm2:.2f} of {whole['segmented_mm2']:.2f} mm² are blurred: nuclei are missed and "
    told += "mistaken there. To leave that out, give --without-blur."
    assert warned == f"tsfd: {path}: {told}"
    assert mm2 == pytest.approx(0.04, rel=0.25)  # a half, but beside what is sharp
    assert whole["artifacts"] == sharp["artifacts"]
    assert (whole["left_out"], sharp["left_out"]) == ([], ["blur"])
    assert sharp["segmented_mm2"] == pytest.approx(whole["segmented_mm2"] - mm2, abs=0.001)
    x = pq.read_table(tmp_path / "sharp/slide/nuclei.parquet")["centroid_x"].to_numpy()
    assert len(x) > 100
    assert (x > 0.3 * WIDTH).all()
    assert np.median(x) > WIDTH / 2
