"""Tiles that overlap -> the nuclei of the image.

grid, blocks, tiling    an image is cut into tiles, and those grouped into blocks
versions    what each tile says of its nuclei
between     tiles asked for as well, which hold whole what others cut
join        overlapping versions become nuclei
seams       the same where blocks meet
outline     masks and their outlines
"""
