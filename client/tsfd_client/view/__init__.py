"""Slides and their nuclei as a web map.

zooms      which zooms show what
mvt        polygons as a vector tile
outlines   the nuclei of a slide as vector tiles: nuclei.pmtiles
"""
