"""The table of slides that ``--slides`` names, as spreadsheets save it."""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Final

from tsfd_client.errors import TsfdError
from tsfd_client.pixels.resample import check_mpp
from tsfd_client.slides.options import RunOptions

_COLUMNS: Final = ("slide", "mpp", "tissue", "tissue_class", "name")
_SEPARATORS: Final = ",;\t"
_BLANK: Final = " \r\n" + _SEPARATORS
_EXCEL: Final = re.compile(r"\Asep=[^\r\n]")  # a first line that Excel alone understands
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Row:
    """A slide of the table.

    Attributes
    ----------
    path
        Of its file.
    options
        How it is segmented.
    name
        Name of its folder in ``--out``; None if the table gives none.
    """

    path: Path
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
    rows: dict[Path, tuple[int, Row]] = {}
    for line, cells in _lines(path):
        try:
            row = _row(path.parent, cells, common, tissue_class)
        except TsfdError as error:
            raise TsfdError(f"{path}, line {line}: {error}") from error
        before, same = rows.setdefault(row.path, (line, row))
        if same != row:
            raise TsfdError(
                f"{path} has different values for {cells['slide']} in lines {before} and {line}: "
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
    return Row(_path(folder, cells["slide"]), options, name)


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "."))  # decimal commas, as spreadsheets write them
    except ValueError:
        raise TsfdError(f"mpp is {text!r}, not a number.") from None


def _path(folder: Path, text: str) -> Path:
    """A path that may have been written on Windows."""
    path, windows = folder / text, PureWindowsPath(text)
    if path.exists():
        return path
    if windows.drive:
        raise TsfdError(f"{text} is a Windows path: give the file's path on this machine.")
    return folder / windows.as_posix()


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of each line that is not blank, and its cells by their columns."""
    text = _text(path)
    header = next(line for line in text.splitlines() if line.strip(_BLANK))
    columns, separator = max(
        ((_columns(header, each), each) for each in _SEPARATORS),
        key=lambda found: ("slide" in found[0], len(found[0])),
    )
    if "slide" not in columns:
        raise TsfdError(f"{path} needs a column 'slide'; it has {', '.join(columns)}.")
    for name in _COLUMNS:
        if columns.count(name) > 1:
            raise TsfdError(f"{path} has more than one column {name!r}: remove all but one.")
    unused = [name for name in columns if name and name not in _COLUMNS]
    if unused:  # one of them may be a misspelt scale
        print(f"tsfd: {path}: not used: {', '.join(unused)}.", file=sys.stderr)
    rows = _rows(path, text, separator)
    next(rows)
    for line, cells in rows:
        if any(cells[len(columns) :]):
            raise TsfdError(
                f"{path}, line {line} has {len(cells)} cells, the header {len(columns)}: put "
                f"cells that contain {separator!r} in quotes."
            )
        yield line, dict(zip(columns, cells, strict=False))


def _columns(header: str, separator: str) -> list[str]:
    """Names of the columns, however they are capitalised and spaced."""
    cells = next(csv.reader([header], delimiter=separator))
    return ["_".join(cell.lower().replace("-", " ").split()) for cell in cells]


def _rows(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The number of each line that is not blank, and its cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise TsfdError(f"{path}, line {reader.line_num} is not CSV: {error}.") from error


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TsfdError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise TsfdError(f"{path} is not a table in UTF-8: save it as 'CSV UTF-8'.")
    text = _EXCEL.sub("", text)
    if not text.strip(_BLANK):
        raise TsfdError(f"{path} is empty.")
    return text
