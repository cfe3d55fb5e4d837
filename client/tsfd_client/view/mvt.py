"""Encode polygons as a Mapbox vector tile (specification 2.1), vectorised.

Apart from names, a tile is a sequence of variable-length integers, including tags and lengths.
Those of all features are laid out in one array and encoded together.
"""

from __future__ import annotations

import numpy as np

MOST = 127
"""Largest value of an attribute, so that each takes one byte."""

# Keys of the fields in the protocol buffer messages.
_LAYER, _FEATURE = 0x1A, 0x12
_NAME, _KEY, _VALUE, _EXTENT, _VERSION = 0x0A, 0x1A, 0x22, 0x28, 0x78
_ID, _TAGS, _TYPE, _GEOMETRY = 0x08, 0x12, 0x18, 0x22
_POLYGON = 3
_MOVE_TO_ONE, _LINE_TO, _CLOSE = 9, 2, 15


def encode(
    name: str,
    extent: int,
    ids: np.ndarray,
    attributes: dict[str, np.ndarray],
    offsets: np.ndarray,
    points: np.ndarray,
) -> bytes:
    """Encode a tile with one layer of polygons.

    Parameters
    ----------
    name
        Name of the layer.
    extent
        Units along a side of the tile.
    ids
        int64 [n], not negative.
    attributes
        Attributes of the polygons by name: integers [n] from 0 to `MOST`.
    offsets
        int64 [n + 1]; ring i is ``points[offsets[i] : offsets[i + 1]]``, of three or more points.
    points
        int64 [m, 2]; x, y in units of the tile. Rings are open and may extend beyond the tile.
    """
    values = [(_VALUE, 2, 0x28, value) for value in range(MOST + 1)]  # index i holds the value i
    layer = b"".join(
        [
            _text(_NAME, name),
            _features(ids, attributes, offsets, points),
            *(_text(_KEY, key) for key in attributes),
            _varints(np.array(values).ravel()).tobytes(),
            _varints(np.array([_EXTENT, extent, _VERSION, 2])).tobytes(),
        ]
    )
    return _varints(np.array([_LAYER, len(layer)])).tobytes() + layer


def _features(
    ids: np.ndarray, attributes: dict[str, np.ndarray], offsets: np.ndarray, points: np.ndarray
) -> bytes:
    if not len(ids):
        return b""
    lengths = np.diff(offsets)
    firsts = np.zeros(len(points), bool)
    firsts[offsets[:-1]] = True
    steps = np.diff(points, axis=0, prepend=points[:1] * 0)
    steps[firsts] = points[firsts]  # relative to the tile's corner
    steps = (steps << 1) ^ (steps >> 63)  # zigzag encoding

    tags = np.empty((len(ids), 2 * len(attributes)), np.int64)
    tags[:, ::2] = np.arange(len(attributes))
    tags[:, 1::2] = np.stack(list(attributes.values()), axis=1)
    line_to = (lengths - 1 << 3) | _LINE_TO
    in_steps = _width(steps).sum(axis=1)
    in_geometry = np.add.reduceat(in_steps, offsets[:-1]) + _width(line_to) + 2
    in_feature = 6 + tags.shape[1] + _width(ids) + _width(in_geometry) + in_geometry

    same = np.ones(len(ids), np.int64)
    before = np.column_stack(
        [
            *(_FEATURE * same, in_feature, _ID * same, ids),
            *(_TAGS * same, tags.shape[1] * same, tags, _TYPE * same, _POLYGON * same),
            *(_GEOMETRY * same, in_geometry, _MOVE_TO_ONE * same, steps[firsts], line_to),
        ]
    )
    ends = np.cumsum(before.shape[1] + 2 * (lengths - 1) + 1)
    begins = np.concatenate([[0], ends[:-1]])
    run = np.empty(ends[-1], np.int64)
    is_step = np.ones(len(run), bool)
    run[ends - 1] = _CLOSE
    is_step[ends - 1] = False
    places = begins[:, None] + np.arange(before.shape[1])
    run[places] = before
    is_step[places] = False
    run[is_step] = steps[~firsts].ravel()
    return _varints(run).tobytes()


def _text(field: int, text: str) -> bytes:
    content = text.encode()
    return bytes([field, len(content)]) + content


def _width(values: np.ndarray) -> np.ndarray:
    """Bytes that each number takes as a varint, int64."""
    width = np.ones(values.shape, np.int64)
    for bits in range(7, 63, 7):
        larger = values >= 1 << bits
        if not larger.any():
            break
        width += larger
    return width


def _varints(values: np.ndarray) -> np.ndarray:
    """Encode non-negative numbers, int64 [n], as varints, uint8: 7 bits a byte, lowest first."""
    width = _width(values)
    ends = np.cumsum(width)
    content = np.empty(ends[-1], np.uint8)
    for byte in range(width.max()):
        has = width > byte
        more = (width[has] > byte + 1) << 7
        content[ends[has] - width[has] + byte] = (values[has] >> 7 * byte) & 0x7F | more
    return content
