"""A finished image's nuclei in the formats of other tools."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from tsfd_client.errors import OutputError
from tsfd_client.files import PARQUET, replacing
from tsfd_client.slides.status import DONE

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
"""What `export` writes."""
_FOLDERS = {"spatialdata": "zarr.json", "ome-zarr": "zarr.json", "site": "index.html"}


def export(folder: Path, to: str, out: Path | None = None) -> Path:
    """Write the nuclei of a finished run in another format.

    Parameters
    ----------
    folder
        Of the run; it holds ``nuclei.parquet`` and ``DONE``. A site may also be of a folder of runs
        and of pictures.
    to
        One of `FORMATS`.
    out
        What to write, a file or a folder; one of the format's own name in `folder` unless
        given.

    Returns
    -------
    Path
        What was written. What was there before is replaced when the new one is complete.

    Raises
    ------
    OutputError
        If there is no such format, the run is not finished or damaged, a library is missing or the
        output cannot be written. If a site lacks some of the results, which are named: the others
        are in it.
    """
    if to not in FORMATS:
        raise OutputError(f"There is no format {to!r}: choose one of {', '.join(FORMATS)}.")
    if to != "site" and not (folder / DONE).is_file():
        raise OutputError(f"{folder} is not finished: run `tsfd segment` again.")
    path = folder / _NAMES[to] if out is None else out
    left_out: list[str] | None = None
    try:
        # Only now: the libraries are heavy, and optional.
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
        raise OutputError(f"{path} is written without these results. {' '.join(left_out)}")
    return path


@contextmanager
def _replacing_folder(path: Path, mark: str) -> Iterator[Path]:
    """A folder to write to, as `replacing` does for a file; one without `mark` is not replaced.

    Raises
    ------
    OSError
        If it cannot be written: `path` is as before.
    """
    if not path.parent.is_dir():  # which Zarr would create
        raise FileNotFoundError(None, f"there is no folder {path.parent}")
    if path.exists() and not (path / mark).is_file():
        raise FileExistsError(None, f"it is there already and has no {mark}")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
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
