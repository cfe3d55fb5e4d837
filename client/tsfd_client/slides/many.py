"""Segment many images, one after the other, over one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tsfd_client.errors import DiskFullError, OutputError, ServerUnavailableError, TsfdError
from tsfd_client.names import check_utf8, shown
from tsfd_client.release import Release
from tsfd_client.remote.address import Address, Place
from tsfd_client.remote.cache import Cache, choose, chosen
from tsfd_client.server.async_client import AsyncClient
from tsfd_client.slides.ahead import Ahead
from tsfd_client.slides.options import RunOptions
from tsfd_client.slides.progress import Report
from tsfd_client.slides.segment_image import segment_image
from tsfd_client.slides.status import SUMMARY

SERVER: Final[dict[str, Any]] = {"retry_for": 300.0, "max_in_flight": 32}
"""Default arguments of `AsyncClient` for runs: long retries, many requests in flight."""


Outcome = dict[str, Any] | TsfdError
"""An image's ``summary.json``, or why it has none."""


@dataclass(frozen=True)
class Job:
    """An image and everything needed to segment it, on any machine.

    Attributes
    ----------
    path, folder
        The image, and the folder for its results.
    options
        Scale, tissue and thresholds.
    server
        Arguments of `AsyncClient`.
    release
        The release that the server serves.
    cache
        Where slides of stores are kept.
    """

    path: Place
    folder: Path
    options: RunOptions
    server: dict[str, Any]
    release: Release
    cache: Cache = field(default_factory=chosen)

    def run(self) -> dict[str, Any]:
        """Segment the image over a connection of its own; return its ``summary.json``.

        Raises
        ------
        TsfdError
            If it cannot be segmented.
        """
        choose(self.cache)
        [(_, outcome)] = run_all([self])
        if isinstance(outcome, TsfdError):
            raise outcome
        return outcome


def after_each(
    outcomes: Iterable[tuple[Job, Outcome]], then: Callable[[Job], None]
) -> Iterator[tuple[Job, Outcome]]:
    """Do more with each image that was segmented; its outcome is the TsfdError if that fails."""
    for job, outcome in outcomes:
        if not isinstance(outcome, TsfdError):
            try:
                then(job)
            except TsfdError as error:
                yield job, error
                continue
        yield job, outcome


def run_all(
    jobs: Iterable[Job], report: Report | None = None, *, bar: bool | None = None
) -> Generator[tuple[Job, dict[str, Any] | TsfdError]]:
    """Segment images on one server; yield each with its ``summary.json`` or its error.

    Ends early if the server is gone or the disk is full, as all other images would fail too. Must
    not be called from a running event loop.

    Parameters
    ----------
    report, bar
        See `tsfd_client.slides.progress.Progress`.
    """
    jobs = list(jobs)
    if not jobs:
        return
    # With a loop factory, the Runner leaves the thread's current event loop alone.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as loop:
        client = loop.run(_connect(jobs[0].server))
        ahead = Ahead()
        try:
            for job, following in zip(jobs, [*jobs[1:], None], strict=True):
                if following:
                    ahead.fetch(following.path, following.folder)
                outcome = _outcome(job, loop, client, report, bar)
                if isinstance(outcome, DiskFullError) and ahead.give_way():
                    outcome = _outcome(job, loop, client, report, bar)
                yield job, outcome
                if isinstance(outcome, (ServerUnavailableError, DiskFullError)):
                    return
        finally:
            ahead.close()
            loop.run(client.close())


def _outcome(
    job: Job, loop: asyncio.Runner, client: AsyncClient, report: Report | None, bar: bool | None
) -> Outcome:
    what = (job.path, job.folder, job.options)
    try:
        return segment_image(*what, loop, client, job.release, report, bar=bar)
    except TsfdError as error:
        return error


def folders_of(
    paths: Iterable[Place], out: Path, names: Mapping[Place, str] | None = None
) -> dict[Place, Path]:
    """Map each image to the folder for its results, ``out/<name of the image>``.

    Parameters
    ----------
    names
        Other names for the folders of some images.

    Raises
    ------
    OutputError
        If two images would share a folder, or one has the name of another file in it, or `out` is
        not UTF-8.
    """
    check_utf8(out)
    owners: dict[Path, Place] = {}
    for path in paths:
        folder = out / shown((names or {}).get(path) or _name(path))
        if folder.name == SUMMARY:
            raise OutputError(
                f"{path} would be written to {folder}, which is the table of all results: rename "
                "it, or give it a name in the table of --slides."
            )
        if owners.setdefault(folder, path) != path:
            raise OutputError(
                f"{owners[folder]} and {path} would both be written to {folder}: rename one, "
                "segment them into different folders, or give them names in the table of --slides."
            )
    return {path: folder for folder, path in owners.items()}


def _name(path: Place) -> str:
    """A file's name without its suffix; whole if it is a folder's, a UID, or only dots."""
    is_folder = isinstance(path, Path) and path.is_dir()
    if is_folder or path.suffix[1:].isdecimal():
        return path.name if isinstance(path, Address) else path.resolve().name
    return path.stem if path.stem.strip(".") else path.name


async def _connect(server: dict[str, Any]) -> AsyncClient:
    return AsyncClient(**(SERVER | server))
