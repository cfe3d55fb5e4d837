"""Whole-slide images: read in parts, segmented in bounded memory, resumable.

segment     a slide from its file to its outputs
reader      opens slides: `scanner` by OpenSlide, `pyramid` by tifffile
tissue      where there is something to segment; plan: in which tiles and blocks
pipeline    blocks are read, asked for, stitched and kept, several at a time
seams       what crosses the borders of blocks
run, lock   the folder of a run, and who may write to it
finish      the outputs: `table`, `geojson`, `overview`, summary
status      how far slides are; cluster: slides on other machines
"""
