"""A scale that cannot be right is noticed by the size of the nuclei."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.server import TritonServer
from samples.synthetic import generate
from tsfd_client import Client, scale_warning
from tsfd_client.cli import main


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Drawn at 0.25 mpp."""
    return generate(512, 512, nuclei=120, seed=4).image


@pytest.mark.parametrize("mpp", [0.125, 0.5])
def test_the_likely_scale_is_named(server: TritonServer, image: np.ndarray, mpp: float) -> None:
    with Client(server.grpc_url) as client:
        warning = scale_warning(client.segment(image, mpp=mpp))

    assert warning is not None
    assert warning.startswith("A quarter of the nuclei is smaller than ")
    assert warning.endswith(f"not at {mpp:.2g} µm per pixel but at about 0.25 (40x).")


def test_the_right_scale_and_few_nuclei_give_no_warning(
    server: TritonServer, image: np.ndarray
) -> None:
    with Client(server.grpc_url) as client:
        assert scale_warning(client.segment(image)) is None
        assert scale_warning(client.segment(image[:128, :128], mpp=0.125)) is None


def test_command_line_warns_in_one_line(
    server: TritonServer, image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "biopsy.png"
    cv2.imwrite(str(path), image[..., ::-1])
    command = ["segment", str(path), "--out", str(tmp_path), "--server", server.grpc_url]

    for mpp, warnings in (("0.125", 1), ("0.25", 0)):
        assert main([*command, "--mpp", mpp]) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tsfd:")]
        assert len(lines) == warnings
        for line in lines:
            assert line.startswith(f"tsfd: {path}: A quarter of the nuclei is smaller than ")
            assert line.endswith("at about 0.25 (40x). Give the scale with --mpp.")
