"""``tsfd regions``: count the nuclei of results in regions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tsfd_client.classes.assignment import by_image, slide_of, slides_of
from tsfd_client.cli.results import finished
from tsfd_client.errors import OutputError, TsfdError, unwritable
from tsfd_client.files import COUNTS, REGIONS
from tsfd_client.names import shown
from tsfd_client.nuclei.region_counts import write
from tsfd_client.nuclei.regions import Regions, named, regions_in
from tsfd_client.pixels.annotations import load
from tsfd_client.slides.memory import give_back


def count_regions(paths: Sequence[Path]) -> int:
    """Count the nuclei of results in regions: of the files that are named, else of the page.

    Parameters
    ----------
    paths
        Results, folders of results, and files.

    Returns
    -------
    int
        The exit code: 1 if a file, an outline or a result cannot be used, or there is no region.
    """
    give_back()
    folders = [path for path in paths if path.is_dir()]
    files = [path for path in dict.fromkeys(paths) if path not in folders]
    if not folders:
        missing = "is no folder" if files[0].exists() else "does not exist"
        raise OutputError(f"{files[0]} {missing}: name the results, too.")
    results, problems = finished(folders), list[str]()
    found = _read(results, files, problems) if files else _read_drawn(results, problems)
    damaged = [line for regions in found.values() for line in regions.damaged]
    left_out = [line for regions in found.values() for line in regions.left_out]
    for line in dict.fromkeys([*problems, *damaged, *left_out]):  # some are of several results
        _warn(line)
    failed, counted = bool(problems or damaged), 0
    for name, folder in results.items():
        try:
            if name in found and (found[name].regions or not files):
                counted += _count(folder, found[name])
            elif name in found:
                _warn(f"{folder}: the files have no region of its image: nothing is counted.")
            else:
                _warn(f"{folder} has no regions: draw some in `tsfd view`, or name files of them.")
        except TsfdError as error:
            _warn(str(error))
            failed = True
    return 1 if failed or not counted else 0


def _read(
    results: Mapping[str, Path], files: Sequence[Path], problems: list[str]
) -> dict[str, Regions]:
    """Regions by the result's name: those of a file are all results' of its image."""
    images = by_image(results)
    slides, found = slides_of(results, images), dict[str, Regions]()
    for path in files:
        try:
            content = load(path)
            slide, regions = slide_of(path, content, slides), regions_in(path, content)
        except TsfdError as error:
            problems.append(str(error))
        else:
            for name in next(names for names in images if slide in names):
                found.setdefault(name, Regions()).add(regions)
    return found


def _read_drawn(results: Mapping[str, Path], problems: list[str]) -> dict[str, Regions]:
    """Regions by the result's name, as the page keeps them."""
    found = {}
    for name, folder in results.items():
        path = folder / REGIONS
        try:
            if path.is_file():
                found[name] = regions_in(path, load(path))
        except TsfdError as error:
            problems.append(str(error))
    return found


def _count(folder: Path, regions: Regions) -> int:
    """Write what is in the regions of a result; return how many they are."""
    try:
        counted = write(folder, named(regions.regions))
    except OSError as error:
        raise unwritable(folder, error) from error
    for each in counted:
        if each.remark:
            _warn(f"{folder}, {each.region.name!r}: {each.remark}.")
    print(f"{shown(folder / COUNTS)}: regions: {len(counted):,}")
    return len(counted)


def _warn(line: str) -> None:
    print(f"tsfd: {shown(line)}", file=sys.stderr)
