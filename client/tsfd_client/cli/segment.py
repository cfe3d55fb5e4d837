"""``tsfd segment``: segment images one after the other, a shard of them, or on a cluster."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tsfd_client.cli import options
from tsfd_client.cli.table import read_table
from tsfd_client.errors import DiskFullError, OutputError, ServerUnavailableError, TsfdError
from tsfd_client.names import shown
from tsfd_client.nuclei.plausibility import assumption_warning
from tsfd_client.nuclei.summary import artifacts_of, blur_warning
from tsfd_client.pixels.artifacts import PEN
from tsfd_client.pixels.dicom import folder_of
from tsfd_client.pixels.folder import images_in
from tsfd_client.release import Release
from tsfd_client.remote.address import Place
from tsfd_client.server.client import Client
from tsfd_client.settings import Settings
from tsfd_client.slides.lock import LockedError
from tsfd_client.slides.many import Job, after_each, folders_of, run_all
from tsfd_client.slides.measure import measure
from tsfd_client.slides.memory import collect_seldom, give_back
from tsfd_client.slides.options import RunOptions, check_search
from tsfd_client.slides.status import SUMMARY, status_of, write_summary

_PAUSE: Final = 1.0  # seconds
_SUMMARY_EVERY: Final = 2.0  # seconds


def segment(arguments: argparse.Namespace) -> int:
    """Segment the images on the command line; return the exit code."""
    give_back()
    collect_seldom()
    options_of, names = _options(arguments)
    folders = folders_of(options_of, arguments.out, names)
    if arguments.shard:
        first, count = arguments.shard
        shard = dict(list(folders.items())[first - 1 :: count])
        if not shard:
            print(f"Shard {first}/{count} of {len(folders)} images has none: nothing to do.")
            return 0
        folders = shard
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
        Job(path, folder, options_of[path], server, release) for path, folder in folders.items()
    ]
    outcomes: Iterator[tuple[Job, dict[str, Any] | TsfdError]] = run_all(jobs)
    if arguments.scheduler:
        from tsfd_client.slides.cluster import run_on_cluster

        outcomes = run_on_cluster(arguments.scheduler, jobs)
    if arguments.measure:
        outcomes = after_each(outcomes, lambda job: measure(job.folder))
    if arguments.keep_features:
        from tsfd_client.classes.keep import keep_features

        outcomes = after_each(outcomes, lambda job: keep_features(job.folder, job.server))
    return _report(outcomes, len(jobs), arguments.out)


def _served(client: Client, wait: float) -> Release:
    """Check the server and return its release, waiting up to `wait` seconds for it to come up.

    Without ``--wait``, `wait` is 0, so that a wrong address is reported at once.
    """
    until = time.monotonic() + wait
    is_waiting = False
    while True:
        try:
            return client.check().release
        except ServerUnavailableError as error:
            left = until - time.monotonic()
            if left <= 0:
                raise
            if not is_waiting:
                _say(f"{error} Waiting for it for up to {wait:g} seconds.")
                is_waiting = True
            time.sleep(min(_PAUSE, left))


def _options(arguments: argparse.Namespace) -> tuple[dict[Place, RunOptions], dict[Place, str]]:
    """Return the options of each image and the names of some images' folders, by path."""
    common = RunOptions(
        settings=Settings(
            foreground_threshold=arguments.foreground_threshold,
            boundary_threshold=arguments.boundary_threshold,
            min_area=arguments.min_area,
            min_confidence=arguments.min_confidence,
        ),
        mpp=arguments.mpp,
        tissue=arguments.tissue,
        everywhere=arguments.no_tissue,
        with_pen=arguments.with_pen,
        without_blur=arguments.without_blur,
    )
    check_search(common)
    kind = arguments.tissue_class
    options_of: dict[Place, RunOptions] = {}
    names: dict[Place, str] = {}
    if arguments.images:
        options_of = dict.fromkeys(_images(arguments.images), replace(common, tissue_class=kind))
    for row in [] if arguments.slides is None else read_table(arguments.slides, common, kind):
        options_of[row.path] = row.options
        if row.name is not None:
            names[row.path] = row.name
    return options_of, names


