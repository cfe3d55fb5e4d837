"""The nuclei of an image, and every way to write them down.

assemble, result      answers for the tiles of a picture -> `Nuclei`
table, wkb            GeoParquet
geojson, save         GeoJSON, CSV, label image, overlay
raster, overview      label image of a slide, and its densities
plausibility          whether sizes and numbers speak against the scale
"""
