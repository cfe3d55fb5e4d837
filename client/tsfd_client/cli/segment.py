"""``tsfd segment``: pictures and slides, one after the other, a shard of them, or on a cluster."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import tqdm

from tsfd_client.cli import options
from tsfd_client.errors import OutputError, ServerUnavailableError, TsfdError
from tsfd_client.nuclei.plausibility import scale_warning
from tsfd_client.nuclei.save import save
from tsfd_client.pixels.image import read_image
from tsfd_client.pixels.in_memory import Whole
from tsfd_client.pixels.resample import check_mpp
from tsfd_client.pixels.slide import Slide, is_slide
from tsfd_client.pixels.tissue import MPP as TISSUE_MPP
from tsfd_client.release import Release
from tsfd_client.server.client import Client
from tsfd_client.settings import Settings
from tsfd_client.slides.lock import LockedError
from tsfd_client.slides.request import How
from tsfd_client.slides.status import SUMMARY, status_of, write_summary

_PICTURE: Final[options.Server] = {"retry_for": 30.0, "max_in_flight": 4}
_SMALL: Final = 0.25  # mm²: 2000 x 2000 pixels at 0.25 µm
_SLIDE: Final[options.Server] = {"retry_for": 300.0, "max_in_flight": 32}
_PAUSE: Final = 1.0  # seconds


@dataclass(frozen=True)
class Job:
    """An image and all that is needed to segment it, on whatever machine.

    Attributes
    ----------
    path, folder
        What is read and where the results go.
    how
        Scale, tissue and thresholds.
    server
        Arguments of the clients.
    release
        What the server serves.
    parquet
        Whether the table of a picture is Parquet.
    is_slide
        Whether it is read in parts.
    """

    path: Path
    folder: Path
    how: How
    server: options.Server
    release: Release
    parquet: bool
    is_slide: bool

    def run(self) -> str:
        """Segment the image; returns a line that says what was found.

        Raises
        ------
        TsfdError
            If it cannot be segmented.
        """
        return self._run_slide() if self.is_slide else self._run_picture()

    def _run_slide(self) -> str:
        try:
            from tsfd_client.slides.segment import segment_slide
        except ImportError as error:
            raise TsfdError(
                f"{self.path} is a slide, which needs more packages: pip install "
                "'tsfd-client[slides]'."
            ) from error
        server = _SLIDE | self.server
        found = segment_slide(self.path, self.folder, self.how, server, self.release)
        if found["scale_warning"]:
            _say(f"{self.path}: {found['scale_warning']} Give the scale with --mpp.")
        counts = {name: figures["nuclei"] for name, figures in found["classes"].items()}
        return self._line(found["nuclei"], counts)

    def _run_picture(self) -> str:
        image, mpp = read_image(self.path, mpp=self.how.mpp)
        if mpp is None:
            mpp = self.release.mpp
            _say(
                f"{self.path} does not say its scale; {mpp:g} µm per pixel ({10 / mpp:.0f}x) is "
                "assumed. Give another with --mpp."
            )
        tissue = self._tissue(image, mpp)
        with (
            Client(**(_PICTURE | self.server)) as client,
            tqdm(desc=self.path.name, unit="tile", disable=None) as bar,
        ):

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            nuclei = client.segment(
                image, mpp=mpp, tissue=tissue, settings=self.how.settings, progress=progress
            )
        area = None if tissue is None else float(tissue.mean()) * nuclei.area_mm2
        if warning := scale_warning(nuclei, tissue_mm2=area):
            _say(f"{self.path}: {warning} Give the scale with --mpp.")
        save(nuclei, image, self.folder, parquet=self.parquet, source=self.path, tissue=tissue)
        return self._line(len(nuclei), nuclei.counts())

    def _tissue(self, image: np.ndarray, mpp: float) -> np.ndarray | None:
        """Where to segment a picture, None for everywhere: a small one is taken whole."""
        check_mpp(mpp)
        area = image.shape[0] * image.shape[1] * mpp**2 / 1e6
        if self.how.everywhere or (self.how.tissue is None and area <= _SMALL):
            return None
        picture = Slide(self.path, Whole(image, mpp), mpp)
        return self.how.tissue_of(picture, picture.thumbnail(TISSUE_MPP))

    def _line(self, number: int, counts: dict[str, int]) -> str:
        named = ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "none"
        return f"{self.path}: {number} nuclei ({named}) in {self.folder}"


def segment(arguments: argparse.Namespace) -> int:
    """Segment what the command line names; returns the exit code."""
    hows = _hows(arguments)
    folders = _folders(list(hows), arguments.out)
    if arguments.shard:
        first, count = arguments.shard
        folders = dict(list(folders.items())[first - 1 :: count])
    server = options.connection(arguments)
    if arguments.wait is not None:
        server["retry_for"] = arguments.wait
    if arguments.in_flight is not None:
        server["max_in_flight"] = arguments.in_flight
    with Client(**server) as client:
        release = _served(client, arguments.wait or 0.0)
        server["transport"] = arguments.transport
        if arguments.transport == "auto":
            server["transport"] = "shm" if client.shares_memory() else "grpc"
    jobs = [
        Job(
            path,
            folder,
            hows[path],
            server,
            release,
            arguments.parquet,
            is_slide(path) or arguments.slides is not None,
        )
        for path, folder in folders.items()
        # The overlay is written last.
        if not (arguments.skip_existing and (folder / "overlay.png").is_file())
    ]
    if arguments.scheduler:
        from tsfd_client.slides.cluster import run_on_cluster

        outcomes = run_on_cluster(arguments.scheduler, jobs)
    else:
        outcomes = _run_here(jobs)
    return _report(outcomes, len(folders) - len(jobs), len(folders), arguments.out)


def _served(client: Client, wait: float) -> Release:
    """What the server serves; one that is not there yet is waited for, so many seconds.

    Without ``--wait`` none: that nothing answers at an address is to be told at once.
    """
    until = time.monotonic() + wait
    is_told = False
    while True:
        try:
            return client.check().release
        except ServerUnavailableError as error:
            left = until - time.monotonic()
            if left <= 0:
                raise
            if not is_told:
                _say(f"{error} It is waited for, {wait:g} seconds at most.")
                is_told = True
            time.sleep(min(_PAUSE, left))


def _hows(arguments: argparse.Namespace) -> dict[Path, How]:
    """How each image is segmented, by its path."""
    how = How(
        settings=Settings(
            foreground_threshold=arguments.foreground_threshold,
            boundary_threshold=arguments.boundary_threshold,
            min_area=arguments.min_area,
            min_confidence=arguments.min_confidence,
        ),
        mpp=arguments.mpp,
        tissue=arguments.tissue,
        everywhere=arguments.no_tissue,
    )
    hows = dict.fromkeys(arguments.images, how)
    if arguments.slides is not None:
        hows |= _read_table(arguments.slides, how)
    return hows


def _read_table(path: Path, how: How) -> dict[Path, How]:
    """The rows of a table of slides; what a row leaves empty is as in `how`.

    Paths are as seen from the table's folder.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not CSV"
        raise TsfdError(f"{path} cannot be read: {reason}.") from error
    if not rows or not all(row.get("slide") for row in rows):
        raise TsfdError(f"{path} needs a column 'slide' with a path in every row.")
    hows = {}
    for number, row in enumerate(rows, start=2):
        try:
            mpp = float(row["mpp"]) if row.get("mpp") else how.mpp
        except ValueError:
            raise TsfdError(
                f"{path}, line {number}: mpp is {row['mpp']!r}, not a number."
            ) from None
        tissue = path.parent / row["tissue"] if row.get("tissue") else how.tissue
        hows[path.parent / row["slide"]] = replace(how, mpp=mpp, tissue=tissue)
    return hows


