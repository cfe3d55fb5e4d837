"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import rich.box
import rich.table
from rich.console import Console


@dataclass(frozen=True)
class Table:
    """A table whose first column is text and the others figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def show(tables: Iterable[Table]) -> None:
    """Print tables, figures aligned: ruled on a terminal, plain columns in a pipe or a file."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 10_000  # a pipe has no edge to wrap at
    for table in tables:
        shown = rich.table.Table(
            box=rich.box.SIMPLE_HEAD if console.is_terminal else None,
            pad_edge=False,
            header_style="",
        )
        for position, name in enumerate(table.header):
            shown.add_column(name, justify="right" if position else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(table.title, style="bold")
        console.print(shown)
        console.print()
