"""A real H&E image that comes inside a public package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

_PACKAGE = "stardist"
_IMAGE = Path("data/images/histo.jpg")

MPP: Final = 0.25
"""Micrometres per pixel that are assumed: the image does not state its scale."""


def path() -> Path:
    """Path of the H&E image in the package stardist (BSD-3-Clause), 500 x 300 pixels.

    The package is located, not imported: its own dependencies are not needed.

    Raises
    ------
    FileNotFoundError
        If the package is not installed.
    """
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(
            "The demo's H&E image is in the package stardist: run `make setup`."
        )
    image = Path(found.submodule_search_locations[0]) / _IMAGE
    if not image.is_file():
        raise FileNotFoundError(f"{image} is missing from this version of stardist.")
    return image
