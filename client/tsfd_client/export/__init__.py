"""Write the nuclei of a finished image in the formats of other tools."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from tsfd_client.errors import OutputError
from tsfd_client.files import PARQUET, replacing
from tsfd_client.names import check_utf8
from tsfd_client.slides.status import is_finished

_NAMES = {
    "spatialdata": "nuclei.spatialdata.zarr",
    "anndata": "nuclei.h5ad",
    "ome-zarr": "labels.ome.zarr",
    "dicom-ann": "nuclei.ann.dcm",
    "geojson": "nuclei.geojson",
    "csv": "nuclei.csv",
    "pmtiles": "nuclei.pmtiles",
    "site": "site",
}
_MODULES = {name: f"tsfd_client.nuclei.{name}" for name in ("geojson", "csv")}
FORMATS = tuple(_NAMES)
"""Formats that `export` writes."""
_FOLDERS = {"spatialdata": "zarr.json", "ome-zarr": "zarr.json", "site": "index.html"}


def export(folder: Path, to: str, out: Path | None = None) -> Path:
    """Write the nuclei of a finished run in another format.

    Parameters
    ----------
    folder
        Folder of a finished result. For a site, also a folder of results.
    to
        One of `FORMATS`.
    out
        File or folder to write; by default in `folder`, under the format's usual name.

    Returns
    -------
    Path
        The file or folder written. In `folder` it replaces an earlier one when it is complete; what
        exists at `out` is never replaced.

    Raises
    ------
    OutputError
        If there is no such format, the run is unfinished or damaged, a library is missing, `out`
        exists, or the output cannot be written. Also if a site is complete but for some results,
        which are named.
    """
    if to not in FORMATS:
        raise OutputError(f"There is no format {to!r}: choose one of {', '.join(FORMATS)}.")
    if not folder.is_dir():
        raise OutputError(f"There is no folder {folder}.")
    if out is not None and os.path.lexists(out):
        raise OutputError(f"{out} exists already: remove it, or choose another name.")
    if to != "site" and not is_finished(folder):
        raise OutputError(f"{folder} is not finished: run `tsfd segment` again.")
    path = folder / _NAMES[to] if out is None else out
    check_utf8(path)
    left_out: list[str] | None = None
    try:
        # Imported here because the libraries are heavy and optional.
        write = import_module(_MODULES.get(to, f"{__name__}.to_{to.replace('-', '_')}")).write
        if to in _FOLDERS:
            with _replacing_folder(path, _FOLDERS[to]) as partial:
                left_out = write(folder if to == "site" else folder / PARQUET, partial)
        else:
            with replacing(path) as partial:
                write(folder / PARQUET, partial)
    except ImportError as error:
        raise OutputError(
            f"{to} needs {error.name or error}: pip install 'tsfd-client[export]'."
        ) from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    if left_out:
        raise OutputError(f"{path} was written without these results. {' '.join(left_out)}")
    return path


@contextmanager
def _replacing_folder(path: Path, mark: str) -> Iterator[Path]:
    """Replace a folder as `replacing` does a file, but only if the old one contains `mark`.

    Raises
    ------
    OSError
        If it cannot be written; `path` is left unchanged.
    """
    if not path.parent.is_dir():  # Zarr would create it
        raise FileNotFoundError(None, f"there is no folder {path.parent}")
    if path.exists() and not (path / mark).is_file():
        raise FileExistsError(None, f"it exists already and has no {mark}")
    partial = path.with_name(f".partial.{secrets.token_hex(4)}")
    before = partial.with_name(f"{partial.name}.before")
    try:
        yield partial
        if path.exists():
            path.rename(before)
        try:
            partial.rename(path)
        except OSError:
            if before.exists():
                before.rename(path)
            raise
    finally:
        for left in (partial, before):
            shutil.rmtree(left, ignore_errors=True)
