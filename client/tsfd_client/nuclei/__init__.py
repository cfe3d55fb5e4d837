"""The nuclei of an image and the formats they are written in.

assembly, result                        build `Nuclei` from the server's answers for the tiles
table, wkb                              ``nuclei.parquet``, from which all other files are made
geojson, csv, labels, overlay, save     output files of a picture
overview                                class densities of a slide, as a picture
summary, plausibility                   figures by class, and whether they fit the image's scale
raster, ranges                          label images; ranges of numbers
measures                                ``measures.parquet``, of shapes, stains and neighbours
regions, region_counts                  named polygons, and the nuclei in each: ``regions.csv``
"""
