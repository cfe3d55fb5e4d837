"""Give classes of one's own to every nucleus of a finished result, as another result beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from tsfd_client.classes.features import split
from tsfd_client.classes.head import Head, load
from tsfd_client.classes.keep import Wanted, ask
from tsfd_client.classes.kept_features import FOLDER, KeptFeatures
from tsfd_client.errors import OutputError, TsfdError, unwritable
from tsfd_client.files import MARKS, PARQUET, REGIONS, RUN, replacing
from tsfd_client.nuclei import summary
from tsfd_client.nuclei.table import SCHEMA, Info, Writer, count, read_batches, read_info
from tsfd_client.pixels.artifacts import FILE as ARTIFACTS
from tsfd_client.pixels.artifacts import read_artifacts
from tsfd_client.pixels.opening import open_needed_image
from tsfd_client.pixels.origin import Origin, image_of
from tsfd_client.pixels.slide import Slide
from tsfd_client.pixels.tissue import FILE as TISSUE
from tsfd_client.pixels.tissue import MPP as TISSUE_MPP
from tsfd_client.pixels.tissue import read_tissue
from tsfd_client.release import NucleusClass, Release
from tsfd_client.slides.lock import Lock
from tsfd_client.slides.outputs import write_from_nuclei
from tsfd_client.slides.run import Run
from tsfd_client.slides.segment_image import recording
from tsfd_client.slides.status import DONE, LOCK, is_finished

_DIGITS = 6  # of a file's SHA-256 that tell it from others


@dataclass(frozen=True)
class OwnClasses:
    """A file of classes of one's own.

    Attributes
    ----------
    path, sha256
        The file, and its SHA-256.
    head
        Its content.
    """

    path: Path
    sha256: str
    head: Head

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that `tsfd adapt` wrote.

        Raises
        ------
        TsfdError
            If there is no such file, or it is damaged or of another kind.
        """
        head = load(path)
        return cls(path, hashlib.sha256(path.read_bytes()).hexdigest(), head)

    @property
    def digits(self) -> str:
        """Digits that tell it from others."""
        return self.sha256[:_DIGITS]

    def applied_to(self, release: Release) -> Release:
        """The release whose nuclei got these classes."""
        kept = (kind for kind in self.head.classes if not kind.excluded)
        return replace(
            release,
            name=f"{release.name}+classes-{self.digits}",
            classes=tuple(NucleusClass(kind.name, kind.colour) for kind in kept),
            digests=release.digests | {"classes_sha256": self.sha256},
        )


def folders_of(results: list[Path], own: OwnClasses, out: Path | None) -> dict[Path, Path]:
    """Map each result to the folder for its nuclei with other classes.

    Without `out` that is beside the result, ``<result>-<name of the file>-<six digits>``; with it
    ``out/<result>``.

    Raises
    ------
    OutputError
        If a result would be written over, or two into one folder.
    """
    owners: dict[Path, Path] = {}
    for result in (path.resolve() for path in results):
        if out is None:
            folder = result.with_name(f"{result.name}-{own.path.stem}-{own.digits}")
        else:
            folder = out.resolve() / result.name
        if folder == result:
            raise OutputError(f"{result} would be written over: choose another --out.")
        if owners.setdefault(folder, result) != result:
            raise OutputError(
                f"{owners[folder]} and {result} would both be written to {folder}: give them "
                "different --out."
            )
    return {result: folder for folder, result in owners.items()}


def relabel(
    result: Path,
    own: OwnClasses,
    folder: Path,
    server: dict[str, Any],
    *,
    bar: bool | None = None,
) -> dict[str, Any]:
    """Give classes of one's own to every nucleus of a result, or resume it.

    Without kept features, the server is asked for them.

    Parameters
    ----------
    result
        Folder of a finished result.
    own
        The classes; nuclei of those that are excluded are left out.
    folder
        Receives a result with the same files, and with the marks and regions that were made last
        on a result of this image in the same folder.
    server, bar
        See `tsfd_client.classes.keep.keep_features`.

    Returns
    -------
    dict
        Content of ``summary.json``.

    Raises
    ------
    ImageError
        If the image cannot be read, or is gone.
    ServerUnavailableError, ServerError
        If the server is needed and cannot be reached, refuses, or serves other weights than those
        to which the classes belong.
    OutputError
        If the result or its features are damaged, it is not finished, or `folder` contains
        something else or cannot be written.
    """
    info = _info(result)
    try:
        with open_needed_image(result) as slide:
            _check(folder)
            folder.mkdir(parents=True, exist_ok=True)
            with Lock(folder / LOCK) as lock:
                run = Run(folder, is_picture=slide.is_picture)
                run.begin(_facts(result, info, slide, own))
                Origin.of(slide).write(folder)
                if not run.is_done:
                    _relabel(result, own, info, slide, run, lock, server, bar)
    except OSError as error:
        raise unwritable(folder, error) from error
    return summary.read(folder)


def _info(result: Path) -> Info:
    """Metadata of a finished result."""
    if not is_finished(result):
        raise OutputError(
            f"{result} is not a finished result: run `tsfd {_command(result)}` first, or again."
        )
    return read_info(result / PARQUET)


def _command(result: Path) -> str:
    try:
        return "relabel" if _is_relabelled(result) else "segment"
    except (OSError, ValueError):
        return "segment"


def _is_relabelled(folder: Path) -> bool:
    """Whether a folder was begun by `relabel`; OSError or ValueError if that cannot be read."""
    facts = json.loads((folder / RUN).read_text())
    return isinstance(facts, dict) and "relabels" in facts


