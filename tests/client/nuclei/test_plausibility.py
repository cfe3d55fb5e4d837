"""A scale that cannot be right is noticed by the size of the nuclei."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from samples.synthetic import generate
from serving.server import TritonServer
from tsfd_client import Client, scale_warning
from tsfd_client.cli import main
from tsfd_client.nuclei.plausibility import warning_of
from tsfd_client.view.results import Result


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Drawn at 0.25 mpp."""
    return generate(512, 512, nuclei=120, seed=4).image


@pytest.mark.parametrize("mpp", [0.125, 0.5])
def test_the_likely_scale_is_named(server: TritonServer, image: np.ndarray, mpp: float) -> None:
    with Client(server.grpc_url) as client:
        warning = scale_warning(client.segment(image, mpp=mpp))

    assert warning is not None
    assert warning.startswith("A quarter of the nuclei are smaller than ")
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
    command = ["segment", str(path), "--server", server.grpc_url]

    for mpp, warnings in (("0.125", 1), ("0.25", 0)):
        assert main([*command, "--mpp", mpp, f"--out={tmp_path / mpp}"]) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tsfd:")]
        assert len(lines) == warnings
        for line in lines:
            assert line.startswith(f"tsfd: {path}: A quarter of the nuclei are smaller than ")
            assert line.endswith("at about 0.25 (40x).")


def test_nothing_found_asks_what_it_is(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A black picture, in the terminal and on the page."""
    path = tmp_path / "black.png"
    cv2.imwrite(str(path), np.zeros((300, 300, 3), np.uint8))
    command = ["segment", str(path), "--out", str(tmp_path), "--server", server.grpc_url]

    assert main([*command, "--mpp", "0.25"]) == 0

    asks = "No nuclei were found: is this an H&E image, and at 0.25 µm per pixel (40x)?"
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tsfd:")]
    assert lines == [f"tsfd: {path}: {asks}"]
    assert Result(tmp_path / "black").view()["warning"] == asks


def test_hardly_any_nuclei_in_much_tissue(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slide of tissue with a few nuclei, in the terminal, the summary and on the page."""
    path = tmp_path / "slide.svs"
    field = generate(256, 256, nuclei=8, seed=4).image
    image = np.full((1536, 1536, 3), np.median(field, axis=(0, 1)), np.uint8)
    image[:256, :256] = field
    about = {"description": "Aperio Image Library |AppMag = 40|MPP = 0.25", "metadata": None}
    tifffile.imwrite(path, image, photometric="rgb", tile=(128, 128), **about)

    assert main(["segment", str(path), f"--out={tmp_path}", f"--server={server.grpc_url}"]) == 0

    summary = json.loads((tmp_path / "slide/summary.json").read_text())
    assert 1 <= summary["nuclei"] < 30
    warning = (
        f"There are only {summary['nuclei'] / summary['segmented_mm2']:.0f} nuclei per mm² of "
        "tissue; even 200 would be few: is this an H&E image, and at 0.25 µm per pixel (40x)?"
    )
    assert summary["scale_warning"] == Result(tmp_path / "slide").view()["warning"] == warning
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("tsfd:")]
    assert line == f"tsfd: {path}: {warning} Give the scale with --mpp."


@pytest.mark.parametrize(("number", "mm2"), [(40, 0.1), (10, 0.09), (10, None), (300, 1.4)])
def test_few_nuclei_in_little_or_unknown_tissue_are_no_reason(
    number: int, mm2: float | None
) -> None:
    assert warning_of(np.full(number, 20.0), 0.25, mm2) is None
