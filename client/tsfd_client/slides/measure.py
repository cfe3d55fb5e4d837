"""Measure the nuclei of finished results, each in its folder: ``measures.parquet``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from tsfd_client.errors import OutputError, unwritable
from tsfd_client.files import CSV, PARQUET
from tsfd_client.nuclei import csv, measures
from tsfd_client.nuclei.table import count, read_info
from tsfd_client.pixels.opening import open_needed_image
from tsfd_client.slides.lock import Lock
from tsfd_client.slides.status import LOCK


def measure(result: Path, *, bar: bool | None = None) -> None:
    """Measure the nuclei of a finished result, unless they are; a picture's table has it all.

    Parameters
    ----------
    bar
        Whether to show a bar; None shows it only on a terminal.

    Raises
    ------
    ImageError
        If the image cannot be read, or is gone.
    OutputError
        If another process works on the result, or it is damaged or cannot be written into.
    """
    try:
        with Lock(result / LOCK) as lock:
            if not measures.is_measured(result):
                _measure(result, lock, bar)
            if (result / CSV).is_file():
                csv.write(result / PARQUET, result / CSV)
    except OSError as error:
        raise unwritable(result, error) from error


def _measure(result: Path, lock: Lock, bar: bool | None) -> None:
    parquet = result / PARQUET
    info = read_info(parquet)
    with (
        open_needed_image(result) as slide,
        tqdm(
            desc=info.slide,
            total=count(parquet),
            unit="nucleus",
            disable=None if bar is None else not bar,
        ) as shown,
    ):
        scaled = slide.at(info.release.mpp)
        if not np.isclose(scaled.scale, info.scale):
            raise OutputError(f"{result} was segmented at another scale than its image now has.")

        def report(nuclei: int) -> None:
            lock.check()
            shown.update(nuclei)

        measures.write(result, scaled, report)
