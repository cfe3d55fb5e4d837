"""Write the page and its results as a folder for any web server that supports Range requests."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path, PurePath
from typing import Final

from tsfd_client.contract import USE
from tsfd_client.errors import OutputError, TsfdError
from tsfd_client.files import MARKS, REGIONS
from tsfd_client.view import marks, pixels, regions
from tsfd_client.view.results import FILES, Result, find

PAGE: Final = Path(__file__).with_name("page")
"""The page's own files. A site has ``index.html`` at its root and the others in ``page``."""

_log = logging.getLogger(__name__)


def write(folder: Path, site: Path) -> list[str]:
    """Write the results in a folder, which may be a result itself, with their pixels.

    Of this machine's files, a site has the names alone, no folders.

    Returns
    -------
    list[str]
        For each result that is left out, a sentence that says why.

    Raises
    ------
    OutputError
        If there is nothing to show.
    OSError
        If the site cannot be written.
    """
    shown, problems = [], []
    for result in find(folder):
        data = site / "data" / result.name
        try:
            _write(result, data)
        except TsfdError as error:
            shutil.rmtree(data, ignore_errors=True)
            problems.append(str(error))
        else:
            shown.append(result.entry())
        finally:
            result.close()
    if not shown:
        raise OutputError(" ".join([f"There is no finished result in {folder}.", *problems]))
    (site / "data/results.json").write_text(json.dumps({"results": shown, "use": USE}))
    _copy_page(site)
    return problems


def _copy_page(site: Path) -> None:
    """Contents alone: not every file system takes the modes that `shutil.copytree` copies, too."""
    for path in filter(Path.is_file, PAGE.rglob("*")):
        name = path.relative_to(PAGE)
        target = site / name if path.name == "index.html" else site / "page" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _write(result: Result, folder: Path) -> None:
    view = result.view() | {"regions": "browser", "kept": None}
    drawn = regions.read(result.folder)
    marked = marks.read(result.folder, result.image_name)
    folder.mkdir(parents=True)
    if view["comparison"]:
        view["comparison"] |= {side: PurePath(view["comparison"][side]).name for side in "ab"}
    if view["problem"]:
        _log.warning("%s is shown without its image. %s", result.name, view["problem"])
        view["problem"] = f"This site was written without the image, {result.image_name}."
    else:
        view["pixels"] = "pmtiles"
        with result.image() as slide:
            pixels.write(slide, folder / "slide.pmtiles")
        (folder / "thumbnail.jpg").write_bytes(result.thumbnail())
    (folder / REGIONS).write_bytes(drawn)
    (folder / MARKS).write_bytes(marked)
    (folder / "view.json").write_text(json.dumps(view))
    for name in FILES:
        result.write(name, folder / name)
