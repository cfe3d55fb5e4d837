"""Measure how much of blur is found, and of sharp tissue taken for it: ``python -m bench.blur``.

The left half of each image is blurred by Gaussians of some micrometres and stored as JPEG, as a
scanner stores it. Takes the images of a ``manifest.json`` (``--data``) that are large enough, or
else the demo's. Writes ``blur.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import tifffile

from samples import histology
from training.data.annotated import DataError
from training.data.manifest import read_entries
from tsfd_client import TsfdError, read_image
from tsfd_client.pixels.blur import find_blur
from tsfd_client.pixels.opening import open_image
from tsfd_client.pixels.tissue import MPP, find_tissue

_SIGMAS_UM: Final = (1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 15.0, 20.0)
_LEAST_MM: Final = 0.2  # width and height of an image
_BETWEEN_UM: Final = 48.0  # beside the edge of what is blurred, where both have a say
_JPEG: Final = 85


def images(data: Path | None) -> list[tuple[Path, float]]:
    """Pictures and their micrometres per pixel."""
    if data is None:
        return [(histology.path(), histology.MPP)]
    return [
        (data / entry["image"], entry["mpp"])
        for entry in read_entries(data)
        if min(entry["height"], entry["width"]) * entry["mpp"] / 1000 >= _LEAST_MM
    ]


def measure(chosen: list[tuple[Path, float]]) -> dict[str, object]:
    """Share of the tissue called blurred, where it is and where it is not."""
    rows = []
    for sigma in _SIGMAS_UM:
        found, wrong = np.zeros(2), np.zeros(2)
        for path, mpp in chosen:
            tissue, blurred = _found(*read_image(path, mpp=mpp), sigma)
            middle, between = tissue.shape[1] // 2, round(_BETWEEN_UM / MPP)
            for sums, half in (
                (found, np.s_[:, : middle - between]),
                (wrong, np.s_[:, middle + between :]),
            ):
                sums += blurred[half].sum(), tissue[half].sum()
        rows.append(
            {
                "sigma_um": sigma,
                "found": round(float(found[0] / found[1]), 4),
                "wrong": round(float(wrong[0] / wrong[1]), 5),
            }
        )
    return {"images": len(chosen), "by_sigma": rows}


def _found(picture: np.ndarray, mpp: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Tissue and blur of a picture whose left half is blurred, bool [h, w] each."""
    half = picture.shape[1] // 2
    blurred = picture.copy()
    blurred[:, :half] = cv2.GaussianBlur(picture, (0, 0), sigma / mpp)[:, :half]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        options = {"compression": "jpeg", "compressionargs": {"level": _JPEG}}
        tifffile.imwrite(path, blurred, photometric="rgb", tile=(256, 256), **options)
        with open_image(path, mpp) as slide:
            tissue = find_tissue(slide.thumbnail(MPP))
            return tissue, find_blur(slide, tissue)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.blur",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with a manifest.json")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        figures = measure(images(arguments.data))
    except (DataError, TsfdError, FileNotFoundError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    path = arguments.out / "blur.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    for row in figures["by_sigma"]:
        told = f"{row['found']:6.1%} found, {row['wrong']:.3%} of the sharp half taken for it"
        print(f"sigma {row['sigma_um']:.0f} µm  {told}")
    print(f"All in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
