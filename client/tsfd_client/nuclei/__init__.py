"""The nuclei of an image, and every way to write them down.

assembly, result                        answers for the tiles of an image in memory -> `Nuclei`
table, wkb                              ``nuclei.parquet``, from which all others are made
geojson, csv, labels, overlay, save     of a picture
overview                                of a slide: the densities of its classes
summary, plausibility                   figures, and whether they speak against the scale
raster                                  nuclei as pixels
"""
