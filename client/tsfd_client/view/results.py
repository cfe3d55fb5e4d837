"""Find results in a folder, and provide what the page needs: figures, nuclei and pixels."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import inf
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np

from tsfd_client.classes.labels import (
    BACKGROUND,
    MISSING_NUCLEUS,
    NOT_A_NUCLEUS,
    PALETTE,
    RESERVED_COLOURS,
)
from tsfd_client.classes.matching import AT_UM, REACH_UM
from tsfd_client.contract import USE
from tsfd_client.errors import ImageError, OutputError, TsfdError
from tsfd_client.files import PARQUET
from tsfd_client.names import shown
from tsfd_client.nuclei.plausibility import assumption_warning
from tsfd_client.nuclei.summary import FILE as SUMMARY
from tsfd_client.nuclei.summary import artifacts_of, remarks_of
from tsfd_client.nuclei.table import Info, classes_of, count, read_batches, read_info, reading
from tsfd_client.pixels.annotations import read_annotations
from tsfd_client.pixels.artifacts import COLOURS as ARTIFACT_COLOURS
from tsfd_client.pixels.artifacts import FILE as ARTIFACTS
from tsfd_client.pixels.slide import Slide
from tsfd_client.pixels.tissue import FILE as TISSUE
from tsfd_client.pixels.tissue import read_tissue, run_lengths
from tsfd_client.release import Release
from tsfd_client.slides.events import FILE as EVENTS
from tsfd_client.slides.status import DONE, Status, is_finished, status_of
from tsfd_client.view import kept, outlines, pixels, points
from tsfd_client.view.images import Images
from tsfd_client.view.zooms import Zooms

COMPARISON: Final = "comparison.json"
"""File that `tsfd_client.view.compare` writes beside the nuclei in which two results differ."""
_SCORES: Final = Path(__file__).with_name("scores.json")
"""F1 of each class by the SHA-256 of the weights, from their model card."""
_THUMBNAIL: Final = 440  # pixels of its longer side
_LISTED: Final = (PARQUET, SUMMARY, COMPARISON, TISSUE, DONE)
"""Files that decide a result's entry in the list."""

