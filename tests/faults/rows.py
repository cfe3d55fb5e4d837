"""Rows of the table of faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What became of a fault.

    Attributes
    ----------
    fault, outcome
        In words.
    seconds
        Until all was well again, where something was not.
    answered, failed
        Requests of the clients that were asking meanwhile, where there were any.
    """

    fault: str
    outcome: str
    seconds: float | None = None
    answered: int | None = None
    failed: int | None = None


def table(rows: Sequence[Row]) -> str:
    """In Markdown."""
    lines = ["| fault | what happens | seconds | answered | failed |", "|---|---|---|---|---|"]
    for row in rows:
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        counts = ["" if n is None else f"{n:,}" for n in (row.answered, row.failed)]
        lines.append(f"| {' | '.join([row.fault, row.outcome, seconds, *counts])} |")
    return "\n".join(lines) + "\n"
