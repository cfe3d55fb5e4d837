"""Zoom levels of a slide shown as a web map.

The map's world is a square of 512 pixels at zoom 0 and doubles in size with each zoom. The slide
lies in its upper left corner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

TILE = 512
"""Pixels along a side of a map's tile."""


@dataclass(frozen=True)
class Zooms:
    """Zoom levels at which the page changes what it shows.

    Attributes
    ----------
    width, height
        Size of level 0, pixels.
    mpp
        Micrometres per pixel of level 0.
    """

    width: int
    height: int
    mpp: float

    @cached_property
    def full(self) -> int:
        """Zoom at which a pixel of the map is a pixel of level 0."""
        return max(0, math.ceil(math.log2(max(self.width, self.height) / TILE)))

    @cached_property
    def fine(self) -> int:
        """First zoom that shows outlines, at which a pixel of the map is about one micrometre."""
        return min(self.full, max(0, self.full - round(math.log2(1 / self.mpp))))

    @cached_property
    def exact(self) -> int:
        """First zoom whose outlines have all their corners, and the last one with tiles."""
        return min(self.full, self.fine + 1)

    def side(self, zoom: int) -> int:
        """Pixels of level 0 along a side of a tile."""
        return int(TILE) << (self.full - zoom)

    def bounds(self) -> dict[str, int]:
        """Position of the slide on the map, as fields of a PMTiles header."""
        world = int(TILE) << self.full
        south = math.pi * (1 - 2 * self.height / world)
        latitude = math.degrees(math.atan(math.sinh(south)))
        return {
            "min_lon_e7": -1_800_000_000,
            "min_lat_e7": math.floor(1e7 * latitude),
            "max_lon_e7": min(1_800_000_000, math.ceil(1e7 * (360 * self.width / world - 180))),
            "max_lat_e7": 850_511_287,
            "center_zoom": 0,
            "center_lon_e7": 0,
            "center_lat_e7": 0,
        }
