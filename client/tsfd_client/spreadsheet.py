"""Tables as spreadsheets save them: CSV with commas, semicolons or tabs, in UTF-8 or UTF-16."""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final

from tsfd_client.errors import TsfdError

_SEPARATORS: Final = ",;\t"
_BLANK: Final = " \r\n" + _SEPARATORS
_EXCEL: Final = re.compile(r"\Asep=[^\r\n]")  # a first line that Excel alone understands
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_lines(
    path: Path, needed: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each line that is not blank, and its cells by their columns.

    Cells that a short line lacks are empty.

    Other columns than those named are reported on stderr.

    Parameters
    ----------
    needed
        Columns without which the table is refused; the first of them tells its separator.

    Raises
    ------
    TsfdError
        If it cannot be read, lacks a column or has one twice: the message names it.
    """
    text = _text(path)
    header = next(line for line in text.splitlines() if line.strip(_BLANK))
    try:
        columns, separator = max(
            ((_columns(header, each), each) for each in _SEPARATORS),
            key=lambda found: (needed[0] in found[0], len(found[0])),
        )
    except csv.Error as error:
        raise TsfdError(f"{path} is not CSV: its header has a {error}.") from error
    for name in needed:
        if name not in columns:
            raise TsfdError(f"{path} needs a column {name!r}; it has {', '.join(columns)}.")
    known = (*needed, *optional)
    for name in known:
        if columns.count(name) > 1:
            raise TsfdError(f"{path} has more than one column {name!r}: remove all but one.")
    unused = [name for name in columns if name and name not in known]
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
        yield line, dict(zip_longest(columns, cells[: len(columns)], fillvalue=""))


def number(text: str) -> float:
    """Convert a cell, which may have a decimal comma, as spreadsheets write them.

    Raises
    ------
    ValueError
        If it is not a number.
    """
    return float(text.replace(",", "."))


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
