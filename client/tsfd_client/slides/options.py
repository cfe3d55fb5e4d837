"""Options of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from tsfd_client.errors import ImageError, TsfdError
from tsfd_client.pixels.artifacts import BLUR, PEN, Artifact
from tsfd_client.pixels.blur import find_blur
from tsfd_client.pixels.pen import find_pen, wiped
from tsfd_client.pixels.slide import Slide
from tsfd_client.pixels.tissue import find_tissue, read_tissue
from tsfd_client.settings import Settings

_SMALL: Final = 0.25  # mm²: 2000 x 2000 pixels at 0.25 µm


def check_search(options: RunOptions) -> None:
    """Raise TsfdError if options are about pen or blur, and neither is searched for."""
    if (options.with_pen or options.without_blur) and (options.everywhere or options.tissue):
        raise TsfdError(
            "Pen and blur are only searched for where tissue is: drop --with-pen and "
            "--without-blur (in Python with_pen=, without_blur=), or the outline or --no-tissue "
            "(everywhere=)."
        )


class Measured(Protocol):
    """What options need to know of an image; see `Slide`."""

    is_picture: bool
    height: int
    width: int
    mpp: float

    @property
    def area_mm2(self) -> float:
        """Area of the whole image."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options that affect the result.

    Attributes
    ----------
    settings
        Thresholds that override the server's.
    mpp
        Micrometres per pixel of level 0, if the file does not state it or is wrong about it.
    tissue
        GeoJSON file that outlines the tissue, in pixels of level 0; by default tissue is detected.
    tissue_class
        Class of the polygons to segment; by default all except those that QuPath ignores.
    everywhere
        Segment glass, too.
    with_pen
        Segment what pen covers, too.
    without_blur
        Leave out what is out of focus. Pen and blur are searched for where tissue is.

    Raises
    ------
    TsfdError
        If there is a class without an outline, or an outline although everything is segmented.
    """

    settings: Settings = field(default_factory=Settings)
    mpp: float | None = None
    tissue: Path | None = None
    tissue_class: str | None = None
    everywhere: bool = False
    with_pen: bool = False
    without_blur: bool = False

    def __post_init__(self) -> None:
        if self.tissue_class is not None and self.tissue is None:
            raise TsfdError(
                f"The class {self.tissue_class!r} needs an outline that has it: name the GeoJSON "
                "file with --tissue (in Python tissue=)."
            )
        if self.tissue is not None and self.everywhere:
            raise TsfdError(
                f"Segment either what {self.tissue} outlines, or everything: drop one of the two."
            )

    def take_whole(self, slide: Measured) -> bool:
        """Whether to segment the whole image, as in small pictures, which show little glass."""
        is_small = slide.is_picture and slide.area_mm2 <= _SMALL
        return self.everywhere or (is_small and self.tissue is None)

    def tissue_of(self, slide: Slide, thumbnail: np.ndarray) -> tuple[np.ndarray, list[Artifact]]:
        """Return where to segment, bool [h, w], and the artifacts if they were searched for.

        Parameters
        ----------
        thumbnail
            uint8 [h, w, 3], the whole image at the scale of tissue masks.

        Raises
        ------
        ImageError
            If no tissue is found, or its outline cannot be used.
        """
        if self.take_whole(slide):
            return np.ones(thumbnail.shape[:2], bool), []
        outlined = self.outlined(slide)
        if outlined is not None:
            return outlined, []
        tissue = find_tissue(thumbnail)
        if not tissue.any():
            raise ImageError(
                f"{slide.path} has no tissue that stands out from the glass: outline it with "
                "--tissue (in Python tissue=), or segment everything with --no-tissue "
                "(everywhere=True)."
            )
        pen = Artifact(PEN, find_pen(thumbnail), is_left_out=not self.with_pen)
        if pen.is_left_out and pen.mask.any():
            tissue = find_tissue(wiped(thumbnail, pen.mask)) & ~pen.mask
        if not tissue.any():
            raise ImageError(
                f"{slide.path} has no tissue that pen does not cover: segment it all the same with "
                "--with-pen (in Python with_pen=True)."
            )
        blur = Artifact(BLUR, find_blur(slide, tissue & ~pen.mask), is_left_out=self.without_blur)
        if blur.is_left_out:
            tissue &= ~blur.mask
        if not tissue.any():
            raise ImageError(
                f"{slide.path} has no tissue in focus: segment it all the same without "
                "--without-blur (without_blur=)."
            )
        return tissue, [pen, blur]

    def outlined(self, slide: Measured) -> np.ndarray | None:
        """The outlined part of the image, bool [h, w]; None without an outline.

        Raises
        ------
        ImageError
            If it cannot be used.
        """
        if self.tissue is None:
            return None
        return read_tissue(self.tissue, slide.height, slide.width, slide.mpp, self.tissue_class)
