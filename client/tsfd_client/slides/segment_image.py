"""Segment an image from its file to its outputs, keeping blocks that are already done."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tsfd_client.errors import ImageError, OutputError, TsfdError, unwritable
from tsfd_client.names import shown
from tsfd_client.nuclei import summary
from tsfd_client.pixels.artifacts import BLUR, PEN
from tsfd_client.pixels.opening import open_image
from tsfd_client.pixels.origin import Origin
from tsfd_client.pixels.slide import Slide
from tsfd_client.pixels.tissue import MPP as TISSUE_MPP
from tsfd_client.release import Release
from tsfd_client.remote.address import Address, Place
from tsfd_client.server.async_client import AsyncClient
from tsfd_client.server.connection import TRACER
from tsfd_client.slides.concurrency import Limit
from tsfd_client.slides.events import Events
from tsfd_client.slides.finished import Finished
from tsfd_client.slides.lock import Lock
from tsfd_client.slides.options import RunOptions
from tsfd_client.slides.outputs import write_outputs
from tsfd_client.slides.pipeline import Pipeline
from tsfd_client.slides.progress import Progress, Report
from tsfd_client.slides.run import Run
from tsfd_client.slides.status import LOCK, note_failure
from tsfd_client.stitching.blocks import make_plan
from tsfd_client.stitching.grid import OVERLAP, SIDE


@TRACER.start_as_current_span("segment_image")
def segment_image(
    path: Place,
    folder: Path,
    options: RunOptions,
    loop: asyncio.Runner,
    client: AsyncClient,
    release: Release,
    report: Report | None = None,
    *,
    bar: bool | None = None,
) -> dict[str, Any]:
    """Segment an image into a folder, or resume it.

    Parameters
    ----------
    path
        The image, or its address on a store; for DICOM, any of its files or their folder.
    folder
        Receives ``nuclei.parquet`` and ``summary.json``; for a slide also ``nuclei.geojson.gz``,
        ``overview.png``, ``tissue.geojson`` and, if there are any, ``artifacts.geojson``; for a
        picture ``nuclei.geojson``, ``nuclei.csv``, ``labels.png`` and ``overlay.png``.
    options
        Must be the same to resume an image.
    loop, client
        The connection to the server, and the loop in which it lives; the client's `max_in_flight`
        is the most requests in flight at a time.
    release
        The release that the server serves.
    report, bar
        See `Progress`.

    Returns
    -------
    dict
        Content of ``summary.json``.

    Raises
    ------
    ImageError
        If the image cannot be fetched or read, is a slide that does not say its scale, or has no
        tissue.
    ServerUnavailableError, ServerError
        If the server can no longer be reached, refuses, or switches to another release.
    LockedError
        If another process works on the folder.
    OutputError
        If the folder cannot be written, or was started with another image, release or options. If
        there is no room to fetch the image to.
    """
    if isinstance(path, Path) and not path.exists():
        raise ImageError(f"There is no file {path}.")  # and no folder for it
    served = release.with_settings(options.settings)
    try:
        if isinstance(path, Address):
            finished = Finished.of(folder, path, options.mpp)
            if finished:
                facts = _facts(finished, options, served)
                Run(folder, is_picture=finished.is_picture).begin(facts)
                return summary.read(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with _open(path, folder, options, release) as slide, Lock(folder / LOCK) as lock:
            _refuse_changed(slide, folder)
            run = Run(folder, is_picture=slide.is_picture)
            run.begin(_facts(slide, options, served))
            Origin.of(slide).write(folder)
            if not run.is_done:
                _segment(slide, run, lock, options, loop, client, served, report, bar)
    except OSError as error:
        raise unwritable(folder, error) from error
    return summary.read(folder)


def _open(path: Place, folder: Path, options: RunOptions, release: Release) -> Slide:
    try:
        return open_image(path, options.mpp, otherwise=release.mpp)
    except ImageError as error:
        note_failure(folder, error)
        raise


def _refuse_changed(slide: Slide, folder: Path) -> None:
    """Raise OutputError if a run was started with what an address had before."""
    begun = Origin.read(folder) if isinstance(slide.path, Address) else None
    if begun and begun.path == str(slide.path) and begun.fingerprint != slide.fingerprint():
        raise OutputError(
            f"{slide.path} has changed on its store since {folder} was started: choose another "
            "--out (in Python out=), or remove the folder."
        )


def _segment(
    slide: Slide,
    run: Run,
    lock: Lock,
    options: RunOptions,
    loop: asyncio.Runner,
    client: AsyncClient,
    release: Release,
    report: Report | None,
    bar: bool | None,
) -> None:
    with recording(run.folder) as events:
        thumbnail = slide.thumbnail(TISSUE_MPP)
        tissue, artifacts = options.tissue_of(slide, thumbnail)
        whole = options.take_whole(slide)
        scaled = slide.at(release.mpp)
        plan = make_plan(*scaled.grid.shape, None if whole else tissue)
        area = float(tissue.mean()) * slide.area_mm2
        with Progress(shown(slide.path.name), plan, run, area, events, report, bar) as progress:
            limit = Limit(client.max_in_flight, progress.limit)
            pipeline = Pipeline(
                *(scaled, plan, run, lock, client, limit, release, progress), everywhere=whole
            )
            loop.run(pipeline.segment())
        lock.check()
        events.write("joining")
        nuclei = write_outputs(
            *(run, scaled, plan, thumbnail, tissue, area, artifacts, release), whole=whole
        )
        events.write("done", nuclei=nuclei)


@contextmanager
def recording(folder: Path) -> Iterator[Events]:
    """Write the events of a run: how it fails or is stopped, too.

    Raises
    ------
    OutputError
        Instead of an OSError.
    """
    with Events(folder) as events:
        try:
            yield events
        except (TsfdError, OSError) as error:
            known = unwritable(folder, error) if isinstance(error, OSError) else error
            events.write("failed", error=str(known))
            raise known from error
        except BaseException:  # Ctrl-C, or an error raised by the callback
            events.write("stopped")
            raise


def _facts(slide: Slide | Finished, options: RunOptions, release: Release) -> dict[str, Any]:
    """Everything that decides the result."""
    artifacts = {}
    if options.take_whole(slide):
        tissue = "everywhere"
    elif options.tissue is None:
        tissue = "found"
        artifacts = {
            PEN: "segmented" if options.with_pen else "left out",
            BLUR: "left out" if options.without_blur else "segmented",
        }
    else:
        options.outlined(slide)  # raises if it cannot be used, before the run is created
        tissue = hashlib.sha256(options.tissue.read_bytes()).hexdigest()
    return {
        "slide": slide.fingerprint(),
        "mpp": slide.mpp,
        "release": release.served,
        "client": version("tsfd-client"),
        "tissue": tissue,
        "tissue_class": options.tissue_class,
        **artifacts,
        "overlap": OVERLAP,
        "block": SIDE,
        **release.settings.given(),
    }
