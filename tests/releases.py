"""Releases as servers describe them."""

from __future__ import annotations

import json
from pathlib import Path

from conversion.configuration import configurations
from conversion.release import Release as ConvertedRelease
from conversion.release import release_file
from training.target import PANNUKE
from tsfd_client.release import NucleusClass, Release
from tsfd_client.settings import Settings

FIVE = Release(
    name="lite-0123456789ab",
    mpp=PANNUKE.mpp,
    classes=tuple(NucleusClass(kind.name, kind.colour) for kind in PANNUKE.classes),
    settings=Settings(0.6, 0.6, 20, 0.85, "watershed"),
    preset="lite",
    precision="float",
    digests={"weights_sha256": "0" * 64},
)
"""The five classes of the shipped weights, at 0.25 micrometres per pixel."""


def change(repository: Path, **changes: object) -> dict:
    """Have a converted repository say something else of what it serves; returns all it says."""
    file = release_file(repository)
    record = json.loads(file.read_text()) | changes
    file.write_text(json.dumps(record))
    for path, content in configurations(repository, ConvertedRelease(**record)).items():
        path.write_bytes(content)
    return record
