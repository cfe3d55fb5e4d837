"""A slide from its file to its outputs: read, segmented, joined; what was done before is kept."""

from __future__ import annotations

import asyncio
import hashlib
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tsfd_client.errors import ImageError, OutputError, TsfdError
from tsfd_client.pixels.origin import Origin
from tsfd_client.pixels.slide import Scaled, Slide, open_slide
from tsfd_client.pixels.tissue import MPP as TISSUE_MPP
from tsfd_client.release import Release
from tsfd_client.server.async_client import AsyncClient
from tsfd_client.server.connection import TRACER
from tsfd_client.slides.concurrency import Limit
from tsfd_client.slides.events import Events
from tsfd_client.slides.finish import finish, read_summary
from tsfd_client.slides.lock import Lock
from tsfd_client.slides.memory import give_back
from tsfd_client.slides.pipeline import Pipeline
from tsfd_client.slides.plan import Plan, make_plan
from tsfd_client.slides.progress import Progress
from tsfd_client.slides.request import How
from tsfd_client.slides.run import Run
from tsfd_client.slides.status import LOCK, note_failure
from tsfd_client.stitching.tiling import OVERLAP, SIDE


@TRACER.start_as_current_span("segment_slide")
def segment_slide(
    path: Path, folder: Path, how: How, server: dict[str, Any], release: Release
) -> dict[str, Any]:
    """Segment a slide into a folder, or go on with it.

    Parameters
    ----------
    path
        Of the slide; of any of its files, or their folder, for DICOM.
    folder
        Receives ``nuclei.parquet``, ``nuclei.geojson.gz``, ``overview.png``, ``tissue.geojson``,
        ``summary.json``.
    how
        Must be the same to go on with a slide that was begun.
    server
        Arguments of `AsyncClient`; `max_in_flight` is the most requests under way at a time.
    release
        What the server serves.

    Returns
    -------
    dict
        What ``summary.json`` says.

    Raises
    ------
    ImageError
        If the slide cannot be read, does not say its scale, or has no tissue.
    ServerUnavailableError, ServerError
        If the server cannot be reached any more, refuses, or changes to another release.
    LockedError
        If another process works on the folder.
    OutputError
        If the folder cannot be written, or was begun with anything else.
    """
    give_back()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _open(path, folder, how) as slide, Lock(folder / LOCK) as lock:
            run = Run(folder)
            release = release.with_settings(how.settings)
            facts = _facts(slide, how, release)
            run.begin(facts)
            Origin(str(path.resolve()), facts["slide"], slide.mpp).write(folder)
            if not run.is_done:
                _segment(slide, run, lock, how, server, release)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return read_summary(folder)


def _open(path: Path, folder: Path, how: How) -> Slide:
    try:
        return open_slide(path, how.mpp)
    except ImageError as error:
        note_failure(folder, error)
        raise


def _segment(
    slide: Slide, run: Run, lock: Lock, how: How, server: dict[str, Any], release: Release
) -> None:
    with Events(run.folder) as events:
        try:
            thumbnail = slide.thumbnail(TISSUE_MPP)
            tissue = how.tissue_of(slide, thumbnail)
            scaled = slide.at(release.mpp)
            plan = make_plan(*scaled.grid.shape, None if how.everywhere else tissue)
            area = float(tissue.mean()) * slide.area_mm2
            with Progress(slide.path.name, plan, run, area, events) as progress:
                asyncio.run(_blocks(scaled, plan, run, lock, how, server, release, progress))
            lock.check()
            events.write("joining")
            found = finish(run, scaled, plan, thumbnail, tissue, area, release)
            events.write("done", nuclei=found["nuclei"])
        except (TsfdError, OSError) as error:
            known = _unwritable(run.folder, error) if isinstance(error, OSError) else error
            events.write("failed", error=str(known))
            raise known from error
        except KeyboardInterrupt:
            events.write("stopped")
            raise


def _unwritable(folder: Path, error: OSError) -> OutputError:
    # What pyarrow says besides is long.
    reason = os.strerror(error.errno) if error.errno else error
    return OutputError(f"Cannot write into {folder}: {reason}.")


async def _blocks(
    scaled: Scaled,
    plan: Plan,
    run: Run,
    lock: Lock,
    how: How,
    server: dict[str, Any],
    release: Release,
    progress: Progress,
) -> None:
    async with AsyncClient(**server) as client:
        limit = Limit(client.max_in_flight, progress.limit)
        await Pipeline(
            *(scaled, plan, run, lock, client, limit, release, progress),
            everywhere=how.everywhere,
        ).segment()


def _facts(slide: Slide, how: How, release: Release) -> dict[str, Any]:
    """What decides the result."""
    if how.everywhere:
        tissue = "everywhere"
    elif how.tissue is None:
        tissue = "found"
    else:
        try:
            tissue = hashlib.sha256(how.tissue.read_bytes()).hexdigest()
        except OSError as error:
            raise ImageError(f"{how.tissue} cannot be read: {error.strerror}.") from error
    return {
        "slide": slide.fingerprint(),
        "mpp": slide.mpp,
        "release": release.served,
        "client": version("tsfd-client"),
        "tissue": tissue,
        "overlap": OVERLAP,
        "block": SIDE,
        **release.settings.given(),
    }
