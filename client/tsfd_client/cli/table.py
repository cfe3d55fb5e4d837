"""The table of slides that ``--slides`` names, as spreadsheets save it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Final

from tsfd_client.errors import TsfdError
from tsfd_client.pixels.resample import check_mpp
from tsfd_client.remote.address import Address, Place, place_of
from tsfd_client.slides.options import RunOptions
from tsfd_client.spreadsheet import number, read_lines

_OPTIONAL: Final = ("mpp", "tissue", "tissue_class", "name")


@dataclass(frozen=True)
class Row:
    """A slide of the table.

    Attributes
    ----------
    path
        Of its file, or its address on a store.
    options
        How it is segmented.
    name
        Name of its folder in ``--out``; None if the table gives none.
    """

    path: Place
    options: RunOptions
    name: str | None


def read_table(path: Path, common: RunOptions, tissue_class: str | None) -> list[Row]:
    """Read a table with the column ``slide``, and where needed ``mpp``, ``tissue``,
    ``tissue_class`` and ``name``.

    Empty cells take the values of `common`, and `tissue_class` for the class of the polygons. Paths
    are relative to the table's folder. Repeated rows are left out.

    Raises
    ------
    TsfdError
        If it cannot be read, or a row cannot be used: the message names it.
    """
    rows: dict[Place, tuple[int, Row]] = {}
    for line, cells in read_lines(path, ("slide",), _OPTIONAL):
        try:
            row = _row(path.parent, cells, common, tissue_class)
        except TsfdError as error:
            raise TsfdError(f"{path}, line {line}: {error}") from error
        before, same = rows.setdefault(row.path, (line, row))
        if same != row:
            named = row.path if isinstance(row.path, Address) else cells["slide"]
            raise TsfdError(
                f"{path} has different values for {named} in lines {before} and {line}: "
                "remove one of them."
            )
    if not rows:
        raise TsfdError(f"{path} lists no slide: it has no rows below its header.")
    return [row for _, row in rows.values()]


def _row(folder: Path, cells: dict[str, str], common: RunOptions, tissue_class: str | None) -> Row:
    if not cells["slide"]:
        raise TsfdError("the column 'slide' is empty.")
    mpp, tissue = common.mpp, common.tissue
    if cells.get("mpp"):
        mpp = _number(cells["mpp"])
        check_mpp(mpp)
    if cells.get("tissue"):
        tissue = _path(folder, cells["tissue"])
    options = replace(
        common,
        mpp=mpp,
        tissue=tissue,
        tissue_class=cells.get("tissue_class") or tissue_class,
        everywhere=common.everywhere and tissue is None,
    )
    name = cells.get("name") or None
    if name is not None and (name in (".", "..") or set(name) & set("/\\")):
        raise TsfdError(f"the name {name!r} cannot be used for a folder in --out.")
    return Row(_place(folder, cells["slide"]), options, name)


def _number(text: str) -> float:
    try:
        return number(text)
    except ValueError:
        raise TsfdError(f"mpp is {text!r}, not a number.") from None


def _place(folder: Path, text: str) -> Place:
    place = place_of(text)
    return _path(folder, text) if isinstance(place, Path) else place


def _path(folder: Path, text: str) -> Path:
    """A path that may have been written on Windows."""
    path, windows = folder / text, PureWindowsPath(text)
    if path.exists():
        return path
    if windows.drive:
        raise TsfdError(f"{text} is a Windows path: give the file's path on this machine.")
    return folder / windows.as_posix()