def _folders(paths: list[Path], out: Path) -> dict[Path, Path]:
    """Where the results of each image go."""
    owners: dict[Path, Path] = {}
    for path in paths:
        folder = out / path.stem
        if folder in owners:
            raise TsfdError(
                f"{owners[folder]} and {path} would both be written to {folder}: give them "
                "different --out folders."
            )
        owners[folder] = path
    return {path: folder for folder, path in owners.items()}


def _run_here(jobs: list[Job]) -> Iterator[tuple[Job, str | TsfdError]]:
    for job in jobs:
        try:
            yield job, job.run()
        except TsfdError as error:
            yield job, error


def _report(
    outcomes: Iterator[tuple[Job, str | TsfdError]], done: int, total: int, out: Path
) -> int:
    """Say what has become of each image; stop where the others would fare no better."""
    failed = elsewhere = 0
    for job, outcome in outcomes:
        if isinstance(outcome, str):
            print(outcome, flush=True)
            done += 1
        else:
            _say(str(outcome))
            if isinstance(outcome, LockedError):
                elsewhere += 1
            else:
                failed += 1
                _say_what_is_kept(job)
        if job.is_slide:
            _write_summary(out, outcome)
        if total > 1 and _stops(job, outcome):
            again = "" if job.is_slide else " with --skip-existing"
            _say(
                f"stopped, {done} of {total} images are done: the same command{again} does the "
                "rest."
            )
            return 1
    if failed and total > 1:
        _say(f"{failed} of {total} images failed.")
    return 1 if failed or elsewhere == total else 0


def _write_summary(out: Path, outcome: str | TsfdError) -> None:
    try:
        write_summary(out)
    except OSError as error:
        if not isinstance(outcome, OutputError):  # which says the same
            _say(f"Cannot write {out / SUMMARY}: {error.strerror or error}.")


def _stops(job: Job, outcome: str | TsfdError) -> bool:
    if isinstance(outcome, OutputError):
        return not job.is_slide  # of a slide it may be its folder alone
    return isinstance(outcome, ServerUnavailableError)


def _say_what_is_kept(job: Job) -> None:
    status = status_of(job.folder)
    if status.tiles_done and status.state != "done":
        _say(
            f"{status.tiles_done} of {status.tiles} tiles of {job.path.name} are kept: the same "
            "command goes on from there."
        )


def _say(line: str) -> None:
    print(f"tsfd: {line}", file=sys.stderr, flush=True)
