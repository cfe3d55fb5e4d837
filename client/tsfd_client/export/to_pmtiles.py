"""Outlines as vector tiles for a web map, in one PMTiles file."""

from __future__ import annotations

from tsfd_client.view.outlines import write

__all__ = ["write"]
