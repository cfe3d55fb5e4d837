"""Small slides in the formats that can be written here, with a picture that is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from samples.synthetic import generate
from tests.client.slide_files import smaller, write_scn, write_tiff

Writer = Callable[..., Path]


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """Tissue of sides that no level halves evenly, uint8 [701, 533, 3]."""
    return generate(701, 533, nuclei=120, seed=11).image


@pytest.fixture
def tiff_slide(tmp_path: Path, picture: np.ndarray) -> Writer:
    """Writes a tiled TIFF of several levels, without compression unless told."""

    def write(
        name: str = "slide.tif",
        *,
        mpp: float | None = 0.25,
        shrinks: tuple[int, ...] = (1, 2, 8),
        image: np.ndarray = picture,
        **options: object,
    ) -> Path:
        write_tiff(tmp_path / name, image, mpp=mpp, shrinks=shrinks, **options)
        return tmp_path / name

    return write


@pytest.fixture
def ome_slide(tmp_path: Path, picture: np.ndarray) -> Writer:
    """Writes an OME-TIFF: levels as sub-images of the first page, a plane per colour if told."""

    def write(*, mpp: float, shrinks: tuple[int, ...] = (1, 2, 8), planes: bool = False) -> Path:
        path = tmp_path / "slide.ome.tif"
        axes = "CYX" if planes else "YXS"
        options = {"tile": (128, 128), "photometric": "minisblack" if planes else "rgb"}
        scale = {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
        with tifffile.TiffWriter(path, ome=True) as file:
            for number, times in enumerate(shrinks):
                level = smaller(picture, times)
                level = np.ascontiguousarray(np.moveaxis(level, -1, 0)) if planes else level
                if number == 0:
                    file.write(
                        level, subifds=len(shrinks) - 1, metadata={"axes": axes} | scale, **options
                    )
                else:
                    file.write(level, subfiletype=1, **options)
        return path

    return write


@pytest.fixture
def svs_slide(tmp_path: Path, picture: np.ndarray) -> Writer:
    """Writes a slide as Aperio's scanners do: JPEG tiles, levels, label and macro."""

    def write(
        *,
        mpp: float | None = 0.25,
        shrinks: tuple[int, ...] = (1, 2, 8),
        profile: bytes | None = None,
    ) -> Path:
        path = tmp_path / "slide.svs"
        says = f"Aperio Image Library\n{picture.shape[1]}x{picture.shape[0]} |AppMag = 40"
        says += f"|MPP = {mpp}" if mpp else ""
        options = {"photometric": "rgb", "metadata": None}
        black = np.zeros((50, 60, 3), np.uint8)
        with tifffile.TiffWriter(path) as file:
            for times in shrinks:
                level = smaller(picture, times)
                tiled = {"tile": (128, 128), "compression": "jpeg"}
                file.write(level, description=says, iccprofile=profile, **tiled, **options)
                if times == 1:  # in strips, for which OpenSlide takes the second page
                    file.write(black, description=says, **options)
            file.write(black, description="Aperio\nlabel 60x50", subfiletype=1, **options)
            file.write(black, description="Aperio\nmacro 60x50", subfiletype=9, **options)
        return path

    return write


@pytest.fixture
def scn_slide(tmp_path: Path, picture: np.ndarray) -> Writer:
    """Writes a slide as Leica's scanners do: a part of the glass, at `corner`; a macro."""

    def write(
        *,
        corner: tuple[int, int] = (301, 203),
        nm: int = 250,
        shrinks: tuple[int, ...] = (1, 2, 8),
        image: np.ndarray = picture,
        glass: tuple[int, int] = (2000, 1600),
    ) -> Path:
        path = tmp_path / "slide.scn"
        write_scn(path, image, corner=corner, nm=nm, shrinks=shrinks, glass=glass)
        return path

    return write
