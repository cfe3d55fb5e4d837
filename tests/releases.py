"""Releases as servers describe them."""

from __future__ import annotations

import json
from pathlib import Path

from conversion.configuration import configurations
from conversion.release import Release as ConvertedRelease
from conversion.release import release_file
from training.target import PANNUKE
from tsfd_client.settings import Settings

FIVE = PANNUKE.release("lite-0123456789ab", Settings(0.6, 0.6, 20, 0.85))
"""The five classes of the shipped weights, at 0.25 micrometres per pixel."""


def change(repository: Path, **changes: object) -> dict:
    """Have a converted repository say something else of what it serves; returns all it says."""
    file = release_file(repository)
    record = json.loads(file.read_text()) | changes
    file.write_text(json.dumps(record))
    for path, content in configurations(repository, ConvertedRelease(**record)).items():
        path.write_bytes(content)
    return record
