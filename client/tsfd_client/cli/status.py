"""``tsfd status``: print one line per image."""

from __future__ import annotations

from pathlib import Path

from tsfd_client.errors import TsfdError
from tsfd_client.slides.status import Status, statuses


def status(folder: Path) -> int:
    """Print the progress of the images in a folder; return the exit code.

    Raises
    ------
    TsfdError
        If the folder contains no runs.
    """
    rows = statuses(folder)
    if not rows:
        raise TsfdError(f"There is no run in {folder}: give the --out folder of `tsfd segment`.")
    width = max(len(row.slide) for row in rows)
    for row in rows:
        print(f"{row.slide:{width}}  {row.state:8} {_figures(row)}{row.error}".rstrip())
    return 0


def _figures(row: Status) -> str:
    if not row.tiles:  # relabelled, or not started
        return f"{row.nuclei:,} nuclei  " if row.nuclei else ""
    share = row.tiles_done / row.tiles
    time = f"{row.seconds / 60:.1f} min" if row.seconds >= 60 else f"{row.seconds:.0f} s"
    return f"{share:4.0%} of {row.tiles} tiles, {row.nuclei:,} nuclei, {row.mm2:.2f} mm², {time}  "
