"""Regions that were drawn on the page: ``regions.geojson`` beside a result."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from tsfd_client.errors import ImageError, OutputError
from tsfd_client.files import REGIONS, replacing
from tsfd_client.pixels.annotations import read_annotations
from tsfd_client.view.alone import alone

MOST: Final = 16_000_000
"""Bytes of the largest file that is accepted."""
_NONE: Final = b'{"type": "FeatureCollection", "features": []}'


def read(folder: Path) -> bytes:
    """Read the regions of a result, a FeatureCollection; without a file, one without features.

    Raises
    ------
    OutputError
        If they cannot be read or are damaged.
    """
    path = folder / REGIONS
    if not path.exists():
        return _NONE
    try:
        read_annotations(path)  # what is damaged must not be replaced by the page
        return path.read_bytes()
    except (ImageError, OSError) as error:
        raise OutputError(f"{error} Repair or remove the file, then reload.") from error


def version(content: bytes) -> str:
    """Tell what was read from what others have written since, as an entity tag of HTTP."""
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'


def write(folder: Path, content: bytes, known: str | None = None) -> str | None:
    """Replace the regions of a result.

    Parameters
    ----------
    known
        Version that is to be replaced; None for any.

    Returns
    -------
    str or None
        The new version; None if `known` is not the present one, and nothing was written.

    Raises
    ------
    OutputError
        If they are not GeoJSON, larger than `MOST`, or cannot be written.
    """
    if len(content) > MOST:
        raise OutputError(f"The regions are larger than {MOST // 1_000_000} MB.")
    path = folder / REGIONS
    try:
        with alone(path):
            if known not in (None, version(read(folder))):
                return None
            with replacing(path) as partial:
                partial.write_bytes(content)
                if not isinstance(json.loads(content)["features"], list):
                    raise ValueError
                read_annotations(partial)
    except (ImageError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise OutputError("These are no regions: a FeatureCollection of polygons.") from error
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
    return version(content)