_MADE: Final[dict[str, tuple[Callable[[Path, Path], None], Callable[[Path, Path], bool]]]] = {
    "nuclei.pmtiles": (outlines.write, outlines.is_whole),
    "nuclei.bin": (points.write, points.is_whole),
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
    images
        The images that are open, which results may share.
    """

    folder: Path
    images: Images = field(default_factory=Images, repr=False, compare=False)
    # The last entry in the list, by the times of the files that it was made from.
    _listed: dict[tuple[int, ...], dict[str, Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    # The first of several requests makes a file; the others wait for it. A lock for each name.
    _making: dict[str, Lock] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name on the page, and in its addresses."""
        return shown(self.folder.name)

    def entry(self) -> dict[str, Any]:
        """Entry in the page's list.

        Returns
        -------
        dict
            ``name`` and ``state``: ``done``, ``running``, ``stopped``, ``failed`` or ``damaged``.
            If it is done, also ``image``, ``nuclei``, ``mm2``, ``classes``, ``warnings``,
            ``release`` and ``compares``; otherwise a ``problem``.
        """
        try:
            status = self._unfinished()
        except OutputError as error:
            return self._damaged(error)
        if status:
            return {
                "name": self.name,
                "state": status.state,
                "problem": _explained(self.name, status),
            }
        # Reading a thousand results takes seconds, looking for changes does not.
        times = tuple(map(time_of, (self.folder / name for name in _LISTED)))
        entry = self._listed.get(times)
        if entry is None:
            entry = self._entry()
            self._listed.clear()
            self._listed[times] = entry
        return entry

    def _entry(self) -> dict[str, Any]:
        try:
            info, nuclei = read_info(self.nuclei), count(self.nuclei)
            summary = _read(self.folder / SUMMARY)
            counts = _counts(summary) or self._counted(info.release)
            mm2 = summary.get("segmented_mm2")
            if not (isinstance(mm2, float) and 0 < mm2 < inf):
                mm2 = _mm2(info, self._tissue(info))
        except TsfdError as error:
            return self._damaged(error)
        return {
            "name": self.name,
            "state": "done",
            "image": info.slide,
            "nuclei": nuclei,
            "mm2": mm2,
            "classes": [
                {"name": kind.name, "colour": kind.colour, "nuclei": counts.get(kind.name, 0)}
                for kind in info.release.classes
            ],
            "warnings": self._warnings(info.mpp),
            "release": info.release.name,
            "compares": self._comparison() is not None,
        }

    def _damaged(self, error: TsfdError) -> dict[str, Any]:
        return {"name": self.name, "state": "damaged", "problem": shown(str(error))}

    def _counted(self, release: Release) -> dict[str, int]:
        names = release.class_names
        numbers = np.zeros(len(names), np.int64)
        for table in read_batches(self.nuclei, ["class"]):
            numbers += np.bincount(classes_of(table, names), minlength=len(names))
        return dict(zip(names, numbers.tolist(), strict=True))

    def view(self) -> dict[str, Any]:
        """Content of ``view.json``, which describes the result to the page.

        Raises
        ------
        OutputError
            If the result is not finished or damaged.
        """
        facts = self._facts() | self._keeping()
        facts["warning"] = " ".join(self._warnings(facts["mpp"])) or None
        try:
            with self.image():
                return facts | {"pixels": "tiles", "problem": None}
        except (ImageError, OutputError) as error:
            return facts | {"pixels": None, "problem": shown(str(error))}

    def _keeping(self) -> dict[str, Any]:
        """Where regions are kept, and other files if that is not beside the result."""
        if kept.is_writable(self.folder):
            return {"regions": "server", "kept": None}
        made = all((self.folder / kept.WEB / name).is_file() for name in FILES)
        return {"regions": "browser", "kept": None if made else shown(kept.cache_of(self.folder))}

    def _tissue(self, info: Info) -> np.ndarray | None:
        """Tissue mask, bool [h, w]; None if it is unknown, which counts as tissue everywhere."""
        try:
            return read_tissue(self.folder / TISSUE, info.height, info.width, info.mpp)
        except ImageError:
            return None

    def _warnings(self, mpp: float) -> list[str]:
        """Warnings from when the image was segmented."""
        summary = _read(self.folder / SUMMARY)
        assumed = summary.get("scale_assumed") is True and assumption_warning("The image", mpp)
        warnings = (*remarks_of(summary), assumed, summary.get("scale_warning"))
        return [warning for warning in warnings if isinstance(warning, str) and warning]

    def _artifacts(self) -> list[dict[str, Any]]:
        """What does not belong to the tissue: kind, colour, area, outlines."""
        found = artifacts_of(_read(self.folder / SUMMARY)).items()
        return [
            {
                "kind": kind,
                "colour": ARTIFACT_COLOURS[kind],
                "mm2": mm2,
                "is_left_out": is_left_out,
                "outlines": _outlines(self.folder / ARTIFACTS, kind),
            }
            for kind, (mm2, is_left_out) in found
            if mm2 and kind in ARTIFACT_COLOURS
        ]

    def _comparison(self) -> dict[str, Any] | None:
        """What was compared, and the numbers; None if this is no comparison."""
        known = _read(self.folder / COMPARISON)
        names = ("a", "b", "classes", "changes", "classes_a", "classes_b")
        if not known.keys() >= {*names}:
            return None
        return {name: known.get(name) for name in (*names, "colours")}

    def _facts(self) -> dict[str, Any]:
        info, nuclei = read_info(self.nuclei), count(self.nuclei)
        zooms = Zooms(info.width, info.height, info.mpp)
        tissue = self._tissue(info)
        release = info.release
        digests, scores = release.digests, json.loads(_SCORES.read_text())
        # Classes of one's own may have the names of the network's, whose F1 is known.
        own = digests.get("classes_sha256")
        known = {} if own else scores.get(digests.get("weights_sha256"), {})
        return {
            "name": self.name,
            "width": info.width,
            "height": info.height,
            "mpp": info.mpp,
            "full": zooms.full,
            "fine": zooms.fine,
            "nuclei": nuclei,
            "mm2": _mm2(info, tissue),
            "mask": None
            if tissue is None
            else {
                "rows": tissue.shape[0],
                "columns": tissue.shape[1],
                "runs": run_lengths(tissue),
            },
            "classes": [
                {"id": number, **asdict(kind), "f1": known.get(kind.name)}
                for number, kind in enumerate(release.classes, 1)
            ],
            "tissue": [] if tissue is None else _outlines(self.folder / TISSUE),
            "artifacts": self._artifacts(),
            "release": release.name,
            "settings": release.settings.given(),
            "comparison": self._comparison(),
            "marking": {
                "not_a_nucleus": {
                    "name": NOT_A_NUCLEUS,
                    "colour": RESERVED_COLOURS[NOT_A_NUCLEUS],
                },
                "missing_nucleus": {
                    "name": MISSING_NUCLEUS,
                    "colour": RESERVED_COLOURS[MISSING_NUCLEUS],
                },
                "background": BACKGROUND,
                "palette": PALETTE,
                "reach_um": REACH_UM,
                "at_um": AT_UM,
            },
            "use": USE,
        }

    @property
    def image_name(self) -> str:
        """File name of the image; OutputError if the result is not finished or damaged."""
        return read_info(self.nuclei).slide

    @cached_property
    def nuclei(self) -> Path:
        """Path of ``nuclei.parquet``.

        Raises
        ------
        OutputError
            If the result is not finished.
        """
        status = self._unfinished()
        if status:
            raise OutputError(_explained(self.name, status))
        return self.folder / PARQUET

    def _unfinished(self) -> Status | None:
        """State of the run, None if the result is complete; OutputError if it cannot be read."""
        if self.is_complete:
            return None
        with reading(self.folder):
            return status_of(self.folder)

    @property
    def is_complete(self) -> bool:
        """Whether the image has been segmented to its end."""
        return is_finished(self.folder) or (self.folder / COMPARISON).is_file()

    def file(self, name: str) -> Path:
        """Return the path of one of `FILES`, making it if it is missing or out of date.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        _, is_whole = _MADE[name]
        return self.keep(
            name, lambda path: self.write(name, path), lambda path: is_whole(self.nuclei, path)
        )

    def keep(
        self,
        name: str,
        write: Callable[[Path], None],
        is_whole: Callable[[Path], bool],
        *,
        since: int = 0,
    ) -> Path:
        """Return the path of a file for the page, making it if there is none that can be used.

        Parameters
        ----------
        write
            Writes the file.
        is_whole
            Whether a file that was written earlier is undamaged.
        since
            Time in nanoseconds; older files are out of date, as are those older than the nuclei.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        with self._making.setdefault(name, Lock()):
            since = max(since, time_of(self.nuclei))
            found = kept.fresh(self.folder, name, since, is_whole)
            return found or kept.keep(self.folder, name, write)

    def write(self, name: str, path: Path) -> None:
        """Write one of `FILES`.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        make, _ = _MADE[name]
        make(self.nuclei, path)

    def image(self) -> AbstractContextManager[Slide]:
        """Lend the image, open.

        Raises
        ------
        ImageError
            If the image is gone, cannot be read, or has been replaced by another one.
        """
        return self.images.lend(self.folder)

    def close(self) -> None:
        """Close the image, and others that nobody uses."""
        self.images.close()

    def tile(self, zoom: int, x: int, y: int) -> bytes | None:
        """Return a tile of the map, 512 pixels a side, as JPEG; None outside of the slide.

        Raises
        ------
        ImageError
            If the image cannot be read.
        """
        with self.image() as slide:
            tile = pixels.tile(slide, zoom, x, y)
        return None if tile is None else pixels.jpeg(tile)

    def thumbnail(self) -> bytes:
        """Return a thumbnail of the whole image, as JPEG; made once.

        Raises
        ------
        TsfdError
            If the result is not finished, or the image cannot be read.
        """
        return self.keep("thumbnail.jpg", self._draw, pixels.is_whole).read_bytes()

    def _draw(self, path: Path) -> None:
        with self.image() as slide:
            mpp = max(slide.mpp, slide.mpp * max(slide.width, slide.height) / _THUMBNAIL)
            path.write_bytes(pixels.jpeg(slide.thumbnail(mpp)))


class Results:
    """The results in a folder, by name; finds those that appear later, and drops those that vanish.

    Parameters
    ----------
    folder
        Contains the results, or is a result itself.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images = Images()
        self._named: dict[str, Result] = {}
        self._looking = Lock()

    def find(self) -> list[Result]:
        """Look into the folder; results that were known are the same objects as before.

        Raises
        ------
        OutputError
            If there is no such folder.
        """
        with self._looking:
            known = {result.folder: result for result in self._named.values()}
            found = [
                known.get(path) or Result(path, self._images) for path in _folders(self._folder)
            ]
            self._named = {result.name: result for result in found}
            return found

    def get(self, name: str) -> Result | None:
        """Return the result with a name, None if there is none.

        Raises
        ------
        OutputError
            If the folder has vanished.
        """
        result = self._named.get(name)
        if result is None or not _is_result(result.folder):
            self.find()
        return self._named.get(name)

    def close(self) -> None:
        """Close the images that nobody uses."""
        self._images.close()


def find(folder: Path) -> list[Result]:
    """Find the results in a folder, which may be a result itself.

    Raises
    ------
    OutputError
        If there is no such folder.
    """
    return Results(folder).find()


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise OutputError(f"There is no folder {folder}.")
    here = [folder] if _is_result(folder) else sorted(filter(_is_result, folder.iterdir()))
    return [path.resolve() for path in here]


def _is_result(folder: Path) -> bool:
    # Unlike `Path.is_file`, this passes over folders that may not be looked into.
    names = (PARQUET, EVENTS, DONE, COMPARISON)
    return any(os.path.isfile(folder / name) for name in names)  # noqa: PTH113


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON file; return an empty dict if it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _counts(summary: dict[str, Any]) -> dict[str, int]:
    """Nuclei by class as in ``summary.json``; empty if it does not say."""
    try:
        return {name: int(kind["nuclei"]) for name, kind in summary["classes"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return {}


def _mm2(info: Info, tissue: np.ndarray | None) -> float:
    """Area of the tissue, mm²; of the whole image if the tissue is unknown."""
    part = 1.0 if tissue is None else float(tissue.mean())
    return part * info.width * info.height * info.mpp**2 / 1e6


def _explained(name: str, status: Status) -> str:
    reason = f" ({status.error})" if status.error else ""
    if status.state == "running" and status.tiles:
        reason = f", {status.tiles_done} of {status.tiles} tiles are done"
    advice = " Run the same command again: it goes on." if status.state == "stopped" else ""
    return f"{name} is not finished: it is {status.state}{reason}.{advice}"


def _outlines(path: Path, kind: str | None = None) -> list[list[list[float]]]:
    """Closed rings of the polygons in a file, of one class if it is given; none if damaged."""
    try:
        polygons = read_annotations(path)
    except ImageError:
        return []
    chosen = (polygon for polygon in polygons if kind in (None, polygon.kind))
    return [np.vstack([ring, ring[:1]]).tolist() for polygon in chosen for ring in polygon.rings]


def time_of(path: Path) -> int:
    """Return the time of the last change, in nanoseconds; 0 if there is no such file."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
