"""Segment files into folders, as ``tsfd segment`` does, from scripts and notebooks.

Call it again to resume a run that was stopped; a finished run returns at once.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from threading import Event
from typing import Any

from tsfd_client.api.result import Result
from tsfd_client.classes.keep import keep_features as keep
from tsfd_client.errors import ImageError, TsfdError
from tsfd_client.nuclei.plausibility import assumption_warning
from tsfd_client.nuclei.summary import artifacts_of, blur_warning
from tsfd_client.pixels.artifacts import PEN
from tsfd_client.pixels.folder import expand
from tsfd_client.remote.address import Address, Place, place_of
from tsfd_client.server.client import Client
from tsfd_client.settings import Settings, check_settings
from tsfd_client.slides.many import Job, after_each, folders_of, run_all
from tsfd_client.slides.measure import measure as measure_all
from tsfd_client.slides.options import RunOptions, check_search
from tsfd_client.slides.progress import Report

Outcome = Result | TsfdError


def segment_image(
    path: str | Place, out: str | Path, server: str = "localhost:8001", **options: Any
) -> Result:
    """Segment a picture or a slide; parameters as in `segment_images`.

    Returns
    -------
    Result
        The result in ``out/<name of the image>``.

    Raises
    ------
    TsfdError
        If it cannot be segmented: `ImageError`, `ServerUnavailableError`, `ServerError` or
        `OutputError` say why.
    """
    images = expand(_places([path]))
    if len(images) > 1:
        raise ImageError(f"{path} contains {len(images)} images: use `segment_images`.")
    ((_, outcome),) = segment_images(images, out, server, **options)
    if isinstance(outcome, TsfdError):
        raise outcome
    return outcome


def segment_images(
    paths: str | Place | Iterable[str | Place],
    out: str | Path,
    server: str = "localhost:8001",
    *,
    mpp: float | None = None,
    tissue: str | Path | None = None,
    tissue_class: str | None = None,
    everywhere: bool = False,
    with_pen: bool = False,
    without_blur: bool = False,
    settings: Settings | None = None,
    measure: bool = False,
    keep_features: bool = False,
    progress: Report | bool = False,
    **connection: Any,
) -> Iterator[tuple[Place, Outcome]]:
    """Segment pictures and slides, one after the other, over one connection.

    May be called from any thread, even with an event loop running, as in a notebook.

    Parameters
    ----------
    paths
        An image or a folder of images, or several of them; images also as addresses on a store,
        such as ``s3://bucket/a.svs``.
    out
        Results go to ``out/<name of the image>``.
    server
        ``host:port`` of the server's gRPC endpoint.
    mpp
        Micrometres per pixel, if the files do not state it or are wrong about it.
    tissue
        GeoJSON file that outlines the tissue, in pixels of level 0; by default tissue is detected.
    tissue_class
        Class of the polygons to segment; by default all except those that QuPath ignores.
    everywhere
        Segment glass, too.
    with_pen
        Segment what pen covers, too; by default it is left out where tissue is detected.
    without_blur
        Leave out what is out of focus; by default it is segmented, and its area is in the summary.
    settings
        Thresholds that override the server's.
    measure
        Measure shapes, stains and neighbours of every nucleus: `Result.measures`.
    keep_features
        Keep the network's features of every nucleus in the result, for ``tsfd relabel`` and
        `Result.anndata`.
    progress
        Called with the number of tiles done and the total for an image; or True for a progress bar.
    connection
        Arguments of `AsyncClient`.

    Yields
    ------
    Path or Address, Result or TsfdError
        Each image with its result or its error. A damaged image does not stop the others; a lost
        server or a full disk does.

    Warns
    -----
    UserWarning
        If the scale had to be assumed, is probably wrong, or differs from the file's own; if a
        picture is stored turned; if something was left out, or much of the image is blurred.

    Raises
    ------
    TsfdError
        If no server answers, there are no images, two images would share a folder, or options
        exclude each other.
    """
    check_settings(settings)
    is_one = isinstance(paths, (str, PathLike, Address)) or not isinstance(paths, Iterable)
    images = expand(_places([paths] if is_one else paths))
    options = RunOptions(
        settings=settings or Settings(),
        mpp=mpp,
        tissue=None if tissue is None else Path(tissue),
        tissue_class=tissue_class,
        everywhere=everywhere,
        with_pen=with_pen,
        without_blur=without_blur,
    )
    check_search(options)
    connection = {"url": server, **connection}
    with Client(**connection) as client:
        release = client.check().release
        if "transport" not in connection:
            connection["transport"] = "shm" if client.shares_memory() else "grpc"
    jobs = [
        Job(path, folder, options, connection, release)
        for path, folder in folders_of(images, Path(out)).items()
    ]
    report, bar = (progress, False) if callable(progress) else (None, progress)
    run = _run_beside if _has_a_loop() else run_all
    outcomes = run(jobs, report, bar=bar)
    if measure:
        outcomes = after_each(outcomes, lambda job: measure_all(job.folder, bar=bar))
    if keep_features:
        outcomes = after_each(outcomes, lambda job: keep(job.folder, job.server, bar=bar))
    for job, outcome in outcomes:
        if isinstance(outcome, TsfdError):
            yield job.path, outcome
        else:
            _warn(job, outcome)
            yield job.path, _open(job.folder)


def _places(given: Any) -> list[Place]:
    paths = list(given)
    for path in paths:
        if not isinstance(path, (str, PathLike, Address)):
            raise TypeError(
                f"Images are given as paths of files, not as {type(path).__name__}: for pixels, "
                "use `Client.segment`."
            )
    return [place_of(path) for path in paths]


def _open(folder: Path) -> Outcome:
    try:
        return Result(folder)
    except TsfdError as error:
        return error


def _warn(job: Job, found: dict[str, Any]) -> None:
    for remark in found.get("remarks", []):
        warnings.warn(f"{job.path}: {remark}", stacklevel=3)
    for kind, (mm2, is_left_out) in artifacts_of(found).items():
        if mm2 and is_left_out:
            advice = " To segment it, too, give with_pen=True." if kind == PEN else ""
            told = f"{kind} of {mm2:.2f} mm² was left out.{advice}"
            warnings.warn(f"{job.path}: {told}", stacklevel=3)
    if blurred := blur_warning(found):
        told = f"{blurred} To leave that out, give without_blur=True."
        warnings.warn(f"{job.path}: {told}", stacklevel=3)
    if found["scale_assumed"]:
        assumed = assumption_warning(job.path, found["mpp"])
        warnings.warn(f"{assumed} Give another with mpp=.", stacklevel=3)
    if found["scale_warning"]:
        advice = " Give the scale with mpp=." if job.options.mpp is None else ""
        warnings.warn(f"{job.path}: {found['scale_warning']}{advice}", stacklevel=3)


def _has_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Ended(Exception):
    """Raised to stop a run whose results are no longer wanted."""


def _run_beside(
    jobs: list[Job], report: Report | None, *, bar: bool | None
) -> Iterator[tuple[Job, dict[str, Any] | TsfdError]]:
    """Run `run_all` in a thread, which ends when this generator is closed or interrupted."""
    ended = Event()

    def report_unless_ended(done: int, total: int) -> None:
        if ended.is_set():
            raise _Ended
        if report:
            report(done, total)

    outcomes = run_all(jobs, report_unless_ended, bar=bar)
    with ThreadPoolExecutor(1, thread_name_prefix="tsfd") as thread:
        try:
            while (item := thread.submit(next, outcomes, None).result()) is not None:
                yield item
        finally:
            ended.set()
            thread.submit(outcomes.close)
