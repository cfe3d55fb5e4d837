"""Merge the nuclei of overlapping tiles into the nuclei of the image.

grid, blocks, tiling    cut an image into tiles and group the tiles into blocks
versions    each tile's version of a nucleus
between     extra tiles between the others, for nuclei that those cut
join        merge overlapping versions into nuclei
seams       the same across the borders of blocks
runs        masks as runs, many at a time
outline     masks and their outlines
"""