def _images(paths: list[Place]) -> list[Place]:
    """List the images given, including those in folders."""
    images: list[Place] = []
    for path in paths:
        folder = folder_of(path) if isinstance(path, Path) else None
        if folder is None:
            images.append(path)
            continue
        found = images_in(folder)
        noun = "image" if len(found) == 1 else "images"
        print(f"{shown(str(path))}: {len(found)} {noun}", flush=True)
        images += found
    return images


def _report(
    outcomes: Iterator[tuple[Job, dict[str, Any] | TsfdError]], total: int, out: Path
) -> int:
    """Report the outcome of each image; return the exit code."""
    try:
        return _report_each(outcomes, total, out)
    except KeyboardInterrupt:
        _write_summary(out, None)  # otherwise it would list images as still running
        raise


def _report_each(
    outcomes: Iterator[tuple[Job, dict[str, Any] | TsfdError]], total: int, out: Path
) -> int:
    done = failed = elsewhere = 0
    written = time.monotonic()
    for job, outcome in outcomes:
        if not isinstance(outcome, TsfdError):
            _say_what_was_found(job, outcome)
            done += 1
        else:
            _say(str(outcome))
            if isinstance(outcome, LockedError):
                elsewhere += 1
            else:
                failed += 1
                _say_what_is_kept(job)
        stops = total > 1 and isinstance(outcome, (ServerUnavailableError, DiskFullError))
        is_last = done + failed + elsewhere == total
        if stops or is_last or time.monotonic() - written > _SUMMARY_EVERY:
            _write_summary(out, outcome)
            written = time.monotonic()
        if stops:
            _say(
                f"stopped; {done} of {total} images are done. Run the same command again to do the "
                "rest."
            )
            return 1
    if failed and total > 1:
        _say(f"{failed} of {total} images failed.")
    return 1 if failed or elsewhere == total else 0


def _say_what_was_found(job: Job, found: dict[str, Any]) -> None:
    for remark in found.get("remarks", []):
        _say(f"{job.path}: {remark}")
    for kind, (mm2, is_left_out) in artifacts_of(found).items():
        if mm2 and is_left_out:
            advice = " To segment it, too, give --with-pen." if kind == PEN else ""
            _say(f"{job.path}: {kind} of {mm2:.2f} mm² was left out.{advice}")
    if blurred := blur_warning(found):
        _say(f"{job.path}: {blurred} To leave that out, give --without-blur.")
    if found["scale_assumed"]:
        _say(f"{assumption_warning(job.path, found['mpp'])} Give another with --mpp.")
    if found["scale_warning"]:
        advice = " Give the scale with --mpp." if job.options.mpp is None else ""
        _say(f"{job.path}: {found['scale_warning']}{advice}")
    counts = {name: figures["nuclei"] for name, figures in found["classes"].items()}
    named = ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "none"
    told = f"{job.path}: {found['nuclei']} nuclei ({named}) in {job.folder}"
    print(shown(told), flush=True)


def _write_summary(out: Path, outcome: dict[str, Any] | TsfdError | None) -> None:
    if not out.is_dir():  # none of the images exists
        return
    try:
        write_summary(out)
    except OSError as error:
        if not isinstance(outcome, OutputError):  # that error has already been reported
            _say(f"Cannot write {out / SUMMARY}: {error.strerror or error}.")


def _say_what_is_kept(job: Job) -> None:
    status = status_of(job.folder)
    if status.tiles_done and status.state != "done":
        _say(
            f"{status.tiles_done} of {status.tiles} tiles of {job.path.name} are kept: the same "
            "command resumes from there."
        )


def _say(line: str) -> None:
    print(f"tsfd: {shown(line)}", file=sys.stderr, flush=True)