def _check(folder: Path) -> None:
    """Raise OutputError if a folder contains anything but nuclei that were relabelled."""
    try:
        is_ours = _is_relabelled(folder)
    except FileNotFoundError:
        is_ours = not folder.exists() or {path.name for path in folder.iterdir()} <= {LOCK}
    except ValueError:
        is_ours = False
    if not is_ours:
        raise OutputError(f"{folder} contains something else: choose another --out.")


def _facts(result: Path, info: Info, slide: Slide, own: OwnClasses) -> dict[str, Any]:
    """Everything that decides the nuclei and their classes."""
    return {
        "slide": slide.fingerprint(),
        "relabels": info.release.name,
        "nuclei": count(result / PARQUET),
        "classes": own.sha256,
        "client": version("tsfd-client"),
    }


def _relabel(
    result: Path,
    own: OwnClasses,
    info: Info,
    slide: Slide,
    run: Run,
    lock: Lock,
    server: dict[str, Any],
    bar: bool | None,
) -> None:
    tissue = _tissue(result, slide)
    area = float(tissue.mean()) * slide.area_mm2
    with recording(run.folder) as events:
        events.write("begun", mm2=round(area, 4))
        kept = _features(result, own, slide, run, lock, server, bar)
        labels, probs = _labels(own, kept, count(result / PARQUET))
        lock.check()
        _write_nuclei(result, own, info, labels, probs, run.folder / PARQUET)
        for name in (TISSUE, ARTIFACTS):
            _copy(result / name, run.folder / name)
        for name in (MARKS, REGIONS):  # places on the slide, whatever is found there
            _copy(_latest(result, name), run.folder / name)
        before = summary.read(result)
        known = summary.artifacts_of(before)
        artifacts = read_artifacts(
            *(result / ARTIFACTS, slide.height, slide.width, slide.mpp, known)
        )
        nuclei = write_from_nuclei(
            *(run, slide, slide.thumbnail(TISSUE_MPP), tissue, area, artifacts),
            scale_assumed=before.get("scale_assumed") is True,
            remarks=summary.remarks_of(before),
        )
        events.write("done", nuclei=nuclei)


def _features(
    result: Path,
    own: OwnClasses,
    slide: Slide,
    run: Run,
    lock: Lock,
    server: dict[str, Any],
    bar: bool | None,
) -> KeptFeatures:
    """The features kept with the result, or else those that the server is asked for."""
    head = own.head
    kept = KeptFeatures(result / FOLDER)
    if kept.is_complete and kept.weights_sha256 == head.weights_sha256:
        return kept
    asked = KeptFeatures(run.blocks)
    if not asked.is_complete:
        wanted = Wanted(str(own.path), head.base, head.weights_sha256)
        ask(asked, result, slide, wanted, lock, server, bar=bar)
    return asked


def _latest(result: Path, name: str) -> Path:
    """The file that was changed last, of those beside a result and others of its image."""
    image = image_of(result)
    beside = (path for path in result.parent.glob(f"*/{name}") if (path.parent / DONE).is_file())
    others = [path for path in beside if image_of(path.parent) == image]
    return max(others, key=lambda path: path.stat().st_mtime_ns, default=result / name)


def _copy(path: Path, to: Path) -> None:
    """Copy a file, if there is one; what is there already stays."""
    if path.is_file() and not to.exists():
        with replacing(to) as partial:
            partial.write_bytes(path.read_bytes())


def _tissue(result: Path, slide: Slide) -> np.ndarray:
    """Where the image was segmented, bool [h, w] of the whole image at any scale."""
    path = result / TISSUE
    if not path.is_file():
        return np.ones((1, 1), bool)
    return read_tissue(path, slide.height, slide.width, slide.mpp)


def _labels(own: OwnClasses, kept: KeptFeatures, nuclei: int) -> tuple[np.ndarray, np.ndarray]:
    """Class of each nucleus and its probability: uint8 [n], float32 [n]."""
    head, own_classes = own.head, len(own.head.network_classes)
    labels, probs = np.zeros(nuclei, np.uint8), np.zeros(nuclei, np.float32)
    for ids, features in kept.read(nuclei):
        seen = split(features, own_classes)
        if seen.features.shape[1] != len(head.weights):
            raise TsfdError(
                f"{own.path} was learned from {len(head.weights)} features, and there are "
                f"{seen.features.shape[1]}: make it again with `tsfd adapt`."
            )
        found = head.predict(seen.features, seen.shares)
        labels[ids - 1], probs[ids - 1] = found.argmax(axis=1), found.max(axis=1)
    return labels, probs


def _write_nuclei(
    result: Path,
    own: OwnClasses,
    info: Info,
    labels: np.ndarray,
    probs: np.ndarray,
    path: Path,
) -> None:
    names, begin = pa.array(own.head.names), 0
    columns = [SCHEMA.get_field_index(name) for name in ("class", "class_prob")]
    with Writer(path, replace(info, release=own.applied_to(info.release))) as writer:
        for table in read_batches(result / PARQUET):
            rows = slice(begin, begin + len(table))
            begin = rows.stop
            new = (names.take(pa.array(labels[rows])), pa.array(probs[rows]))
            for column, values in zip(columns, new, strict=True):
                table = table.set_column(column, SCHEMA.field(column), values)
            writer.write(table.filter(pa.array(~own.head.excluded[labels[rows]])))
