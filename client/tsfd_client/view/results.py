"""Find results in a folder, and provide what the page needs: figures, nuclei and pixels.

Files made for the page are kept in ``web`` in the result's folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, Final

import numpy as np

from tsfd_client.contract import USE
from tsfd_client.errors import ImageError, OutputError, TsfdError
from tsfd_client.files import PARQUET, RUN, replacing
from tsfd_client.names import shown
from tsfd_client.nuclei.plausibility import assumption_warning
from tsfd_client.nuclei.summary import FILE as SUMMARY
from tsfd_client.nuclei.table import Info, count, read_info
from tsfd_client.pixels.opening import open_image
from tsfd_client.pixels.origin import Origin
from tsfd_client.pixels.slide import Slide
from tsfd_client.pixels.tissue import FILE as TISSUE
from tsfd_client.pixels.tissue import read_tissue, run_lengths
from tsfd_client.slides.status import DONE, status_of
from tsfd_client.view import outlines, pixels, points
from tsfd_client.view.zooms import Zooms

COMPARISON: Final = "comparison.json"
"""File that `tsfd_client.view.compare` writes beside the nuclei in which two results differ."""
_WEB: Final = "web"
_SCORES: Final = Path(__file__).with_name("scores.json")
"""F1 of each class by the SHA-256 of the weights, from their model card."""
_THUMBNAIL: Final = 440  # pixels of its longer side

_MADE: Final[dict[str, Callable[[Path, Path], None]]] = {
    "nuclei.pmtiles": outlines.write,
    "nuclei.bin": points.write,
}
FILES: Final = tuple(_MADE)
"""Files that are made from the nuclei for the page."""


@dataclass(frozen=True)
class Result:
    """The result of a segmented image, or a comparison of two results.

    Attributes
    ----------
    folder
        The result's folder, which also gives its name.
    """

    folder: Path
    # The first of several requests makes a file; the others wait for it.
    _making: RLock = field(default_factory=RLock, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name on the page, and in its addresses."""
        return shown(self.folder.name)

    def entry(self) -> dict[str, Any]:
        """Entry in the page's list: ``name`` with ``nuclei`` and ``mm2``, or with a ``problem``."""
        try:
            facts = self._facts()
        except TsfdError as error:
            return {"name": self.name, "problem": shown(str(error))}
        return {name: facts[name] for name in ("name", "nuclei", "mm2")}

    def view(self) -> dict[str, Any]:
        """Content of ``view.json``, which describes the result to the page.

        Raises
        ------
        OutputError
            If the result is not finished or damaged.
        """
        facts = self._facts()
        facts["warning"] = self._warning(facts)
        try:
            self.slide.fingerprint()
        except ImageError as error:
            return facts | {"pixels": None, "problem": shown(str(error))}
        return facts | {"pixels": "tiles", "problem": None}

    def _tissue(self, info: Info) -> np.ndarray | None:
        """Tissue mask, bool [h, w]; None if it is unknown, which counts as tissue everywhere."""
        try:
            return read_tissue(self.folder / TISSUE, info.height, info.width, info.mpp)
        except ImageError:
            return None

    def _warning(self, facts: dict[str, Any]) -> str | None:
        """Warnings from when the image was segmented."""
        summary = _read(self.folder / SUMMARY)
        assumed = summary.get("scale_assumed") and assumption_warning("The image", facts["mpp"])
        warnings = (*summary.get("remarks", []), assumed, summary.get("scale_warning"))
        return " ".join(filter(None, warnings)) or None

    def _facts(self) -> dict[str, Any]:
        info, nuclei = read_info(self.nuclei), count(self.nuclei)
        zooms = Zooms(info.width, info.height, info.mpp)
        tissue = self._tissue(info)
        compared = _read(self.folder / COMPARISON)
        release = info.release
        scores = json.loads(_SCORES.read_text()).get(release.digests.get("weights_sha256"), {})
        return {
            "name": self.name,
            "width": info.width,
            "height": info.height,
            "mpp": info.mpp,
            "full": zooms.full,
            "fine": zooms.fine,
            "nuclei": nuclei,
            "mm2": (1.0 if tissue is None else float(tissue.mean()))
            * (info.width * info.height * info.mpp**2 / 1e6),
            "mask": None
            if tissue is None
            else {
                "rows": tissue.shape[0],
                "columns": tissue.shape[1],
                "runs": run_lengths(tissue),
            },
            "classes": [
                {"id": number, **asdict(kind), "f1": scores.get(kind.name)}
                for number, kind in enumerate(release.classes, 1)
            ],
            "tissue": [
                ring
                for feature in _read(self.folder / TISSUE).get("features", [])
                for ring in feature["geometry"]["coordinates"]
            ],
            "release": release.name,
            "settings": release.settings.given()
            | {name: compared[name] for name in ("a", "b") if name in compared},
            "use": USE,
        }

    @cached_property
    def nuclei(self) -> Path:
        """Path of ``nuclei.parquet``.

        Raises
        ------
        OutputError
            If the result is not finished.
        """
        if not self._is_complete():
            status = status_of(self.folder)
            reason = f" ({status.error})" if status.error else ""
            raise OutputError(f"{self.name} is not finished: it is {status.state}{reason}.")
        return self.folder / PARQUET

    def _is_complete(self) -> bool:
        # `tsfd_client.save` makes no run; it writes the summary last.
        saved = (self.folder / SUMMARY).is_file() and not (self.folder / RUN).is_file()
        return saved or any((self.folder / name).is_file() for name in (DONE, COMPARISON))

    def file(self, name: str) -> Path:
        """Return the path of one of `FILES`, making it if it is missing or out of date.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        path = self.folder / _WEB / name
        try:
            with self._making:
                if not path.is_file() or path.stat().st_mtime_ns < self.nuclei.stat().st_mtime_ns:
                    path.parent.mkdir(exist_ok=True)
                    with replacing(path) as partial:
                        self.write(name, partial)
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
        return path

    def write(self, name: str, path: Path) -> None:
        """Write one of `FILES`.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        _MADE[name](self.nuclei, path)

    @cached_property
    def slide(self) -> Slide:
        """The image, opened.

        Raises
        ------
        ImageError
            If the image is gone, cannot be read, or has been replaced by another one.
        """
        origin = Origin.read(self.folder)
        if origin is None:
            raise ImageError("The result does not say where its image is: segment it again.")
        path = Path(origin.path)
        if not path.exists():
            raise ImageError(f"The image has been moved or deleted: {path} does not exist.")
        slide = open_image(path, origin.mpp)
        if slide.fingerprint() != origin.fingerprint:
            slide.close()
            raise ImageError(f"{path} is not the image that was segmented.")
        slide.add_levels()
        return slide

    def close(self) -> None:
        """Close the image, if it was opened."""
        if "slide" in self.__dict__:
            self.slide.close()

    def tile(self, zoom: int, x: int, y: int) -> bytes | None:
        """Return a tile of the map, 512 pixels a side, as JPEG; None outside of the slide.

        Raises
        ------
        ImageError
            If the image cannot be read.
        """
        tile = pixels.tile(self.slide, zoom, x, y)
        return None if tile is None else pixels.jpeg(tile)

    def thumbnail(self) -> bytes:
        """Return a thumbnail of the whole image, as JPEG.

        Raises
        ------
        ImageError
            If the image cannot be read.
        """
        slide = self.slide
        mpp = max(slide.mpp, slide.mpp * max(slide.width, slide.height) / _THUMBNAIL)
        return pixels.jpeg(slide.thumbnail(mpp))


def find(folder: Path) -> list[Result]:
    """Find the results in a folder, which may be a result itself.

    Raises
    ------
    OutputError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise OutputError(f"There is no folder {folder}.")
    here = [folder] if _is_result(folder) else sorted(filter(_is_result, folder.iterdir()))
    return [Result(path.resolve()) for path in here]


def _is_result(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (PARQUET, "events.jsonl", DONE, COMPARISON))


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON file; return an empty dict if it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
