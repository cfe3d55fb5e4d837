"""Nuclei of which two results of an image disagree: what the page suggests to mark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from tsfd_client.files import PARQUET
from tsfd_client.pixels.origin import image_of
from tsfd_client.view.compare import compare
from tsfd_client.view.kept import digits_of
from tsfd_client.view.results import COMPARISON, Result, Results, time_of

MOST: Final = 200
"""Nuclei of each kind of disagreement that are offered."""


def other_of(result: Result, results: Results) -> Result | None:
    """The newest other result of the same image among those shown; None if there is none."""
    image = image_of(result.folder)
    if image is None or (result.folder / COMPARISON).is_file():
        return None
    found = [
        other
        for other in results.find()
        if other.folder != result.folder
        and other.is_complete
        and not (other.folder / COMPARISON).is_file()
        and image_of(other.folder) == image
    ]
    return max(found, key=lambda other: time_of(other.folder / PARQUET), default=None)


def differing(result: Result, other: Result) -> bytes:
    """JSON of the nuclei to which another result gives another class, or which it lacks.

    Made once, until one of the two changes.

    Returns
    -------
    bytes
        ``{"other": name, "changes": [{"class": name, "rows": [...]}]}``: a class of the other
        result, None for no nucleus, and rows of this one's table, of at most `MOST` nuclei. Those
        of one class here and one there are a change of their own; the rarest changes come first.

    Raises
    ------
    OutputError
        If the results are damaged, or at different scales, or the file cannot be written.
    """

    def write(path: Path) -> None:
        path.write_text(json.dumps({"other": other.name, "changes": _changes(result, other)}))

    name = f"differing-from-{digits_of(other.folder)}.json"
    return result.keep(name, write, _is_whole, since=time_of(other.nuclei)).read_bytes()


def _is_whole(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_bytes()))
    except ValueError:
        return False


def _changes(result: Result, other: Result) -> list[dict[str, Any]]:
    compared = compare(result, other)
    theirs = compared.classes_in_b()
    differs = np.flatnonzero(theirs != compared.classes_a)
    pairs = np.stack([compared.classes_a[differs], theirs[differs]], axis=1)
    kinds, which, numbers = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    changes = []
    for kind in np.argsort(numbers, kind="stable").tolist():
        rows = differs[which.reshape(-1) == kind]
        spread = np.linspace(0, len(rows) - 1, min(MOST, len(rows))).round().astype(int)
        name = compared.classes[kinds[kind, 1]] if kinds[kind, 1] else None
        changes.append({"class": name, "rows": rows[spread].tolist()})
    return changes
