"""Segment files into folders: what ``tsfd segment`` does, from scripts and notebooks.

A run that was stopped goes on when it is called again, and one that is done costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

from tqdm import tqdm

from tsfd_client.api.result import Result
from tsfd_client.errors import TsfdError
from tsfd_client.pixels.folder import expand
from tsfd_client.server.client import Client
from tsfd_client.settings import Settings
from tsfd_client.slides.many import Job, folders_of, run_all
from tsfd_client.slides.options import RunOptions
from tsfd_client.slides.progress import Report

Outcome = Result | TsfdError


def segment_image(
    path: str | Path, out: str | Path, server: str = "localhost:8001", **options: Any
) -> Result:
    """Segment a picture or a slide; parameters as of `segment_images`.

    Returns
    -------
    Result
        Of ``out/<name of the image>``.

    Raises
    ------
    TsfdError
        If it cannot be segmented: `ImageError`, `ServerUnavailableError`, `ServerError` or
        `OutputError` say why.
    """
    ((_, outcome),) = segment_images([path], out, server, **options)
    if isinstance(outcome, TsfdError):
        raise outcome
    return outcome


def segment_images(
    paths: Iterable[str | Path],
    out: str | Path,
    server: str = "localhost:8001",
    *,
    mpp: float | None = None,
    tissue: str | Path | None = None,
    everywhere: bool = False,
    settings: Settings | None = None,
    progress: Report | bool = False,
    **connection: Any,
) -> Iterator[tuple[Path, Outcome]]:
    """Segment pictures and slides, one after the other over one connection.

    May be called from any thread, and where an event loop runs, as in a notebook.

    Parameters
    ----------
    paths
        Of images, and of folders of images.
    out
        Results go to ``out/<name of the image>``.
    server
        ``host:port`` of its gRPC endpoint.
    mpp
        Micrometres per pixel, where the files do not say it or say it wrong.
    tissue
        GeoJSON file that outlines the tissue, in pixels of level 0; by default it is found.
    everywhere
        Segment glass, too.
    settings
        Thresholds other than the server's.
    progress
        Called with the tiles done and the tiles in all; or True for a bar.
    connection
        Arguments of `AsyncClient`.

    Yields
    ------
    Path, Result or TsfdError
        Each image with its result, or why there is none: one that is damaged stops no others.

    Raises
    ------
    TsfdError
        If no server answers, there are no images, or two would go to one folder.
    """
    images = expand([Path(path) for path in paths], Path(out))
    options = RunOptions(
        settings=settings or Settings(),
        mpp=mpp,
        tissue=None if tissue is None else Path(tissue),
        everywhere=everywhere,
    )
    connection["url"] = server
    with Client(**connection) as client:
        release = client.check().release
        if "transport" not in connection:
            connection["transport"] = "shm" if client.shares_memory() else "grpc"
    jobs = [
        Job(path, folder, options, connection, release)
        for path, folder in folders_of(images, Path(out)).items()
    ]
    run = _run_beside if _has_a_loop() else run_all
    for job, outcome in run(jobs, _report(progress)):
        yield job.path, outcome if isinstance(outcome, TsfdError) else Result(job.folder)


def _report(progress: Report | bool) -> Report:
    if callable(progress):
        return progress
    bar = tqdm(unit="tile", disable=not progress)

    def report(done: int, total: int) -> None:
        if done < bar.n:  # of the next image
            bar.reset()
        bar.total = total
        bar.update(done - bar.n)

    return report


def _has_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_beside(
    jobs: list[Job], report: Report
) -> Iterator[tuple[Job, dict[str, Any] | TsfdError]]:
    """`run_all` in a thread of its own; an interruption here ends it there."""
    ended = Event()

    def report_unless_ended(done: int, total: int) -> None:
        if ended.is_set():
            raise KeyboardInterrupt
        report(done, total)

    outcomes = run_all(jobs, report_unless_ended)
    with ThreadPoolExecutor(1, thread_name_prefix="tsfd") as thread:
        try:
            while (item := thread.submit(next, outcomes, None).result()) is not None:
                yield item
        finally:
            ended.set()
            thread.submit(outcomes.close)
